"""All pairs against brute force, whatever the blocks; lists of pairs; names of one person."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facekeep.errors import InputError
from facekeep.lab.evaluate import (
    FAILED,
    exclude_alike,
    measure_at_rates,
    measure_at_thresholds,
    measure_holdout_tar,
    measure_tar,
    pairs,
    pick_worst,
    score_all_pairs,
    score_pairs,
)


def exact_rows(count, seed):
    """Rows of unit length whose products are exact in float32: four halves among eight places."""
    rng = np.random.default_rng(seed)
    rows = np.zeros((count, 8), np.float32)
    for row in rows:
        row[rng.choice(8, 4, replace=False)] = rng.choice([-0.5, 0.5], 4)
    return rows


def smooth_rows(count, seed=0, width=24):
    rows = np.random.default_rng(seed).normal(size=(count, width))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def brute_force(rows, person):
    """All comparisons of templates that were made: mated and non-mated scores."""
    left, right = np.triu_indices(len(rows), 1)
    made = rows[left].any(axis=1) & rows[right].any(axis=1)
    left, right = left[made], right[made]
    scores = (rows[left] * rows[right]).sum(axis=1)
    same = person[left] == person[right]
    return scores[same], scores[~same]


@pytest.mark.slow
@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(1, 50))
def test_all_pairs_agree_with_brute_force(seed, count, block):
    rng = np.random.default_rng(seed)
    rows, person = exact_rows(count, seed), rng.integers(1 + count // 3, size=count)
    rows[rng.random(count) < 0.1] = 0
    found = score_all_pairs(rows, person, block=block)
    mated, non_mated = brute_force(rows, person)
    np.testing.assert_array_equal(found.scores.mated, np.sort(mated))
    np.testing.assert_array_equal(found.scores.tail, np.sort(non_mated)[::-1])
    assert found.scores.complete
    assert found.scores.non_mated == len(non_mated)
    made = len(mated) + len(non_mated)
    assert found.scores.mated_failed + found.scores.non_mated_failed + made == (
        count * (count - 1) // 2
    )
    np.testing.assert_array_equal(
        found.scores.histogram.mated, np.histogram(mated, found.scores.histogram.edges)[0]
    )
    np.testing.assert_array_equal(
        found.scores.histogram.non_mated, np.histogram(non_mated, found.scores.histogram.edges)[0]
    )


@pytest.mark.parametrize("block", [1, 7, 256])
def test_places_lead_back_to_the_templates(block):
    rows = smooth_rows(60)
    person = np.random.default_rng(1).integers(9, size=60)
    found = score_all_pairs(rows, person, block=block)
    for each, same in ((found.mated, True), (found.non_mated, False)):
        assert len(each.scores)
        assert (each.first < each.second).all()
        assert ((person[each.first] == person[each.second]) == same).all()
        products = (rows[each.first] * rows[each.second]).sum(axis=1)
        np.testing.assert_allclose(each.scores, products, atol=1e-6)
    assert (np.diff(found.mated.scores) >= 0).all()
    assert (np.diff(found.non_mated.scores) <= 0).all()


@pytest.mark.parametrize("make", [exact_rows, smooth_rows])
def test_a_tail_that_is_cut_gives_the_same_rates(make, monkeypatch):
    rows, person = make(150, 3), np.arange(150) % 30
    whole = score_all_pairs(rows, person)
    monkeypatch.setattr(pairs, "_LEAST_TAIL", 100)
    cut = score_all_pairs(rows, person, fmr=0.05, block=16)
    assert not cut.scores.complete
    assert len(cut.scores.tail) < 0.11 * whole.scores.non_mated
    np.testing.assert_allclose(
        cut.scores.tail, whole.scores.tail[: len(cut.scores.tail)], atol=1e-6
    )
    targets = (0.05, 0.01, 1e-3)
    for one, other in zip(
        measure_at_rates(cut.scores, targets), measure_at_rates(whole.scores, targets), strict=True
    ):
        assert one.false_matches == other.false_matches
        assert one.threshold == pytest.approx(other.threshold, abs=1e-6)
        assert (one.tar, one.fmr_low, one.fmr_high) == (other.tar, other.fmr_low, other.fmr_high)


def test_a_cut_tail_answers_only_for_what_it_holds(monkeypatch):
    monkeypatch.setattr(pairs, "_LEAST_TAIL", 10)
    rows, person = smooth_rows(100), np.arange(100) % 20
    cut = score_all_pairs(rows, person, fmr=1e-3)
    with pytest.raises(InputError, match="kept for FMRs up to"):
        measure_at_rates(cut.scores, (0.1,))
    (point,) = measure_at_thresholds(cut.scores, [(0.5, 0.0)])
    _, non_mated = brute_force(rows, person)
    assert point.false_matches is None
    assert point.measured_fmr == pytest.approx((non_mated >= 0).mean(), abs=0.002)
    assert point.fmr_low is None
    assert point.low <= point.tar <= point.high
    with pytest.raises(InputError, match="does not reach down"):
        exclude_alike(cut, rows, 0.0)


def test_rates_of_all_pairs_are_those_of_their_scores():
    rows, person = exact_rows(80, 5), np.arange(80) // 4
    mated, non_mated = brute_force(rows, person)
    targets = (0.2, 0.1, 0.01, 1e-3)
    for one, other in zip(
        measure_at_rates(score_all_pairs(rows, person).scores, targets, resamples=0),
        measure_tar(mated, non_mated, targets),
        strict=True,
    ):
        assert one == other


def test_people_go_by_name_as_well_as_by_number():
    rows, numbers = smooth_rows(30), np.arange(30) % 10
    named = score_all_pairs(rows, [f"person {number}" for number in numbers])
    assert named.person.tolist() == numbers.tolist()
    np.testing.assert_array_equal(named.scores.mated, score_all_pairs(rows, numbers).scores.mated)


def test_one_identity_and_nobody_at_all():
    alone = score_all_pairs(smooth_rows(5), np.zeros(5))
    assert (len(alone.scores.mated), alone.scores.non_mated) == (10, 0)
    with pytest.raises(InputError, match="without non-mated"):
        measure_at_rates(alone.scores)
    nobody = score_all_pairs(np.empty((0, 8)), [])
    assert (len(nobody.scores.mated), nobody.scores.non_mated) == (0, 0)


def test_all_failed():
    found = score_all_pairs(np.zeros((4, 8)), [0, 0, 1, 1])
    assert found.failed == 4
    assert (found.scores.mated_failed, found.scores.non_mated_failed) == (2, 4)
    with pytest.raises(InputError, match="all of them failed"):
        measure_at_rates(found.scores)


@pytest.mark.parametrize(
    ("rows", "person", "why"),
    [
        (np.full((2, 4), np.nan), [0, 1], "row 0"),
        (np.full((2, 4), np.inf), [0, 1], "row 0"),
        (np.full((2, 4), 1e30), [0, 1], "row 0"),
        (np.full((2, 4), 1e300), [0, 1], "row 0"),
        (np.array([[1, 0], [0.9, 0]]), [0, 1], "row 1"),
        (np.eye(2), [0], "shape"),
        (np.ones(3), [0, 1, 2], "two dimensions"),
    ],
)
def test_rows_that_are_no_templates_are_refused(rows, person, why):
    with pytest.raises(InputError, match=why):
        score_all_pairs(rows, person)


# --- lists ---


def test_listed_pairs_are_compared_and_failures_are_marked():
    rows = exact_rows(10, 0)
    rows[3] = 0
    left, right = np.array([0, 1, 3, 2, 5]), np.array([1, 3, 4, 2, 6])
    scores = score_pairs(rows, left, right, block=2)
    assert scores.dtype == np.float32
    expected = (rows[left] * rows[right]).sum(axis=1)
    expected[[1, 2]] = FAILED
    np.testing.assert_array_equal(scores, expected)
    assert scores[3] == 1


@pytest.mark.parametrize(
    ("left", "right", "why"),
    [([0], [2], "from 0 to 1"), ([-1], [0], "from 0 to 1"), ([0, 1], [0], "shape")],
)
def test_places_that_are_none_are_refused(left, right, why):
    with pytest.raises(InputError, match=why):
        score_pairs(np.eye(2), left, right)
    with pytest.raises(InputError, match="whole numbers"):
        score_pairs(np.eye(2), [0.0], [1.0])


# --- worst comparisons, and names of one person ---


def test_the_worst_comparison_of_each_two_people_is_shown_once():
    found = score_all_pairs(smooth_rows(40), np.arange(40) % 4)
    best = pick_worst(found.non_mated, found.person, 10)
    assert len(best.scores) == 6
    couples = {
        tuple(sorted(pair))
        for pair in zip(found.person[best.first], found.person[best.second], strict=True)
    }
    assert len(couples) == 6
    assert best.scores[0] == found.non_mated.scores[0]
    assert (np.diff(best.scores) <= 0).all()
    assert pick_worst(found.mated, found.person, 2).scores[0] == found.mated.scores[0]
    assert len(pick_worst(found.mated, found.person, 2).scores) == 2


def test_two_names_of_one_person_are_not_compared():
    rows = smooth_rows(60, seed=2, width=64)
    person = np.arange(60) % 15
    rows[7] = rows[23]  # a photo of person 8 under the name of person 7
    rows[9] = 0
    found = score_all_pairs(rows, person)
    cleaned = exclude_alike(found, rows, 0.9)
    other = np.isin(person, (7, 8))
    left, right = np.triu_indices(60, 1)
    kept = ~(other[left] & other[right] & (person[left] != person[right]))
    made = (left != 9) & (right != 9)
    use = kept & made & (person[left] != person[right])
    expected = (rows[left[use]] * rows[right[use]]).sum(axis=1)
    assert cleaned.scores.identities.excluded.tolist() == [[7, 8]]
    assert cleaned.scores.non_mated == len(expected) == found.scores.non_mated - 16
    np.testing.assert_allclose(cleaned.scores.tail, np.sort(expected)[::-1], atol=1e-6)
    np.testing.assert_allclose(cleaned.scores.histogram.non_mated.sum(), len(expected), atol=2)
    assert found.scores.tail[0] == pytest.approx(1)
    (point,) = measure_at_rates(cleaned.scores, (1e-3,))
    assert point.threshold < 0.9
    assert point.fmr_low <= point.measured_fmr <= point.fmr_high


def test_nothing_is_excluded_where_nobody_is_alike():
    rows = smooth_rows(30)
    found = score_all_pairs(rows, np.arange(30) % 10)
    same = exclude_alike(found, rows, 0.999)
    np.testing.assert_array_equal(same.scores.tail, found.scores.tail)
    assert same.scores.non_mated == found.scores.non_mated
    assert same.scores.identities.excluded.shape == (0, 2)


# --- for training ---


def test_a_holdout_is_measured_whatever_the_lengths_of_its_rows():
    rows = smooth_rows(200)
    person = np.arange(200) // 4
    rows += rows[person]
    lengths = np.random.default_rng(0).uniform(0.1, 30, size=(200, 1))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    points = measure_holdout_tar(rows * lengths, person)
    expected = measure_at_rates(score_all_pairs(unit, person).scores, (1e-2, 1e-3), resamples=0)
    assert [point.fmr for point in points] == [1e-2, 1e-3]
    assert [point.tar for point in points] == [point.tar for point in expected]
    assert 0 < points[1].tar <= points[0].tar
    assert points[0].low is None


def test_a_holdout_with_numbers_that_are_none_is_refused():
    with pytest.raises(InputError, match="finite"):
        measure_holdout_tar(np.array([[np.nan, 1.0], [1.0, 0.0]]), [0, 1])
    with pytest.raises(InputError, match="without non-mated"):
        measure_holdout_tar(np.eye(2), [0, 0])
