"""Grouping embeddings: right groups, no chaining, no dependence on order, bounded memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from facekeep.apps.agglomeration import find_neighbors, group_faces

Rows = NDArray[np.float32]


def unit(rows: NDArray[np.floating]) -> Rows:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def people(sizes: list[int], noise: float, width: int = 128, seed: int = 0) -> tuple[Rows, Rows]:
    """Embeddings of people with so many faces each, and who each is of."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(len(sizes)), sizes)
    centers = unit(rng.normal(size=(len(sizes), width)))
    rows = unit(centers[who] + noise * rng.normal(size=(len(who), width)) / np.sqrt(width))
    order = rng.permutation(len(who))
    return rows[order], who[order]


def as_sets(groups: list[NDArray[np.intp]]) -> set[frozenset[int]]:
    return {frozenset(group.tolist()) for group in groups}


def test_no_faces_make_no_groups():
    assert group_faces(np.empty((0, 128), np.float32), 0.4) == []


def test_people_are_found_largest_first_and_strangers_stay_alone():
    rows, who = people([40, 25, 3, 1, 1], noise=1.0)
    groups = group_faces(rows, 0.4)
    assert [len(group) for group in groups] == [40, 25, 3, 1, 1]
    assert all(len(set(who[group])) == 1 for group in groups)


def test_every_face_is_in_one_group():
    rows, _ = people([3] * 60, noise=1.6, width=16)
    members = np.concatenate(group_faces(rows, 0.5))
    assert sorted(members.tolist()) == list(range(180))


def test_a_chain_of_lookalikes_does_not_merge_two_people():
    """Each link of the chain reaches the threshold, its ends are nothing alike."""
    angles = np.radians(np.arange(0, 181, 15))
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    groups = group_faces(rows, 0.8)
    assert len(groups) >= 3
    for group in groups:
        assert (rows[group] @ rows[group].T).min() > 0.5


def test_copies_of_one_face_are_one_group():
    rows = np.repeat(unit(np.arange(1.0, 33)[None] - 9), 500, axis=0)
    assert [len(group) for group in group_faces(rows, 0.9)] == [500]


@pytest.mark.slow
@given(seed=st.integers(0, 2**32 - 1), cosine=st.floats(0.2, 0.9))
@settings(max_examples=60)
def test_the_groups_do_not_depend_on_the_order_of_the_faces(seed: int, cosine: float):
    rows, _ = people([9, 6, 4, 2, 2, 1, 1], noise=1.5, width=12, seed=seed)
    rows[3] = rows[7]
    order = np.random.default_rng(seed).permutation(len(rows))
    shuffled = {frozenset(order[group].tolist()) for group in group_faces(rows[order], cosine)}
    # faces 3 and 7 are the same: only their number matters
    same = lambda groups: {frozenset(3 if i == 7 else i for i in g) for g in groups}  # noqa: E731
    assert same(shuffled) == same(as_sets(group_faces(rows, cosine)))


@pytest.mark.slow
@given(seed=st.integers(0, 2**32 - 1), cosine=st.floats(0.2, 0.8))
@settings(max_examples=40, derandomize=True)  # a tie could go either way
def test_at_one_end_the_groups_are_those_of_average_linkage(seed: int, cosine: float):
    """Compared with joining the two nearest of all groups, over and over, the slow way."""
    rows, _ = people([7, 5, 3, 2, 1], noise=1.5, width=12, seed=seed)
    groups = [[i] for i in range(len(rows))]
    products = rows.astype(np.float64) @ rows.T.astype(np.float64)
    while len(groups) > 1:
        similarity, i, j = max(
            (products[np.ix_(groups[i], groups[j])].mean(), i, j)
            for i in range(len(groups))
            for j in range(i)
        )
        if similarity < cosine:
            break
        groups[j] += groups.pop(i)
    found = group_faces(rows, cosine, linkage=0)
    assert as_sets(found) == {frozenset(group) for group in groups}


def test_a_large_group_takes_in_what_resembles_all_of_it_a_little():
    """Twenty varied faces of one person, and one whose mean similarity to them is too low."""
    rows, _ = people([20], noise=0.8, width=64)
    center = unit(rows.sum(axis=0, keepdims=True))[0]
    side = np.linalg.svd(rows)[2][-1]
    far = unit((0.5 * center + np.sqrt(1 - 0.5**2) * side)[None].astype(np.float32))
    rows = np.vstack([rows, far])
    assert (rows[:-1] @ rows[-1]).mean() < 0.42 < (rows[:-1] @ rows[-1]).max()
    assert [len(group) for group in group_faces(rows, 0.42, linkage=0)] == [20, 1]
    assert [len(group) for group in group_faces(rows, 0.42)] == [21]


def test_neighbors_are_the_nearest_at_or_above_the_threshold():
    rows, _ = people([30, 30], noise=1.2, width=32)
    products = rows @ rows.T
    np.fill_diagonal(products, -1)
    for row, near in zip(products, find_neighbors(rows, 0.3, most=5), strict=True):
        assert sorted(row[near]) == pytest.approx(sorted(row[row >= 0.3])[-5:], abs=1e-6)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_square_of_the_faces():
    """All of 2,000 faces are alike: the worst case for links between faces."""
    rows, _ = people([2000], noise=0.5, width=64)
    tracemalloc.start()
    groups = group_faces(rows, 0.4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(groups) == 1
    assert peak < 2000 * 2000 * 4 / 2, "half of a table of all pairs"


def test_two_faces_of_one_photo_are_not_one_person():
    rows, _ = people([6], noise=0.3)
    assert as_sets(group_faces(rows, 0.4)) == {frozenset(range(6))}
    groups = group_faces(rows, 0.4, photos=[0, 0, 1, 1, 2, 2])
    assert len(groups) == 2
    for group in groups:
        assert sorted(i // 2 for i in group.tolist()) == [0, 1, 2]


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), photos=st.integers(1, 12))
def test_photos_are_kept_apart_whatever_the_order(seed: int, photos: int):
    rng = np.random.default_rng(seed)
    rows, _ = people([5, 4, 3, 2], noise=1.2, width=32, seed=seed)
    seen = rng.integers(photos, size=len(rows))
    groups = group_faces(rows, 0.3, photos=seen.tolist())
    for group in groups:
        assert len(set(seen[group])) == len(group)
    order = rng.permutation(len(rows))
    again = group_faces(rows[order], 0.3, photos=seen[order].tolist())
    assert as_sets(groups) == {frozenset(order[group].tolist()) for group in again}
