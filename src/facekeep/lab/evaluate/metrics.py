"""Verification in figures: ten folds, and TAR at FMR strictly at or below a target.

The terms are those of ISO/IEC 19795-1: FMR and FNMR are shares of comparisons, TAR is 1 - FNMR.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facekeep.errors import InputError
from facekeep.lab.evaluate.bootstrap import RESAMPLES, Interval, measure_intervals
from facekeep.lab.evaluate.scores import (
    FAILED,
    Scores,
    build_unnamed_scores,
    check_cosines,
    check_labels,
    check_rates,
)

__all__ = [
    "FAILED",
    "FMRS",
    "FoldResult",
    "OperatingPoint",
    "bound_share",
    "measure_at_rates",
    "measure_at_thresholds",
    "measure_best_accuracy",
    "measure_folds",
    "measure_tar",
]

FMRS: Final = (1e-2, 1e-3, 1e-4, 1e-5)
"""The false-match rates at which TAR is measured unless others are asked for."""

_RULE_OF_THREE: Final = 3

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """How a system does at one threshold; rates are fractions from 0 to 1.

    Attributes:
        fmr: The target, or the rate that a given threshold is stated to have.
        threshold: The cosine at and above which a comparison matches: the lowest one at which the
            measured FMR is at or below the target.
        measured_fmr: The share of ``non_mated`` that matches.
        fmr_low: Where the 95 % interval of the FMR at this threshold begins; None if unknown.
        fmr_high: Where it ends.
        false_matches: How many non-mated comparisons match; None where only the share is known.
        tar: The share of ``mated`` that matches, failed ones counted as misses; None where there
            are no mated comparisons.
        low: Where the 95 % interval of the TAR begins; None if unknown.
        high: Where it ends.
        tar_acquired: TAR without the comparisons that failed.
        mated: Mated comparisons, failed ones among them.
        mated_failed: Mated comparisons in which a sample failed to acquire.
        non_mated: Non-mated comparisons that were made.
        non_mated_failed: Non-mated comparisons in which a sample failed; counted nowhere else.
        supported: Whether there were 3 / ``fmr`` non-mated comparisons, without which the rate
            cannot be claimed (rule of three, ISO/IEC 19795-1).
    """

    fmr: float
    threshold: float
    measured_fmr: float
    fmr_low: float | None
    fmr_high: float | None
    false_matches: int | None
    tar: float | None
    low: float | None
    high: float | None
    tar_acquired: float | None
    mated: int
    mated_failed: int
    non_mated: int
    non_mated_failed: int
    supported: bool


def measure_tar(
    mated: ArrayLike, non_mated: ArrayLike, fmrs: Sequence[float] = FMRS
) -> tuple[OperatingPoint, ...]:
    """Measure TAR at target FMRs from bare scores; see ``measure_at_rates``.

    Args:
        mated: float ``(m,)``, cosines or ``FAILED``.
        non_mated: float ``(n,)``, likewise.
        fmrs: The targets.
    """
    return measure_at_rates(build_unnamed_scores(mated, non_mated), fmrs)


def measure_at_rates(
    scores: Scores, fmrs: Sequence[float] = FMRS, *, resamples: int = RESAMPLES
) -> tuple[OperatingPoint, ...]:
    """Measure TAR at the lowest thresholds that keep the FMR at or below the targets.

    Args:
        scores: The comparisons; with intervals where their people are known and ten at least.
        fmrs: The targets.
        resamples: How many times people are drawn for the intervals; 0 for none.

    Raises:
        InputError: There is no non-mated comparison, a target is not between 0 and 1, or the
            tail of the scores does not reach down to it.
    """
    targets = check_rates(fmrs)
    limits = [find_threshold(scores, target) for target in targets]
    found = measure_intervals(scores, limits, targets, resamples)
    return tuple(map(_make_point, [scores] * len(limits), targets, limits, found))


def measure_at_thresholds(
    scores: Scores, stated: Sequence[tuple[float, float]], *, resamples: int = RESAMPLES
) -> tuple[OperatingPoint, ...]:
    """Measure FMR and TAR at given thresholds, such as those of a model's catalog entry.

    Args:
        scores: The comparisons.
        stated: Pairs of the FMR that a threshold stands for, and the cosine.
        resamples: How many times people are drawn for the intervals; 0 for none.

    Raises:
        InputError: There is no non-mated comparison, or a rate is not between 0 and 1.
    """
    _require_non_mated(scores)
    targets = check_rates([fmr for fmr, _ in stated])
    limits = [float(cosine) for _, cosine in stated]
    found = measure_intervals(scores, limits, None, resamples)
    return tuple(map(_make_point, [scores] * len(limits), targets, limits, found))


def find_threshold(scores: Scores, fmr: float) -> float:
    """Return the lowest threshold at which at most a share ``fmr`` of the non-mated match.

    It is the number next above the highest score that must be refused, in the scores' precision;
    of scores that tie there all are refused.

    Raises:
        InputError: There is no non-mated comparison, or the tail does not reach down to the rate.
    """
    _require_non_mated(scores)
    most = count_allowed(fmr, scores.non_mated)
    if most >= len(scores.tail):
        deepest = (len(scores.tail) - 1) / scores.non_mated
        raise InputError(f"the scores were kept for FMRs up to {deepest:.3g}, not for {fmr:g}")
    return float(np.nextafter(scores.tail[most], scores.tail.dtype.type(np.inf)))


def count_allowed(rate: float, count: int) -> int:
    """Return the most of ``count`` whose share is at or below a rate, whatever rounding does."""
    most = int(rate * count)
    while (most + 1) / count <= rate:
        most += 1
    while most / count > rate:
        most -= 1
    return most


def _require_non_mated(scores: Scores) -> None:
    if not scores.non_mated:
        why = "all of them failed to acquire" if scores.non_mated_failed else "there are none"
        raise InputError(f"without non-mated comparisons no FMR can be measured, and {why}")


def _make_point(
    scores: Scores, fmr: float, threshold: float, found: tuple[Interval, Interval]
) -> OperatingPoint:
    (low, high), (fmr_low, fmr_high) = (each or (None, None) for each in found)
    acquired = len(scores.mated)
    hits = scores.matches(threshold)
    mated = acquired + scores.mated_failed
    return OperatingPoint(
        fmr=fmr,
        threshold=threshold,
        measured_fmr=float(scores.fmr(threshold)[0]),
        fmr_low=fmr_low,
        fmr_high=fmr_high,
        false_matches=scores.false_matches(threshold),
        tar=hits / mated if mated else None,
        low=low,
        high=high,
        tar_acquired=hits / acquired if acquired else None,
        mated=mated,
        mated_failed=scores.mated_failed,
        non_mated=scores.non_mated,
        non_mated_failed=scores.non_mated_failed,
        supported=is_supported(fmr, scores.non_mated),
    )


def is_supported(rate: float, count: int) -> bool:
    """Whether a rate can be claimed after so many comparisons: rule of three, ISO/IEC 19795-1."""
    return count * rate >= _RULE_OF_THREE * (1 - 1e-12)  # 3 / rate may round to either side


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldResult:
    """The accuracy of decisions on folds of mated and non-mated pairs; fractions from 0 to 1.

    Attributes:
        accuracy: Mean over the folds of the share of right decisions. A failed pair never matches:
            wrong if it is mated, right if not.
        sd: Standard deviation over the folds, divided by their number as published results are.
        accuracies: The accuracy of each fold.
        thresholds: The cosine that each fold was decided at, the best one for all the others.
    """

    accuracy: float
    sd: float
    accuracies: tuple[float, ...]
    thresholds: tuple[float, ...]


def measure_folds(scores: ArrayLike, mated: ArrayLike, fold: ArrayLike) -> FoldResult:
    """Measure verification accuracy by the protocol of LFW, CFP and their like.

    Each fold is decided at the threshold that is most accurate on all the other folds, chosen among
    all thresholds there are, half-way between two scores; of several that are as good the highest.
    Published figures mostly come from a grid instead: squared distances (2 - 2 cosine) from 0 to 4
    in steps of 0.01, of several the smallest. On LFW both differ by one pair in 6,000 or none.

    Args:
        scores: float ``(m,)``, cosines or ``FAILED``.
        mated: bool ``(m,)``.
        fold: int ``(m,)``, the fold of each pair.

    Raises:
        InputError: Lengths differ, a score is no cosine, there are fewer than two folds, or the
            pairs outside some fold are not of both kinds or failed.
    """
    values = check_cosines(scores).astype(np.float64)
    same = check_labels(mated, len(values), "mated").astype(bool)
    place = check_labels(fold, len(values), "fold")
    numbers = np.unique(place)
    if len(numbers) < 2:
        raise InputError(f"folds need two at least, and there are {len(numbers)}")
    acquired = values != FAILED
    limits = [_best_threshold(values, same, acquired & (place != number)) for number in numbers]
    limit = np.array(limits)[np.searchsorted(numbers, place)]
    right = (values >= limit) == same
    accuracies = [float(right[place == number].mean()) for number in numbers]
    return FoldResult(
        accuracy=float(np.mean(accuracies)),
        sd=float(np.std(accuracies)),
        accuracies=tuple(accuracies),
        thresholds=tuple(limits),
    )


def measure_best_accuracy(
    scores: ArrayLike, mated: ArrayLike, development: ArrayLike
) -> tuple[float, float]:
    """Measure verification accuracy as View 1 of LFW does: set on some pairs, measured on others.

    Args:
        scores: float ``(m,)``, cosines or ``FAILED``.
        mated: bool ``(m,)``.
        development: bool ``(m,)``, the pairs that the threshold is chosen on, as by
            ``measure_folds``.

    Returns:
        The accuracy of the other pairs, a fraction from 0 to 1, and the cosine that decided them.

    Raises:
        InputError: Lengths differ, a score is no cosine, there are no other pairs, or those to
            choose on are not of both kinds or failed.
    """
    values = check_cosines(scores).astype(np.float64)
    same = check_labels(mated, len(values), "mated").astype(bool)
    chosen = check_labels(development, len(values), "development").astype(bool)
    if chosen.all():
        raise InputError("all pairs are there to choose a threshold on, and none to judge it by")
    limit = _best_threshold(values, same, chosen & (values != FAILED))
    return float(((values >= limit) == same)[~chosen].mean()), limit


def _best_threshold(scores: Floats, mated: NDArray[np.bool_], chosen: NDArray[np.bool_]) -> float:
    """Return the highest cosine that parts the chosen pairs with the fewest errors."""
    values, same = scores[chosen], mated[chosen]
    if same.all() or not same.any():
        raise InputError("a threshold can only be chosen on mated and non-mated pairs with faces")
    order = np.argsort(values)
    ranked = values[order]
    # Errors when everything from place k on counts as a match, for every k.
    errors = np.concatenate([[0], np.cumsum(np.where(same[order], 1, -1))])
    edges = np.concatenate([[-1.0], ranked, [1.0]])
    parting = np.concatenate([[True], ranked[1:] > ranked[:-1], [True]])
    best = np.flatnonzero(parting)[::-1]
    k = int(best[np.argmin(errors[best])])
    return float((edges[k] + edges[k + 1]) / 2)


def bound_share(count: int, total: int, confidence: float = 0.95) -> tuple[float, float] | None:
    """Return the exact interval of a share, Clopper and Pearson's: 0 of n may be 3.7/n.

    Args:
        count: How often it happened, 0 to ``total``.
        total: Of how many independent trials; None is returned for 0.
        confidence: How surely the interval holds the share.
    """
    if not total:
        return None
    tail = (1 - confidence) / 2
    low = 0.0 if not count else _solve(lambda p: 1 - _at_most(count - 1, total, p) - tail)
    high = 1.0 if count == total else _solve(lambda p: tail - _at_most(count, total, p))
    return low, high


def _solve(rising: Callable[[float], float]) -> float:
    """Find the zero of a function that rises between 0 and 1."""
    low, high = 0.0, 1.0
    while high - low > 1e-12:
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return (low + high) / 2


def _at_most(count: int, total: int, share: float) -> float:
    """Return how likely ``count`` or fewer of ``total`` trials succeed."""
    odds = math.log(share), math.log1p(-share)
    whole = math.lgamma(total + 1)
    return math.fsum(
        math.exp(
            whole
            - math.lgamma(k + 1)
            - math.lgamma(total - k + 1)
            + k * odds[0]
            + (total - k) * odds[1]
        )
        for k in range(count + 1)
    )
