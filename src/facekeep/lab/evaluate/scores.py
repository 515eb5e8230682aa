"""The scores of an experiment: what all curves, rates and intervals are measured on.

A comparison matches when its score is at or above the threshold. One in which a sample failed to
acquire has no score (``FAILED``) and never matches: a mated one counts as a false non-match. A
non-mated one is left out, so that failing does not lower the FMR.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facekeep.errors import InputError

__all__ = [
    "FAILED",
    "Curve",
    "Histogram",
    "Identities",
    "Scores",
    "Weights",
    "at_least",
    "build_scores",
    "build_unnamed_scores",
    "check_cosines",
    "check_labels",
    "check_rates",
    "check_templates",
    "count_scores",
    "find_acquired",
    "number_people",
    "trace_curve",
]

FAILED: Final = -2.0
"""Score of a comparison in which a sample failed to acquire: it never matches."""

_ROUNDING: Final = 1e-3  # far more than float32 needs, far less than another measure would show

Floats = NDArray[np.floating[Any]]


def check_cosines(values: ArrayLike, what: str = "scores") -> Floats:
    """Return scores as a one-dimensional array of float32 or float64.

    Raises:
        InputError: One of them is neither a cosine nor ``FAILED``.
    """
    scores = np.asarray(values)
    if scores.dtype not in (np.float32, np.float64):
        scores = scores.astype(np.float64)
    if scores.ndim != 1:
        raise InputError(f"{what} must have one dimension, not {scores.ndim}")
    # The negation catches NaN as well, which is within no bounds.
    wrong = ~((np.abs(scores) <= 1 + _ROUNDING) | (scores == FAILED))
    if wrong.any():
        place = int(wrong.argmax())
        raise InputError(f"{what} must be cosines, -1 to 1: number {place} is {scores[place]}")
    return scores


def check_labels(values: ArrayLike, count: int, what: str) -> NDArray[Any]:
    """Return labels as an array; InputError unless there are ``count``, in one dimension."""
    array = np.asarray(values)
    if array.shape != (count,):
        raise InputError(f"{what} must have the shape ({count},), not {array.shape}")
    return array


def number_people(person: ArrayLike, count: int) -> tuple[NDArray[np.int32], int]:
    """Number people from 0 in the order of their names: ``(n,)`` int32, and how many there are."""
    names, numbers = np.unique(check_labels(person, count, "person"), return_inverse=True)
    return numbers.astype(np.int32), len(names)


def check_templates(rows: ArrayLike) -> NDArray[np.float32]:
    """Return templates as float32 ``(n, d)``.

    Raises:
        InputError: A row is neither of unit length nor zero, which says that it failed.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        matrix = np.asarray(rows, np.float32)
        if matrix.ndim != 2:
            raise InputError(f"templates must have two dimensions, not {matrix.ndim}")
        squares = np.einsum("ij,ij->i", matrix, matrix)
    wrong = ~((np.abs(squares - 1) <= _ROUNDING) | (squares == 0))
    if wrong.any():
        place = int(wrong.argmax())
        raise InputError(
            f"templates must be rows of unit length, or zeros where acquiring failed: "
            f"row {place} is neither"
        )
    return matrix


def check_rates(values: Sequence[float], what: str = "FMR") -> tuple[float, ...]:
    """Return target rates as floats; InputError for one that is not between 0 and 1."""
    for value in values:
        if not 0 < value < 1:
            raise InputError(f"a target {what} must lie between 0 and 1, and {value} does not")
    return tuple(map(float, values))


