"""Intervals by drawing people anew: cases whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from facekeep.lab.evaluate import (
    FAILED,
    Identities,
    build_scores,
    build_unnamed_scores,
    measure_at_rates,
    measure_at_thresholds,
    score_all_pairs,
)


def rows_of(people, each, spread, seed=0):
    """Templates of some people, ``each`` of each, scattered around their own direction."""
    rng = np.random.default_rng(seed)
    centers = np.repeat(rng.normal(size=(people, 16)), each, axis=0)
    rows = centers + spread * rng.normal(size=centers.shape)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit.astype(np.float32), np.repeat(np.arange(people), each)


def mated_half_matched(people, each):
    """Comparisons of which those of every other person match, ``each`` of each, and strangers."""
    mated = np.repeat(np.where(np.arange(people) % 2, 0.9, 0.1), each)
    owner = np.repeat(np.arange(people), each)
    left = np.concatenate([owner, np.arange(people)])
    right = np.concatenate([owner, (np.arange(people) + 1) % people])
    scores = np.concatenate([mated, np.zeros(people)])
    return build_scores(
        scores, left == right, left=left, right=right, person=[f"p{i:04}" for i in range(people)]
    )


@pytest.mark.slow
@pytest.mark.parametrize("each", [1, 20])
def test_a_tar_is_as_sure_as_there_are_people_not_comparisons(each):
    (point,) = measure_at_thresholds(mated_half_matched(200, each), [(0.1, 0.5)], resamples=4000)
    spread = 1.96 * math.sqrt(0.25 / 200)
    assert point.tar == 0.5
    assert point.low == pytest.approx(0.5 - spread, abs=0.006)
    assert point.high == pytest.approx(0.5 + spread, abs=0.006)


@pytest.mark.slow
def test_an_fmr_of_pairs_that_share_nobody_is_conservative_by_the_square_root_of_three():
    # Each pair is of two people found nowhere else: the plain variance is p (1 - p) / n.
    n = 1000
    left, right = np.arange(n), np.arange(n, 2 * n)
    hits = np.where(np.arange(n) < n // 10, 0.9, 0.1)
    scores = build_scores(hits, np.zeros(n, bool), left=left, right=right, person=np.arange(2 * n))
    (point,) = measure_at_thresholds(scores, [(0.1, 0.5)], resamples=4000)
    spread = 1.96 * math.sqrt(3 * 0.1 * 0.9 / n)
    assert point.measured_fmr == 0.1
    assert point.fmr_high - point.fmr_low == pytest.approx(2 * spread, rel=0.06)


@pytest.mark.slow
def test_with_one_person_to_draw_an_fmr_has_the_plain_interval():
    n = 1000
    alarms = np.where(np.arange(n) < n // 10, 0.9, 0.1)
    scores = build_scores(alarms, np.zeros(n, bool), left=np.arange(n), person=np.arange(n))
    (point,) = measure_at_thresholds(scores, [(0.1, 0.5)], resamples=4000)
    spread = 1.96 * math.sqrt(0.1 * 0.9 / n)
    assert point.fmr_high - point.fmr_low == pytest.approx(2 * spread, rel=0.06)


def test_a_threshold_set_anew_in_every_draw_widens_the_interval():
    rows, person = rows_of(40, 4, 0.8)
    scores = score_all_pairs(rows, person).scores
    (free,) = measure_at_rates(scores, (1e-2,))
    (fixed,) = measure_at_thresholds(scores, [(1e-2, free.threshold)])
    assert fixed.tar == free.tar
    assert free.low <= fixed.low < free.tar < fixed.high <= free.high
    assert free.high - free.low > fixed.high - fixed.low
    assert (free.fmr_low, free.fmr_high) == (fixed.fmr_low, fixed.fmr_high)


@pytest.mark.slow
def test_the_interval_holds_what_a_larger_sample_shows():
    rows, person = rows_of(400, 4, 0.8, seed=1)
    (truth,) = measure_at_rates(score_all_pairs(rows, person).scores, (1e-2,), resamples=0)
    held = 0
    for part in range(20):
        chosen = person // 20 == part
        (point,) = measure_at_rates(score_all_pairs(rows[chosen], person[chosen]).scores, (1e-2,))
        held += point.low <= truth.tar <= point.high
    assert held >= 16


def test_all_pairs_and_the_same_pairs_as_a_list_have_the_same_intervals():
    rows, person = rows_of(15, 3, 0.7)
    rows[[0, 4, 5]] = 0
    left, right = np.triu_indices(len(rows), 1)
    values = (rows[left] * rows[right]).sum(axis=1)
    values[(np.isin(left, [0, 4, 5])) | np.isin(right, [0, 4, 5])] = -2
    scores = build_scores(
        values, person[left] == person[right], left=left, right=right, person=person
    )
    whole = measure_at_rates(score_all_pairs(rows, person).scores, (0.1, 0.01))
    for one, other in zip(whole, measure_at_rates(scores, (0.1, 0.01)), strict=True):
        assert one.mated_failed > 0
        for name in ("tar", "low", "high", "fmr_low", "fmr_high", "measured_fmr"):
            assert getattr(one, name) == pytest.approx(getattr(other, name))


def test_the_comparisons_among_people_drawn_are_counted_right():
    templates = np.array([3, 1, 2, 4])
    weights = np.array([2.0, 0.0, 1.0, 1.0])
    nobody = np.empty(0, np.int32)
    excluded = np.array([[0, 3]])
    identities = Identities(4, nobody, np.zeros(4), nobody, nobody, templates, excluded)
    # Two times three of person 0 meet two of person 2; those meet four of person 3.
    assert identities.non_mated(weights) == 2 * 3 * 2 + 2 * 4


def test_people_whose_comparisons_failed_are_drawn_too():
    people = np.arange(40)
    left, right = np.append(people, people), np.append(people, (people + 1) % 40)
    values = np.append(np.where(people % 2, 0.9, FAILED), np.zeros(40))
    scores = build_scores(values, left == right, left=left, right=right, person=people)
    (point,) = measure_at_rates(scores, (0.1,))
    spread = 1.96 * math.sqrt(0.25 / 40)
    assert point.tar == 0.5
    assert (point.low, point.high) == pytest.approx((0.5 - spread, 0.5 + spread), abs=0.03)


def test_without_an_error_the_draws_say_nothing():
    rows, person = rows_of(20, 2, 0.0)
    (point,) = measure_at_rates(score_all_pairs(rows, person).scores, (0.1,))
    assert (point.tar, point.low, point.high) == (1, None, None)
    assert point.fmr_low < point.measured_fmr < point.fmr_high


def test_draws_without_the_only_person_with_mates_are_left_out():
    left = np.append(np.arange(12), 0)
    right = np.append((np.arange(12) + 1) % 12, 0)
    values = np.append(np.zeros(12), 0.9)
    scores = build_scores(values, left == right, left=left, right=right, person=np.arange(12))
    (point,) = measure_at_rates(scores, (0.1,))
    assert (point.tar, point.low, point.high) == (1, None, None)  # 1 in every draw that counts


def test_draws_without_the_only_two_who_were_compared_are_left_out():
    left, right = np.append(np.arange(12), 0), np.append(np.arange(12), 1)
    values = np.append(np.linspace(0.5, 0.9, 12), 0.7)
    scores = build_scores(values, left == right, left=left, right=right, person=np.arange(12))
    (point,) = measure_at_rates(scores, (0.1,))
    assert (point.measured_fmr, point.fmr_low, point.fmr_high) == (0, None, None)
    assert point.low < point.tar < point.high


@pytest.mark.parametrize("people", [2, 9])
def test_few_people_tell_nothing_about_people(people):
    rows, person = rows_of(people, 3, 0.5)
    (point,) = measure_at_rates(score_all_pairs(rows, person).scores, (0.1,))
    assert point.tar is not None
    assert (point.low, point.high, point.fmr_low, point.fmr_high) == (None,) * 4


def test_without_people_or_draws_there_are_no_intervals():
    (unknown,) = measure_at_rates(build_unnamed_scores([0.5], [0.1, 0.2]), (0.5,))
    rows, person = rows_of(20, 2, 0.5)
    (undrawn,) = measure_at_rates(score_all_pairs(rows, person).scores, (0.1,), resamples=0)
    assert (unknown.low, undrawn.low) == (None, None)


def test_without_mated_comparisons_the_fmr_still_has_an_interval():
    rows, person = rows_of(30, 1, 0.0)
    (point,) = measure_at_rates(score_all_pairs(rows, person).scores, (0.1,))
    assert (point.tar, point.low) == (None, None)
    assert point.fmr_low < point.measured_fmr < point.fmr_high
