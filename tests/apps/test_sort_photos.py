"""Copying the photos of groups into folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from facekeep import FaceEngine
from facekeep.apps import sort_photos
from facekeep.apps.photo_folders import Clustering, cluster_folder
from facekeep.apps.sort_photos import sort_into
from facekeep.errors import InputError, StorageFull


@pytest.fixture
def groups(engine: FaceEngine, photo_folder: Path) -> Clustering:
    return cluster_folder(engine, photo_folder)


def contents(folder: Path) -> dict[str, set[str]]:
    return {each.name: {x.name for x in each.iterdir()} for each in folder.iterdir()}


def test_photos_are_copied_by_person_and_only_once(
    groups: Clustering, photo_folder: Path, tmp_path: Path
):
    before = {path: path.read_bytes() for path in photo_folder.rglob("*") if path.is_file()}
    target = tmp_path / "deep" / "sorted"
    names = {groups.groups[0].id: "Grace Hopper"}
    done = sort_into(target, groups, photo_folder, names=names)
    assert contents(target) == {
        "Grace Hopper": {"hopper0.png", "hopper1.png", "hopper2.png"},
        f"group {groups.groups[1].id}": {"collins\n0.png", "collins\n1.png"},
        "unsorted": {"wall.png"},
    }
    assert (done.copied, done.present, done.failed) == (6, 0, [])
    assert target.stat().st_mode & 0o777 == 0o700
    for copy in target.rglob("*.png"):
        assert copy.stat().st_mode & 0o777 == 0o600
    assert {path: path.read_bytes() for path in photo_folder.rglob("*") if path.is_file()} == before
    (target / "Grace Hopper" / "hopper1.png").unlink()
    again = sort_into(target, groups, photo_folder, names=names)
    assert (again.copied, again.present) == (1, 5)
    photo = target / "Grace Hopper" / "hopper1.png"
    assert photo.stat().st_mtime_ns == (photo_folder / "hopper1.png").stat().st_mtime_ns


def test_nothing_is_replaced(groups: Clustering, photo_folder: Path, tmp_path: Path):
    target = tmp_path / "sorted"
    folder = target / "unsorted"
    folder.mkdir(parents=True)
    (folder / "wall.png").write_bytes(b"mine")
    done = sort_into(target, groups, photo_folder)
    assert (folder / "wall.png").read_bytes() == b"mine"
    (copy,) = [each for each in folder.iterdir() if each.name != "wall.png"]
    assert copy.read_bytes() == (photo_folder / "wall.png").read_bytes()
    assert done.copied == 6
    assert sort_into(target, groups, photo_folder).copied == 0


def test_links_are_not_followed(groups: Clustering, photo_folder: Path, tmp_path: Path):
    target, mine = tmp_path / "sorted", tmp_path / "mine.png"
    mine.write_bytes(b"mine")
    (target / "unsorted").mkdir(parents=True)
    (target / "unsorted" / "wall.png").symlink_to(mine)
    sort_into(target, groups, photo_folder)
    assert mine.read_bytes() == b"mine"
    (tmp_path / "elsewhere").mkdir()
    other = tmp_path / "other"
    other.mkdir()
    (other / f"group {groups.groups[0].id}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="is a link"):
        sort_into(other, groups, photo_folder)
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("inside", [".", "2021 août", "new"])
def test_the_photos_own_folder_is_refused(groups: Clustering, photo_folder: Path, inside: str):
    before = sorted(photo_folder.rglob("*"))
    with pytest.raises(InputError, match="choose a folder outside"):
        sort_into(photo_folder / inside, groups, photo_folder)
    assert sorted(photo_folder.rglob("*")) == before


def test_a_persons_folder_that_is_the_photos_own_is_refused(groups: Clustering, photo_folder: Path):
    with pytest.raises(InputError, match="sort elsewhere"):
        sort_into(
            photo_folder.parent,
            groups,
            photo_folder,
            names={groups.groups[0].id: photo_folder.name},
        )


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("../../etc", "_.._etc"),
        ("a/b", "a_b"),
        ("..", "_"),
        (".hidden", "hidden"),
        ("Ada\u202e", "Ada_"),
        ("unsorted", "unsorted (2)"),
        ("x" * 150, "x" * 150),
        ("é" * 150, "é" * 100),
    ],
)
def test_any_name_makes_a_folder_in_its_place(
    groups: Clustering, photo_folder: Path, tmp_path: Path, name: str, folder: str
):
    target = tmp_path / "sorted"
    sort_into(target, groups, photo_folder, names={groups.groups[0].id: name})
    assert folder in contents(target)
    assert {each.name for each in tmp_path.iterdir()} >= {"sorted", photo_folder.name}
    assert len(contents(target)) == 3


def test_two_people_never_share_a_folder(groups: Clustering, photo_folder: Path, tmp_path: Path):
    first, second = groups.groups
    sort_into(tmp_path / "s", groups, photo_folder, names={first.id: "a/b", second.id: "A:b"})
    assert len(contents(tmp_path / "s")) == 3


def test_a_photo_that_vanished_is_told(groups: Clustering, photo_folder: Path, tmp_path: Path):
    (photo_folder / "wall.png").unlink()
    done = sort_into(tmp_path / "s", groups, photo_folder)
    assert [path.name for path, _ in done.failed] == ["wall.png"]
    assert done.copied == 5


def test_a_full_disk_leaves_whole_copies(
    groups: Clustering, photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    calls = []

    def full(source: object, target: object, length: int) -> None:
        calls.append(source)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        target.write(source.read())  # type: ignore[attr-defined]

    monkeypatch.setattr(sort_photos.shutil, "copyfileobj", full)
    with pytest.raises(StorageFull):
        sort_into(tmp_path / "s", groups, photo_folder)
    copies = [each for each in (tmp_path / "s").rglob("*") if each.is_file()]
    assert len(copies) == 2
    originals = {path.read_bytes() for path in photo_folder.rglob("*.png")}
    assert all(copy.read_bytes() in originals for copy in copies)
