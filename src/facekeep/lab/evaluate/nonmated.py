"""How many non-mated comparisons there are, by the worse face of each, without listing them all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["AllNonMated", "Binned", "ListedNonMated", "NonMated", "counted"]

Floats = NDArray[np.float64]
Places = NDArray[np.integer[Any]]
Count = Callable[[Floats], Floats]
"""Counts comparisons by bins, given how often each person counts: float64 ``(bins,)``."""


class Binned(NamedTuple):
    """Samples told apart by a fact.

    Attributes:
        harder: float64 ``(n,)``, higher the harder a face is to recognise; NaN where it is unknown.
        bins: intp ``(n,)``, the bin of each.
        number: How many bins there are.
    """

    harder: Floats
    bins: NDArray[np.intp]
    number: int

    def of(self, first: Places, second: Places) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Return the bins of the worse faces of comparisons, and where both are known."""
        a, b = self.harder[first], self.harder[second]
        return self.bins[np.where(a >= b, first, second)], ~np.isnan(a + b)


class NonMated(Protocol):
    """All non-mated comparisons of an experiment."""

    def counting(self, binned: Binned) -> Count:
        """Return what counts them by the bin of the worse face."""


@dataclass(frozen=True, slots=True, eq=False)
class ListedNonMated:
    """Those of a list.

    Attributes:
        first: int ``(k,)``, places of samples.
        second: int ``(k,)``, likewise.
        person: int ``(n,)``, whom each sample shows.
    """

    first: Places
    second: Places
    person: Places

    def counting(self, binned: Binned) -> Count:
        """See ``NonMated``."""
        every, known = binned.of(self.first, self.second)
        bins = every[known]
        a, b = self.person[self.first[known]], self.person[self.second[known]]
        return lambda weights: counted(bins, weights[a] * weights[b], binned.number)


@dataclass(frozen=True, slots=True, eq=False)
class AllNonMated:
    """Those of every two samples of different people.

    Attributes:
        made: bool ``(n,)``: the sample did not fail to acquire.
        person: int ``(n,)``, whom each sample shows.
        excluded: int ``(e, 2)``, people who were not compared with each other after all.
    """

    made: NDArray[np.bool_]
    person: Places
    excluded: Places

    def counting(self, binned: Binned) -> Count:
        """See ``NonMated``."""
        left_out = ListedNonMated(*self._left_out(), self.person).counting(binned)
        known = np.flatnonzero(self.made & ~np.isnan(binned.harder))
        order = known[np.argsort(binned.harder[known], kind="stable")]
        owner, bins = self.person[order], binned.bins[order]
        before = _met_before(owner)

        def count(weights: Floats) -> Floats:
            each = weights[owner]
            # A face is the worse one of its comparisons with all that come before it in the order,
            # but those of its own person.
            easier = each.cumsum() - each * (1 + before)
            return counted(bins, each * easier, binned.number) - left_out(weights)

        return count

    def _left_out(self) -> tuple[Places, Places]:
        """List the comparisons of people who were not compared."""
        first, second = [np.empty(0, np.intp)], [np.empty(0, np.intp)]
        for a, b in self.excluded:
            theirs = (np.flatnonzero(self.made & (self.person == each)) for each in (a, b))
            one, other = np.meshgrid(*theirs, indexing="ij")
            first.append(one.ravel())
            second.append(other.ravel())
        return np.concatenate(first), np.concatenate(second)


def counted(bins: NDArray[np.intp], weights: Floats, number: int) -> Floats:
    """Add up weights by bins, so many of them: float64 ``(number,)``."""
    return np.bincount(bins, weights, number).astype(np.float64)


def _met_before(owner: Places) -> NDArray[np.intp]:
    """Count for each place in a row how often its value stood at places before."""
    order = np.argsort(owner, kind="stable")
    ranked = owner[order]
    before = np.empty(len(owner), np.intp)
    before[order] = np.arange(len(owner)) - np.searchsorted(ranked, ranked)
    return before
