"""95 % intervals from drawing the people anew.

Comparisons that share a person are not independent, so it is people who are drawn, with
replacement. A mated comparison counts as often as its person was drawn, a non-mated one as often as
its first person times its second: the two-sample bootstrap by identity, Owen's pigeonhole bootstrap
(Ann. Appl. Stat. 1(2), 2007). It is never too narrow on average; where few comparisons share a
person, as in a list of pairs, the interval of an FMR comes out up to 1.7 times too wide.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from facekeep.lab.evaluate.scores import Identities, Scores, Weights

__all__ = [
    "FEWEST_PEOPLE",
    "RESAMPLES",
    "Interval",
    "measure_intervals",
    "span_interval",
]

RESAMPLES: Final = 400
"""How many times the people are drawn."""

FEWEST_PEOPLE: Final = 10
"""The spread of fewer says little about people in general: they give no intervals."""

_LEAST: Final = 1 << 20
_DEEPER: Final = 2  # a draw may put its threshold so many times as deep into the tail

Interval = tuple[float, float] | None


def measure_intervals(
    scores: Scores, thresholds: Sequence[float], targets: Sequence[float] | None, resamples: int
) -> list[tuple[Interval, Interval]]:
    """Find the intervals of TAR and of FMR at some thresholds.

    Args:
        scores: The comparisons.
        thresholds: Cosines; the FMR is measured at these.
        targets: The target FMR of each; the threshold is then set anew in every draw, so that the
            interval of the TAR holds the uncertainty of the threshold too. None: it stays.
        resamples: How many times to draw; 0 for no intervals.

    Returns:
        For each threshold the intervals of TAR and of FMR. None where the people are unknown or
        fewer than ten, for a TAR without mated comparisons, for an FMR below the tail, and where
        all draws are alike, as when there is no error at all.
    """
    people = scores.identities
    if people is None or people.people < FEWEST_PEOPLE or not resamples:
        return [(None, None)] * len(thresholds)
    draw = _Draw(scores, people, thresholds, targets)
    rng = np.random.default_rng(0)
    for _ in range(resamples):
        drawn = rng.integers(people.people, size=people.people)
        draw(np.bincount(drawn, minlength=people.people).astype(np.float64))
    return [
        (span_interval(tars), span_interval(fmrs))
        for tars, fmrs in zip(draw.tars, draw.fmrs, strict=True)
    ]


def span_interval(values: list[float]) -> Interval:
    """Span draws from their 2.5 % to their 97.5 % quantile.

    None where all are alike: without any error they say nothing of its rate.
    """
    if not values or min(values) == max(values):
        return None
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


class _Draw:
    """Measures TAR and FMR among people drawn anew, as often as it is called."""

    def __init__(
        self,
        scores: Scores,
        people: Identities,
        thresholds: Sequence[float],
        targets: Sequence[float] | None,
    ) -> None:
        self._scores, self._people = scores, people
        self._thresholds, self._targets = thresholds, targets
        reached = [scores.false_matches(limit) for limit in thresholds]
        self._reached = [None if count is None else int(count) for count in reached]
        deepest = _DEEPER * max(targets or (0.0,)) * scores.non_mated
        self._depth = max(_LEAST, int(deepest), *(count or 0 for count in self._reached))
        self.tars: list[list[float]] = [[] for _ in thresholds]
        self.fmrs: list[list[float]] = [[] for _ in thresholds]

    def __call__(self, weights: Weights) -> None:
        """Measure when people count so often; what cannot be measured then is left out."""
        non_mated = self._people.non_mated(weights)
        if non_mated > 0:
            above = self._people.weigh(weights, 0, self._depth).cumsum()
            self._measure_fmr(above, non_mated)
            self._measure_tar(weights, self._limits(above, non_mated))

    def _measure_fmr(self, above: Weights, non_mated: float) -> None:
        for found, count in zip(self.fmrs, self._reached, strict=True):
            if count is not None:
                found.append(float(above[count - 1]) / non_mated if count else 0.0)

    def _limits(self, above: Weights, non_mated: float) -> Sequence[float]:
        """The highest refused score at each target, or just below each fixed threshold."""
        if self._targets is None:
            return [np.nextafter(limit, -np.inf) for limit in self._thresholds]
        places = np.searchsorted(above, np.multiply(self._targets, non_mated), side="right")
        limits: Sequence[float] = self._scores.tail[np.minimum(places, len(above) - 1)].tolist()
        return limits

    def _measure_tar(self, weights: Weights, limits: Sequence[float]) -> None:
        counts = weights[self._people.mated]
        below = np.concatenate([[0.0], counts.cumsum()])
        mated = float(below[-1] + weights @ self._people.mated_failed)
        if mated > 0:
            refused = np.searchsorted(self._scores.mated, limits, side="right")
            for found, part in zip(self.tars, (below[-1] - below[refused]).tolist(), strict=True):
                found.append(part / mated)
