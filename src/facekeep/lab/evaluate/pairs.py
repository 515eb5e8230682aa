"""Compare templates: all with all, or those of a list.

All pairs of n templates are too many to keep. Kept are all mated ones, the highest of the non-mated
ones (the tail, from which thresholds, their intervals and the worst false matches are read) and a
histogram of all; the rest passes by in blocks.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facekeep.errors import InputError
from facekeep.lab.evaluate.metrics import OperatingPoint, measure_at_rates
from facekeep.lab.evaluate.scores import (
    FAILED,
    Histogram,
    Identities,
    Scores,
    check_labels,
    check_rates,
    check_templates,
    count_scores,
    find_acquired,
    number_people,
)

__all__ = [
    "Comparisons",
    "Pairs",
    "exclude_alike",
    "measure_holdout_tar",
    "pick_worst",
    "score_all_pairs",
    "score_pairs",
]

_BLOCK: Final = 256
_LEAST_TAIL: Final = 1 << 20
_DEEPER: Final = 2  # a draw of the bootstrap may put its threshold so many times as deep

Rows = NDArray[np.float32]
Places = NDArray[np.int32]


class Comparisons(NamedTuple):
    """Some comparisons: the places of both templates, and their cosine.

    Attributes:
        first: int32 ``(k,)``.
        second: int32 ``(k,)``.
        scores: float ``(k,)``.
    """

    first: NDArray[np.int32]
    second: NDArray[np.int32]
    scores: NDArray[np.floating[Any]]

    def take(self, places: Any) -> Comparisons:
        """Return those at some places, or where a mask is true."""
        return Comparisons(*(part[places] for part in self))


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """All pairs of n templates, compared.

    Attributes:
        scores: What rates, curves and intervals are measured on.
        mated: The mated comparisons, the least alike first.
        non_mated: The most alike non-mated comparisons, best first.
        person: int32 ``(n,)``, whom each template shows: numbers from 0 in the order of the names.
        failed: How many templates are zeros: the sample failed to acquire.
    """

    scores: Scores
    mated: Comparisons
    non_mated: Comparisons
    person: NDArray[np.int32]
    failed: int


def score_all_pairs(
    rows: ArrayLike, person: ArrayLike, *, fmr: float = 1e-2, block: int = _BLOCK
) -> Pairs:
    """Compare every two of n templates.

    Time grows with the square of n, memory with n, with the number of mated comparisons (12 bytes
    each) and with ``fmr`` times that of the non-mated ones.

    Args:
        rows: float32 ``(n, d)`` of unit length; a row of zeros says that the sample failed.
        person: ``(n,)``, whom each template shows, by name or number.
        fmr: The highest false-match rate that will be asked for; decides the length of the tail.
        block: How many templates meet all others at once.

    Raises:
        InputError: A row is neither of unit length nor zero, lengths differ, or the rate is not
            between 0 and 1.
    """
    matrix = check_templates(rows)
    who, people = number_people(person, len(matrix))
    acquired = find_acquired(matrix)
    counts = np.bincount(who[acquired], minlength=people)
    non_mated = _count_between(counts)
    (target,) = check_rates([fmr])
    tail = _Tail(min(non_mated, max(_LEAST_TAIL, math.ceil(_DEEPER * target * non_mated)) + 1))
    mated = _compare(matrix, who, np.flatnonzero(acquired), tail, block)
    all_counts = np.bincount(who, minlength=people)
    highest = tail.sorted()
    return Pairs(
        Scores(
            mated=mated.scores,
            tail=highest.scores,
            non_mated=non_mated,
            mated_failed=int((_count_within(all_counts) - _count_within(counts)).sum()),
            non_mated_failed=_count_between(all_counts) - non_mated,
            histogram=Histogram.of(count_scores(mated.scores), tail.counts),
            identities=Identities(
                people=people,
                mated=who[mated.first],
                mated_failed=_count_within(all_counts) - _count_within(counts),
                first=who[highest.first],
                second=who[highest.second],
                templates=counts,
            ),
        ),
        mated,
        highest,
        who,
        int((~acquired).sum()),
    )


def _count_within(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many pairs so many templates of each person make."""
    return counts * (counts - 1) // 2


