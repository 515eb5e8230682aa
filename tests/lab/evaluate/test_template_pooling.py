"""Pooling images into templates: by hand, against plain loops, and with what fails."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facekeep.errors import InputError
from facekeep.lab.evaluate import pool_templates, templates


def unit(*row):
    return pytest.approx(np.array(row) / np.linalg.norm(row), abs=1e-6)


def test_by_hand():
    features = np.array([[2, 0], [0, 4], [0, 2], [3, 3], [5, 0]], np.float32)
    # Template 7: a photo (2, 0), and a video of the mean (0, 3). Template 3: one photo.
    found = pool_templates(features, [7, 7, 7, 3, 9], [0, 1, 1, 0, 4])
    assert found.ids.tolist() == [3, 7, 9]
    assert found.images.tolist() == [1, 3, 1]
    assert found.failed == 0
    assert found.rows.dtype == np.float32
    for row, expected in zip(found.rows, (unit(1, 1), unit(2, 3), unit(1, 0)), strict=True):
        assert row == expected


def test_weights_count_before_the_means():
    features = np.array([[2, 0], [0, 4], [0, 2]], np.float32)
    found = pool_templates(features, [0, 0, 0], [0, 1, 1], weights=[0.5, 1, 0])
    # (1, 0) and the mean of (0, 4) and (0, 0).
    assert found.rows[0] == unit(1, 2)


def test_the_length_of_features_may_come_as_a_weight():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, 6)).astype(np.float32)
    template, media = rng.integers(5, size=40), rng.integers(3, size=40)
    lengths = np.linalg.norm(features, axis=1)
    whole = pool_templates(features, template, media)
    parts = pool_templates(features / lengths[:, None], template, media, weights=lengths)
    np.testing.assert_allclose(whole.rows, parts.rows, atol=1e-6)


def plain(features, template, media, weights):
    rows = {}
    for which in sorted(set(template)):
        total = np.zeros(features.shape[1])
        for medium in sorted(set(media[template == which])):
            here = (template == which) & (media == medium) & features.any(axis=1)
            if here.any():
                total += (features[here].astype(float) * weights[here, None]).mean(axis=0)
        length = np.linalg.norm(total)
        rows[which] = total / length if length else total
    return rows


@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 20))
def test_it_agrees_with_plain_loops_whatever_the_blocks(seed, count, block):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, 5)).astype(np.float32)
    features[rng.random(count) < 0.2] = 0
    template, media = rng.integers(-3, 5, size=count), rng.integers(3, size=count)
    weights = rng.uniform(0.1, 1, size=count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(templates, "_POOL_BLOCK", block)
        found = pool_templates(features, template, media, weights=weights)
    expected = plain(features, template, media, weights)
    assert found.ids.tolist() == list(expected)
    np.testing.assert_allclose(found.rows, np.array(list(expected.values())), atol=1e-5)
    made = features.any(axis=1)
    assert found.images.tolist() == [int((template[made] == each).sum()) for each in found.ids]
    assert found.failed == (found.images == 0).sum()


def test_a_template_of_failures_alone_is_zeros():
    found = pool_templates(np.array([[0, 0], [1, 1]], np.float32), [5, 6], [0, 0])
    assert found.rows[0].tolist() == [0, 0]
    assert (found.failed, found.images.tolist()) == (1, [0, 1])


def test_features_that_cancel_each_other_make_no_template():
    found = pool_templates(np.array([[1, 0], [-1, 0]], np.float32), [5, 5], [0, 1])
    assert (found.failed, found.rows.tolist()) == (1, [[0, 0]])


def test_nothing_to_pool():
    found = pool_templates(np.empty((0, 4)), [], [])
    assert (found.rows.shape, found.failed) == ((0, 4), 0)
    with pytest.raises(InputError, match="no template 1"):
        found.places([1])


def test_templates_are_found_by_their_ids():
    found = pool_templates(np.eye(3), [30, 10, 20], [0, 0, 0])
    assert found.places([10, 30, 10]).tolist() == [0, 2, 0]
    with pytest.raises(InputError, match="no template 15"):
        found.places([10, 15, 99])


@pytest.mark.parametrize(
    ("features", "arguments", "why"),
    [
        (np.full((1, 2), np.nan), {}, "finite"),
        (np.full((1, 2), np.inf), {}, "finite"),
        (np.ones((1, 2)), {"weights": [np.nan]}, "finite"),
        (np.ones((1, 2)), {"weights": [1e308]}, "finite"),
        (np.ones((1, 2)), {"weights": [1.0, 1.0]}, "weights"),
        (np.ones((2, 2)), {}, "template"),
        (np.ones(2), {}, "two dimensions"),
    ],
)
def test_what_cannot_be_pooled_is_refused(features, arguments, why):
    with pytest.raises(InputError, match=why):
        pool_templates(features, [0], [0], **arguments)
