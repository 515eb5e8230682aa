"""How good a detector is, in figures: average precision, recall, false positives, landmarks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from facekeep.lab.evaluate.bootstrap import FEWEST_PEOPLE, RESAMPLES, Interval, span

__all__ = ["SCORES", "Boxes", "DetectionResult", "Faces", "average_precision", "precision_recall"]

SCORES: Final = (0.3, 0.5, 0.7, 0.9)
"""Scores at which recall and false positives are told."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """What a detector reported on all canvases, d boxes.

    Attributes:
        score: float64 ``(d,)``.
        hit: bool ``(d,)``: it is an annotated face, and the first box of it.
        owner: intp ``(d,)``, the person whom it shows or in whose photo it lies; -1 for nobody.
        size: intp ``(d,)``, the size of the faces on its canvas.
    """

    score: Floats
    hit: NDArray[np.bool_]
    owner: NDArray[np.intp]
    size: NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
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
        canvases: How many canvases they were shown on.
        boxes: What was reported.
        faces: What was there.
        compared: bool ``(t,)``: the faces whose landmarks are compared, those that every detector
            found that was tried beside this one.
        scenes: How many photos without annotations were shown.
        scene_scores: float64 ``(s,)``, the scores of all boxes reported there.
        time_ratio: Its time for a canvas by that of the first detector, the median over canvases.
        settings: How it was measured, for the record.
    """

    model: str
    data: str
    sizes: tuple[int, ...]
    people: int
    photos: int
    canvases: int
    boxes: Boxes
    faces: Faces
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
            "canvases": self.canvases,
            **({"scenes": self.scenes} if self.scenes else {}),
            "settings": dict(self.settings),
        }

    @cached_property
    def groups(self) -> dict[int | None, dict[str, Any]]:
        """The figures by the size of the faces, those of all under None: ``ap``, ``recall``, ..."""
        return {size: self._group(size) for size in (None, *self.sizes)}

    def _group(self, size: int | None) -> dict[str, Any]:
        boxes, faces = _of_size(self.boxes, size), _of_size(self.faces, size)
        compared = self.compared if size is None else self.compared[self.faces.size == size]
        interval = self._drawn(lambda weights: average_precision(boxes, faces, weights))
        low, high = interval or (None, None)
        return {
            "faces": len(faces.person),
            "ap": average_precision(boxes, faces),
            "ap_low": low,
            "ap_high": high,
            "recall": _mean(~np.isnan(faces.found_at)),
            "landmarks": self._errors(faces, compared, "raw"),
            "refined": self._errors(faces, compared, "refined"),
        }

    def at(self, score: float) -> dict[str, float | None]:
        """Measure what is found, and falsely reported, among boxes of at least a score."""
        reported = self.boxes.score >= score
        found = {
            "recall": _mean(self.faces.found_at >= score),
            "false_per_canvas": float((reported & ~self.boxes.hit).sum()) / self.canvases,
        }
        if self.scenes:
            found["boxes_per_scene"] = float((self.scene_scores >= score).sum()) / self.scenes
        return found

    def _errors(
        self, faces: Faces, compared: NDArray[np.bool_], kind: str
    ) -> dict[str, float | int | None] | None:
        values: Floats = getattr(faces, kind)
        known = compared & ~np.isnan(values)
        if not known.any():
            return None
        owner, values = faces.person[known], values[known]
        interval = self._drawn(lambda weights: _weighed(values, weights[owner]))
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
        return span(found)


_Rows = TypeVar("_Rows", Boxes, Faces)


def average_precision(boxes: Boxes, faces: Faces, weights: Floats | None = None) -> float | None:
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
    recall, precision = precision_recall(boxes, faces, weights)
    if not len(faces.person) or (weights is not None and not weights[faces.person].sum()):
        return None
    steps = np.diff(recall, prepend=0.0)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return round(float(steps @ best), 12)  # else draws without any error would seem to differ


def precision_recall(
    boxes: Boxes, faces: Faces, weights: Floats | None = None
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


def _of_size(rows: _Rows, size: int | None) -> _Rows:
    if size is None:
        return rows
    chosen = rows.size == size
    return type(rows)(*(getattr(rows, name)[chosen] for name in rows.__slots__))


def _mean(values: NDArray[np.bool_]) -> float | None:
    return float(values.mean()) if len(values) else None


def _weighed(values: Floats, weights: Floats) -> float | None:
    total = weights.sum()
    return float(values @ weights / total) if total > 0 else None
