"""Templates of several images (IJB-B, IJB-C 1:1): pooled, and compared strictly and as is common.

Each image's feature is the sum of its embedding and its mirror image's, not brought to unit length;
it may be weighted by how sure the face detector was. Features of one photo or video (media) are
averaged, the averages of a template are summed, and the sum is brought to unit length.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facekeep.errors import InputError
from facekeep.lab.evaluate.bootstrap import RESAMPLES
from facekeep.lab.evaluate.metrics import OperatingPoint, measure_at_rates
from facekeep.lab.evaluate.pairs import score_pairs
from facekeep.lab.evaluate.scores import (
    Scores,
    build_scores,
    check_labels,
    check_rates,
    find_acquired,
)

__all__ = [
    "IJB_FMRS",
    "NearestPoint",
    "PooledTemplates",
    "TemplateVerification",
    "measure_nearest_tar",
    "pool_templates",
    "verify_templates",
]

_POOL_BLOCK: Final = 8192

Rows = NDArray[np.float32]
Ints = NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class PooledTemplates:
    """Templates, t of them.

    Attributes:
        ids: int ``(t,)``, rising.
        rows: float32 ``(t, d)`` of unit length; zeros for one of which no image was acquired.
        images: int64 ``(t,)``, how many images each was made of.
        failed: How many are zeros.
    """

    ids: NDArray[np.integer[Any]]
    rows: NDArray[np.float32]
    images: NDArray[np.int64]
    failed: int

    def places(self, ids: ArrayLike) -> NDArray[np.int32]:
        """Find templates by their ids: int32, the places of their rows.

        Raises:
            InputError: There is no template with one of the ids.
        """
        wanted = np.asarray(ids)
        found = np.searchsorted(self.ids, wanted).clip(max=max(len(self.ids) - 1, 0))
        wrong = self.ids[found] != wanted if len(self.ids) else np.ones(wanted.shape, bool)
        if wrong.any():
            raise InputError(f"there is no template {wanted[int(wrong.argmax())]}")
        return found.astype(np.int32)


def pool_templates(
    features: ArrayLike, template: ArrayLike, media: ArrayLike, *, weights: ArrayLike | None = None
) -> PooledTemplates:
    """Pool images into templates; see above.

    Args:
        features: float32 ``(n, d)``, of any length; zeros where an image failed to acquire, which
            is then as if it were not there.
        template: int ``(n,)``, the template of each image.
        media: int ``(n,)``, the photo or video it was taken from, numbered within a template.
        weights: float ``(n,)``, what each feature is multiplied by: the detector's score, and the
            feature's length where features are of unit length.

    Raises:
        InputError: Shapes do not fit, or a number is not finite.
    """
    matrix = np.asarray(features, np.float32)
    if matrix.ndim != 2:
        raise InputError(f"features must have two dimensions, not {matrix.ndim}")
    owner = check_labels(template, len(matrix), "template")
    source = check_labels(media, len(matrix), "media")
    factors = check_labels(
        np.ones(len(matrix)) if weights is None else weights, len(matrix), "weights"
    )
    ids = np.unique(owner)
    rows = np.zeros((len(ids), matrix.shape[1]), np.float32)
    images = np.zeros(len(ids), np.int64)
    order = np.lexsort((source, owner))
    order = order[find_acquired(matrix)[order]]
    for here in _cut_blocks(owner[order], order):
        with np.errstate(over="ignore", invalid="ignore"):
            sums, found, counts = _sum_media(matrix[here], factors[here], owner[here], source[here])
            lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        if not np.isfinite(lengths).all():
            raise InputError("features and weights must be finite numbers")
        places = np.searchsorted(ids, found)
        rows[places] = sums / np.where(lengths > 0, lengths, 1)
        images[places] = counts
    return PooledTemplates(ids, rows, images, int((~find_acquired(rows)).sum()))


def _cut_blocks(owner: Ints, order: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    """Cut images, grouped by template, into blocks of whole templates."""
    ends = np.append(np.flatnonzero(owner[1:] != owner[:-1]) + 1, len(owner))
    start = 0
    while start < len(order):
        fits = np.searchsorted(ends, start + _POOL_BLOCK, side="right") - 1
        end = max(int(ends[fits]), int(ends[np.searchsorted(ends, start, side="right")]))
        yield order[start:end]
        start = end


def _sum_media(
    features: Rows, factors: NDArray[Any], owner: Ints, media: Ints
) -> tuple[NDArray[np.float64], Ints, NDArray[np.int64]]:
    """Sum the means over media of grouped images: sums, their templates, and images of each."""
    weighted = features * np.asarray(factors, np.float64)[:, None]
    new_template = np.append(True, owner[1:] != owner[:-1])
    starts = np.flatnonzero(new_template | np.append(True, media[1:] != media[:-1]))
    means = np.add.reduceat(weighted, starts) / np.diff(starts, append=len(owner))[:, None]
    firsts = np.flatnonzero(new_template)
    sums = np.add.reduceat(means, np.searchsorted(starts, firsts))
    return sums, owner[firsts], np.diff(firsts, append=len(owner)).astype(np.int64)


IJB_FMRS: Final = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""The false-match rates at which results on IJB are measured unless others are asked for."""

