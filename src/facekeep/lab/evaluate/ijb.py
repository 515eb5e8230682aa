"""Verification of templates (IJB-B, IJB-C 1:1): strictly, and as it is commonly told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facekeep.errors import InputError
from facekeep.lab.evaluate._checks import labels, rates
from facekeep.lab.evaluate.bootstrap import RESAMPLES
from facekeep.lab.evaluate.metrics import Operating, at_rates
from facekeep.lab.evaluate.pairs import pair_scores
from facekeep.lab.evaluate.pooling import Pooled
from facekeep.lab.evaluate.scores import Scores, listed

__all__ = ["IJB_FMRS", "Nearest", "TemplateVerification", "nearest_tar", "verify_templates"]

IJB_FMRS: Final = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""The false-match rates at which results on IJB are told unless others are asked for."""

_LEAST: Final = 1 << 16
_LOWEST: Final = -1.5  # below every cosine


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearest:
    """TAR as results on IJB are commonly told: at the point of the ROC nearest to the target FMR.

    Attributes:
        fmr: The target.
        threshold: The cosine at that point; None where nothing matches.
        measured_fmr: The share of non-mated comparisons that match; it may exceed the target.
        tar: The share of mated comparisons that match.
    """

    fmr: float
    threshold: float | None
    measured_fmr: float
    tar: float


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TemplateVerification:
    """The outcome of comparing pairs of templates.

    Attributes:
        strict: TAR at the FMRs, strictly at or below, with intervals.
        nearest: TAR as it is commonly told; it may be higher.
        templates: How many templates there are.
        failed: How many of them are zeros: none of their images was acquired.
        people: How many people the compared templates show: templates that mated pairs link are of
            one person.
        values: float32 ``(m,)``, the score of each pair, in the order they were given.
        scores: What curves are measured on.
    """

    strict: tuple[Operating, ...]
    nearest: tuple[Nearest, ...]
    templates: int
    failed: int
    people: int
    values: NDArray[np.float32]
    scores: Scores


def verify_templates(
    pooled: Pooled,
    left: ArrayLike,
    right: ArrayLike,
    mated: ArrayLike,
    *,
    fmrs: Sequence[float] = IJB_FMRS,
    resamples: int = RESAMPLES,
) -> TemplateVerification:
    """Compare the templates of a list of pairs.

    Args:
        pooled: The templates.
        left: int ``(m,)``, ids of templates.
        right: int ``(m,)``, likewise.
        mated: bool ``(m,)``.
        fmrs: The target rates.
        resamples: How many times people are drawn for the intervals; 0 for none.

    Raises:
        InputError: An id is none of a template, lengths differ, pairs contradict each other about
            who is mated, a rate is not between 0 and 1, or there are no mated or no non-mated
            comparisons.
    """
    targets = rates(fmrs)
    first, second = pooled.places(left), pooled.places(right)
    same = labels(mated, len(first), "mated").astype(bool)
    values = pair_scores(pooled.rows, first, second)
    person = _people(first[same], second[same], len(pooled.ids))
    scores = listed(values, same, left=first, right=second, person=person)
    return TemplateVerification(
        strict=at_rates(scores, targets, resamples=resamples),
        nearest=nearest_tar(scores, targets),
        templates=len(pooled.ids),
        failed=pooled.failed,
        people=scores.identities.people if scores.identities else 0,
        values=values,
        scores=scores,
    )


def _people(first: NDArray[np.int32], second: NDArray[np.int32], count: int) -> NDArray[np.int32]:
    """Number people such that templates which mated pairs link are of one."""
    person = list(range(count))

    def root(place: int) -> int:
        while person[place] != place:
            person[place] = person[person[place]]
            place = person[place]
        return place

    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        person[root(a)] = root(b)
    return np.array([root(place) for place in range(count)], np.int32)


def nearest_tar(scores: Scores, fmrs: Sequence[float] = IJB_FMRS) -> tuple[Nearest, ...]:
    """Measure TAR at the points of the ROC nearest to target FMRs.

    The points are those of scikit-learn's ``roc_curve``, as published scripts use it: one for each
    score but those in the middle of a straight line. Of several as near the last one counts.

    Args:
        scores: The comparisons.
        fmrs: The targets.

    Raises:
        InputError: There are no mated or no non-mated comparisons, a rate is not between 0 and 1,
            or the tail of the scores does not reach down to it.
    """
    targets = np.array(rates(fmrs))
    if not (len(scores.mated) and scores.non_mated):
        raise InputError("an ROC needs mated and non-mated comparisons that did not fail")
    thresholds, false, true = _corners(scores, float(targets.max()))
    measured = false / scores.non_mated
    # The last of the minima: from the end backwards the first.
    gaps = np.abs(measured[::-1] - targets[:, None])
    places = len(measured) - 1 - gaps.argmin(axis=1)
    mated = len(scores.mated) + scores.mated_failed
    return tuple(
        Nearest(
            fmr=float(target),
            threshold=float(thresholds[place]) if place else None,
            measured_fmr=float(measured[place]),
            tar=float(true[place] / mated),
        )
        for target, place in zip(targets, places, strict=True)
    )


def _corners(
    scores: Scores, fmr: float
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Thresholds, false and true matches at the corners of the upper ROC, after its origin.

    No point at more than twice the rate is nearer to it than the origin, so it needs none beyond.
    """
    depth = max(_LEAST, math.floor(2 * fmr * scores.non_mated) + 2)
    whole = scores.complete and depth >= len(scores.tail)
    lowest = _LOWEST if whole else float(scores.tail[min(depth, len(scores.tail)) - 1])
    count = scores.false_matches(lowest)
    if count is None:
        raise InputError("the tail of the scores does not reach down to the highest FMR")
    mated = scores.mated[len(scores.mated) - scores.matches(lowest) :]
    values = np.concatenate([mated[::-1], scores.tail[:count]])
    order = np.argsort(-values, kind="stable")
    ranked = values[order]
    lasts = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
    true = np.cumsum(order < len(mated))[lasts]
    false = 1 + lasts - true
    bends = (np.diff(false, 2) != 0) | (np.diff(true, 2) != 0)
    corner = np.concatenate([[True], bends, [True]])[: len(lasts)]
    start = np.zeros(1, np.int64)
    return (
        np.append(np.inf, ranked[lasts][corner]),
        np.append(start, false[corner]),
        np.append(start, true[corner]),
    )