def find_acquired(matrix: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Tell which templates are not zeros: bool ``(n,)``."""
    return np.asarray(matrix.any(axis=1), np.bool_)


_BINS: Final = 2000
_CHUNK: Final = 1 << 16  # comparisons weighed at once: their weights stay in the cache

Weights = NDArray[np.float64]


def _no_pairs() -> NDArray[np.int64]:
    return np.empty((0, 2), np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Identities:
    """Who is behind the comparisons of a ``Scores``; people are numbers from 0.

    Attributes:
        people: How many there are.
        mated: int32 ``(m,)``, the person of each score in ``Scores.mated``.
        mated_failed: ``(people,)``, each person's mated comparisons that failed.
        first: int32 ``(t,)``, one person of each score in ``Scores.tail``.
        second: int32 ``(t,)``, the other; None where only one person is drawn (identification).
        templates: ``(people,)``, how many of each person were compared, where all were compared
            with all; None where the tail is every non-mated comparison.
        excluded: ``(e, 2)``, people who were not compared with each other after all.
    """

    people: int
    mated: NDArray[np.int32]
    mated_failed: NDArray[np.int64]
    first: NDArray[np.int32]
    second: NDArray[np.int32] | None
    templates: NDArray[np.int64] | None = None
    excluded: NDArray[np.int64] = field(default_factory=_no_pairs)

    def weigh(self, weights: Weights, start: int, end: int) -> Weights:
        """Return how often each of some comparisons of the tail counts."""
        counts: Weights = weights.take(self.first[start:end])
        if self.second is not None:
            counts *= weights.take(self.second[start:end])
        return counts

    def non_mated(self, weights: Weights) -> float:
        """Return how many non-mated comparisons there are when people count so often."""
        if self.templates is None:
            starts = range(0, len(self.first), _CHUNK)
            return sum(float(self.weigh(weights, at, at + _CHUNK).sum()) for at in starts)
        drawn = weights * self.templates
        a, b = self.excluded.T
        return float((drawn.sum() ** 2 - drawn @ drawn) / 2 - drawn[a] @ drawn[b])


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


def build_unnamed_scores(mated: ArrayLike, non_mated: ArrayLike) -> Scores:
    """Take mated and non-mated scores of unknown people.

    Args:
        mated: float ``(m,)``, cosines or ``FAILED``.
        non_mated: float ``(n,)``, likewise.

    Raises:
        InputError: A score is no cosine.
    """
    both = check_cosines(mated, "mated scores"), check_cosines(non_mated, "non-mated scores")
    kinds = np.repeat([True, False], [len(part) for part in both])
    return build_scores(np.concatenate(both), kinds)


def build_scores(
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
    values = check_cosines(scores)
    same = check_labels(mated, len(values), "mated").astype(bool)
    order = np.argsort(values, kind="stable")
    acquired = values[order] != FAILED
    hits = order[same[order] & acquired]
    others = order[~same[order] & acquired][::-1]
    identities = None
    if person is not None:
        people, first, second = _number_people(same, left, right, person)
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


def _number_people(
    same: NDArray[np.bool_], left: ArrayLike | None, right: ArrayLike | None, person: ArrayLike
) -> tuple[int, NDArray[np.int32], NDArray[np.int32] | None]:
    """Count the people compared, and number those on both sides of the comparisons."""
    if left is None:
        raise InputError("person needs left, which says where in it to look")
    numbers, people = number_people(person, len(np.asarray(person)))
    first = numbers[check_labels(left, len(same), "left")]
    second = first if right is None else numbers[check_labels(right, len(same), "right")]
    wrong = (first == second) != same
    if right is not None and wrong.any():
        place = int(wrong.argmax())
        message = "mated, of two people" if same[place] else "non-mated, of one person"
        raise InputError(f"comparison number {place} is called {message}")
    compared = np.zeros(people, bool)
    compared[first] = compared[second] = True
    number = compared.cumsum(dtype=np.int32) - 1
    return int(compared.sum()), number[first], None if right is None else number[second]


_BEYOND: Final = 1.01  # no cosine is above it, or below its negative

Rates = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Error rates over thresholds, thinned for drawing; each point was measured.

    Attributes:
        thresholds: float64 ``(n,)``, cosines, rising.
        fmr: float64 ``(n,)``, from 1 down to 0.
        fnmr: float64 ``(n,)``, from the share that failed up to 1.
        eer: Equal error rate: where the line between the two neighboring points with FMR at or
            above and below FNMR has both equal.
    """

    thresholds: Rates
    fmr: Rates
    fnmr: Rates
    eer: float


def trace_curve(scores: Scores, *, points: int = 300) -> Curve:
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
    rates = scores.fmr(thresholds), scores.fnmr(thresholds)
    return Curve(thresholds, *rates, _equal_error(scores))


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


def _equal_error(scores: Scores) -> float:
    low, high = -_BEYOND, _BEYOND
    while low < (middle := (low + high) / 2) < high:
        if _excess(scores, middle) >= 0:
            low = middle
        else:
            high = middle
    above, below = _excess(scores, low), _excess(scores, high)
    fmr = scores.fmr([low, high])
    return float(fmr[0] + (fmr[1] - fmr[0]) * above / (above - below))


def _excess(scores: Scores, threshold: float) -> float:
    """FMR less FNMR: falls as the threshold rises, from at least 0 to -1."""
    return float((scores.fmr(threshold) - scores.fnmr(threshold))[0])
