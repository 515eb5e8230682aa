from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from gallery_kit import KEY, make, new, search_by_codes, units
from hypothesis import given, settings
from hypothesis import strategies as st

from facekeep.errors import InputError
from facekeep.gallery import Gallery, NewTemplate
from facekeep.gallery.sqlite.index import search_index
from facekeep.gallery.sqlite.index.blocks import Block, read_blocks
from facekeep.gallery.sqlite.index.search_index import SearchIndex
from facekeep.gallery.sqlite.repository import Repository


def reference(probe: np.ndarray, owners: list[int], vectors: np.ndarray) -> dict[int, float]:
    """Every person's score, by the definition and in double precision."""
    scores = {}
    for owner in set(owners):
        mean = vectors[[o == owner for o in owners]].astype(float).mean(axis=0)
        scores[owner] = mean @ probe / np.linalg.norm(mean)
    return scores


@pytest.mark.slow
@pytest.mark.parametrize("way", ["all", "codes in memory", "codes in a file"])
@given(
    owners=st.lists(st.integers(0, 4), min_size=1, max_size=24),
    cut=st.integers(0, 24),
    top_k=st.integers(1, 6),
    seed=st.integers(0, 1000),
)
@settings(max_examples=12)
def test_search_is_exact(way: str, owners: list[int], cut: int, top_k: int, seed: int) -> None:
    """However the templates came, and by codes too while all are compared exactly after them."""
    vectors = units(len(owners), seed)
    probes = units(3, seed + 1)
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder:
        search_by_codes(patch, at=0 if way.startswith("codes") else 100, in_file="file" in way)
        with make(Path(folder) / "people.db") as gallery:
            for part in (slice(0, cut), slice(cut, None)):
                for owner in set(owners[part]):
                    own = [
                        v for o, v in zip(owners[part], vectors[part], strict=True) if o == owner
                    ]
                    gallery.enroll(f"P{owner}", list(map(NewTemplate, own)))
                gallery.search(probes, top_k)
            assert (Path(folder) / "people.db-index").exists() == ("file" in way)
            found = gallery.search(probes, top_k)
            ids = {
                template.id: vector
                for person in gallery.people()
                for template, vector in zip(
                    gallery.person(person.name).templates or (),
                    gallery.vectors(person.name).values(),
                    strict=True,
                )
            }
    for probe, hits in zip(probes, found, strict=True):
        expected = reference(probe, owners, vectors)
        best = sorted(expected.values(), reverse=True)[:top_k]
        assert [hit.similarity for hit in hits] == pytest.approx(best, abs=1e-6)
        for hit in hits:
            owner = int(hit.name[1:])
            assert hit.similarity == pytest.approx(expected[owner], abs=1e-6)
            own = [vectors[i] @ probe for i, o in enumerate(owners) if o == owner]
            assert hit.templates == len(own)
            assert ids[hit.template_id] @ probe == pytest.approx(max(own), abs=1e-6)


def test_an_early_state_is_not_disturbed_by_later_ones(path: Path) -> None:
    with make(path) as gallery:
        gallery.enroll("Ada", [new(0)])
        gallery.search(units(1))
        early = gallery._searcher._index
        assert early is not None
        before = early.search(units(1), 9)
        for seed in range(1, 9):
            gallery.enroll(f"P{seed}", [new(seed)])
            gallery.enroll("Ada", [new(seed + 10)])
            gallery.search(units(1))
        gallery.merge(["P1"], "Ada")
        gallery.search(units(1))
        assert early.search(units(1), 9) == before
        assert early.blocks[0].vectors[0] @ units(1)[0] == pytest.approx(1, abs=1e-3)


