"""How sure a model is about everyone: TAR and FMR by coarse conditions of the image.

All comparisons are decided at one threshold, as a system in use decides them, and then told apart
by the worse of their two faces: the smaller, blurrier, darker or paler, or more turned one. So a
condition in which faces are confused (FMR) shows as well as one in which they are missed (TAR).
Conditions are facts about the image, or what a list says; nothing is inferred about a person.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from facekeep.lab.evaluate._checks import FAILED, numbered
from facekeep.lab.evaluate.bootstrap import FEWEST_PEOPLE, RESAMPLES, span
from facekeep.lab.evaluate.facts import Facts
from facekeep.lab.evaluate.metrics import Operating, is_supported
from facekeep.lab.evaluate.nonmated import AllNonMated, Binned, ListedNonMated, NonMated, counted
from facekeep.lab.evaluate.pairs import Comparisons, Pairs
from facekeep.lab.evaluate.scores import at_least

__all__ = [
    "CONDITIONS",
    "TITLES",
    "Compared",
    "Condition",
    "ConditionPoint",
    "Conditions",
    "by_conditions",
]

_PREFERRED: Final = 1e-3
_MIDDLE: Final = 0.475  # brightness of a face that is neither dark nor pale

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Condition:
    """A fact about faces, and how coarsely it is told.

    Attributes:
        name: The fact.
        title: What people call it, with its unit.
        edges: The bounds between its bins, rising; a value on a bound belongs to the bin above.
        harder: Makes a number of a fact that is higher the harder the face is to recognise.
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
"""What is told apart; the bounds of sharpness are those of the enrolment policies."""

TITLES: Final = {condition.name: condition.title for condition in CONDITIONS}
"""What people call each condition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionPoint:
    """How a system does where the worse face of a comparison lies in one bin of a condition.

    Attributes:
        condition: The fact.
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
    def told(self) -> tuple[ConditionPoint, ...]:
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
class Compared:
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
    def of_pairs(cls, pairs: Pairs, made: NDArray[np.bool_]) -> Compared:
        """Take all pairs of some samples; ``made``: those that did not fail to acquire."""
        people = pairs.scores.identities
        excluded = np.empty((0, 2), np.int64) if people is None else people.excluded
        others = AllNonMated(made, pairs.person, excluded)
        return cls(pairs.mated, pairs.non_mated, others, pairs.person)

    @classmethod
    def of_list(
        cls,
        left: NDArray[np.intp],
        right: NDArray[np.intp],
        mated: NDArray[np.bool_],
        scores: NDArray[np.float32],
        names: NDArray[np.str_],
    ) -> Compared:
        """Take the pairs of a list, k of them, and who each of its samples shows."""
        every = Comparisons(left.astype(np.int32), right.astype(np.int32), scores)
        made = scores != FAILED
        others = every.take(made & ~mated)
        person = numbered(names, len(names))[0]
        listed = ListedNonMated(others.first, others.second, person)
        return cls(every.take(made & mated), others, listed, person)


def by_conditions(
    facts: Facts, compared: Compared, points: Sequence[Operating], *, resamples: int = RESAMPLES
) -> Conditions:
    """Measure TAR and FMR by each condition that something is known about.

    Comparisons in which a sample failed to acquire, or of a face about which the fact is not known,
    are left out: a face that was not found has no size.

    Args:
        facts: Of each sample.
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
            if not np.isnan(facts.get(condition.name, np.nan)).all()
            for found in _told(condition, facts[condition.name], compared, point, resamples)
        ),
    )


def _told(
    condition: Condition, values: Floats, compared: Compared, point: Operating, resamples: int
) -> Iterator[ConditionPoint]:
    """Measure the bins of one condition."""
    values = np.abs(values)
    bins = np.digitize(values, condition.edges)
    binned = Binned(condition.harder(values), bins, len(condition.edges) + 1)
    faces = np.bincount(bins[~np.isnan(values)], minlength=binned.number)
    measure = _measuring(binned, compared, point.threshold)
    people = int(compared.person.max(initial=-1)) + 1
    mated, non_mated, tar, fmr = measure(np.ones(people))
    drawn = _drawn(measure, people, resamples, binned.number)
    for place in range(binned.number):
        low, high = condition.bounds(place)
        spans = [span(rows[~np.isnan(rows[:, place]), place].tolist()) for rows in drawn]
        (tar_low, tar_high), (fmr_low, fmr_high) = (each or (None, None) for each in spans)
        yield ConditionPoint(
            condition=condition.name,
            low=low,
            high=high,
            faces=int(faces[place]),
            mated=int(mated[place]),
            tar=_or_none(tar[place]),
            tar_low=tar_low,
            tar_high=tar_high,
            non_mated=int(non_mated[place]),
            fmr=_or_none(fmr[place]),
            fmr_low=fmr_low,
            fmr_high=fmr_high,
            supported=is_supported(point.fmr, int(non_mated[place])),
        )


_Measure = Callable[[Floats], tuple[Floats, Floats, Floats, Floats]]
"""Counts of mated and of non-mated comparisons, TAR and FMR by bins, NaN where there are none."""


def _measuring(binned: Binned, compared: Compared, threshold: float) -> _Measure:
    """Return what measures all bins when people count so often."""
    mated, highest = compared.mated, compared.highest
    matching = highest.scores >= at_least(threshold, highest.scores.dtype)
    false = ListedNonMated(highest.first[matching], highest.second[matching], compared.person)
    others, wrong = compared.non_mated.counting(binned), false.counting(binned)
    bins, known = binned.of(mated.first, mated.second)
    owner = compared.person[mated.first]
    matched = known & (mated.scores >= at_least(threshold, mated.scores.dtype))

    def measure(weights: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        there = counted(bins[known], weights[owner[known]], binned.number)
        found = counted(bins[matched], weights[owner[matched]], binned.number)
        non_mated = others(weights)
        return there, non_mated, _share(found, there), _share(wrong(weights), non_mated)

    return measure


def _drawn(measure: _Measure, people: int, resamples: int, bins: int) -> tuple[Floats, Floats]:
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


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