_LEAST: Final = 1 << 16
_LOWEST: Final = -1.5  # below every cosine


@dataclass(frozen=True, slots=True, kw_only=True)
class NearestPoint:
    """TAR as it is commonly reported for IJB: at the point of the ROC nearest to the target FMR.

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
        nearest: TAR as it is commonly reported; it may be higher.
        templates: How many templates there are.
        failed: How many of them are zeros: none of their images was acquired.
        people: How many people the compared templates show: templates that mated pairs link are of
            one person.
        values: float32 ``(m,)``, the score of each pair, in the order they were given.
        scores: What curves are measured on.
    """

    strict: tuple[OperatingPoint, ...]
    nearest: tuple[NearestPoint, ...]
    templates: int
    failed: int
    people: int
    values: NDArray[np.float32]
    scores: Scores


def verify_templates(
    pooled: PooledTemplates,
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
    targets = check_rates(fmrs)
    first, second = pooled.places(left), pooled.places(right)
    same = check_labels(mated, len(first), "mated").astype(bool)
    values = score_pairs(pooled.rows, first, second)
    person = _link_people(first[same], second[same], len(pooled.ids))
    scores = build_scores(values, same, left=first, right=second, person=person)
    return TemplateVerification(
        strict=measure_at_rates(scores, targets, resamples=resamples),
        nearest=measure_nearest_tar(scores, targets),
        templates=len(pooled.ids),
        failed=pooled.failed,
        people=scores.identities.people if scores.identities else 0,
        values=values,
        scores=scores,
    )


def _link_people(
    first: NDArray[np.int32], second: NDArray[np.int32], count: int
) -> NDArray[np.int32]:
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


def measure_nearest_tar(
    scores: Scores, fmrs: Sequence[float] = IJB_FMRS
) -> tuple[NearestPoint, ...]:
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
    targets = np.array(check_rates(fmrs))
    if not (len(scores.mated) and scores.non_mated):
        raise InputError("an ROC needs mated and non-mated comparisons that did not fail")
    thresholds, false, true = _find_corners(scores, float(targets.max()))
    measured = false / scores.non_mated
    # The last of the minima: from the end backwards the first.
    gaps = np.abs(measured[::-1] - targets[:, None])
    places = len(measured) - 1 - gaps.argmin(axis=1)
    mated = len(scores.mated) + scores.mated_failed
    return tuple(
        NearestPoint(
            fmr=float(target),
            threshold=float(thresholds[place]) if place else None,
            measured_fmr=float(measured[place]),
            tar=float(true[place] / mated),
        )
        for target, place in zip(targets, places, strict=True)
    )


def _find_corners(
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