def test_many_probes_at_once_equal_one_by_one(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, vector in enumerate(units(20, 1)):
        gallery.enroll(f"P{number % 7}", [NewTemplate(vector)])
    probes = units(11, 2)
    together = gallery.search(probes, 3)
    monkeypatch.setattr("facekeep.gallery.sqlite.index.search_index._PROBES_AT_ONCE", 4)
    monkeypatch.setattr("facekeep.gallery.sqlite.index.search_index._ROWS_AT_ONCE", 3)
    for hits, in_chunks, probe in zip(together, gallery.search(probes, 3), probes, strict=True):
        (alone,) = gallery.search(probe[None], 3)
        for other in (in_chunks, alone):
            assert [h.template_id for h in hits] == [h.template_id for h in other]
            np.testing.assert_allclose(
                [h.similarity for h in hits], [h.similarity for h in other], atol=1e-6
            )


def test_whatever_reads_everybody_bounds_what_is_compared_at_once(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, vector in enumerate(units(20, 1)):
        gallery.enroll(f"P{number}", [NewTemplate(vector)])
    probes, sizes = units(11, 2), []
    expected = gallery.search(probes, 3)
    product = search_index._multiply

    def spy(chunk: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        sizes.append(len(chunk))
        return product(chunk, vectors)

    monkeypatch.setattr(search_index, "_multiply", spy)
    monkeypatch.setattr(search_index, "_PROBES_AT_ONCE", 4)
    found = gallery._searcher.search_without_index(probes, 3)
    names = [[[hit.name for hit in hits] for hits in each] for each in (found, expected)]
    assert names[0] == names[1]
    assert sizes == [4, 4, 3]


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


def test_only_what_changed_is_read_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with make(path) as gallery:
        gallery.enroll("Ada", [new(1), new(2)])
        gallery.enroll("Bea", [new(3)])
        gallery.search(units(1))
        read: list[int] = []

        def spy(repo: Repository, people: Sequence[int]) -> Iterator[Block]:
            read.append(len(people))
            return read_blocks(repo, people)

        monkeypatch.setattr("facekeep.gallery.sqlite.index.searcher.read_blocks", spy)
        gallery.search(units(1))
        assert read == []
        gallery.enroll("Cleo", [new(4)])
        gallery.search(units(1))
        gallery.update("Bea", metadata={"a": 1})
        gallery.search(units(1))
        gallery.rename("Bea", "Dora")
        assert gallery.search(units(1, 3), 1)[0][0].name == "Dora"
        gallery.merge(["Dora"], "Ada")
        gallery.search(units(1))
        gallery.remove("Cleo")
        gallery.search(units(1))
        assert read == [1, 0, 0, 1, 0]


def test_the_same_candidates_are_read_once_but_never_too_many_kept(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with make(path) as gallery:
        gallery.enroll("Ada", [new(1), new(2)])
        gallery.enroll("Bea", [new(3)])
        first = gallery.search(units(1))
        read: list[int] = []

        def spy(repo: Repository, people: Sequence[int]) -> Any:
            read.extend(people)
            return vectors(repo, people)

        vectors = Repository.vectors
        monkeypatch.setattr(Repository, "vectors", spy)
        assert gallery.search(units(1)) == first
        assert read == []
        gallery.update("Ada", metadata={"a": 1})
        monkeypatch.setattr("facekeep.gallery.sqlite.index.ranking._CACHED", 2)
        assert gallery.search(units(1)) == gallery.search(units(1)) == first
        assert len(read) == 4


def test_rows_of_people_who_changed_do_not_pile_up(path: Path) -> None:
    with make(path) as gallery:
        for seed in range(40):
            gallery.enroll("Ada", [new(seed)])
            gallery.search(units(1))
        assert gallery._searcher._index is not None
        assert len(gallery._searcher._index) == 1


def test_an_interrupted_refresh_leaves_nothing_half_done(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with make(path) as gallery:
        gallery.enroll("Ada", [new(1)])
        gallery.search(units(1))
        gallery.enroll("Bea", [new(2)])

        def interrupted(*_: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("facekeep.gallery.sqlite.index.searcher.join_small_blocks", interrupted)
            with pytest.raises(KeyboardInterrupt):
                gallery.search(units(1))
        hits = gallery.search(units(1, 2), 5)[0]
        assert [hit.name for hit in hits] == ["Bea", "Ada"]


def test_a_search_that_was_overtaken_by_an_erasure_is_done_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever lost a template meanwhile may have been overwritten under the search."""
    with make(path) as gallery:
        gallery.enroll("Ada", [new(1), new(2)])
        templates = gallery.person("Ada").templates
        assert templates is not None
        search = SearchIndex.search
        searches = itertools.count(1)

        def overtaken(index: SearchIndex, *arguments: Any) -> Any:
            if next(searches) == 1:
                gallery.remove_templates("Ada", [templates[0].id])
                return [[]]
            return search(index, *arguments)

        monkeypatch.setattr(SearchIndex, "search", overtaken)
        ((hit,),) = gallery.search(units(1, 2))
        assert hit.name == "Ada"
        assert hit.similarity == pytest.approx(1, abs=1e-6)
        assert next(searches) == 3
