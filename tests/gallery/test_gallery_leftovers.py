"""Files appear whole or not at all, and who is killed leaves nothing that holds faces."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from gallery_kit import KEY, SPACE, make, new

from facekeep._internal import drafts as _drafts
from facekeep._internal.files import replacing
from facekeep.errors import FacekeepError, GalleryKeyError, InputError, StorageFull
from facekeep.gallery import Gallery, generate_key
from facekeep.gallery.leftovers import find_leftovers

HELPERS = Path(__file__).parents[1] / "helpers"

EXPORT = b'{"format":"facekeep-export","version":1}\n'


@pytest.fixture(params=["unnamed", "named"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Drafts on file systems that have files without names, and on others."""
    if request.param == "named":
        monkeypatch.setattr(_drafts, "_NAMELESS", False)
    return request.param


def part_of(target: Path) -> Path:
    """The name of a draft of a file where it must have one."""
    return next(_drafts._drafts(target))


@pytest.mark.usefixtures("kind")
def test_a_draft_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "file"
    for content in (b"first", b"second"):
        with replacing(target, private=True) as file:
            file.write(content)
        assert target.read_bytes() == content
        assert target.stat().st_mode & 0o777 == 0o600
    with (
        pytest.raises(TypeError),
        replacing(target, private=True) as file,
    ):
        file.write("no bytes")  # type: ignore[arg-type]
    with pytest.raises(FileExistsError), replacing(target, private=True, new=True) as file:
        file.write(b"fourth")
    assert target.read_bytes() == b"second"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.usefixtures("kind")
def test_a_left_over_draft_is_swept_by_the_next_run(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    part_of(target).write_bytes(b"left over")
    with replacing(target, private=True) as file:
        file.write(b"new")
    assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.usefixtures("kind")
def test_a_new_file_never_replaces_what_came_in_the_meantime(tmp_path: Path) -> None:
    target = tmp_path / "file"
    with pytest.raises(FileExistsError), replacing(target, private=True, new=True):
        target.write_bytes(b"early")
    assert target.read_bytes() == b"early"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.usefixtures("kind")
def test_a_draft_that_is_being_written_is_left_alone(tmp_path: Path) -> None:
    target, part = tmp_path / "out.jsonl", part_of(tmp_path / "out.jsonl")
    log = part.with_name(f"{part.name}-wal")
    for each in (part, log):
        each.write_bytes(EXPORT)
    target.write_bytes(b"old")
    with part.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert list(find_leftovers(tmp_path / "people.db")) == []
        with replacing(target, private=True) as file:
            file.write(b"new")
        assert target.read_bytes() == b"new"
        assert part.read_bytes() == EXPORT
    assert list(find_leftovers(tmp_path / "people.db")) == [part, log]


def test_two_who_make_the_same_new_file_do_so_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_drafts, "_NAMELESS", False)
    key = tmp_path / "key"
    with replacing(key, private=True, new=True) as first:
        first.write(b"first")
        with pytest.raises(GalleryKeyError, match="another process is writing it"):
            generate_key(f"file:{key}")
    assert key.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [key]


def test_without_locks_only_what_is_old_is_taken_for_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    target, part = tmp_path / "out.jsonl", part_of(tmp_path / "out.jsonl")
    part.write_bytes(EXPORT)
    with replacing(target) as file:
        file.write(b"new")
    assert part.exists()
    assert list(find_leftovers(tmp_path / "people.db")) == []
    long_ago = time.time() - 3600
    os.utime(part, (long_ago, long_ago))
    assert list(find_leftovers(tmp_path / "people.db")) == [part]
    with replacing(target) as file:
        file.write(b"newer")
    assert list(tmp_path.iterdir()) == [target]


def test_check_and_compact_know_what_was_left(path: Path) -> None:
    with make(path) as gallery:
        gallery.enroll("Ada", [new(1)])
        left = [
            part_of(path.with_name("out.jsonl")),
            path.with_name(".0123456789abcdef.part"),
            path.with_name(".facekeep-abcd1234.new"),
        ]
        for file in left[:2]:
            file.write_bytes(EXPORT)
        os.link(path, left[2])
        long_ago = time.time() - 3600
        os.utime(left[1], (long_ago, long_ago))
        foreign = path.with_name(".fedcba9876543210.part")
        foreign.write_bytes(b"somebody else's")
        os.utime(foreign, (long_ago, long_ago))
        found = gallery.check()
        assert [finding.kind for finding in found] == ["erasure"] * 3
        assert all(any(str(file) in f.message for f in found) for file in left)
        gallery.remove("Ada")
        assert gallery.check() == []
        assert not any(file.exists() for file in left)
        assert foreign.exists()
        assert path.stat().st_nlink == 1


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from gallery_kit import SPACE, make, new
from facekeep._internal import drafts, files
from facekeep.gallery import Gallery
from facekeep.gallery import transfer
place = sys.argv[3]
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
if place == "create":
    files.publish = die
    make(Path(sys.argv[1]) / "new.db")
with Gallery.open(Path(sys.argv[1]) / "people.db", space=SPACE) as gallery:
    if place == "write":
        transfer.ExportWriter.finish = die
    elif place == "rename":
        drafts._move = die
    gallery.export(Path(sys.argv[1]) / "out.jsonl")
"""


@pytest.mark.slow
@pytest.mark.parametrize("place", ["create", "write", "rename"])
def test_who_is_killed_leaves_nothing_that_stays(path: Path, place: str) -> None:
    with make(path) as gallery:
        gallery.enroll("Secret Person", [new(1)])
    out = path.with_name("out.jsonl")
    out.write_bytes(b"old")
    command = [sys.executable, "-c", KILLED, str(path.parent), str(HELPERS), place]
    assert subprocess.run(command, check=False).returncode == -9
    names = {file.name for file in path.parent.iterdir()}
    hidden = {name for name in names if name.startswith(".")}
    assert hidden == ({part_of(out).name} if place == "rename" else set())
    assert "new.db" not in names
    assert out.read_bytes() == b"old"
    with Gallery.open(path, space=SPACE) as gallery:
        gallery.remove("Secret Person")
    left = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert b"Secret Person" not in left


def test_an_export_replaces_no_key_no_database_and_no_index(path: Path) -> None:
    key = path.with_name("gallery.key")
    generate_key(f"file:{key}")
    other = path.with_name("other.db")
    make(other).close()
    index = path.with_name("other.db-index")
    index.write_bytes(b"FKINDEX2" + bytes(100))
    same = path.with_name("same.db")
    with make(path, KEY) as gallery:
        os.link(path, same)
        for target in (key, other, index, same, path.with_name("people.db-index.lock")):
            before = target.read_bytes() if target.exists() else None
            with pytest.raises(InputError, match="choose another file"):
                gallery.export(target)
            assert (target.read_bytes() if target.exists() else None) == before


def test_without_room_nothing_appears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageFull):
        make(tmp_path / "people.db")
    with pytest.raises(FacekeepError):
        generate_key(f"file:{tmp_path / 'key'}")
    assert list(tmp_path.iterdir()) == []


def test_folders_are_synced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr("facekeep._internal.files.sync_folder", synced.append)
    with make(path) as gallery:
        gallery.export(path.with_name("out.jsonl"))
    generate_key(f"file:{path.with_name('key')}")
    assert len(synced) == 3
    assert set(synced) == {path.parent}
