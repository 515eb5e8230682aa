"""How good a detector is, in figures: average precision, recall, false positives, landmarks.

A box is an annotated face where it overlaps it enough; each face can be found once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from facekeep.lab.evaluate.bootstrap import FEWEST_PEOPLE, RESAMPLES, Interval, span_interval
from facekeep.lab.evaluate.detection.mosaics import Mosaic
from facekeep.types import Face

__all__ = [
    "IOU",
    "SCORES",
    "AnnotatedFaces",
    "Boxes",
    "DetectionResult",
    "MatchedBoxes",
    "match_boxes",
    "measure_average_precision",
    "measure_landmark_errors",
    "trace_precision",
]

IOU: Final = 0.5
"""A box is a face from this intersection over union on, as in PASCAL VOC and WIDER FACE."""


@dataclass(frozen=True, slots=True, eq=False)
class MatchedBoxes:
    """The boxes on one mosaic, d of them, and the t faces that count there.

    Boxes about faces that do not count are left out.

    Attributes:
        score: float64 ``(d,)``, falling.
        hit: bool ``(d,)``: the box is a face that was not found by a higher score before.
        owner: intp ``(d,)``, the person whom the box shows; -1 for nobody.
        person: intp ``(t,)``, whom each face shows.
        found_at: float64 ``(t,)``, the score that a face was found at, NaN for one that was not.
        truth: intp ``(t,)``, the places of the faces on the mosaic.
        box: intp ``(t,)``, the place of the box of each face among all, -1 for none.
    """

    score: NDArray[np.float64]
    hit: NDArray[np.bool_]
    owner: NDArray[np.intp]
    person: NDArray[np.intp]
    found_at: NDArray[np.float64]
    truth: NDArray[np.intp]
    box: NDArray[np.intp]


def match_boxes(mosaic: Mosaic, faces: Sequence[Face]) -> MatchedBoxes:
    """Give each box, the highest score first, the free face that it overlaps most, from IOU on.

    Args:
        mosaic: The mosaic.
        faces: What a detector found there.
    """
    boxes = np.array([face.bbox for face in faces], np.float64).reshape(-1, 4)
    scores = np.array([face.score for face in faces], np.float64)
    overlaps = _measure_overlaps(boxes, mosaic.boxes)
    taken = np.full(len(mosaic.boxes), -1)
    kept, hits = [], []
    for box in np.argsort(-scores, kind="stable"):
        free = np.where(mosaic.counts & (taken < 0), overlaps[box], 0)
        best = int(free.argmax()) if free.size else -1
        if best >= 0 and free[best] >= IOU:
            taken[best] = box
            kept.append(box)
            hits.append(True)
        elif not (overlaps[box, ~mosaic.counts] >= IOU).any():
            kept.append(box)
            hits.append(False)
    places, hit = np.array(kept, np.intp), np.array(hits, np.bool_)
    centers = (boxes[places, :2] + boxes[places, 2:]) / 2
    owner = mosaic.person_at(centers)
    for face in np.flatnonzero(taken >= 0):
        owner[places == taken[face]] = mosaic.person[face]
    truth = np.flatnonzero(mosaic.counts)
    box = taken[truth]
    found_at = np.where(box >= 0, np.append(scores, np.nan)[box], np.nan)
    return MatchedBoxes(scores[places], hit, owner, mosaic.person[truth], found_at, truth, box)


def measure_landmark_errors(
    found: NDArray[np.floating], truth: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Return the mean distance of five landmarks to the annotated ones, in distances of the eyes.

    Args:
        found: ``(n, 5, 2)`` pixels.
        truth: ``(n, 5, 2)`` pixels, in the same order.

    Returns:
        float64 ``(n,)``; NaN where the annotated eyes lie in one place.
    """
    eyes = np.linalg.norm(np.subtract(truth[:, 1], truth[:, 0], dtype=np.float64), axis=1)
    distances = np.linalg.norm(np.subtract(found, truth, dtype=np.float64), axis=2).mean(axis=1)
    return np.asarray(np.divide(distances, eyes, where=eyes > 0, out=np.full(len(eyes), np.nan)))


