"""Annotated photos: both forms of annotation, tars and folders, damage, and division by person."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from readers_kit import picture, put

from facekeep.errors import FacekeepError, ImageError, InputError
from facekeep.lab.datasets.annotated import open_annotated, reduce_landmarks, split_by_person

FIVE = [[4, 5], [10, 5], [7, 8], [5, 11], [9, 11]]
FACE = {"landmarks": FIVE, "bbox": [2, 1, 12, 14]}


def points68(shift: float = 0) -> list[list[float]]:
    """Points in a box from (0, 0) to (10, 20), those that count where they can be told apart."""
    points = np.tile([5.0, 10.0], (68, 1))
    points[0], points[1] = (0, 0), (10, 20)
    points[36:42] = [[2, 6], [3, 5], [4, 5], [5, 6], [4, 7], [3, 7]]
    points[42:48] = [[6, 6], [7, 5], [8, 5], [9, 6], [8, 7], [7, 7]]
    points[30], points[48], points[54] = (5, 11), (3, 15), (7, 16)
    return (points + shift).tolist()


def photo(folder: Path, stem: str, annotation: Any, shade: int = 50) -> None:
    put(folder / f"{stem}.png", picture(shade))
    put(folder / f"{stem}.json", json.dumps(annotation))


def pack(folder: Path, target: Path, names: list[str] | None = None) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(target, "w") as tar:
        for name in names or sorted(path.name for path in folder.iterdir()):
            tar.add(folder / name, name)
    return target


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """Three photos: one face with 68 points, two faces with five, none."""
    folder = tmp_path / "three"
    photo(folder, "a", {"points68": points68(), "person": "Ada"}, 10)
    photo(folder, "b", {"faces": [FACE, FACE | {"bbox": [0, 0, 3, 4]}]}, 20)
    photo(folder, "c", {"faces": [], "person": "Cy"}, 30)
    return folder


def test_folder(three: Path) -> None:
    put(three / "notes.txt", "not a picture")
    annotated = open_annotated(three)
    assert len(annotated) == 3
    assert [int(annotated.image(i)[0, 0, 0]) for i in range(3)] == [10, 20, 30]
    assert [annotated.person(i) for i in range(3)] == ["Ada", None, "Cy"]
    expected = [[[3.5, 6], [7.5, 6], [5, 11], [3, 15], [7, 16]]]
    np.testing.assert_array_equal(annotated.landmarks(0), np.float32(expected))
    np.testing.assert_array_equal(annotated.landmarks(1), np.float32([FIVE, FIVE]))
    np.testing.assert_array_equal(annotated.boxes(1), np.float32([[2, 1, 12, 14], [0, 0, 3, 4]]))
    assert annotated.landmarks(2).shape == (0, 5, 2)
    assert annotated.boxes(2).shape == (0, 4)
    assert {annotated.landmarks(i).dtype.name for i in range(3)} == {"float32"}


def test_box_of_68_reaches_up_to_the_forehead(three: Path) -> None:
    box = open_annotated(three).boxes(0)[0]
    np.testing.assert_allclose(box, [0.24, -6.36, 9.71, 19.64], atol=1e-5)


def test_given_box_of_68_is_kept(tmp_path: Path) -> None:
    photo(tmp_path, "a", {"points68": points68(), "bbox": [1, 2, 3, 4]})
    np.testing.assert_array_equal(open_annotated(tmp_path).boxes(0), np.float32([[1, 2, 3, 4]]))


def test_tar_gives_what_the_folder_gives(three: Path, tmp_path: Path) -> None:
    mixed = ["c.json", "b.png", "a.json", "c.png", "a.png", "b.json"]
    tar = pack(three, tmp_path / "tars" / "one.tar", mixed)
    for annotated in (open_annotated(tar), pickle.loads(pickle.dumps(open_annotated(tar)))):
        assert [int(annotated.image(i)[0, 0, 0]) for i in range(3)] == [10, 20, 30]
        assert [annotated.person(i) for i in range(3)] == ["Ada", None, "Cy"]


def test_folder_of_tars_in_their_order(three: Path, tmp_path: Path) -> None:
    pack(three, tmp_path / "tars" / "2.tar", ["a.png", "a.json"])
    pack(three, tmp_path / "tars" / "1.tar", ["b.png", "b.json"])
    annotated = open_annotated(tmp_path / "tars")
    assert [int(annotated.image(i)[0, 0, 0]) for i in range(2)] == [20, 10]


def test_subfolders_count(three: Path, tmp_path: Path) -> None:
    photo(three / "more", "a", {"faces": [FACE]}, 40)
    assert len(open_annotated(three)) == 4


def test_five_of_68_takes_stacks() -> None:
    stack = np.array([points68(), points68(1)])
    np.testing.assert_array_equal(reduce_landmarks(stack)[1], reduce_landmarks(stack)[0] + 1)
    assert reduce_landmarks(stack).dtype == np.float32


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ([], "either points68 or faces"),
        ({}, "either points68 or faces"),
        ({"faces": [], "points68": points68()}, "either points68 or faces"),
        ({"points68": points68()[:67]}, "68 x 2"),
        ({"points68": [*points68()[:67], [1, None]]}, "68 x 2"),
        ({"points68": [*points68()[:67], ["1", "2"]]}, "68 x 2"),
        ({"points68": [*points68()[:67], [1, float("nan")]]}, "finite"),
        ({"points68": [*points68()[:67], [1, 1e300]]}, "finite"),
        ({"points68": [*points68()[:67], [1, 10**400]]}, "finite"),
        ({"faces": {}}, "list of faces"),
        ({"faces": [1]}, "list of faces"),
        ({"faces": [{"landmarks": FIVE}]}, "bbox must be 4"),
        ({"faces": [{"bbox": [0, 0, 1, 1]}]}, "landmarks must be 5 x 2"),
        ({"faces": [FACE | {"bbox": [3, 0, 1, 1]}]}, "x1 < x2"),
        ({"faces": [FACE], "person": 7}, "person must be text"),
    ],
)
def test_wrong_annotation_is_named(tmp_path: Path, annotation: Any, message: str) -> None:
    photo(tmp_path, "a", annotation)
    with pytest.raises(InputError, match=f"a.json: is no annotation: .*{message}"):
        open_annotated(tmp_path)


def test_picture_and_annotation_need_each_other(three: Path) -> None:
    (three / "b.json").unlink()
    with pytest.raises(InputError, match=r"b\.png: has no annotation"):
        open_annotated(three)
    (three / "b.png").rename(three / "b.txt")
    put(three / "b.json", "{}")
    with pytest.raises(InputError, match=r"b\.json: has no picture"):
        open_annotated(three)


def test_two_pictures_of_one_stem(three: Path) -> None:
    put(three / "a.jpg", picture(1, style="JPEG"))
    with pytest.raises(InputError, match="second file of the same stem"):
        open_annotated(three)


def test_damaged_picture_is_named_when_asked_for(three: Path) -> None:
    put(three / "b.png", picture(1)[:40])
    annotated = open_annotated(three)
    with pytest.raises(ImageError, match=r"b\.png: "):
        annotated.image(1)
    (three / "a.png").unlink()
    with pytest.raises(ImageError, match=r"a\.png: cannot be read: no such"):
        annotated.image(0)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no pictures"):
        open_annotated(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        open_annotated(tmp_path / "none.tar")


def test_no_tar_or_a_damaged_one(three: Path, tmp_path: Path) -> None:
    whole = pack(three, tmp_path / "whole.tar").read_bytes()
    compressed = io.BytesIO()
    with tarfile.open(fileobj=compressed, mode="w:gz") as tar:
        tar.add(three / "a.png", "a.png")
    broken = bytearray(whole)
    header = whole.index(b"b.json")
    broken[header : header + 200] = b"x" * 200
    for content in (compressed.getvalue(), b"no tar at all", bytes(broken), whole[: header + 100]):
        path = put(tmp_path / "bad" / "bad.tar", content)
        with pytest.raises(InputError, match="no tar, or a compressed or damaged one"):
            open_annotated(path)


def test_by_person_parts_people(tmp_path: Path) -> None:
    for i, person in enumerate(["Ada", "Bob", "Ada", None, None, "Cy", "Bob"]):
        named = {} if person is None else {"person": person}
        photo(tmp_path, f"{i}", {"faces": [FACE]} | named, i)
    annotated = open_annotated(tmp_path)
    sizes = set()
    for seed in range(20):
        parts = split_by_person(annotated, holdout=2, seed=seed)
        shades = [{int(part.image(i)[0, 0, 0]) for i in range(len(part))} for part in parts]
        assert shades[0] | shades[1] == set(range(7))
        assert len(parts[0]) + len(parts[1]) == 7
        for same in ({0, 2}, {1, 6}):
            assert any(same <= part for part in shades)
        sizes.add(len(parts[1]))
    assert sizes == {2, 3, 4}
    again = split_by_person(annotated, holdout=2, seed=19)[1]
    assert {int(again.image(i)[0, 0, 0]) for i in range(len(again))} == shades[1]


@pytest.mark.parametrize("holdout", [-1, 0, 3, 4])
def test_by_person_leaves_somebody_in_both_parts(three: Path, holdout: int) -> None:
    with pytest.raises(InputError, match="from 1 to 2"):
        split_by_person(open_annotated(three), holdout=holdout, seed=0)


@pytest.mark.slow
@settings(max_examples=150, derandomize=True, database=None)
@given(st.data())
def test_hostile_annotations(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("hostile")
    text = bytearray(json.dumps({"faces": [FACE], "person": "Ada"}).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        text[at : at + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=6))
    put(folder / "a.png", picture(1))
    put(folder / "a.json", bytes(text))
    with contextlib.suppress(FacekeepError):
        annotated = open_annotated(folder)
        assert annotated.landmarks(0).shape == (len(annotated.boxes(0)), 5, 2)


@pytest.mark.slow
@pytest.mark.shared
def test_shared_photos(shared: Path) -> None:
    annotated = open_annotated(shared / "landmarks" / "faces68.tar")
    train, held_out = split_by_person(annotated, holdout=70, seed=0)
    people = [{part.person(i) for i in range(len(part))} for part in (train, held_out)]
    assert (len(people[0]), len(people[1]), len(people[0] & people[1])) == (277, 70, 0)
    for i in range(0, len(held_out), 50):
        (left, right, nose, *_), box = held_out.landmarks(i)[0], held_out.boxes(i)[0]
        assert left[0] < right[0]
        assert (box[:2] < nose).all()
        assert (nose < box[2:]).all()
