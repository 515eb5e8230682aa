"""Which of a detector's boxes are annotated faces, and how far off their landmarks are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from facekeep.lab.evaluate.detection.canvases import Canvas
from facekeep.types import Face

__all__ = ["IOU", "Matched", "landmark_errors", "match"]

IOU: Final = 0.5
"""A box is a face from this intersection over union on, as in PASCAL VOC and WIDER FACE."""


@dataclass(frozen=True, slots=True, eq=False)
class Matched:
    """The boxes on one canvas, d of them, and the t faces that count there.

    Boxes about faces that do not count are left out.

    Attributes:
        score: float64 ``(d,)``, falling.
        hit: bool ``(d,)``: the box is a face that was not found by a higher score before.
        owner: intp ``(d,)``, the person whom the box shows; -1 for nobody.
        person: intp ``(t,)``, whom each face shows.
        found_at: float64 ``(t,)``, the score that a face was found at, NaN for one that was not.
        truth: intp ``(t,)``, the places of the faces on the canvas.
        box: intp ``(t,)``, the place of the box of each face among all, -1 for none.
    """

    score: NDArray[np.float64]
    hit: NDArray[np.bool_]
    owner: NDArray[np.intp]
    person: NDArray[np.intp]
    found_at: NDArray[np.float64]
    truth: NDArray[np.intp]
    box: NDArray[np.intp]


def match(canvas: Canvas, faces: Sequence[Face]) -> Matched:
    """Give each box, the highest score first, the free face that it overlaps most, from IOU on.

    Args:
        canvas: The canvas.
        faces: What a detector found there.
    """
    boxes = np.array([face.bbox for face in faces], np.float64).reshape(-1, 4)
    scores = np.array([face.score for face in faces], np.float64)
    overlaps = _overlaps(boxes, canvas.boxes)
    taken = np.full(len(canvas.boxes), -1)
    kept, hits = [], []
    for box in np.argsort(-scores, kind="stable"):
        free = np.where(canvas.counts & (taken < 0), overlaps[box], 0)
        best = int(free.argmax()) if free.size else -1
        if best >= 0 and free[best] >= IOU:
            taken[best] = box
            kept.append(box)
            hits.append(True)
        elif not (overlaps[box, ~canvas.counts] >= IOU).any():
            kept.append(box)
            hits.append(False)
    places, hit = np.array(kept, np.intp), np.array(hits, np.bool_)
    centres = (boxes[places, :2] + boxes[places, 2:]) / 2
    owner = canvas.person_at(centres)
    for face in np.flatnonzero(taken >= 0):
        owner[places == taken[face]] = canvas.person[face]
    truth = np.flatnonzero(canvas.counts)
    box = taken[truth]
    found_at = np.where(box >= 0, np.append(scores, np.nan)[box], np.nan)
    return Matched(scores[places], hit, owner, canvas.person[truth], found_at, truth, box)


def landmark_errors(
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


def _overlaps(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Intersection over union of each two boxes: float64 ``(len(a), len(b))``."""
    low, high = np.maximum(a[:, None, :2], b[:, :2]), np.minimum(a[:, None, 2:], b[:, 2:])
    shared = (high - low).clip(min=0).prod(axis=2)
    areas = [(each[:, 2:] - each[:, :2]).clip(min=0).prod(axis=1) for each in (a, b)]
    union = areas[0][:, None] + areas[1] - shared
    return np.asarray(shared / np.where(union > 0, union, 1), np.float64)
