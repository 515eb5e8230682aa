"""The protocol of stores: ``Gallery`` keeps it, and so does a small store of somebody's own."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from gallery_kit import SPACE, make, new, units
from memory_store import MemoryStore

from facekeep.errors import PersonNotFound
from facekeep.gallery import Gallery, GalleryStore


@pytest.fixture(params=["sqlite", "memory"])
def store(request: pytest.FixtureRequest, path: Path) -> Iterator[GalleryStore]:
    """An empty store of each kind."""
    opened: GalleryStore = make(path) if request.param == "sqlite" else MemoryStore(SPACE)
    yield opened
    opened.close()
    opened.close()


def test_a_store_keeps_the_protocol(store: GalleryStore) -> None:
    assert isinstance(store, GalleryStore)
    assert not isinstance({}, GalleryStore)
    assert store.space == SPACE


def test_the_gallery_takes_the_arguments_of_the_protocol() -> None:
    for name, method in inspect.getmembers(GalleryStore, inspect.isfunction):
        if not name.startswith("_"):
            assert inspect.signature(getattr(Gallery, name)) == inspect.signature(method), name


def test_people_come_and_go(store: GalleryStore) -> None:
    person = store.enroll("Bea", [new(1), new(2, negative=True)], metadata={"a": 1})
    store.enroll("Ada", [new(3)])
    assert store.name_for(" Ada ") == "Ada"
    assert (person.template_count, person.negative_count, len(person.templates or ())) == (1, 1, 2)
    assert store.person("Bea") == store.person(person.id) == person
    assert store.enroll("Bea", [new(4)]).metadata == {"a": 1}
    assert [each.name for each in store.people()] == ["Ada", "Bea"]
    assert [each.name for each in store.people(after="Ada", limit=1)] == ["Bea"]
    vectors = store.vectors("Bea")
    assert list(vectors) == [each.id for each in store.person("Bea").templates or ()]
    assert np.array_equal(list(vectors.values()), [new(seed).vector for seed in (1, 2, 4)])
    assert store.remove("Bea").id == person.id
    assert store.count() == 1
    with pytest.raises(PersonNotFound):
        store.person("Bea")


def test_search_compares_with_the_mean(store: GalleryStore) -> None:
    rows = units(5, 9)
    for number, row in enumerate(rows):
        store.enroll(f"P{number}", [new(100 + number), new(200 + number)])
        mean = new(100 + number).vector + new(200 + number).vector
        hits = store.search(np.stack([mean / np.linalg.norm(mean), row]), 2)
        assert [len(each) for each in hits] == [min(2, number + 1)] * 2
        assert hits[0][0].name == f"P{number}"
        assert hits[0][0].similarity == pytest.approx(1, abs=1e-5)
        assert hits[0][0].templates == 2
    store.enroll("P0", [new(300, negative=True)])
    (hits_,) = store.search(new(300).vector[None], 5)
    (hit,) = [each for each in hits_ if each.name == "P0"]
    assert hit.refused
    assert hit.negative_similarity == pytest.approx(1, abs=1e-5)


def test_somebody_with_only_negative_templates_is_never_found(store: GalleryStore) -> None:
    store.enroll("Ada", [new(1, negative=True)])
    assert store.search(new(1).vector[None]) == [[]]
