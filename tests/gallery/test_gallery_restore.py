"""A copy takes the place of a gallery whole, whatever lies there, or nothing changes."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from gallery_kit import KEY, KEY2, SPACE, doctor, make, new
from index_kit import filled, found, index_of

from facekeep.errors import (
    GalleryBusy,
    GalleryCorrupt,
    GalleryKeyError,
    GalleryNotFound,
    InputError,
    StorageFull,
)
from facekeep.gallery import Gallery, Key, restore
from facekeep.gallery.sqlite.file_locks import finish_swap

HELPERS = Path(__file__).parents[1] / "helpers"

KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from gallery_kit import SPACE, new
from facekeep.gallery import Gallery
from facekeep.gallery.sqlite import file_locks
from facekeep.gallery import restore
path, place = Path(sys.argv[1]), sys.argv[3]
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
if place == "enroll":
    gallery = Gallery.open(path, space=SPACE)
    for number in range(30):
        gallery.enroll(f"Later {number}", [new(number)])
    die()
elif place == "begin":
    file_locks._link_old = die
elif place == "aside":
    file_locks._move = die
elif place == "swap":
    file_locks.sync_folder = die
elif place == "end":
    file_locks.finish_swap = die
restore(path.with_name("copy.db"), path)
"""


def killed(path: Path, place: str) -> None:
    command = [sys.executable, "-c", KILLED, str(path), str(HELPERS), place]
    assert subprocess.run(command, check=False).returncode == -9


@pytest.fixture
def copy(path: Path, key: Key | None) -> Path:
    """A copy of a gallery, which has changed since."""
    with make(path, key) as gallery:
        gallery.enroll("Ada", [new(1)])
    copied = path.with_name("copy.db")
    shutil.copy(path, copied)
    with Gallery.open(path, space=SPACE, key=key) as gallery:
        gallery.rename("Ada", "Eve")
    return copied


def names(path: Path, key: Key | None = None) -> list[str]:
    with Gallery.open(path, key=key) as gallery:
        assert gallery.check() == []
        return [person.name for person in gallery.people()]


def files(path: Path) -> set[str]:
    return {file.name for file in path.parent.iterdir()}


@pytest.mark.parametrize("there", ["a gallery", "nothing", "damage", "text"])
def test_a_copy_takes_the_place(path: Path, copy: Path, key: Key | None, there: str) -> None:
    path.chmod(0o640)
    if there == "nothing":
        path.unlink()
    elif there == "damage":
        os.truncate(path, 20_000)
    elif there == "text":
        path.write_bytes(b"Dear diary")
    before = copy.read_bytes()
    done = restore(copy, path, key=key)
    assert (done.people, done.replaced, done.remarks) == (1, there != "nothing", ())
    assert names(path, key) == ["Ada"]
    assert path.stat().st_mode & 0o777 == (0o600 if there == "nothing" else 0o640)
    assert files(path) == {"people.db", "copy.db"}
    assert copy.read_bytes() == before


@pytest.mark.slow
def test_an_old_log_does_not_damage_what_is_restored(path: Path) -> None:
    make(path).close()
    copied = Path(shutil.copy(path, path.with_name("copy.db")))
    killed(path, "enroll")
    assert Path(f"{path}-wal").stat().st_size > 0
    restore(copied, path)
    assert names(path) == []
    assert files(path) == {"people.db", "copy.db"}


@pytest.mark.slow
def test_a_copy_put_beside_an_old_log_is_not_harmed_and_the_message_says_how(path: Path) -> None:
    with make(path) as gallery:
        for number in range(40):
            gallery.enroll(f"P{number}", [new(number, crop=b"x" * 500)])
    backup = path.read_bytes()
    killed(path, "enroll")
    path.write_bytes(backup[:60_000] + b"damage" * 5000)
    before = path.read_bytes()
    for _ in range(2):
        with pytest.raises(
            GalleryCorrupt, match=r"restore a copy of the gallery.*old people.db-wal"
        ):
            enroll_and_search(path)
    assert path.read_bytes() == before
    assert Path(f"{path}-wal").stat().st_size > 0


def enroll_and_search(path: Path) -> None:
    with Gallery.open(path, space=SPACE) as gallery:
        for number in range(40):
            gallery.vectors(f"P{number}")
        gallery.enroll("Late", [new(1)])


