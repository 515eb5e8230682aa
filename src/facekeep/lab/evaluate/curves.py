"""The trade-off between the two kinds of error: points of DET and ROC curves, EER, AUC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from facekeep.errors import InputError
from facekeep.lab.evaluate.scores import Scores, at_least

__all__ = ["Curve", "curve"]

_BEYOND: Final = 1.01  # no cosine is above it, or below its negative

Rates = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Error rates over thresholds, thinned for drawing; each point was measured.

    Attributes:
        thresholds: float64 ``(n,)``, cosines, rising.
        fmr: float64 ``(n,)``, from 1 down to 0.
        fnmr: float64 ``(n,)``, from the share that failed up to 1.
        eer: Equal error rate: where the line between the two neighbouring points with FMR at or
            above and below FNMR has both equal.
        eer_threshold: The highest cosine at which FMR is not below FNMR.
        auc: Area under the ROC curve: how often a mated comparison scores higher than a non-mated
            one, ties counted half.
    """

    thresholds: Rates
    fmr: Rates
    fnmr: Rates
    eer: float
    eer_threshold: float
    auc: float


def curve(scores: Scores, *, points: int = 300) -> Curve:
    """Measure the whole trade-off, dense where either rate is small.

    Args:
        scores: The comparisons. Below an incomplete tail rates are read from the histogram.
        points: About how many points each rate is drawn by.

    Raises:
        InputError: There are no mated or no non-mated comparisons.
    """
    for kind, count in (
        ("mated", len(scores.mated) + scores.mated_failed),
        ("non-mated", scores.non_mated),
    ):
        if not count:
            raise InputError(f"a curve needs mated and non-mated comparisons: none is {kind}")
    thresholds = _thresholds(scores, points)
    eer, limit = _equal_error(scores)
    return Curve(
        thresholds, scores.fmr(thresholds), scores.fnmr(thresholds), eer, limit, _area(scores)
    )


def _thresholds(scores: Scores, points: int) -> Rates:
    """The ends, and thresholds at which either rate grows by about the same factor each time."""
    refused = scores.tail[_places(len(scores.tail), points)]
    missed = scores.mated[_places(len(scores.mated), points)]
    parts = [np.nextafter(refused, refused.dtype.type(np.inf)), missed, [-_BEYOND, _BEYOND]]
    if not scores.complete:
        parts.append(scores.histogram.edges[:: max(1, len(scores.histogram.edges) // points)])
    return np.unique(np.concatenate([np.asarray(part, np.float64) for part in parts]))


def _places(count: int, points: int) -> NDArray[np.intp]:
    """Up to ``points`` places in ``count`` values, dense at the first and at the last."""
    if not count:
        return np.empty(0, np.intp)
    near = np.unique(np.geomspace(1, count, points).astype(np.intp)) - 1
    return np.union1d(near, np.linspace(0, count - 1, min(count, points)).astype(np.intp))


def _equal_error(scores: Scores) -> tuple[float, float]:
    low, high = -_BEYOND, _BEYOND
    while low < (middle := (low + high) / 2) < high:
        if _excess(scores, middle) >= 0:
            low = middle
        else:
            high = middle
    above, below = _excess(scores, low), _excess(scores, high)
    fmr = scores.fmr([low, high])
    limit = float(at_least(low, scores.mated.dtype))
    return float(fmr[0] + (fmr[1] - fmr[0]) * above / (above - below)), limit


def _excess(scores: Scores, threshold: float) -> float:
    """FMR less FNMR: falls as the threshold rises, from at least 0 to -1."""
    return float((scores.fmr(threshold) - scores.fnmr(threshold))[0])


def _area(scores: Scores) -> float:
    higher: Any = np.nextafter(scores.mated, scores.mated.dtype.type(np.inf))
    beaten = 1 - (scores.fmr(scores.mated) + scores.fmr(higher)) / 2
    return float(beaten.sum() / (len(scores.mated) + scores.mated_failed))
