from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from data_kit import contents_of, write_people
from hypothesis import given
from hypothesis import strategies as st

from facekeep.errors import InputError
from facekeep.lab.datasets.source import Source, hold_out_people, select


class Listed(Source):
    """Images that are their own numbers."""

    def __init__(self, labels: list[int]) -> None:
        names = [f"person {n}" for n in range(max(labels, default=-1) + 1)]
        super().__init__("list", np.array(labels, np.int64), names, corrupt=3)

    def key(self, index: int) -> str:
        return f"k{index}"

    def read(self, index: int) -> bytes:
        return b"%d" % index


def held_out(source: Source, **arguments: int | float) -> tuple[Source, Source, set[str]]:
    train, holdout = hold_out_people(source, **arguments)
    return train, holdout, set(holdout.names)


@pytest.mark.slow
@given(
    counts=st.lists(st.integers(1, 4), min_size=2, max_size=12),
    unknown=st.integers(0, 3),
    seed=st.integers(0, 1000),
    data=st.data(),
)
def test_nobody_is_on_both_sides_and_nothing_is_lost(
    counts: list[int], unknown: int, seed: int, data: st.DataObject
) -> None:
    labels = [label for label, count in enumerate(counts) for _ in range(count)] + [-1] * unknown
    source = Listed(data.draw(st.permutations(labels)))
    people = data.draw(st.integers(0, len(counts) - 1))
    train, holdout, names = held_out(source, people=people, seed=seed)
    assert (train.classes, holdout.classes) == (len(counts) - people, people)
    assert not names & set(train.names)
    assert names | set(train.names) == set(source.names)
    assert sorted(
        [train.read(i) for i in range(len(train))] + [holdout.read(i) for i in range(len(holdout))]
    ) == sorted(b"%d" % i for i in range(len(source)))
    for part in (train, holdout):
        for i in range(len(part)):
            place = int(part.read(i))
            assert part.key(i) == f"k{place}"
            known = source.labels[place] >= 0
            assert (part.labels[i] >= 0) == known
            if known:
                assert part.names[part.labels[i]] == source.names[source.labels[place]]
        assert np.isin(np.arange(part.classes), part.labels).all()
    assert (holdout.labels >= 0).all()
    singles = sum(count == 1 for count in counts)
    held = Counter(holdout.labels.tolist())
    assert sum(count == 1 for count in held.values()) == max(0, people - len(counts) + singles)


def test_the_seed_decides(tmp_path: Path) -> None:
    source = Listed([n // 3 for n in range(300)])
    once, again, other = (held_out(source, people=20, seed=n)[2] for n in (1, 1, 2))
    assert once == again != other
    assert len(once) == 20


def test_a_real_source_can_be_split(tmp_path: Path) -> None:
    from facekeep.lab.datasets.training_set import open_source

    train, holdout = hold_out_people(open_source(write_people(tmp_path)), people=2, seed=5)
    assert len(contents_of(train)) + len(contents_of(holdout)) == 10
    assert "Bo" in train.names
    assert "Bo" not in holdout.names


def test_corrupt_records_stay_counted() -> None:
    assert hold_out_people(Listed([0, 1]), people=1)[0].corrupt == 3


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"people": 2}, "2 people cannot be kept out of 2"),
        ({"people": -1}, "-1 people cannot"),
    ],
)
def test_what_cannot_be_split(arguments: dict[str, float], why: str) -> None:
    with pytest.raises(InputError, match=why):
        hold_out_people(Listed([0, 0, 1]), **arguments)


def test_selecting_renumbers_the_classes_that_are_left(tmp_path: Path) -> None:
    chosen = select(Listed([2, 0, -1, 1, 2]), [4, 2, 0, 3])
    assert chosen.labels.tolist() == [1, -1, 1, 0]
    assert list(chosen.names) == ["person 1", "person 2"]
    assert [chosen.read(i) for i in range(4)] == [b"4", b"2", b"0", b"3"]
    again = select(chosen, [1, 0])
    assert again.labels.tolist() == [-1, 0]
    assert list(again.names) == ["person 2"]


def test_names_are_a_sequence() -> None:
    names = select(Listed([0, 1, 2, 3]), [0, 1, 3]).names
    assert list(names[1:]) == ["person 1", "person 3"]
    assert names[-1] == "person 3"
    assert list(reversed(names)) == ["person 3", "person 1", "person 0"]
    with pytest.raises(IndexError):
        names[3]


def test_without_people_all_is_training() -> None:
    train, holdout = hold_out_people(Listed([-1, -1]), people=0)
    assert (len(train), len(holdout)) == (2, 0)
