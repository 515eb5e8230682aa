"""The scores of an experiment: what all curves, rates and intervals are measured on.

A comparison matches when its score is at or above the threshold. One in which a sample failed to
acquire has no score (``FAILED``) and never matches: a mated one counts as a false non-match. A
non-mated one is left out, so that failing does not lower the FMR.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facekeep.errors import InputError
from facekeep.lab.evaluate._checks import FAILED, cosines, labels, numbered
from facekeep.lab.evaluate.bootstrap import Identities

__all__ = ["FAILED", "Histogram", "Scores", "at_least", "count_scores", "listed", "scores_of"]

_BINS: Final = 2000

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """How often each score was met.

    Attributes:
        edges: float64 ``(n + 1,)``, bounds of the bins, rising from -1 to 1; a score on a bound
            belongs to the bin above.
        mated: int64 ``(n,)``, mated comparisons in each bin.
        non_mated: int64 ``(n,)``, non-mated comparisons in each bin.
    """

    edges: NDArray[np.float64]
    mated: NDArray[np.int64]
    non_mated: NDArray[np.int64]

    @classmethod
    def of(cls, mated: NDArray[np.int64], non_mated: NDArray[np.int64]) -> Histogram:
        """Make one of counts by ``count_scores``."""
        return cls(np.linspace(-1, 1, _BINS + 1), mated, non_mated)


def count_scores(scores: Floats) -> NDArray[np.int64]:
    """Count scores, of any shape, by the bins of ``Histogram``; ``FAILED`` is not counted."""
    places = ((scores - FAILED) * (_BINS / 2)).astype(np.intp).ravel()
    counts = np.bincount(places, minlength=2 * _BINS).astype(np.int64)
    inner = counts[_BINS // 2 : _BINS // 2 + _BINS]
    # Rounding may push a score past -1 or 1.
    inner[0] += counts[1 : _BINS // 2].sum()
    inner[-1] += counts[_BINS // 2 + _BINS :].sum()
    return inner


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """The scores of mated and of non-mated comparisons.

    Attributes:
        mated: float ``(m,)``, rising; those that were compared.
        tail: float of the same type ``(t,)``, falling: the highest non-mated scores, or all.
        non_mated: How many non-mated comparisons there were, in the tail or below.
        mated_failed: Mated comparisons that could not be made because a sample failed to acquire.
        non_mated_failed: Non-mated ones likewise.
        histogram: All scores, the tail's and those below.
        identities: Who was compared, where that is known.
    """

    mated: Floats
    tail: Floats
    non_mated: int
    mated_failed: int
    non_mated_failed: int
    histogram: Histogram
    identities: Identities | None = None

    @property
    def complete(self) -> bool:
        """Whether the tail is all non-mated scores."""
        return len(self.tail) == self.non_mated

    def matches(self, threshold: float) -> int:
        """Count the mated scores at or above a threshold."""
        limit = at_least(threshold, self.mated.dtype)
        return len(self.mated) - int(np.searchsorted(self.mated, limit))

    def false_matches(self, threshold: float) -> int | None:
        """Count the non-mated scores at or above a threshold; None if it lies below the tail."""
        limit = at_least(threshold, self.tail.dtype)
        if not self.complete and limit <= self.tail[-1]:
            return None
        return len(self.tail) - int(np.searchsorted(self.tail[::-1], limit))

    def fmr(self, thresholds: ArrayLike) -> NDArray[np.float64]:
        """Measure the share of non-mated comparisons that match at each threshold.

        Below the tail the share is read from the histogram, between whose bounds it is
        interpolated.
        """
        limits = np.atleast_1d(np.asarray(thresholds, np.float64))
        exact = len(self.tail) - np.searchsorted(self.tail[::-1], at_least(limits, self.tail.dtype))
        if self.complete:
            return np.asarray(exact / self.non_mated, np.float64)
        below = np.concatenate([[0], self.histogram.non_mated.cumsum()])
        rough = self.non_mated - np.interp(limits, self.histogram.edges, below)
        counts: NDArray[np.float64] = np.where(limits > self.tail[-1], exact, rough)
        return counts / self.non_mated

    def fnmr(self, thresholds: ArrayLike) -> NDArray[np.float64]:
        """Measure the share of mated comparisons that do not match, failed ones among them."""
        limits = at_least(np.atleast_1d(np.asarray(thresholds, np.float64)), self.mated.dtype)
        missed = np.searchsorted(self.mated, limits) + self.mated_failed
        return np.asarray(missed / (len(self.mated) + self.mated_failed), np.float64)


def at_least(thresholds: Any, kind: Any) -> Any:
    """Return the least values of a type that are not below the thresholds."""
    wanted = np.asarray(thresholds, np.float64)
    limits = wanted.astype(kind)
    return np.where(limits < wanted, np.nextafter(limits, limits.dtype.type(np.inf)), limits)


def scores_of(mated: ArrayLike, non_mated: ArrayLike) -> Scores:
    """Take mated and non-mated scores of unknown people.

    Args:
        mated: float ``(m,)``, cosines or ``FAILED``.
        non_mated: float ``(n,)``, likewise.

    Raises:
        InputError: A score is no cosine.
    """
    both = cosines(mated, "mated scores"), cosines(non_mated, "non-mated scores")
    kinds = np.repeat([True, False], [len(part) for part in both])
    return listed(np.concatenate(both), kinds)


def listed(
    scores: ArrayLike,
    mated: ArrayLike,
    *,
    left: ArrayLike | None = None,
    right: ArrayLike | None = None,
    person: ArrayLike | None = None,
) -> Scores:
    """Take the scores of a list of comparisons.

    Args:
        scores: float ``(m,)``, cosines or ``FAILED``.
        mated: bool ``(m,)``.
        left: int ``(m,)``, places in ``person``; needed with it.
        right: int ``(m,)``, likewise; None where a comparison has only one person to draw, as a
            search has that meets a fixed gallery.
        person: ``(n,)``, who each sample shows, by name or number, where that is known.

    Raises:
        InputError: A score is no cosine, lengths differ, or ``mated`` contradicts ``person``.
    """
    values = cosines(scores)
    same = labels(mated, len(values), "mated").astype(bool)
    order = np.argsort(values, kind="stable")
    made = values[order] != FAILED
    hits = order[same[order] & made]
    others = order[~same[order] & made][::-1]
    identities = None
    if person is not None:
        people, first, second = _people(same, left, right, person)
        identities = Identities(
            people=people,
            mated=first[hits],
            mated_failed=np.bincount(first[same & (values == FAILED)], minlength=people),
            first=first[others],
            second=None if second is None else second[others],
        )
    return Scores(
        mated=values[hits],
        tail=values[others],
        non_mated=len(others),
        mated_failed=int(same.sum()) - len(hits),
        non_mated_failed=int((~same).sum()) - len(others),
        histogram=Histogram.of(count_scores(values[hits]), count_scores(values[others])),
        identities=identities,
    )


def _people(
    same: NDArray[np.bool_], left: ArrayLike | None, right: ArrayLike | None, person: ArrayLike
) -> tuple[int, NDArray[np.int32], NDArray[np.int32] | None]:
    """Count the people compared, and number those on both sides of the comparisons."""
    if left is None:
        raise InputError("person needs left, which says where in it to look")
    numbers, people = numbered(person, len(np.asarray(person)))
    first = numbers[labels(left, len(same), "left")]
    second = first if right is None else numbers[labels(right, len(same), "right")]
    wrong = (first == second) != same
    if right is not None and wrong.any():
        place = int(wrong.argmax())
        told = "mated, of two people" if same[place] else "non-mated, of one person"
        raise InputError(f"comparison number {place} is called {told}")
    compared = np.zeros(people, bool)
    compared[first] = compared[second] = True
    number = compared.cumsum(dtype=np.int32) - 1
    return int(compared.sum()), number[first], None if right is None else number[second]
