"""Try detectors on canvases, one after the other on each, so that they share its conditions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from facekeep.lab.evaluate.detection.canvases import Canvas, Canvases
from facekeep.lab.evaluate.detection.figures import Boxes, DetectionResult, Faces
from facekeep.lab.evaluate.detection.matching import IOU, Matched, landmark_errors, match
from facekeep.types import Face

__all__ = ["LOWEST_SCORE", "Contender", "try_detectors"]

LOWEST_SCORE = 0.05
"""Open detectors with this score: what they are unsure of is a part of their precision."""

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Contender:
    """A detector on trial.

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
class _Tally:
    """What a contender did so far: a part for each canvas."""

    boxes: list[Boxes] = field(default_factory=list)
    faces: list[Faces] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    scenes: list[float] = field(default_factory=list)


def try_detectors(
    canvases: Canvases,
    contenders: Sequence[Contender],
    *,
    data: str,
    scenes: Iterable[Image] = (),
    progress: Callable[[], object] = lambda: None,
) -> list[DetectionResult]:
    """Show canvases to detectors, and measure what they find.

    Args:
        canvases: The canvases.
        contenders: The detectors; times are told as multiples of the first one's.
        data: What results call the photos.
        scenes: Photos without annotations: only how much is reported there can be told.
        progress: Called after each canvas and each scene.

    Returns:
        A result for each contender.

    Raises:
        ImageError: A photo cannot be read.
    """
    tallies = [_Tally() for _ in contenders]
    for number, canvas in enumerate(canvases):
        # Whoever comes first finds the caches cold: they take turns.
        for place in np.roll(np.arange(len(contenders)), number).tolist():
            _try(canvas, contenders[place], tallies[place])
        progress()
    shown = 0
    for shown, scene in enumerate(scenes, 1):  # noqa: B007 - it is the number of scenes at the end
        for contender, tally in zip(contenders, tallies, strict=True):
            tally.scenes += [face.score for face in contender.detect(scene)]
        progress()
    return _results(canvases, contenders, tallies, data, shown)


def _try(canvas: Canvas, contender: Contender, tally: _Tally) -> None:
    begun = time.perf_counter()
    found = contender.detect(canvas.image)
    tally.seconds.append(time.perf_counter() - begun)
    matched = match(canvas, found)
    boxes = matched.score, matched.hit, matched.owner
    tally.boxes.append(Boxes(*boxes, np.full(len(matched.score), canvas.size)))
    raw, refined = _landmarks(canvas, contender, found, matched)
    size = np.full(len(matched.truth), canvas.size)
    tally.faces.append(Faces(matched.person, size, matched.found_at, raw, refined))


def _landmarks(
    canvas: Canvas, contender: Contender, found: Sequence[Face], matched: Matched
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Landmark errors of each face, as it was found and refined; NaN where there is none."""
    raw, refined = np.full((2, len(matched.truth)), np.nan)
    have = np.flatnonzero(matched.box >= 0)
    faces = [found[box] for box in matched.box[have]]
    if faces:
        truth = canvas.landmarks[matched.truth[have]]
        raw[have] = landmark_errors(np.stack([face.landmarks for face in faces]), truth)
        if contender.refine is not None:
            better = contender.refine(canvas.image, faces)
            refined[have] = landmark_errors(np.stack([f.landmarks for f in better]), truth)
    return raw, refined


def _results(
    canvases: Canvases,
    contenders: Sequence[Contender],
    tallies: Sequence[_Tally],
    data: str,
    scenes: int,
) -> list[DetectionResult]:
    faces = [_joined(tally.faces) for tally in tallies]
    compared = np.logical_and.reduce([~np.isnan(each.found_at) for each in faces])
    first = np.array(tallies[0].seconds)
    return [
        DetectionResult(
            model=contender.name,
            data=data,
            sizes=canvases.sizes,
            people=canvases.people,
            photos=len(canvases.annotated),
            canvases=len(canvases),
            boxes=_joined(tally.boxes),
            faces=theirs,
            compared=compared,
            scenes=scenes,
            scene_scores=np.array(tally.scenes, np.float64),
            time_ratio=float(np.median(np.array(tally.seconds) / first)),
            settings={
                "refiner": contender.refiner,
                "hard": canvases.hard,
                "seed": canvases.seed,
                "iou": IOU,
                "lowest_score": LOWEST_SCORE,
            },
        )
        for contender, tally, theirs in zip(contenders, tallies, faces, strict=True)
    ]


_Rows = TypeVar("_Rows", Boxes, Faces)


def _joined(parts: Sequence[_Rows]) -> _Rows:
    columns = ([getattr(part, name) for part in parts] for name in parts[0].__slots__)
    return type(parts[0])(*map(np.concatenate, columns))
