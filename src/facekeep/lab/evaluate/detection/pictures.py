"""The pictures of a trial of detectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from facekeep.lab.evaluate.detection.figures import DetectionResult, precision_recall
from facekeep.lab.evaluate.pictures import Picture
from facekeep.lab.evaluate.plots import axes_of, finish, look, percentages, png

__all__ = ["draw_pictures"]

_PRECISION: Final = (
    "Every point of a line is one score: across, the share of the faces found at it; upwards, the"
    " share of the boxes that are faces. Nearer to the upper right corner is better."
)
_LANDMARKS: Final = (
    "The share of the faces whose five landmarks are off by no more than so much on average. A line"
    " further to the left is better; dashed: as detected, whole: refined."
)
_FARTHEST: Final = 0.4  # distances of the eyes; beyond nothing can be told apart


def draw_pictures(results: Sequence[DetectionResult]) -> Iterator[Picture]:
    """Draw the pictures of one or several detectors on the same canvases.

    Raises:
        RuntimeUnavailable: matplotlib is not installed.
    """
    yield Picture("precision.png", "Precision and recall", _PRECISION, _precision(results))
    yield Picture("landmarks.png", "Errors of the landmarks", _LANDMARKS, _landmarks(results))


def _precision(results: Sequence[DetectionResult]) -> bytes:
    with axes_of() as (figure, axes):
        for place, result in enumerate(results):
            recall, precision = precision_recall(result.boxes, result.faces)
            axes.plot(recall, precision, label=result.model, **look(place))
        axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.03))
        percentages(axes.xaxis)
        percentages(axes.yaxis)
        finish(axes, results, "lower left")
        return png(figure)


def _landmarks(results: Sequence[DetectionResult]) -> bytes:
    with axes_of() as (figure, axes):
        for place, result in enumerate(results):
            for kind, style in (("raw", "--"), ("refined", "-")):
                errors = getattr(result.faces, kind)[result.compared]
                known = np.sort(errors[~np.isnan(errors)])
                if known.size:
                    share = np.arange(1, known.size + 1) / known.size
                    label = f"{result.model}, {'as detected' if kind == 'raw' else kind}"
                    colour = look(place)["color"]
                    axes.plot(known, share, label=label, color=colour, linestyle=style)
        axes.set(xlabel="mean error of the landmarks, distances of the eyes", ylabel="faces")
        axes.set(xlim=(0, _FARTHEST), ylim=(0, 1.03))
        percentages(axes.xaxis)
        percentages(axes.yaxis)
        finish(axes, ["as detected", "refined"], "lower right")
        return png(figure)
