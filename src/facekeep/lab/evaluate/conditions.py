"""How sure a model is about everyone: TAR and FMR by coarse conditions of the image.

All comparisons are decided at one threshold, as a system in use decides them, and then divided
by the worse of their two faces: the smaller, blurrier, darker or paler, or more turned one. So a
condition in which faces are confused (FMR) shows as well as one in which they are missed (TAR).
Conditions are measured on the image, or what a list says; nothing is inferred about a person.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from facekeep.lab.evaluate.bootstrap import FEWEST_PEOPLE, RESAMPLES, span_interval
from facekeep.lab.evaluate.face_measures import FaceMeasures
from facekeep.lab.evaluate.metrics import OperatingPoint, is_supported
from facekeep.lab.evaluate.pairs import Comparisons, Pairs
from facekeep.lab.evaluate.scores import FAILED, at_least, number_people

__all__ = [
    "CONDITIONS",
    "TITLES",
    "AllNonMated",
    "Binned",
    "Condition",
    "ConditionInput",
    "ConditionPoint",
    "Conditions",
    "ListedNonMated",
    "NonMated",
    "_count_by_bin",
    "measure_conditions",
]

Floats = NDArray[np.float64]
Places = NDArray[np.integer[Any]]
Count = Callable[[Floats], Floats]
"""Counts comparisons by bins, given how often each person counts: float64 ``(bins,)``."""


class Binned(NamedTuple):
    """Samples divided into bins by a property.

    Attributes:
        harder: float64 ``(n,)``, higher the harder a face is to recognize; NaN where it is unknown.
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
        return lambda weights: _count_by_bin(bins, weights[a] * weights[b], binned.number)


@dataclass(frozen=True, slots=True, eq=False)
class AllNonMated:
    """Those of every two samples of different people.

    Attributes:
        acquired: bool ``(n,)``: the sample did not fail to acquire.
        person: int ``(n,)``, whom each sample shows.
        excluded: int ``(e, 2)``, people who were not compared with each other after all.
    """

    acquired: NDArray[np.bool_]
    person: Places
    excluded: Places

    def counting(self, binned: Binned) -> Count:
        """See ``NonMated``."""
        left_out = ListedNonMated(*self._left_out(), self.person).counting(binned)
        known = np.flatnonzero(self.acquired & ~np.isnan(binned.harder))
        order = known[np.argsort(binned.harder[known], kind="stable")]
        owner, bins = self.person[order], binned.bins[order]
        before = _count_before(owner)

        def count(weights: Floats) -> Floats:
            each = weights[owner]
            # A face is the worse one of its comparisons with all that come before it in the order,
            # but those of its own person.
            easier = each.cumsum() - each * (1 + before)
            return _count_by_bin(bins, each * easier, binned.number) - left_out(weights)

        return count

    def _left_out(self) -> tuple[Places, Places]:
        """List the comparisons of people who were not compared."""
        first, second = [np.empty(0, np.intp)], [np.empty(0, np.intp)]
        for a, b in self.excluded:
            theirs = (np.flatnonzero(self.acquired & (self.person == each)) for each in (a, b))
            one, other = np.meshgrid(*theirs, indexing="ij")
            first.append(one.ravel())
            second.append(other.ravel())
        return np.concatenate(first), np.concatenate(second)


def _count_by_bin(bins: NDArray[np.intp], weights: Floats, number: int) -> Floats:
    """Add up weights by bins, so many of them: float64 ``(number,)``."""
    return np.bincount(bins, weights, number).astype(np.float64)


def _count_before(owner: Places) -> NDArray[np.intp]:
    """Count for each place in a row how often its value stood at places before."""
    order = np.argsort(owner, kind="stable")
    ranked = owner[order]
    before = np.empty(len(owner), np.intp)
    before[order] = np.arange(len(owner)) - np.searchsorted(ranked, ranked)
    return before


_PREFERRED: Final = 1e-3
_MIDDLE: Final = 0.475  # brightness of a face that is neither dark nor pale


@dataclass(frozen=True, slots=True)
class Condition:
    """A property of faces, and the bins it is divided into.

    Attributes:
        name: The property.
        title: What people call it, with its unit.
        edges: The bounds between its bins, rising; a value on a bound belongs to the bin above.
        harder: Makes a number of a property that is higher the harder the face is to recognize.
    """

    name: str
    title: str
    edges: tuple[float, ...]
    harder: Callable[[Floats], Floats]

    def bounds(self, place: int) -> tuple[float | None, float | None]:
        """Return where a bin begins and ends; None for an open end."""
        ends = (None, *self.edges, None)
        return ends[place], ends[place + 1]


