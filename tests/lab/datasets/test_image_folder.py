from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from data_kit import PEOPLE, contents_of, encoded, write_people

from facekeep.errors import ImageError, InputError
from facekeep.lab.datasets.training_set import open_folder, open_source


def test_every_folder_is_a_person_sorted_by_name(tmp_path: Path) -> None:
    source = open_source(write_people(tmp_path))
    assert list(source.names) == sorted(PEOPLE)
    expected = [(f"{who}/{n}.png", who) for who, count in PEOPLE.items() for n in range(count)]
    assert [(key, person) for key, person, _ in contents_of(source)] == expected
    assert [data for *_, data in contents_of(source)] == [encoded(n) for n in range(10)]


def test_images_below_a_persons_folder_are_the_persons_and_other_files_are_ignored(
    tmp_path: Path,
) -> None:
    write_people(tmp_path, {"Ada": 1})
    (tmp_path / "Ada/old/more").mkdir(parents=True)
    (tmp_path / "Ada/old/more/z.JPG").write_bytes(encoded(7, "JPEG"))
    (tmp_path / "Ada/notes.txt").write_text("x")
    (tmp_path / "Ada/.hidden.png").write_bytes(b"")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache/a.png").write_bytes(b"")
    (tmp_path / "Nobody").mkdir()
    (tmp_path / "README").write_text("x")
    source = open_source(tmp_path)
    assert [(key, who) for key, who, _ in contents_of(source)] == [
        ("Ada/0.png", "Ada"),
        ("Ada/old/more/z.JPG", "Ada"),
    ]
    assert list(source.names) == ["Ada"]


def test_a_folder_of_images_alone_has_no_labels(tmp_path: Path) -> None:
    for name in ("b.png", "a.jpg"):
        (tmp_path / name).write_bytes(encoded(1))
    source = open_source(tmp_path)
    assert [key for key, *_ in contents_of(source)] == ["a.jpg", "b.png"]
    assert source.labels.tolist() == [-1, -1]
    assert source.classes == 0


def test_names_of_any_bytes_are_kept(tmp_path: Path) -> None:
    name = os.fsdecode(b"J\xfcrgen \xe2\x82\xac")
    write_people(tmp_path, {name: 1, "世界": 1})
    source = open_source(tmp_path)
    assert sorted(source.names) == sorted([name, "世界"])
    assert {person for _, person, _ in contents_of(source)} == {name, "世界"}


def test_an_image_beside_the_people_is_named(tmp_path: Path) -> None:
    write_people(tmp_path, {"Ada": 1})
    (tmp_path / "stray.png").write_bytes(encoded(1))
    with pytest.raises(InputError, match=r"stray\.png: lies beside the folders of the people"):
        open_source(tmp_path)


@pytest.mark.parametrize("inside", [(), ("x.txt",)])
def test_a_folder_without_images_says_what_it_should_hold(
    tmp_path: Path, inside: tuple[str, ...]
) -> None:
    for name in inside:
        (tmp_path / name).write_text("x")
    with pytest.raises(InputError, match="a folder of images for each person"):
        open_source(tmp_path)


def test_a_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path) -> None:
        raise PermissionError(13, "no")

    write_people(tmp_path, {"Ada": 1})
    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(ImageError, match="permission denied"):
        open_folder(tmp_path)
    with pytest.raises(InputError, match="permission denied"):
        open_source(tmp_path)


def test_what_vanished_or_is_no_file_costs_that_image_alone(tmp_path: Path) -> None:
    source = open_source(write_people(tmp_path, {"Ada": 4}))
    paths = sorted((tmp_path / "Ada").iterdir())
    paths[0].unlink()
    paths[1].unlink()
    os.mkfifo(paths[1])
    os.truncate(paths[2], 1 << 30)
    for index, why in enumerate(["no such file", "pipe", "too many"]):
        with pytest.raises(ImageError, match=re.escape(str(paths[index])) + ".*" + why):
            source.read(index)
    assert source.read(3) == encoded(3)
