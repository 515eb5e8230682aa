"""Which face of a photo is the main one, and which photos show the same person."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from facekeep.gallery import Hit
from facekeep.pipeline.enrollment_rules import (
    choose_main_face,
    find_conflict,
    find_inconsistent,
    find_main_group,
)
from facekeep.pipeline.quality import POLICIES
from facekeep.types import Face, Threshold

SHAPE = (400, 600)
STANDARD, STRICT, OFF = (POLICIES[name] for name in ("standard", "strict", "off"))


def face(x: float, y: float, size: float) -> Face:
    """A face of so many pixels about a point, given from the middle: 1 is the border."""
    middle = np.array([300 * (1 + x), 200 * (1 + y)])
    bbox = np.concatenate([middle - size / 2, middle + size / 2]).astype(np.float32)
    return Face(bbox, np.zeros((5, 2), np.float32), 0.9)


PORTRAIT = face(0.05, -0.1, 140)


@pytest.mark.parametrize(
    ("faces", "standard", "strict"),
    [
        ([PORTRAIT], 0, 0),
        ([PORTRAIT, face(0.8, 0.2, 56)], 0, 0),
        ([PORTRAIT, face(0.5, 0.2, 70)], 0, None),  # half the size, not at the border
        ([PORTRAIT, face(0.8, 0.2, 110)], 0, 0),  # at the border
        ([PORTRAIT, face(0.8, 0.2, 140)], 0, None),
        ([PORTRAIT, face(0.4, 0.1, 110)], None, None),  # close by
        ([PORTRAIT, face(0.9, 0.4, 160)], None, None),  # at the border, but larger
        ([face(0.9, 0.4, 60), PORTRAIT], 1, 1),
        ([face(-0.5, 0, 100), face(0.5, 0, 100)], None, None),  # two side by side
        ([face(-0.5, 0, 100), face(0.5, 0, 55)], None, None),
        ([face(-0.5, 0, 100), face(0.5, 0, 39)], 0, None),
        ([face(0, 0, 60), face(-0.7, 0, 60), face(0.7, 0, 60)], None, None),  # three in a row
        ([face(0, 0, 60), face(-0.7, 0, 30), face(0.7, 0, 30)], 0, None),
    ],
)
def test_a_face_stands_out_by_size_and_place(
    faces: list[Face], standard: int | None, strict: int | None
) -> None:
    assert choose_main_face(faces, SHAPE, STANDARD) == standard
    assert choose_main_face(faces, SHAPE, STRICT) == strict


def test_without_review_the_largest_face_is_the_main_one() -> None:
    faces = [face(0, 0, 60), face(0.9, 0.9, 61)]
    assert choose_main_face(faces, SHAPE, OFF) == 1
    assert choose_main_face([], SHAPE, OFF) is choose_main_face([], SHAPE, STANDARD) is None


def people(*counts: int, spread: float = 0.5, seed: int = 0) -> NDArray[np.float32]:
    """Unit vectors about so many directions: one person's at 0.8, of two people about 0."""
    rng = np.random.default_rng(seed)
    rows = []
    for count in counts:
        middle = rng.standard_normal(128)
        middle /= np.linalg.norm(middle)
        noise = rng.standard_normal((count, 128)) / np.sqrt(128)
        rows.append(middle + spread * noise)
    array = np.concatenate(rows)
    return (array / np.linalg.norm(array, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize(
    ("counts", "own", "main"),
    [
        ((1,), 0, 1),
        ((5,), 0, 5),
        ((3, 1), 0, 3),
        ((1, 1), 0, 0),  # either may be the wrong one
        ((2, 2), 0, 0),
        ((3, 2), 0, 3),
        ((2, 1, 1), 0, 0),  # not more than half
        ((1,) * 32, 0, 0),
        ((1, 1), 1, 1),  # the person's own template decides
        ((1, 4), 1, 1),
        ((3, 2), 2, 3),
    ],
)
def test_most_photos_or_the_persons_own_templates_say_who_it_is(
    counts: tuple[int, ...], own: int, main: int
) -> None:
    chosen = find_main_group(people(*counts), own, 0.3)
    assert chosen.tolist() == [place < main for place in range(sum(counts))]


def test_photos_far_apart_are_one_person_by_those_between_them() -> None:
    angles = np.radians([0, 35, 70, 105])
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    assert rows[0] @ rows[3] < 0
    assert find_main_group(rows, 0, 0.3).all()
    assert not find_main_group(rows[[0, 3]], 0, 0.3).any()


@given(st.permutations(range(7)))
def test_the_order_of_photos_changes_nothing(order: list[int]) -> None:
    rows = people(4, 2, 1)
    chosen = find_main_group(rows[order], 0, 0.3)
    assert [place for place, kept in zip(order, chosen, strict=True) if kept] == [
        place for place in order if place < 4
    ]


def test_the_odd_photo_is_named_and_why() -> None:
    rows = people(3, 1)
    for place in range(4):
        odd = find_inconsistent("Ada", np.insert(rows[:3], place, rows[3], axis=0), 0, 0.3)
        assert list(odd) == [place]
        word, text = odd[place]
        assert str(word) == "inconsistent_identity"
        assert "most of the other photos of Ada" in text
        assert "0.300 is needed" in text
    before = find_inconsistent("Ada", people(1, 2), 1, 0.3)
    assert list(before) == [0, 1]
    assert all("those Ada was enrolled from before" in text for _, text in before.values())
    neither = find_inconsistent("Ada", people(1, 1), 0, 0.3)
    assert list(neither) == [0, 1]
    assert all("the 2 photos do not show one person" in text for _, text in neither.values())
    assert (
        find_inconsistent("Ada", rows[:3], 1, 0.3)
        == find_inconsistent("Ada", rows[:1], 0, 0.3)
        == {}
    )


def test_a_conflict_says_how_often_it_is_a_mistake() -> None:
    hit = Hit("id", "Ada", 0.5, "template", 1, None)
    found = find_conflict("Bob", [hit], lambda templates: Threshold(0.4, 1e-5, 0), 1000)
    assert found is not None
    assert str(found[0]) == "identity_conflict"
    assert "Ada" in found[1]
    assert "1 new person in 100 " in found[1]
    for name, limit in itertools.product(("Ada", "Bob"), (0.4, 0.6)):
        expected = name == "Bob" and limit == 0.4
        given = Threshold(limit, 1e-5, 0)
        assert bool(find_conflict(name, [hit], lambda templates, g=given: g, 9)) is expected
