"""Compare detectors on mosaics, in turns on each, so that they share its conditions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from facekeep.lab.evaluate.detection.metrics import (
    IOU,
    AnnotatedFaces,
    Boxes,
    DetectionResult,
    MatchedBoxes,
    match_boxes,
    measure_landmark_errors,
)
from facekeep.lab.evaluate.detection.mosaics import Mosaic, MosaicSet
from facekeep.types import Face

__all__ = ["LOWEST_SCORE", "ComparedDetector", "compare_detectors"]

LOWEST_SCORE = 0.05
"""Open detectors with this score: what they are unsure of is a part of their precision."""

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class ComparedDetector:
    """A detector to compare.

    Attributes:
        name: What the result calls it.
        detect: Finds the faces of an image, such as ``Detector.detect``.
        refine: Gives found faces better landmarks; None where nothing does.
        refiner: What the result calls that.
    """

    name: str
    detect: Callable[[Image], list[Face]]
    refine: Callable[[Image, Sequence[Face]], list[Face]] | None = None
    refiner: str | None = None


@dataclass(slots=True)
class _Record:
    """What a detector did so far: a part for each mosaic."""

    boxes: list[Boxes] = field(default_factory=list)
    faces: list[AnnotatedFaces] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    scenes: list[float] = field(default_factory=list)


def compare_detectors(
    mosaics: MosaicSet,
    detectors: Sequence[ComparedDetector],
    *,
    data: str,
    scenes: Iterable[Image] = (),
    progress: Callable[[], object] = lambda: None,
) -> list[DetectionResult]:
    """Show mosaics to detectors, and measure what they find.

    Args:
        mosaics: The mosaics.
        detectors: The detectors; times are given as multiples of the first one's.
        data: What results call the photos.
        scenes: Photos without annotations: only the number of boxes reported there is measured.
        progress: Called after each mosaic and each scene.

    Returns:
        A result for each detector.

    Raises:
        ImageError: A photo cannot be read.
    """
    records = [_Record() for _ in detectors]
    for number, mosaic in enumerate(mosaics):
        # Whoever comes first finds the caches cold: they take turns.
        for place in np.roll(np.arange(len(detectors)), number).tolist():
            _run_detector(mosaic, detectors[place], records[place])
        progress()
    shown = 0
    for shown, scene in enumerate(scenes, 1):  # noqa: B007 - it is the number of scenes at the end
        for detector, record in zip(detectors, records, strict=True):
            record.scenes += [face.score for face in detector.detect(scene)]
        progress()
    return _list_results(mosaics, detectors, records, data, shown)


def _run_detector(mosaic: Mosaic, detector: ComparedDetector, record: _Record) -> None:
    begun = time.perf_counter()
    found = detector.detect(mosaic.image)
    record.seconds.append(time.perf_counter() - begun)
    matched = match_boxes(mosaic, found)
    boxes = matched.score, matched.hit, matched.owner
    record.boxes.append(Boxes(*boxes, np.full(len(matched.score), mosaic.size)))
    raw, refined = _measure_landmarks(mosaic, detector, found, matched)
    size = np.full(len(matched.truth), mosaic.size)
    record.faces.append(AnnotatedFaces(matched.person, size, matched.found_at, raw, refined))


def _measure_landmarks(
    mosaic: Mosaic, detector: ComparedDetector, found: Sequence[Face], matched: MatchedBoxes
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Landmark errors of each face, as it was found and refined; NaN where there is none."""
    raw, refined = np.full((2, len(matched.truth)), np.nan)
    have = np.flatnonzero(matched.box >= 0)
    faces = [found[box] for box in matched.box[have]]
    if faces:
        truth = mosaic.landmarks[matched.truth[have]]
        raw[have] = measure_landmark_errors(np.stack([face.landmarks for face in faces]), truth)
        if detector.refine is not None:
            better = detector.refine(mosaic.image, faces)
            refined[have] = measure_landmark_errors(np.stack([f.landmarks for f in better]), truth)
    return raw, refined


def _list_results(
    mosaics: MosaicSet,
    detectors: Sequence[ComparedDetector],
    records: Sequence[_Record],
    data: str,
    scenes: int,
) -> list[DetectionResult]:
    faces = [_join(record.faces) for record in records]
    compared = np.logical_and.reduce([~np.isnan(each.found_at) for each in faces])
    first = np.array(records[0].seconds)
    return [
        DetectionResult(
            model=detector.name,
            data=data,
            sizes=mosaics.sizes,
            people=mosaics.people,
            photos=len(mosaics.annotated),
            mosaics=len(mosaics),
            boxes=_join(record.boxes),
            faces=theirs,
            compared=compared,
            scenes=scenes,
            scene_scores=np.array(record.scenes, np.float64),
            time_ratio=float(np.median(np.array(record.seconds) / first)),
            settings={
                "refiner": detector.refiner,
                "hard": mosaics.hard,
                "seed": mosaics.seed,
                "iou": IOU,
                "lowest_score": LOWEST_SCORE,
            },
        )
        for detector, record, theirs in zip(detectors, records, faces, strict=True)
    ]


_Rows = TypeVar("_Rows", Boxes, AnnotatedFaces)


def _join(parts: Sequence[_Rows]) -> _Rows:
    columns = ([getattr(part, name) for part in parts] for name in parts[0].__slots__)
    return type(parts[0])(*map(np.concatenate, columns))