def _copy_of(path: Path) -> Path:
    return Path(shutil.copy(path, path.with_name("another.db")))


@pytest.mark.slow
def test_a_copy_with_a_log_of_its_own_is_taken_whole(path: Path) -> None:
    make(path).close()
    killed(path, "enroll")
    copied = path.with_name("copy.db")
    for ending in ("", "-wal"):
        shutil.copy(f"{path}{ending}", f"{copied}{ending}")
    target = path.with_name("new.db")
    assert restore(copied, target).people == 30
    assert len(names(target)) == 30


def test_the_old_index_goes(path: Path, small_blocks: None) -> None:
    with filled(path) as gallery:
        found(gallery)
    copied = _copy_of(path)
    restore(copied, path)
    assert not index_of(path).exists()
    with Gallery.open(path, space=SPACE) as gallery:
        assert len(found(gallery)) == 30


def test_bad_copies_change_nothing(path: Path, copy: Path, key: Key | None) -> None:
    before = path.read_bytes()
    bad = path.with_name("bad.db")
    cases = [
        (lambda: bad.write_bytes(copy.read_bytes()[:20_000]), GalleryCorrupt),
        (lambda: bad.write_bytes(b"text" * 9999), GalleryCorrupt),
        (lambda: bad.write_bytes(b""), GalleryCorrupt),
        (bad.unlink, GalleryNotFound),
    ]
    for spoil, error in cases:
        spoil()
        with pytest.raises(error):
            restore(bad, path, key=key)
    shutil.copy(copy, bad)
    doctor(bad, "UPDATE people SET name = 'Mallory'")
    with pytest.raises(GalleryCorrupt, match=r"the copy .*bad.db is damaged .*Mallory"):
        restore(bad, path, key=key)
    with pytest.raises(InputError, match="gallery itself"):
        restore(path, path, key=key)
    if key is not None:
        with pytest.raises(GalleryKeyError, match=r"copy\.db"):
            restore(copy, path, key=KEY2)
    assert path.read_bytes() == before
    assert names(path, key) == ["Eve"]


def test_an_encrypted_copy_without_its_key_is_restored_with_a_remark(path: Path) -> None:
    make(path, KEY).close()
    copied = _copy_of(path)
    assert "give the key" in restore(copied, path).remarks[0]
    assert names(path, KEY) == []


def test_a_gallery_in_use_is_not_replaced(path: Path, copy: Path, key: Key | None) -> None:
    with Gallery.open(path, key=key), pytest.raises(GalleryBusy, match="open"):
        restore(copy, path, key=key, busy_timeout=0.05)
    hold = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]);"
        " c.execute('SELECT count(*) FROM people').fetchall(); print('ready', flush=True);"
        " sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline()
        with pytest.raises(GalleryBusy, match="another program uses"):
            restore(copy, path, key=key, busy_timeout=0.05)
        holder.communicate()
    assert restore(copy, path, key=key).replaced


@pytest.mark.slow
@pytest.mark.parametrize("place", ["begin", "aside", "swap", "end"])
def test_who_is_killed_leaves_one_whole_gallery(path: Path, place: str) -> None:
    with make(path) as gallery:
        gallery.enroll("Ada", [new(1)])
    shutil.copy(path, path.with_name("copy.db"))
    killed(path, "enroll")
    killed(path, place)
    wanted = ["Ada"] if place == "end" else ["Ada", *sorted(f"Later {n}" for n in range(30))]
    with Gallery.open(path) as gallery:
        assert {finding.kind for finding in gallery.check()} <= {"erasure"}
        gallery.compact()
    assert names(path) == wanted
    assert files(path) == {"people.db", "copy.db"}


def test_finish_swap_does_nothing_where_nothing_was_killed(path: Path) -> None:
    make(path).close()
    before = path.read_bytes()
    finish_swap(path)
    assert path.read_bytes() == before


def test_without_room_nothing_changes(
    path: Path, copy: Path, key: Key | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.pwrite", full)
        with pytest.raises(StorageFull):
            restore(copy, path, key=key)
    assert files(path) == {"people.db", "copy.db"}
    assert names(path, key) == ["Eve"]


def test_sqlite_can_still_read_what_was_restored(path: Path, copy: Path, key: Key | None) -> None:
    restore(copy, path, key=key)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("SELECT name FROM people").fetchall() == [("Ada",)]
