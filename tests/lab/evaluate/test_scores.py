"""Curves, EER and AUC against scikit-learn, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import roc_curve

from facekeep.errors import InputError
from facekeep.lab.evaluate import FAILED, build_unnamed_scores, pairs, score_all_pairs, trace_curve

SCORES = st.one_of(
    hnp.arrays(np.float32, st.integers(1, 60), elements=st.floats(-1, 1, width=32)),
    hnp.arrays(np.float64, st.integers(1, 60), elements=st.sampled_from([-0.5, 0.0, 0.25, 0.5, 1])),
)


@pytest.mark.slow
@given(SCORES, SCORES)
def test_the_equal_error_rate_agrees_with_scikit_learn(mated, non_mated):
    kinds = np.repeat([1, 0], [len(mated), len(non_mated)])
    false, true, _ = roc_curve(kinds, np.concatenate([mated, non_mated]), drop_intermediate=False)
    excess = false - (1 - true)
    place = int(np.argmax(excess >= 0))
    before, after = excess[place - 1], excess[place]
    share = -before / (after - before)
    expected = false[place - 1] + share * (false[place] - false[place - 1])
    found = trace_curve(build_unnamed_scores(mated, non_mated))
    assert found.eer == pytest.approx(expected, abs=1e-12)


@pytest.mark.slow
@given(SCORES, SCORES, st.integers(2, 80))
def test_every_point_was_measured_and_the_ends_are_there(mated, non_mated, points):
    found = trace_curve(build_unnamed_scores(mated, non_mated), points=points)
    assert (np.diff(found.thresholds) > 0).all()
    assert (np.diff(found.fmr) <= 0).all()
    assert (np.diff(found.fnmr) >= 0).all()
    assert (found.fmr[0], found.fnmr[0], found.fmr[-1], found.fnmr[-1]) == (1, 0, 0, 1)
    for threshold, fmr, fnmr in zip(found.thresholds, found.fmr, found.fnmr, strict=True):
        assert fmr == (non_mated >= threshold).mean()
        assert fnmr == pytest.approx((mated < threshold).mean())


def test_few_points_show_rare_errors_of_many():
    rng = np.random.default_rng(0)
    mated = np.clip(rng.normal(0.6, 0.1, 20_000), -1, 1)
    non_mated = np.clip(rng.normal(0.0, 0.1, 300_000), -1, 1)
    found = trace_curve(build_unnamed_scores(mated, non_mated), points=100)
    assert len(found.thresholds) < 500
    for rates, least in ((found.fmr, 1 / 300_000), (found.fnmr, 1 / 20_000)):
        above = np.sort(rates[rates > 0])
        assert above[0] == pytest.approx(least)
        assert (above[1:] / above[:-1]).max() <= 2.001


def test_by_hand():
    found = trace_curve(build_unnamed_scores([0.9, 0.8, 0.3, 0.7], [0.1, 0.2, 0.75, 0.0]))
    assert found.eer == 0.25


def test_failed_comparisons_are_missed_at_every_threshold():
    found = trace_curve(build_unnamed_scores([0.9, FAILED], [FAILED, 0.1, 0.2]))
    assert (found.fmr[0], found.fnmr[0]) == (1, 0.5)
    nothing = trace_curve(build_unnamed_scores([FAILED], [0.1]))
    assert nothing.eer == 1


@pytest.mark.parametrize(("mated", "non_mated"), [([], [0.1]), ([0.1], []), ([0.1], [FAILED])])
def test_one_kind_of_comparison_makes_no_curve(mated, non_mated):
    with pytest.raises(InputError, match="none is"):
        trace_curve(build_unnamed_scores(mated, non_mated))


def test_a_cut_tail_is_continued_from_the_histogram(monkeypatch):
    rng = np.random.default_rng(0)
    person = np.arange(400) % 100
    rows = rng.normal(size=(100, 32))[person] + 0.7 * rng.normal(size=(400, 32))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    whole = trace_curve(score_all_pairs(rows, person).scores)
    monkeypatch.setattr(pairs, "_LEAST_TAIL", 100)
    scores = score_all_pairs(rows, person, fmr=1e-3).scores
    assert not scores.complete
    cut = trace_curve(scores)
    assert cut.eer == pytest.approx(whole.eer, abs=1e-4)
    assert (cut.fmr[0], cut.fnmr[0], cut.fmr[-1], cut.fnmr[-1]) == (1, 0, 0, 1)
    assert (np.diff(cut.fmr) <= 0).all()
    exact = score_all_pairs(rows, person, fmr=0.5).scores
    np.testing.assert_allclose(cut.fmr, exact.fmr(cut.thresholds), atol=1e-4)