def _measure_overlaps(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Intersection over union of each two boxes: float64 ``(len(a), len(b))``."""
    low, high = np.maximum(a[:, None, :2], b[:, :2]), np.minimum(a[:, None, 2:], b[:, 2:])
    shared = (high - low).clip(min=0).prod(axis=2)
    areas = [(each[:, 2:] - each[:, :2]).clip(min=0).prod(axis=1) for each in (a, b)]
    union = areas[0][:, None] + areas[1] - shared
    return np.asarray(shared / np.where(union > 0, union, 1), np.float64)


SCORES: Final = (0.3, 0.5, 0.7, 0.9)
"""Scores at which recall and false positives are reported."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """What a detector reported on all mosaics, d boxes.

    Attributes:
        score: float64 ``(d,)``.
        hit: bool ``(d,)``: it is an annotated face, and the first box of it.
        owner: intp ``(d,)``, the person whom it shows or in whose photo it lies; -1 for nobody.
        size: intp ``(d,)``, the size of the faces on its mosaic.
    """

    score: Floats
    hit: NDArray[np.bool_]
    owner: NDArray[np.intp]
    size: NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class AnnotatedFaces:
    """The annotated faces, t of them, and what a detector made of each.

    Attributes:
        person: intp ``(t,)``.
        size: intp ``(t,)``, the shorter side of its box, in pixels.
        found_at: float64 ``(t,)``, the score it was found at; NaN where it was not.
        raw: float64 ``(t,)``, how far its landmarks are off on average, in distances of the eyes;
            NaN where it was not found.
        refined: float64 ``(t,)``, likewise after refining; NaN too where nothing refines.
    """

    person: NDArray[np.intp]
    size: NDArray[np.intp]
    found_at: Floats
    raw: Floats
    refined: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class DetectionResult:
    """The figures of one detector.

    Attributes:
        model: The detector's name.
        data: What the photos are called.
        sizes: The sizes of faces that were shown.
        people: How many people the faces show.
        photos: How many photos they come from.
        mosaics: How many mosaics they were shown on.
        boxes: What was reported.
        faces: What was there.
        compared: bool ``(t,)``: the faces whose landmarks are compared, those that every detector
            found that was tried beside this one.
        scenes: How many photos without annotations were shown.
        scene_scores: float64 ``(s,)``, the scores of all boxes reported there.
        time_ratio: Its time for a mosaic by that of the first detector, the median over mosaics.
        settings: How it was measured, for the record.
    """

    model: str
    data: str
    sizes: tuple[int, ...]
    people: int
    photos: int
    mosaics: int
    boxes: Boxes
    faces: AnnotatedFaces
    compared: NDArray[np.bool_]
    scenes: int
    scene_scores: Floats
    time_ratio: float
    settings: Mapping[str, object] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Give the result in the stable form that ``docs/evaluation.md`` describes."""
        return {
            "protocol": "detect",
            "model": self.model,
            "data": self.data,
            "all": self.groups[None],
            "sizes": {str(size): self.groups[size] for size in self.sizes},
            "scores": {f"{score:g}": self.at(score) for score in SCORES},
            "time_ratio": self.time_ratio,
            "photos": self.photos,
            "people": self.people,
            "canvases": self.mosaics,
            **({"scenes": self.scenes} if self.scenes else {}),
            "settings": dict(self.settings),
        }

    @cached_property
    def groups(self) -> dict[int | None, dict[str, Any]]:
        """The figures by the size of the faces, those of all under None: ``ap``, ``recall``, ..."""
        return {size: self._group(size) for size in (None, *self.sizes)}

    def _group(self, size: int | None) -> dict[str, Any]:
        boxes, faces = _select_size(self.boxes, size), _select_size(self.faces, size)
        compared = self.compared if size is None else self.compared[self.faces.size == size]
        interval = self._drawn(lambda weights: measure_average_precision(boxes, faces, weights))
        low, high = interval or (None, None)
        return {
            "faces": len(faces.person),
            "ap": measure_average_precision(boxes, faces),
            "ap_low": low,
            "ap_high": high,
            "recall": _mean_or_none(~np.isnan(faces.found_at)),
            "landmarks": self._errors(faces, compared, "raw"),
            "refined": self._errors(faces, compared, "refined"),
        }

    def at(self, score: float) -> dict[str, float | None]:
        """Measure what is found, and falsely reported, among boxes of at least a score."""
        reported = self.boxes.score >= score
        found = {
            "recall": _mean_or_none(self.faces.found_at >= score),
            "false_per_canvas": float((reported & ~self.boxes.hit).sum()) / self.mosaics,
        }
        if self.scenes:
            found["boxes_per_scene"] = float((self.scene_scores >= score).sum()) / self.scenes
        return found

    def _errors(
        self, faces: AnnotatedFaces, compared: NDArray[np.bool_], kind: str
    ) -> dict[str, float | int | None] | None:
        values: Floats = getattr(faces, kind)
        known = compared & ~np.isnan(values)
        if not known.any():
            return None
        owner, values = faces.person[known], values[known]
        interval = self._drawn(lambda weights: _weighted_mean(values, weights[owner]))
        low, high = interval or (None, None)
        return {
            "faces": len(values),
            "mean": float(values.mean()),
            "low": low,
            "high": high,
            "p95": float(np.quantile(values, 0.95)),
        }

    def _drawn(self, measure: Callable[[Floats], float | None]) -> Interval:
        """Draw the people anew, and span what is measured then."""
        if self.people < FEWEST_PEOPLE:
            return None
        rng = np.random.default_rng(0)
        found = []
        for _ in range(RESAMPLES):
            drawn = rng.integers(self.people, size=self.people)
            value = measure(np.bincount(drawn, minlength=self.people).astype(np.float64))
            if value is not None:
                found.append(value)
        return span_interval(found)


_Rows = TypeVar("_Rows", Boxes, AnnotatedFaces)


def measure_average_precision(
    boxes: Boxes, faces: AnnotatedFaces, weights: Floats | None = None
) -> float | None:
    """Measure the area under the curve of precision over recall, every point of it counted.

    At each recall the precision is the best one at that recall or above (PASCAL VOC since 2010).

    Args:
        boxes: What was reported.
        faces: What was there.
        weights: float64 ``(people,)``, how often each person counts; None for once. Boxes that are
            nobody's count once.

    Returns:
        0 to 1; None where there are no faces.
    """
    recall, precision = trace_precision(boxes, faces, weights)
    if not len(faces.person) or (weights is not None and not weights[faces.person].sum()):
        return None
    steps = np.diff(recall, prepend=0.0)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return round(float(steps @ best), 12)  # else draws without any error would seem to differ


def trace_precision(
    boxes: Boxes, faces: AnnotatedFaces, weights: Floats | None = None
) -> tuple[Floats, Floats]:
    """Return recall and precision at falling scores, float64 ``(d,)`` each."""
    order = np.argsort(-boxes.score, kind="stable")
    hit, owner = boxes.hit[order], boxes.owner[order]
    counts, there = np.ones(len(hit)), float(len(faces.person))
    if weights is not None:
        # The last weight is that of the boxes which are nobody's.
        counts, there = np.append(weights, 1.0)[owner], float(weights[faces.person].sum())
    found, reported = (counts * hit).cumsum(), counts.cumsum()
    precision = np.divide(found, reported, where=reported > 0, out=np.ones(len(hit)))
    return found / max(there, 1.0), precision


def _select_size(rows: _Rows, size: int | None) -> _Rows:
    if size is None:
        return rows
    chosen = rows.size == size
    return type(rows)(*(getattr(rows, name)[chosen] for name in rows.__slots__))


def _mean_or_none(values: NDArray[np.bool_]) -> float | None:
    return float(values.mean()) if len(values) else None


def _weighted_mean(values: Floats, weights: Floats) -> float | None:
    total = weights.sum()
    return float(values @ weights / total) if total > 0 else None
