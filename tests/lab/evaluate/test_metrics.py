"""TAR at FMR and ten folds: by hand, against scikit-learn, and what must always hold."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import roc_curve

from facekeep.errors import InputError
from facekeep.lab.evaluate import (
    FAILED,
    build_scores,
    build_unnamed_scores,
    measure_at_rates,
    measure_at_thresholds,
    measure_best_accuracy,
    measure_folds,
    measure_tar,
)
from facekeep.lab.evaluate.metrics import bound_share

# Few distinct values, so that many scores tie.
SCORES = st.one_of(
    hnp.arrays(np.float32, st.integers(1, 60), elements=st.floats(-1, 1, width=32)),
    hnp.arrays(np.float64, st.integers(1, 60), elements=st.sampled_from([-0.5, 0.0, 0.25, 0.5, 1])),
)
RATES = st.sampled_from([1e-3, 1e-2, 0.1, 0.29, 1 / 3, 0.5, 0.9])


@pytest.mark.slow
@given(SCORES, SCORES, RATES)
def test_the_threshold_is_the_lowest_that_keeps_the_rate(mated, non_mated, fmr):
    (point,) = measure_tar(mated, non_mated, (fmr,))
    kind = np.result_type(mated, non_mated)
    mated, non_mated = mated.astype(kind), non_mated.astype(kind)
    matched = non_mated >= point.threshold
    assert point.measured_fmr == matched.mean() <= fmr
    assert point.false_matches == matched.sum()
    assert point.tar == (mated >= point.threshold).mean()
    lower = non_mated[~matched].max()
    assert (non_mated >= lower).mean() > fmr


@pytest.mark.slow
@given(SCORES, SCORES, RATES)
def test_tar_agrees_with_scikit_learn(mated, non_mated, fmr):
    (point,) = measure_tar(mated, non_mated, (fmr,))
    kinds = np.repeat([1, 0], [len(mated), len(non_mated)])
    false, true, _ = roc_curve(kinds, np.concatenate([mated, non_mated]), drop_intermediate=False)
    assert point.tar == pytest.approx(true[false <= fmr].max())


def test_ties_at_the_threshold_are_all_refused():
    non_mated = np.array([0.9, 0.5, 0.5, 0.5, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1])
    (point,) = measure_tar([0.5, 0.6, 0.9, 0.95], non_mated, (0.3,))
    assert point.measured_fmr == 0.1
    assert point.false_matches == 1
    assert 0.5 < point.threshold < 0.5 + 1e-9
    assert point.tar == 0.75


def test_a_share_is_compared_exactly_whatever_rounding_does():
    # 0.29 * 100 is 28.999999999999996
    (point,) = measure_tar([0.5], np.linspace(-1, 1, 100), (0.29,))
    assert point.false_matches == 29
    # The number below 5 / 6, times 6, is 5.
    below = float(np.nextafter(5 / 6, 0))
    (point,) = measure_tar([0.5], np.linspace(-1, 1, 6), (below,))
    assert point.false_matches == 4


@pytest.mark.parametrize(
    ("count", "fmr", "supported"),
    [(3000, 1e-3, True), (2999, 1e-3, False), (300_000, 1e-5, True), (29, 0.1, False)],
)
def test_a_rate_is_supported_by_three_expected_errors(count, fmr, supported):
    (point,) = measure_tar([0.5], np.zeros(count, np.float32), (fmr,))
    assert point.supported is supported


def test_failed_comparisons_miss_and_do_not_lower_the_fmr():
    (point,) = measure_tar([FAILED, 0.9, 0.8, 0.1], [FAILED, FAILED, 0.7, 0.2, 0.2, 0.2], (0.25,))
    assert (point.mated, point.mated_failed) == (4, 1)
    assert (point.non_mated, point.non_mated_failed) == (4, 2)
    assert point.measured_fmr == 0.25
    assert point.tar == 0.5
    assert point.tar_acquired == pytest.approx(2 / 3)


def test_all_mated_comparisons_failed():
    (point,) = measure_tar([FAILED, FAILED], [0.1, 0.2], (0.5,))
    assert point.tar == 0
    assert point.tar_acquired is None


def test_without_mated_comparisons_there_is_a_threshold_and_no_tar():
    (point,) = measure_tar([], [0.1, 0.2, 0.3, 0.4], (0.25,))
    assert point.tar is None
    assert point.threshold == np.nextafter(0.3, 1)


@pytest.mark.parametrize(("non_mated", "why"), [([], "none"), ([FAILED, FAILED], "failed")])
def test_without_impostors_no_rate_is_told(non_mated, why):
    with pytest.raises(InputError, match=why):
        measure_tar([0.5], non_mated)
    with pytest.raises(InputError, match=why):
        measure_at_thresholds(build_unnamed_scores([0.5], non_mated), [(1e-3, 0.4)])


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 1.5, -1.5, 3.0])
def test_what_is_no_cosine_is_refused(wrong):
    with pytest.raises(InputError, match="number 1 is"):
        measure_tar([0.5], [0.1, wrong])
    with pytest.raises(InputError, match="number 2 is"):
        measure_folds([0.1, 0.2, wrong, 0.3], [1, 0, 1, 0], [0, 0, 1, 1])


@pytest.mark.parametrize("fmr", [0.0, 1.0, -0.1, 2.0, float("nan")])
def test_a_target_lies_between_0_and_1(fmr):
    with pytest.raises(InputError, match="between 0 and 1"):
        measure_tar([0.5], [0.1], (fmr,))


def test_given_thresholds_are_measured_as_they_are():
    scores = build_unnamed_scores([0.1, 0.5, 0.7], np.array([0.2, 0.3, 0.5, 0.6]))
    one, two = measure_at_thresholds(scores, [(1e-1, 0.5), (1e-2, 0.65)])
    assert (one.fmr, one.threshold, one.measured_fmr, one.false_matches) == (0.1, 0.5, 0.5, 2)
    assert one.tar == pytest.approx(2 / 3)
    assert (two.measured_fmr, two.false_matches) == (0, 0)
    assert two.tar == pytest.approx(1 / 3)


def test_a_threshold_between_two_float32_is_not_rounded_down():
    score = np.float32(0.3811)
    above = float(score) + 1e-9
    assert np.float32(above) == score
    (point,) = measure_at_thresholds(
        build_unnamed_scores(np.array([score]), np.array([score])), [(0.1, above)]
    )
    assert (point.false_matches, point.tar) == (0, 0)


def test_an_operating_point_becomes_json():
    (point,) = measure_tar(np.float32([0.5, 0.6]), np.float32([0.1, 0.2]), (0.5,))
    document = json.loads(json.dumps(dataclasses.asdict(point)))
    assert document["tar"] == 1.0
    assert document["low"] is None


def test_scores_of_other_types_are_taken_as_float64():
    whole, half = measure_tar([1, 0, 1], [0, -1]), measure_tar(np.float16([1, 0, 1]), [0.0, -1.0])
    assert whole == half


# --- folds ---


def reference_folds(scores, mated, fold):
    """Try every threshold there is."""
    accuracies = []
    for number in np.unique(fold):
        rest = fold != number
        edges = np.unique(np.concatenate([[-1.0, 1.0], scores[rest]]))
        limits = np.concatenate([[-1.0], (edges[1:] + edges[:-1]) / 2, [1.0]])
        right = [((scores[rest] >= limit) == mated[rest]).mean() for limit in limits]
        best = limits[len(limits) - 1 - int(np.argmax(right[::-1]))]
        accuracies.append(((scores[~rest] >= best) == mated[~rest]).mean())
    return np.array(accuracies)


@pytest.mark.slow
@given(st.integers(0, 2**32 - 1))
def test_folds_agree_with_trying_every_threshold(seed):
    rng = np.random.default_rng(seed)
    fold = np.repeat(np.arange(4), 10)
    mated = np.tile(np.arange(10) % 2 == 0, 4)
    scores = np.round(np.clip(rng.normal(np.where(mated, 0.4, 0.1), 0.2), -0.99, 0.99), 2)
    result = measure_folds(scores, mated, fold)
    expected = reference_folds(scores, mated, fold)
    assert result.accuracies == pytest.approx(expected)
    assert result.accuracy == pytest.approx(expected.mean())
    assert result.sd == pytest.approx(expected.std())


def test_folds_by_hand():
    # Fold 0 is decided half-way between 0.1 and 0.4, fold 1 half-way between 0.3 and 0.5.
    scores = [0.5, 0.6, 0.3, 0.0, 0.4, 0.45, 0.1, 0.05]
    mated = [1, 1, 0, 0, 1, 1, 0, 0]
    result = measure_folds(scores, mated, [0, 0, 0, 0, 1, 1, 1, 1])
    assert result.thresholds == pytest.approx((0.25, 0.4))
    assert result.accuracies == (0.75, 1.0)
    assert (result.accuracy, result.sd) == (0.875, 0.125)


def test_failed_pairs_are_wrong_when_mated_and_leave_the_threshold_alone():
    scores = [0.9, FAILED, 0.1, FAILED, 0.8, 0.2]
    result = measure_folds(scores, [1, 1, 0, 0, 1, 0], [0, 0, 0, 0, 1, 1])
    assert result.thresholds == pytest.approx((0.5, 0.5))
    assert result.accuracies == (0.75, 1.0)


def test_a_fold_of_failures_alone_has_an_accuracy():
    scores = [FAILED, FAILED, 0.8, 0.2, 0.7, 0.1]
    result = measure_folds(scores, [1, 0, 1, 0, 1, 0], [0, 0, 1, 1, 2, 2])
    assert result.accuracies == (0.5, 1.0, 1.0)


@pytest.mark.parametrize(
    ("scores", "mated", "fold", "why"),
    [
        ([0.1, 0.2], [1, 0], [0, 0], "two at least"),
        ([0.1, 0.2], [1, 1], [0, 1], "mated and non-mated"),
        ([FAILED] * 4, [1, 0, 1, 0], [0, 0, 1, 1], "mated and non-mated"),
        ([0.1, 0.2], [1], [0, 1], "shape"),
        ([0.1, 0.2], [1, 0], [0], "shape"),
        ([[0.1]], [1], [0], "one dimension"),
    ],
)
def test_folds_that_decide_nothing_are_refused(scores, mated, fold, why):
    with pytest.raises(InputError, match=why):
        measure_folds(scores, mated, fold)


def test_accuracy_at_the_best_threshold_of_other_pairs():
    # The first four part best half-way between 0.3 and 0.5; a mated pair among the rest is below.
    scores = [0.5, FAILED, 0.3, 0.0, 0.9, 0.35, FAILED, 0.39, FAILED]
    mated = [1, 1, 0, 0, 1, 1, 1, 0, 0]
    development = [True] * 4 + [False] * 5
    accuracy, threshold = measure_best_accuracy(scores, mated, development)
    assert (accuracy, threshold) == (3 / 5, pytest.approx(0.4))


@pytest.mark.parametrize(
    ("mated", "development", "why"),
    [
        ([1, 0, 1], [1, 1, 1], "none to judge"),
        ([1, 0, 1], [1, 0, 1], "mated and non-mated"),
        ([1, 0, 1], [0, 0, 0], "mated and non-mated"),
        ([1, 0, 1], [0, 0], "shape"),
    ],
)
def test_pairs_that_choose_or_judge_nothing_are_refused(mated, development, why):
    with pytest.raises(InputError, match=why):
        measure_best_accuracy([0.1, 0.2, 0.3], mated, development)


# --- lists of comparisons and who is in them ---


@pytest.mark.parametrize(
    ("mated", "person", "why"),
    [
        ([True, True], ["a", "a", "b"], "number 1 is called mated, of two people"),
        ([False, False], ["a", "a", "b"], "number 0 is called non-mated, of one person"),
    ],
)
def test_labels_that_contradict_the_people_are_refused(mated, person, why):
    with pytest.raises(InputError, match=why):
        build_scores([0.1, 0.2], mated, left=[0, 0], right=[1, 2], person=person)


def test_people_need_to_be_found():
    with pytest.raises(InputError, match="needs left"):
        build_scores([0.1], [True], person=["a"])


def test_only_people_who_are_compared_are_counted():
    person = ["nobody", "a", "a", "b", "nobody else"]
    scores = build_scores([0.1, 0.2], [True, False], left=[1, 2], right=[2, 3], person=person)
    assert scores.identities.people == 2
    assert scores.identities.mated.tolist() == [0]
    assert scores.identities.first.tolist() == [0]
    assert scores.identities.second.tolist() == [1]


def test_rates_of_several_targets_keep_their_order():
    scores = build_unnamed_scores([0.5], np.linspace(-1, 1, 1000))
    assert [point.fmr for point in measure_at_rates(scores, (1e-2, 1e-1))] == [1e-2, 1e-1]


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [  # of tables of the exact interval
        (0, 10, 0.0, 0.3085),
        (10, 10, 0.6915, 1.0),
        (1, 20, 0.0013, 0.2487),
        (7, 100, 0.0286, 0.1389),
        (500, 1000, 0.4686, 0.5314),
    ],
)
def test_the_exact_interval_of_a_share(count: int, total: int, low: float, high: float) -> None:
    assert bound_share(count, total) == pytest.approx((low, high), abs=1e-4)


def test_no_trials_have_no_interval() -> None:
    assert bound_share(0, 0) is None
