from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gallery_kit import KEY, SPACE, make, new, units
from hypothesis import given, settings
from hypothesis import strategies as st

from facekeep.errors import InputError
from facekeep.gallery import Gallery, NewTemplate
from facekeep.gallery.index import Builder
from facekeep.gallery.rows import VectorBatch


def reference(probe: np.ndarray, owners: list[int], vectors: np.ndarray) -> dict[int, float]:
    """Every person's score, by the definition and in double precision."""
    scores = {}
    for owner in set(owners):
        mean = vectors[[o == owner for o in owners]].astype(float).mean(axis=0)
        scores[owner] = mean @ probe / np.linalg.norm(mean)
    return scores


@given(
    owners=st.lists(st.integers(0, 6), min_size=1, max_size=40),
    cut=st.integers(0, 40),
    top_k=st.integers(1, 9),
    seed=st.integers(0, 1000),
)
@settings(max_examples=150, deadline=None)
def test_search_is_exact(owners: list[int], cut: int, top_k: int, seed: int) -> None:
    """Whatever the order and the batches in which templates came."""
    vectors = units(len(owners), seed)
    builder = Builder(SPACE.width, capacity=0)
    for part in (slice(0, cut), slice(cut, None)):
        people = owners[part]
        if people:
            rows = tuple(range(len(owners))[part])
            builder.extend(
                VectorBatch(
                    rows,
                    tuple(f"t{row}" for row in rows),
                    (0,) * len(rows),
                    tuple(map(str, people)),
                    tuple(f"P{owner}" for owner in people),
                    vectors[part],
                )
            )
            builder.state()
    probes = units(3, seed + 1)
    for probe, hits in zip(probes, builder.state().search(probes, top_k), strict=True):
        expected = reference(probe, owners, vectors)
        best = sorted(expected.values(), reverse=True)[:top_k]
        assert [hit.similarity for hit in hits] == pytest.approx(best, abs=1e-5)
        for hit in hits:
            owner = int(hit.person_id)
            assert hit.name == f"P{owner}"
            assert hit.similarity == pytest.approx(expected[owner], abs=1e-5)
            own = {i: vectors[i] @ probe for i, o in enumerate(owners) if o == owner}
            assert hit.templates == len(own)
            assert own[int(hit.template_id[1:])] == pytest.approx(max(own.values()), abs=1e-6)


def test_an_early_state_is_not_disturbed_by_growth() -> None:
    builder = Builder(SPACE.width, capacity=0)
    vectors = units(9)

    def extend(row: int) -> None:
        batch = VectorBatch((row,), (f"t{row}",), (0,), (f"p{row}",), (f"P{row}",), vectors[[row]])
        builder.extend(batch)

    extend(0)
    early = builder.state()
    for row in range(1, 9):
        extend(row)
    assert [hit.name for hit in early.search(vectors[8:], 9)[0]] == ["P0"]
    assert builder.state().search(vectors[8:], 1)[0][0].name == "P8"


def test_many_probes_at_once_equal_one_by_one(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, vector in enumerate(units(20, 1)):
        gallery.enroll(f"P{number % 7}", [NewTemplate(vector)])
    probes = units(11, 2)
    together = gallery.search(probes, 3)
    monkeypatch.setattr("facekeep.gallery.index._MAX_PRODUCT", 45)
    for hits, in_chunks, probe in zip(together, gallery.search(probes, 3), probes, strict=True):
        (alone,) = gallery.search(probe[None], 3)
        for other in (in_chunks, alone):
            assert [h.template_id for h in hits] == [h.template_id for h in other]
            np.testing.assert_allclose(
                [h.similarity for h in hits], [h.similarity for h in other], atol=1e-6
            )


def test_negative_templates_speak_against_their_person_only(gallery: Gallery) -> None:
    gallery.enroll("Ada", [new(1), new(2, negative=True), new(3, negative=True)])
    gallery.enroll("Bea", [new(4)])
    gallery.enroll("Nobody yet", [new(2, negative=True)])
    (hits,) = gallery.search(units(1, 2), 5)
    found = {hit.name: hit.negative_similarity for hit in hits}
    assert found.keys() == {"Ada", "Bea"}
    assert found["Ada"] == pytest.approx(1.0, abs=1e-6)
    assert found["Bea"] is None


def test_an_empty_gallery_and_no_probes(gallery: Gallery) -> None:
    assert gallery.search(units(2)) == [[], []]
    gallery.enroll("Ada", [new()])
    assert gallery.search(units(0)) == []


@pytest.mark.parametrize(
    "probes",
    [units(1)[0], units(1, width=8), units(2) * 3, np.full((1, 16), np.nan), "x", [[1], [1, 2]]],
)
def test_unusable_probes(gallery: Gallery, probes: Any) -> None:
    with pytest.raises(InputError, match="probes"):
        gallery.search(probes)


def test_an_unusable_top_k(gallery: Gallery) -> None:
    with pytest.raises(InputError, match="top_k"):
        gallery.search(units(1), 0)


def test_a_change_by_another_opener_is_seen_by_the_next_search(path: Path) -> None:
    with make(path, KEY) as here, make(path, KEY) as there:
        there.enroll("Ada", [new(1)])
        assert here.search(units(1, 1))[0][0].name == "Ada"
        there.enroll("Bea", [new(2)])
        there.enroll("Ada", [new(3, negative=True)])
        assert here.search(units(1, 2))[0][0].name == "Bea"
        assert here.search(units(1, 1))[0][0].negative_similarity is not None
        there.rename("Bea", "Cleo")
        assert here.search(units(1, 2))[0][0].name == "Cleo"
        there.merge(["Cleo"], "Ada")
        assert [hit.name for hit in here.search(units(1, 2))[0]] == ["Ada"]
        there.remove("Ada")
        assert here.search(units(1, 2)) == [[]]


def test_additions_are_appended_not_reloaded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with make(path) as gallery:
        gallery.enroll("Ada", [new(1), new(2)])
        gallery.search(units(1))
        loaded: list[int] = []
        extend = Builder.extend

        def spy(builder: Builder, batch: VectorBatch) -> None:
            loaded.append(len(batch.rows))
            extend(builder, batch)

        monkeypatch.setattr(Builder, "extend", spy)
        gallery.search(units(1))
        gallery.enroll("Bea", [new(3)])
        gallery.update("Bea", metadata={"a": 1})
        gallery.search(units(1))
        assert loaded == [1]
        gallery.rename("Bea", "Cleo")
        gallery.search(units(1))
        assert loaded == [1, 3]


def interrupt_second(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with Ctrl-C at its second call."""
    calls = itertools.count(1)

    def interrupted(*arguments: Any) -> Any:
        if next(calls) == 2:
            raise KeyboardInterrupt
        return function(*arguments)

    return interrupted


def test_an_interrupted_refresh_leaves_nothing_half_done(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with make(path) as gallery:
        gallery.enroll("Ada", [new(1)])
        gallery.search(units(1))
        gallery.enroll("Bea", [new(2)])

        with monkeypatch.context() as patch:
            # In the middle: the vectors are there, the "this is not" templates not yet.
            patch.setattr(np, "flatnonzero", interrupt_second(np.flatnonzero))
            with pytest.raises(KeyboardInterrupt):
                gallery.search(units(1))
        hits = gallery.search(units(1, 2), 5)[0]
        assert [hit.name for hit in hits] == ["Bea", "Ada"]
        assert gallery._index is not None
        assert len(gallery._index[2].vectors) == 2