def _count_between(counts: NDArray[np.int64]) -> int:
    """How many pairs of templates of different people there are."""
    return int((counts.sum() ** 2 - (counts**2).sum()) // 2)


class _Tail:
    """Collects the highest scores, and counts all of them."""

    def __init__(self, most: int) -> None:
        self.counts = count_scores(np.empty(0, np.float32))
        self._most = most
        self._parts: list[Comparisons] = []
        self._size = 0
        self._floor = -math.inf

    def add(self, block: Rows, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> None:
        """Take a block of scores, ``FAILED`` where two templates are not to be compared."""
        self.counts += count_scores(block)
        # A score equal to the lowest one kept changes nothing: it can only be refused.
        high = np.flatnonzero((block > self._floor) & (block > FAILED))
        i, j = np.divmod(high, block.shape[1])
        self._parts.append(_make_comparisons(rows[i], columns[j], block.reshape(-1)[high]))
        self._size += len(high)
        if self._size > 2 * self._most:
            self._shrink()

    def _shrink(self) -> None:
        every = _join(self._parts)
        if len(every.scores) > self._most:
            every = every.take(np.argpartition(-every.scores, self._most - 1)[: self._most])
            self._floor = float(every.scores.min(initial=math.inf))
        self._parts, self._size = [every], len(every.scores)

    def sorted(self) -> Comparisons:
        """Return the highest scores, best first."""
        self._shrink()
        (every,) = self._parts
        return every.take(np.argsort(-every.scores, kind="stable"))


def _make_comparisons(
    first: NDArray[np.intp], second: NDArray[np.intp], scores: Rows
) -> Comparisons:
    low, high = np.minimum(first, second), np.maximum(first, second)
    return Comparisons(low.astype(np.int32), high.astype(np.int32), scores)


def _join(parts: Sequence[Comparisons]) -> Comparisons:
    nothing = np.empty(0, np.int32)
    empty = Comparisons(nothing, nothing, np.empty(0, np.float32))
    return Comparisons(*map(np.concatenate, zip(empty, *parts, strict=True)))


def _compare(
    matrix: Rows, who: Places, acquired: NDArray[np.intp], tail: _Tail, block: int
) -> Comparisons:
    """Compare the templates that were made, grouped by person; return the mated comparisons."""
    order = acquired[np.argsort(who[acquired], kind="stable")]
    rows, owner = matrix[order], who[order]
    ends = np.searchsorted(owner, owner, side="right")
    mated = []
    for start in range(0, len(rows), block):
        here = np.arange(start, min(start + block, len(rows)))
        scores = rows[here] @ rows[start:].T
        # All mates, and all that were compared before, are among the first so many columns.
        near = np.arange(start, ends[here[-1]])
        later = near > here[:, None]
        same = later & (near < ends[here][:, None])
        i, j = np.nonzero(same)
        mated.append(_make_comparisons(order[here[i]], order[near[j]], scores[i, j]))
        scores[:, : len(near)][~later | same] = FAILED
        tail.add(scores, order[here], order[start:])
    every = _join(mated)
    return every.take(np.argsort(every.scores, kind="stable"))


def score_pairs(rows: ArrayLike, left: ArrayLike, right: ArrayLike, *, block: int = 512) -> Rows:
    """Compare the templates of a list of pairs.

    Args:
        rows: float32 ``(n, d)`` of unit length, or zeros where the sample failed.
        left: int ``(m,)``, places in ``rows``.
        right: int ``(m,)``, likewise.
        block: How many pairs are compared at once.

    Returns:
        float32 ``(m,)``: cosines, ``FAILED`` where one of both failed.

    Raises:
        InputError: A row is neither of unit length nor zero, or a place is none.
    """
    matrix = check_templates(rows)
    first = _check_places(left, len(matrix), "left")
    second = check_labels(_check_places(right, len(matrix), "right"), len(first), "right")
    scores = np.empty(len(first), np.float32)
    for start in range(0, len(first), block):
        here = slice(start, start + block)
        a, b = (matrix.take(side[here], axis=0) for side in (first, second))
        scores[here] = np.einsum("ij,ij->i", a, b)
    acquired = find_acquired(matrix)
    scores[~(acquired[first] & acquired[second])] = FAILED
    return scores


def _check_places(values: ArrayLike, count: int, what: str) -> NDArray[np.integer[Any]]:
    places = np.asarray(values)
    if places.ndim != 1 or not np.issubdtype(places.dtype, np.integer):
        raise InputError(f"{what} must be whole numbers in one dimension")
    if len(places) and not 0 <= places.min() <= places.max() < count:
        raise InputError(f"{what} must hold places from 0 to {count - 1}")
    return places


def pick_worst(comparisons: Comparisons, person: ArrayLike, most: int) -> Comparisons:
    """Return the first comparison of each two people, ``most`` at most, in their order.

    Args:
        comparisons: The worst first, such as ``Pairs.mated`` or ``Pairs.non_mated``.
        person: int ``(n,)``, whom each template shows, such as ``Pairs.person``.
        most: How many to return.
    """
    names = np.asarray(person).astype(np.int64)
    couples = _number_couples(names[comparisons.first], names[comparisons.second])
    return comparisons.take(np.sort(np.unique(couples, return_index=True)[1])[:most])


def _number_couples(a: NDArray[np.integer[Any]], b: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Number unordered pairs of people: the lower one in the upper half of the bits."""
    both = np.stack([a, b]).astype(np.int64)
    numbers: NDArray[np.int64] = (both.min(axis=0) << 32) | both.max(axis=0)
    return numbers


def exclude_alike(pairs: Pairs, rows: ArrayLike, cosine: float) -> Pairs:
    """Leave out the comparisons between people who are probably one person under two names.

    Wrong labels make mated pairs look non-mated, and those set the thresholds for rare rates. Two
    names are therefore not compared with each other when any two of their templates are more alike
    than a cosine that next to no different people reach.

    Args:
        pairs: By ``score_all_pairs``.
        rows: What it was given.
        cosine: Two people with a comparison above it are not compared.

    Returns:
        The pairs without those people's comparisons with each other; ``scores.identities.excluded``
        tells whose.

    Raises:
        InputError: The tail does not reach down to the cosine.
    """
    scores, tail = pairs.scores, pairs.non_mated
    if scores.identities is None or scores.false_matches(cosine) is None:
        raise InputError(f"the tail of the scores does not reach down to {cosine:g}")
    couples = _number_couples(pairs.person[tail.first], pairs.person[tail.second])
    dropped = np.unique(couples[tail.scores > cosine])
    excluded = np.stack([dropped >> 32, dropped & 0xFFFFFFFF], axis=1)
    matrix, counts = check_templates(rows), scores.histogram.non_mated.copy()
    left_out = 0
    for a, b in excluded:
        parts = (matrix[pairs.person == each] for each in (a, b))
        first, second = (part[find_acquired(part)] for part in parts)
        between = first @ second.T
        counts -= count_scores(between)
        left_out += between.size
    kept = ~np.isin(couples, dropped)
    people = dataclasses.replace(
        scores.identities,
        first=scores.identities.first[kept],
        second=None if scores.identities.second is None else scores.identities.second[kept],
        excluded=excluded,
    )
    # A product in another block may round to the other side of a bin's bound.
    histogram = dataclasses.replace(scores.histogram, non_mated=np.maximum(counts, 0))
    remaining = dataclasses.replace(
        scores,
        tail=scores.tail[kept],
        non_mated=scores.non_mated - left_out,
        histogram=histogram,
        identities=people,
    )
    return dataclasses.replace(pairs, scores=remaining, non_mated=tail.take(kept))


def measure_holdout_tar(
    rows: ArrayLike, person: ArrayLike, fmrs: Sequence[float] = (1e-2, 1e-3)
) -> tuple[OperatingPoint, ...]:
    """Measure TAR at target FMRs on all pairs of a hold-out, quickly: without intervals.

    Args:
        rows: float ``(n, d)``, of any length; zeros where there is none.
        person: ``(n,)``, whom each shows, by name or number.
        fmrs: The target rates.

    Raises:
        InputError: A row is not finite, lengths differ, a rate is not between 0 and 1, or all rows
            are of one person.
    """
    matrix = np.asarray(rows, np.float32)
    if matrix.ndim != 2 or not np.isfinite(matrix).all():
        raise InputError("rows must be finite numbers in two dimensions")
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    unit = matrix / np.where(lengths > 0, lengths, 1)
    return measure_at_rates(score_all_pairs(unit, person, fmr=max(fmrs)).scores, fmrs, resamples=0)
