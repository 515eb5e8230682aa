"""Identification in figures: who is recognized among many, and who is taken for somebody.

The terms are those of ISO/IEC 19795-1. A *mated* probe shows somebody enrolled; all others show
strangers. FPIR is the share of strangers' searches that return anybody at or above the threshold;
FNIR that of mated searches that do not return the right person at rank 1 and at or above it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facekeep.errors import InputError
from facekeep.lab.evaluate.bootstrap import RESAMPLES
from facekeep.lab.evaluate.metrics import OperatingPoint, measure_at_rates, measure_at_thresholds
from facekeep.lab.evaluate.scores import (
    FAILED,
    Scores,
    build_scores,
    check_labels,
    check_rates,
    check_templates,
    find_acquired,
)

__all__ = ["FPIRS", "GallerySplit", "SearchPoint", "SearchResult", "identify", "split_gallery"]

FPIRS: Final = (1e-1, 1e-2, 1e-3)
"""The false-positive identification rates at which FNIR is measured unless others are asked for."""

_RANKS: Final = 20
_BLOCK: Final = 1 << 22  # scores held at once

Rows = NDArray[np.float32]
Places = NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPoint:
    """How open-set identification does at one threshold; rates are fractions from 0 to 1.

    Attributes:
        fpir: The target; for a given threshold the rate it is stated for, which may be an FMR.
        threshold: The cosine at and above which a person is returned.
        measured_fpir: The share of strangers' probes that get somebody.
        fpir_low: Where its 95 % interval begins; None if unknown.
        fpir_high: Where it ends.
        fnir: The share of mated probes that do not get their person at rank 1, failed ones counted
            as misses; None where there are none.
        low: Where the 95 % interval of the FNIR begins; None if unknown.
        high: Where it ends.
        fnir_acquired: FNIR without the probes that failed.
        supported: Whether there were 3 / ``fpir`` strangers' probes (rule of three).
    """

    fpir: float
    threshold: float
    measured_fpir: float
    fpir_low: float | None
    fpir_high: float | None
    fnir: float | None
    low: float | None
    high: float | None
    fnir_acquired: float | None
    supported: bool


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SearchResult:
    """The outcome of searching a gallery.

    Attributes:
        people: How many people were to be enrolled.
        failed_to_enroll: How many of them were not, since all their templates failed; their probes
            are missed.
        mated: Mated probes, failed ones among them.
        mated_failed: Mated probes that failed to acquire.
        strangers: Probes of strangers that were searched.
        strangers_failed: Probes of strangers that failed to acquire; counted nowhere else.
        rank_1: The share of mated probes whose person is the best candidate; None without any.
        cmc: The share of mated probes whose person is among the best 1, 2, ... candidates, failed
            ones counted as misses; of equal candidates the right one comes last.
        points: FNIR at the target FPIRs; none without strangers.
        stated: FPIR and FNIR at given thresholds; none without strangers.
        scores: What curves are drawn from: for mated probes the score of the right person (failed
            where it is not the best candidate), for strangers that of the best candidate.
    """

    people: int
    failed_to_enroll: int
    mated: int
    mated_failed: int
    strangers: int
    strangers_failed: int
    rank_1: float | None
    cmc: tuple[float, ...]
    points: tuple[SearchPoint, ...]
    stated: tuple[SearchPoint, ...]
    scores: Scores


class GallerySplit(NamedTuple):
    """Who is enrolled by what, and who is searched for; places of templates, rising.

    Attributes:
        gallery: intp, the templates of the people enrolled.
        mated: intp, the other templates of these people.
        strangers: intp, all templates of everybody else.
    """

    gallery: Places
    mated: Places
    strangers: Places


def split_gallery(
    person: ArrayLike, *, templates: int = 1, strangers: float = 0.5, seed: int = 0
) -> GallerySplit:
    """Divide the templates of known people into a gallery and probes.

    Of those with more than ``templates`` templates a share, drawn at random, stays outside, and so
    does everybody with fewer. The others are enrolled by their first ones.

    Args:
        person: ``(n,)``, whom each template shows, by name or number.
        templates: How many templates a person is enrolled by.
        strangers: The share of the people who could be enrolled and are not, 0 to 1.
        seed: Decides who.

    Raises:
        InputError: Nobody could be enrolled, or an argument is out of its range.
    """
    if templates < 1 or not 0 <= strangers <= 1:
        raise InputError("enrollment needs one template at least, and a share from 0 to 1")
    names = np.asarray(person)
    _, who, counts = np.unique(
        check_labels(names, len(names), "person"), return_inverse=True, return_counts=True
    )
    often = np.flatnonzero(counts > templates)
    drawn = np.random.default_rng(seed).permutation(often)[round(strangers * len(often)) :]
    if not len(drawn):
        raise InputError(f"nobody with more than {templates} templates is left to be enrolled")
    order = np.argsort(who, kind="stable")
    place = np.empty(len(who), np.intp)
    place[order] = np.arange(len(who)) - np.repeat(np.cumsum(counts) - counts, counts)
    known = np.isin(who, drawn)
    first = place < templates
    return GallerySplit(*map(np.flatnonzero, (known & first, known & ~first, ~known)))


def identify(
    gallery: ArrayLike,
    gallery_person: ArrayLike,
    probes: ArrayLike,
    probe_person: ArrayLike,
    *,
    fpirs: Sequence[float] = FPIRS,
    stated: Sequence[tuple[float, float]] = (),
    resamples: int = RESAMPLES,
) -> SearchResult:
    """Search probes among the people of a gallery.

    A person's score is what ``facekeep.gallery`` compares with: the cosine to the mean of their
    templates, brought back to unit length. Without strangers this is closed-set identification.

    Args:
        gallery: float32 ``(g, d)``, templates of unit length, or zeros where one failed.
        gallery_person: ``(g,)``, whom each shows, by name or number.
        probes: float32 ``(p, d)``, likewise.
        probe_person: ``(p,)``, whom each shows; a stranger is anybody not in the gallery.
        fpirs: The target rates.
        stated: Pairs of a rate and a cosine at which to measure FPIR and FNIR besides.
        resamples: How many times the probes' people are drawn for the intervals; 0 for none.

    Raises:
        InputError: A row is neither of unit length nor zero, shapes do not fit, a rate is not
            between 0 and 1, or nobody could be enrolled.
    """
    searched = check_templates(probes)
    names = check_labels(probe_person, len(searched), "probe_person")
    enrolled = _enroll(check_templates(gallery), gallery_person)
    acquired_probes = find_acquired(searched)
    known, column = _find_columns(names, enrolled)
    rank, score = _search(searched, enrolled.means, np.where(acquired_probes, column, -1))
    hits = np.where(acquired_probes & (~known | (rank == 1)), score, np.float32(FAILED))
    scores = build_scores(hits, known, left=np.arange(len(names)), person=names)
    points, others = _measure_rates(scores, check_rates(fpirs, "FPIR"), stated, resamples)
    mated, failed = int(known.sum()), int((known & ~acquired_probes).sum())
    right = [int((known & (rank <= limit)).sum()) for limit in range(1, _RANKS + 1)]
    return SearchResult(
        people=len(enrolled.names),
        failed_to_enroll=len(enrolled.names) - len(enrolled.means),
        mated=mated,
        mated_failed=failed,
        strangers=scores.non_mated,
        strangers_failed=scores.non_mated_failed,
        rank_1=right[0] / mated if mated else None,
        cmc=tuple(count / mated for count in right[: len(enrolled.means)]) if mated else (),
        points=tuple(_make_point(each, mated - failed) for each in points),
        stated=tuple(_make_point(each, mated - failed) for each in others),
        scores=scores,
    )


class _Enrolled(NamedTuple):
    """People to be enrolled, those who could be, and the mean template of these."""

    names: NDArray[Any]
    people: Places
    means: Rows


def _enroll(rows: Rows, person: ArrayLike) -> _Enrolled:
    names, numbers = np.unique(
        check_labels(person, len(rows), "gallery_person"), return_inverse=True
    )
    order = np.argsort(numbers, kind="stable")
    order = order[find_acquired(rows)[order]]
    if not len(order):
        raise InputError("nobody could be enrolled: the gallery has no template")
    people, starts = np.unique(numbers[order], return_index=True)
    sums = np.add.reduceat(rows[order], starts)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return _Enrolled(names, people, sums / np.maximum(lengths, np.float32(1e-6)))


def _find_columns(names: NDArray[Any], enrolled: _Enrolled) -> tuple[NDArray[np.bool_], Places]:
    """Tell which probes are mated, and the place of each one's mean template, or -1."""
    place = np.searchsorted(enrolled.names, names).clip(max=len(enrolled.names) - 1)
    known = np.asarray(enrolled.names[place] == names, np.bool_)
    column = np.full(len(enrolled.names), -1)
    column[enrolled.people] = np.arange(len(enrolled.people))
    return known, np.where(known, column[place], -1)


