"""Sketches and the search by them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from gallery_kit import search_by_codes, units
from hypothesis import given, settings
from hypothesis import strategies as st

from facekeep.gallery.sqlite.index import binary_codes
from facekeep.gallery.sqlite.index.binary_codes import encode, find_nearest, score_agreement
from facekeep.gallery.sqlite.index.blocks import encode_block, widen
from facekeep.gallery.sqlite.index.search_index import SearchIndex, search_exactly


def test_a_code_is_the_signs_of_a_vector_of_512() -> None:
    vectors = units(3, width=512)
    bits = np.unpackbits(encode(vectors).view(np.uint8), axis=1)
    np.testing.assert_array_equal(bits, vectors > 0)


def test_codes_of_other_widths_tell_angles_and_stay_the_same_for_ever() -> None:
    one = np.zeros((1, 16), np.float32)
    one[0, 3] = 1
    assert encode(one)[0, :2].tolist() == [6803823304794355487, 14166950523896666752]
    vectors = units(200, width=128)
    bits = encode(vectors)
    distances = np.bitwise_count(bits[:, None] ^ bits).sum(axis=2) / 512
    angles = np.arccos(np.clip(vectors @ vectors.T, -1, 1)) / np.pi
    assert np.abs(distances - angles).max() < 0.12


@pytest.mark.parametrize("faiss", [False, True], ids=["NumPy", "faiss"])
@given(
    sizes=st.lists(st.integers(0, 40), max_size=4),
    depth=st.integers(1, 50),
    step=st.integers(1, 20),
    few=st.integers(1, 5),
    seed=st.integers(0, 99),
)
@settings(max_examples=60)
def test_the_nearest_are_the_nearest(
    faiss: bool, sizes: list[int], depth: int, step: int, few: int, seed: int
) -> None:
    if faiss:
        pytest.importorskip("faiss")
    rng = np.random.default_rng(seed)
    blocks = [rng.integers(0, 2**64, (size, 8), np.uint64) for size in sizes]
    probe = rng.integers(0, 2**64, 8, np.uint64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(binary_codes, "_has_faiss", lambda: faiss)
        patch.setattr(binary_codes, "_ROWS_AT_ONCE", step)
        patch.setattr(binary_codes, "_FEW", few)
        rows = find_nearest(blocks, probe, depth)
    every = np.concatenate([np.empty((0, 8), np.uint64), *blocks])
    distances = np.bitwise_count(every ^ probe).sum(axis=1)
    assert len(set(rows.tolist())) == len(rows) == min(depth, len(every))
    assert sorted(distances[rows]) == sorted(distances)[: len(rows)]


def test_a_block_that_holds_all_of_the_nearest_is_asked_again() -> None:
    pytest.importorskip("faiss")
    rng = np.random.default_rng(0)
    blocks = [rng.integers(0, 2**64, (5000, 8), np.uint64) for _ in range(4)]
    probe = rng.integers(0, 2**64, 8, np.uint64)
    blocks[2][1000:1600] = probe ^ np.uint64(3)
    found = find_nearest(blocks, probe, 500)
    assert set(found.tolist()) < set(range(11_000, 11_600))
    assert len(found) == len(set(found.tolist())) == 500


def test_a_faiss_that_cannot_be_imported_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "faiss.py").write_text("raise ImportError('libgomp.so.1:\\nno such file')\n")
    monkeypatch.delitem(sys.modules, "faiss", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    binary_codes._has_faiss.cache_clear()
    blocks = [encode(units(20, width=512))]
    try:
        for row in (3, 5):
            assert find_nearest(blocks, blocks[0][row], 1).tolist() == [row]
    finally:
        binary_codes._has_faiss.cache_clear()
    message = "faiss cannot be imported (libgomp.so.1: no such file); NumPy searches instead"
    assert caplog.messages == [message]


def test_widening_is_exact() -> None:
    every = np.arange(2**16).astype(np.uint16).view(np.float16)
    finite = every[np.isfinite(every)]
    assert widen(finite).tobytes() == finite.astype(np.float32).tobytes()


@given(
    sizes=st.lists(st.integers(0, 9), max_size=4),
    probes=st.integers(1, 3),
    count=st.integers(1, 12),
    step=st.integers(1, 10),
    seed=st.integers(0, 99),
)
@settings(max_examples=60)
def test_exact_search_by_blocks_is_exact(
    sizes: list[int], probes: int, count: int, step: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    total = sum(sizes)
    people = np.arange(1, total + 1) * rng.integers(0, 2, total)
    vectors = units(total, seed)
    ends = np.cumsum(sizes)
    blocks = [
        encode_block(people[a:b], people[a:b].astype(np.uint64), vectors[a:b])
        for a, b in zip(ends - sizes, ends, strict=True)
    ]
    faces = units(probes, seed + 100)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("facekeep.gallery.sqlite.index.search_index._ROWS_AT_ONCE", step)
        result = search_exactly(iter(blocks), faces, count)
    scores = faces @ vectors.astype(np.float16).astype(np.float32).T
    for row, best in zip(scores, result, strict=True):
        order = [int(person) for person in people[np.argsort(-row)] if person]
        assert best == order[:count]


@pytest.mark.parametrize("width", [512, 128])
def test_known_numbers_tell_more_than_their_signs(width: int) -> None:
    vectors = units(2000, width=width)
    probe = vectors[0]
    words = encode(vectors)
    cosines = (vectors @ probe)[1:]
    by_numbers = score_agreement(words, probe)
    by_signs = -np.bitwise_count(words ^ words[0]).sum(axis=1).astype(float)
    assert by_numbers.argmax() == 0
    signs, numbers = (np.corrcoef(x[1:], cosines)[0, 1] for x in (by_signs, by_numbers))
    assert numbers > signs + 0.05


@pytest.mark.slow
def test_codes_find_the_mates_among_strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a hard cosine, with all stages at work: most would be lost without any of them."""
    search_by_codes(monkeypatch)
    rng = np.random.default_rng(5)
    strangers = units(5000, 3, width=128)
    mates = strangers[:200]
    noise = rng.normal(size=mates.shape).astype(np.float32) / np.sqrt(128)
    probes = 0.42 * mates + np.sqrt(1 - 0.42**2) * noise
    probes /= np.linalg.norm(probes, axis=1, keepdims=True)
    people = np.arange(1, 5001)
    index = SearchIndex((encode_block(people, people.astype(np.uint64), strangers),), 0, 0, 0)
    exact = (probes @ strangers.T).argmax(axis=1) + 1
    found = [best[0] for best in index.search(probes, 1)]
    assert np.mean(found == exact) >= 0.99
    monkeypatch.setattr("facekeep.gallery.sqlite.index.search_index._SHARE", 10**9)
    monkeypatch.setattr("facekeep.gallery.sqlite.index.search_index.DEPTH", 1)
    monkeypatch.setattr("facekeep.gallery.sqlite.index.search_index._KEPT", 2)
    few = [best[0] for best in index.search(probes, 1)]
    assert 0.2 < np.mean(few == exact) < 0.98
