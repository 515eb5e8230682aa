"""Verification of templates: a set of known answer, and the common figure by scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import roc_curve

from facekeep.errors import InputError
from facekeep.lab.evaluate import (
    FAILED,
    build_unnamed_scores,
    measure_nearest_tar,
    pairs,
    pool_templates,
    score_all_pairs,
    templates,
    verify_templates,
)

SCORES = st.one_of(
    hnp.arrays(np.float32, st.integers(1, 60), elements=st.floats(-1, 1, width=32)),
    hnp.arrays(np.float64, st.integers(1, 60), elements=st.sampled_from([-0.5, 0.0, 0.25, 0.5, 1])),
)


@pytest.mark.slow
@pytest.mark.parametrize("least", [1, 1000])
@given(mated=SCORES, non_mated=SCORES, fmr=st.sampled_from([1e-3, 0.05, 0.1, 1 / 3, 0.5, 0.9]))
def test_the_common_figure_is_that_of_scikit_learn(least, mated, non_mated, fmr):
    kinds = np.repeat([1, 0], [len(mated), len(non_mated)])
    false, true, _ = roc_curve(kinds, np.concatenate([mated, non_mated]))
    false, true = false[::-1], true[::-1]
    expected = int(np.argmin(np.abs(false - fmr)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(templates, "_LEAST", least)
        (found,) = measure_nearest_tar(build_unnamed_scores(mated, non_mated), (fmr,))
    assert found.measured_fmr == pytest.approx(false[expected])
    assert found.tar == pytest.approx(true[expected])
    if found.threshold is not None:
        assert (non_mated >= found.threshold).mean() == found.measured_fmr


def test_the_common_figure_may_exceed_its_target_and_the_strict_one_never():
    mated = [0.35, 0.9]
    non_mated = np.concatenate([[0.8, 0.4, 0.3], np.zeros(17)])
    # At 0.3 and above 0.15 of the non-mated match: 0.14 is nearer to it than to 0.1.
    scores = build_unnamed_scores(mated, non_mated)
    (found,) = measure_nearest_tar(scores, (0.14,))
    assert (found.measured_fmr, found.tar) == (0.15, 1)
    # 0.05, at 0.8, lies in the middle of a straight line and is no point.
    (below,) = measure_nearest_tar(scores, (0.06,))
    assert (below.measured_fmr, below.tar) == (0.1, 1)


def test_where_nothing_should_match_there_is_no_threshold():
    (found,) = measure_nearest_tar(build_unnamed_scores([0.1], [0.9, 0.2]), (1e-3,))
    assert found == type(found)(fmr=1e-3, threshold=None, measured_fmr=0, tar=0)


def test_a_deep_list_is_searched_only_as_deep_as_the_rates(monkeypatch):
    rng = np.random.default_rng(0)
    scores = build_unnamed_scores(rng.uniform(-0.5, 1, 500), rng.uniform(-1, 0.8, 5000))
    whole = measure_nearest_tar(scores, (0.05, 0.01))
    monkeypatch.setattr(templates, "_LEAST", 1)
    assert measure_nearest_tar(scores, (0.05, 0.01)) == whole


def test_a_line_bends_where_only_the_true_matches_change_pace():
    # The points are (0.1, 1/3), (0.2, 1/3), (0.3, 1): false matches go on at the same pace.
    mated, non_mated = [0.9, 0.7, 0.7], np.concatenate([[0.9, 0.8, 0.7], np.zeros(7)])
    (found,) = measure_nearest_tar(build_unnamed_scores(mated, non_mated), (0.21,))
    assert (found.measured_fmr, found.tar) == (0.2, 1 / 3)


def test_far_off_points_are_not_taken_for_near_ones(monkeypatch):
    # After the only true match nothing but false ones follow: the next point is the last of all.
    monkeypatch.setattr(templates, "_LEAST", 1)
    (found,) = measure_nearest_tar(
        build_unnamed_scores([0.9], np.linspace(0.5, -0.5, 1000)), (0.1,)
    )
    assert (found.measured_fmr, found.tar) == (0, 1)


def test_a_cut_tail_answers_only_for_what_it_holds(monkeypatch):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(120, 16))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    whole = score_all_pairs(rows, np.arange(120) % 20).scores
    monkeypatch.setattr(templates, "_LEAST", 1)
    monkeypatch.setattr(pairs, "_LEAST_TAIL", 1)
    cut = score_all_pairs(rows, np.arange(120) % 20, fmr=0.02).scores
    assert measure_nearest_tar(cut, (0.01,)) == measure_nearest_tar(whole, (0.01,))
    with pytest.raises(InputError, match="does not reach down"):
        measure_nearest_tar(cut, (0.05,))


@pytest.mark.parametrize(("mated", "non_mated"), [([], [0.1]), ([0.1], []), ([FAILED], [0.1])])
def test_one_kind_of_comparison_makes_no_roc(mated, non_mated):
    with pytest.raises(InputError, match="an ROC needs"):
        measure_nearest_tar(build_unnamed_scores(mated, non_mated))


# --- a set of known answer ---

SUBJECTS = 40
WIDTH = 64


def known_set(failed=()):
    """Two templates of each subject; one subject's second shows nobody, three show others.

    Directions of subjects are at right angles. A template's images are its subject's direction with
    noise that cancels within each video, so that only the mean over media finds it.
    """
    axes = np.eye(WIDTH, dtype=np.float32)
    shown = np.concatenate([np.arange(SUBJECTS), np.arange(SUBJECTS)])
    shown[SUBJECTS] = SUBJECTS + 1  # nobody's direction: the mated pair of subject 0 scores 0
    shown[SUBJECTS + 1 : SUBJECTS + 4] = [5, 6, 7]  # templates of 1, 2, 3 show 5, 6, 7
    features, template, media = [], [], []
    rng = np.random.default_rng(0)
    for place, direction in enumerate(shown):
        noise = 5 * axes[WIDTH - 1]
        for number, signs in enumerate(([1, -1], [0], [1, 1, -2])):
            for sign in signs:
                features.append(3 * axes[direction] + sign * noise)
                template.append(1000 + place)
                media.append(number)
    features = np.array(features)
    features[np.isin(template, failed)] = 0
    order = rng.permutation(len(features))
    return features[order], np.array(template)[order], np.array(media)[order]


def all_template_pairs():
    left, right = np.triu_indices(2 * SUBJECTS, 1)
    return 1000 + left, 1000 + right, left % SUBJECTS == right % SUBJECTS


def test_the_whole_protocol_on_a_set_of_known_answer():
    features, template, media = known_set()
    pooled = pool_templates(features, template, media)
    left, right, mated = all_template_pairs()
    found = verify_templates(pooled, left, right, mated, fmrs=(1e-2, 1e-3))
    # Each of three templates scores 1 with both of another subject's: six false matches. Missed
    # are the mates of those three and of subject 0.
    non_mated = int((~mated).sum())
    assert (found.templates, found.failed, found.people) == (80, 0, 40)
    assert found.values[:3] == pytest.approx(np.zeros(3), abs=1e-6)
    assert (found.values[mated] > 0.99).sum() == 36
    loose, strict = found.strict
    assert (loose.mated, loose.non_mated) == (40, non_mated) == (40, 3120)
    assert loose.false_matches == 6
    assert loose.measured_fmr == 6 / 3120
    assert loose.tar == 36 / 40
    assert 0 < loose.threshold < 1e-4
    assert (strict.false_matches, strict.tar) == (0, 0)
    assert strict.threshold > 1 - 1e-6
    assert loose.low < 36 / 40 < loose.high
    assert [(each.measured_fmr, each.tar) for each in found.nearest] == [
        (6 / 3120, 36 / 40),
        (6 / 3120, 36 / 40),
    ]


def test_a_failed_template_misses_its_mates():
    features, template, media = known_set(failed=(1010,))
    left, right, mated = all_template_pairs()
    found = verify_templates(
        pool_templates(features, template, media), left, right, mated, fmrs=(1e-2,)
    )
    (point,) = found.strict
    assert (found.failed, found.templates) == (1, 80)
    assert (point.mated_failed, point.non_mated_failed) == (1, 78)
    assert point.tar == 35 / 40
    assert point.tar_acquired == 35 / 39


def test_mated_pairs_tell_who_is_one_person():
    rows = np.eye(6)
    pooled = pool_templates(rows, [1, 2, 3, 4, 5, 6], [0] * 6)
    found = verify_templates(pooled, [1, 2, 4, 1, 5], [2, 3, 5, 4, 6], [1, 1, 1, 0, 0], fmrs=(0.5,))
    assert found.people == 3
    with pytest.raises(InputError, match="non-mated, of one person"):
        verify_templates(pooled, [1, 2, 1], [2, 3, 3], [1, 1, 0], fmrs=(0.5,))


def test_a_pair_of_an_unknown_template_is_refused():
    with pytest.raises(InputError, match="no template 9"):
        verify_templates(pool_templates(np.eye(2), [1, 2], [0, 0]), [1, 1], [2, 9], [0, 0])