def _search(probes: Rows, means: Rows, column: Places) -> tuple[Places, Rows]:
    """Return the rank of each probe's person and their score; without one the highest score.

    A rank beyond all people stands for nobody.
    """
    rank = np.full(len(probes), max(len(means), _RANKS) + 1)
    score = np.empty(len(probes), np.float32)
    step = max(1, _BLOCK // len(means))
    for start in range(0, len(probes), step):
        here = slice(start, start + step)
        scores = probes[here] @ means.T
        known = np.flatnonzero(column[here] >= 0)
        score[here] = scores.max(axis=1)
        own = scores[known, column[here][known]]
        score[start + known] = own
        rank[start + known] = (scores[known] >= own[:, None]).sum(axis=1)
    return rank, score


def _measure_rates(
    scores: Scores,
    fpirs: Sequence[float],
    stated: Sequence[tuple[float, float]],
    resamples: int,
) -> tuple[tuple[OperatingPoint, ...], tuple[OperatingPoint, ...]]:
    """Measure at target rates and at given thresholds; nothing without strangers."""
    if not scores.non_mated:
        return (), ()
    points = measure_at_rates(scores, fpirs, resamples=resamples)
    return points, measure_at_thresholds(scores, stated, resamples=resamples)


def _make_point(point: OperatingPoint, acquired_mated: int) -> SearchPoint:
    """Tell what an operating point of the best candidates' scores means for a search."""
    missed = None if point.tar is None else 1 - point.tar
    hits = 0 if point.tar is None else round(point.tar * point.mated)
    return SearchPoint(
        fpir=point.fmr,
        threshold=point.threshold,
        measured_fpir=point.measured_fmr,
        fpir_low=point.fmr_low,
        fpir_high=point.fmr_high,
        fnir=missed,
        low=None if point.high is None else 1 - point.high,
        high=None if point.low is None else 1 - point.low,
        fnir_acquired=1 - hits / acquired_mated if acquired_mated else None,
        supported=point.supported,
    )