def _from_middle(brightness: Floats) -> Floats:
    return np.abs(brightness - _MIDDLE)


CONDITIONS: Final = (
    Condition("size", "size, pixels", (40, 80, 160), np.negative),
    Condition("sharpness", "sharpness", (0.20, 0.26, 0.33), np.negative),
    Condition("brightness", "brightness", (0.25, 0.40, 0.55, 0.70), _from_middle),
    Condition("contrast", "contrast", (0.10, 0.15, 0.20), np.negative),
    Condition("yaw", "yaw, degrees", (15, 30, 45), np.positive),
    Condition("age", "age, years", (18, 40, 60), np.negative),
)
"""What is measured; the bounds of sharpness are those of the enrollment policies."""

TITLES: Final = {condition.name: condition.title for condition in CONDITIONS}
"""What people call each condition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionPoint:
    """How a system does where the worse face of a comparison lies in one bin of a condition.

    Attributes:
        condition: The property.
        low: Where the bin begins; None where it has no lower bound.
        high: Where it ends; None where it has no upper bound.
        faces: How many faces lie in it.
        mated: Mated comparisons whose worse face does.
        tar: The share of them that match; None where there are none.
        tar_low: Where its 95 % interval begins; None if unknown.
        tar_high: Where it ends.
        non_mated: Non-mated comparisons whose worse face lies in the bin.
        fmr: The share of them that match; None where there are none.
        fmr_low: Where its 95 % interval begins; None if unknown.
        fmr_high: Where it ends.
        supported: Whether there are enough non-mated comparisons to claim the target rate for
            this bin alone (rule of three).
    """

    condition: str
    low: float | None
    high: float | None
    faces: int
    mated: int
    tar: float | None
    tar_low: float | None
    tar_high: float | None
    non_mated: int
    fmr: float | None
    fmr_low: float | None
    fmr_high: float | None
    supported: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """How a system does under each condition.

    Attributes:
        target: The false-match rate that the threshold keeps to on all comparisons.
        threshold: The cosine.
        points: The bins of each condition that something is known about.
    """

    target: float
    threshold: float
    points: tuple[ConditionPoint, ...]

    @property
    def occupied(self) -> tuple[ConditionPoint, ...]:
        """The bins that some face lies in: what tables and pictures show."""
        return tuple(point for point in self.points if point.faces)

    def document(self) -> dict[str, Any]:
        """Give them in the stable form that ``docs/evaluation.md`` describes."""
        by: dict[str, list[dict[str, Any]]] = {}
        for point in self.points:
            values = dataclasses.asdict(point)
            by.setdefault(values.pop("condition"), []).append(values)
        return {"target": self.target, "threshold": self.threshold, "by": by}


@dataclass(frozen=True, slots=True, eq=False)
class ConditionInput:
    """What was compared.

    Attributes:
        mated: All mated comparisons that did not fail.
        highest: The non-mated comparisons that score highest, or all: those that match at the
            thresholds asked for must be among them.
        non_mated: Counts all non-mated comparisons.
        person: int ``(n,)``, whom each sample shows, numbers from 0.
    """

    mated: Comparisons
    highest: Comparisons
    non_mated: NonMated
    person: NDArray[np.integer[Any]]

    @classmethod
    def of_pairs(cls, pairs: Pairs, acquired: NDArray[np.bool_]) -> ConditionInput:
        """Take all pairs of some samples; ``acquired``: those that did not fail to acquire."""
        people = pairs.scores.identities
        excluded = np.empty((0, 2), np.int64) if people is None else people.excluded
        others = AllNonMated(acquired, pairs.person, excluded)
        return cls(pairs.mated, pairs.non_mated, others, pairs.person)

    @classmethod
    def of_list(
        cls,
        left: NDArray[np.intp],
        right: NDArray[np.intp],
        mated: NDArray[np.bool_],
        scores: NDArray[np.float32],
        names: NDArray[np.str_],
    ) -> ConditionInput:
        """Take the pairs of a list, k of them, and who each of its samples shows."""
        every = Comparisons(left.astype(np.int32), right.astype(np.int32), scores)
        acquired = scores != FAILED
        others = every.take(acquired & ~mated)
        person = number_people(names, len(names))[0]
        listed = ListedNonMated(others.first, others.second, person)
        return cls(every.take(acquired & mated), others, listed, person)


def measure_conditions(
    measures: FaceMeasures,
    compared: ConditionInput,
    points: Sequence[OperatingPoint],
    *,
    resamples: int = RESAMPLES,
) -> Conditions:
    """Measure TAR and FMR by each condition that something is known about.

    Comparisons in which a sample failed to acquire, or where the property of a face is unknown,
    are left out: a face that was not found has no size.

    Args:
        measures: Of each sample.
        compared: The comparisons.
        points: Operating points on all of them, one at least. The threshold at FMR 1e-3 decides,
            or where the data do not support it, or it was not asked for, that nearest to it.
        resamples: How many times people are drawn for the intervals; 0 for none. The threshold
            stays as it is.
    """
    point = min(points, key=lambda p: (not p.supported, abs(math.log(p.fmr / _PREFERRED))))
    return Conditions(
        target=point.fmr,
        threshold=point.threshold,
        points=tuple(
            found
            for condition in CONDITIONS
            if not np.isnan(measures.get(condition.name, np.nan)).all()
            for found in _measure_bins(
                condition, measures[condition.name], compared, point, resamples
            )
        ),
    )


def _measure_bins(
    condition: Condition,
    values: Floats,
    compared: ConditionInput,
    point: OperatingPoint,
    resamples: int,
) -> Iterator[ConditionPoint]:
    """Measure the bins of one condition."""
    values = np.abs(values)
    bins = np.digitize(values, condition.edges)
    binned = Binned(condition.harder(values), bins, len(condition.edges) + 1)
    faces = np.bincount(bins[~np.isnan(values)], minlength=binned.number)
    measure = _make_measure(binned, compared, point.threshold)
    people = int(compared.person.max(initial=-1)) + 1
    mated, non_mated, tar, fmr = measure(np.ones(people))
    drawn = _resample(measure, people, resamples, binned.number)
    for place in range(binned.number):
        low, high = condition.bounds(place)
        spans = [span_interval(rows[~np.isnan(rows[:, place]), place].tolist()) for rows in drawn]
        (tar_low, tar_high), (fmr_low, fmr_high) = (each or (None, None) for each in spans)
        yield ConditionPoint(
            condition=condition.name,
            low=low,
            high=high,
            faces=int(faces[place]),
            mated=int(mated[place]),
            tar=_none_if_nan(tar[place]),
            tar_low=tar_low,
            tar_high=tar_high,
            non_mated=int(non_mated[place]),
            fmr=_none_if_nan(fmr[place]),
            fmr_low=fmr_low,
            fmr_high=fmr_high,
            supported=is_supported(point.fmr, int(non_mated[place])),
        )


_Measure = Callable[[Floats], tuple[Floats, Floats, Floats, Floats]]
"""Counts of mated and of non-mated comparisons, TAR and FMR by bins, NaN where there are none."""


def _make_measure(binned: Binned, compared: ConditionInput, threshold: float) -> _Measure:
    """Return what measures all bins when people count so often."""
    mated, highest = compared.mated, compared.highest
    matching = highest.scores >= at_least(threshold, highest.scores.dtype)
    false = ListedNonMated(highest.first[matching], highest.second[matching], compared.person)
    others, wrong = compared.non_mated.counting(binned), false.counting(binned)
    bins, known = binned.of(mated.first, mated.second)
    owner = compared.person[mated.first]
    matched = known & (mated.scores >= at_least(threshold, mated.scores.dtype))

    def measure(weights: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        there = _count_by_bin(bins[known], weights[owner[known]], binned.number)
        found = _count_by_bin(bins[matched], weights[owner[matched]], binned.number)
        non_mated = others(weights)
        return there, non_mated, _share(found, there), _share(wrong(weights), non_mated)

    return measure


def _resample(measure: _Measure, people: int, resamples: int, bins: int) -> tuple[Floats, Floats]:
    """Measure TAR and FMR among people drawn anew: float64 ``(resamples, bins)`` each."""
    rng = np.random.default_rng(0)
    times = resamples if people >= FEWEST_PEOPLE else 0
    rows = []
    for _ in range(times):
        drawn = rng.integers(people, size=people)
        rows.append(measure(np.bincount(drawn, minlength=people).astype(np.float64))[2:])
    both = np.array(rows).reshape(times, 2, bins)
    return both[:, 0], both[:, 1]


def _share(part: Floats, whole: Floats) -> Floats:
    return np.asarray(np.divide(part, whole, where=whole > 0, out=np.full(len(whole), np.nan)))


def _none_if_nan(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
