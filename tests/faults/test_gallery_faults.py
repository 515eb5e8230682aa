"""The gallery under kill -9, contention, full disks and damaged files: nothing is lost, ever."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import resource
import shutil
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

import gallery_load
import numpy as np
import pytest
from gallery_load import EACH, SPACE, WRITERS, three, unit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facekeep.errors import (
    FacekeepError,
    GalleryBusy,
    GalleryCorrupt,
    GalleryError,
    GalleryNotFound,
    GalleryReadOnly,
    InputError,
    NotAGallery,
    StorageFull,
)
from facekeep.gallery import Gallery
from facekeep.gallery.sqlite.sqlite_errors import translate_errors

pytestmark = pytest.mark.slow


def contents(path: Path) -> list[Any]:
    """Everything in a gallery, for comparison."""
    with Gallery.open(path, read_only=True) as gallery:
        assert gallery.check() == []
        people = [gallery.person(person.name) for person in gallery.people()]
        return [(p, [v.tobytes() for v in gallery.vectors(p.name).values()]) for p in people]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A gallery with five people, closed."""
    file = tmp_path / "people.db"
    with Gallery.open(file, space=SPACE, create=True) as gallery:
        for number in range(5):
            gallery.enroll(f"P{number}", three(number))
    return file


# Kill -9


@pytest.fixture(scope="module")
def nursery() -> ForkServerContext:
    """Starts processes in milliseconds, with the gallery imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["gallery_load"])
    return context


def killed_at_random(
    child: ForkServerProcess, said: Connection, say: Connection, longest: float
) -> list[str]:
    """Start a process that works on the gallery, kill it, and return what it acknowledged."""
    child.start()
    # The child has the only other end now: should it die by itself, reading fails, not hangs.
    say.close()
    # Some die while they open the gallery, most in the middle of their work.
    opening = random.random() < 0.1
    words = [] if opening else [said.recv() for _ in range(random.randint(1, 5))]
    time.sleep(random.uniform(0, longest))
    child.kill()
    child.join()
    assert child.exitcode == -9
    return [word for word in (*words, *rest_of(said)) if word != "ready"]


def rest_of(said: Connection) -> Iterator[str]:
    """What was said before the kill."""
    with contextlib.suppress(EOFError):
        while True:
            yield said.recv()


def kill_many(
    nursery: ForkServerContext, work: Callable[..., None], path: Path, times: int, longest: float
) -> list[str]:
    """Kill a process as often as asked and return all that was acknowledged."""
    acknowledged: list[str] = []
    for number in range(times):
        said, say = nursery.Pipe(duplex=False)
        with said:
            child = nursery.Process(target=work, args=(str(path), 1000 * (number + 1), say))
            acknowledged += killed_at_random(child, said, say, longest)
    return acknowledged


def test_kill_while_enrolling_loses_nothing_and_leaves_nothing_half_done(
    path: Path, nursery: ForkServerContext
) -> None:
    acknowledged = kill_many(nursery, gallery_load.enroll_for_ever, path, times=100, longest=0.1)
    assert len(acknowledged) > 100
    with Gallery.open(path, space=SPACE) as gallery:
        assert gallery.check() == []
        people = {person.name: person.template_count for person in gallery.people()}
        assert set(people.values()) == {3}
        assert set(acknowledged) <= people.keys()
        assert len(people) <= 5 + len(acknowledged) + 100
        for name in random.sample(acknowledged, 20):
            wanted = [new.vector.tobytes() for new in three(int(name[1:]))]
            assert [v.tobytes() for v in gallery.vectors(name).values()] == wanted


def test_kill_while_erasing_leaves_no_traces_of_what_was_acknowledged(
    path: Path, nursery: ForkServerContext
) -> None:
    acknowledged = kill_many(nursery, gallery_load.erase_for_ever, path, times=20, longest=0.5)
    assert len(acknowledged) > 20
    with Gallery.open(path, space=SPACE) as gallery:
        assert gallery.check() == []
        assert not gallery.info().erasure_pending
        left = b"".join(file.read_bytes() for file in path.parent.iterdir())
        assert b"P4" in left
        for name in acknowledged:
            assert name.encode() not in left
            assert three(int(name[1:]))[0].vector.tobytes()[:16] not in left


# Contention


def test_four_enroll_while_a_fifth_searches(tmp_path: Path) -> None:
    path = tmp_path / "people.db"
    Gallery.open(path, space=SPACE, create=True).close()
    context = multiprocessing.get_context("spawn")
    done = context.Array("l", WRITERS)
    workers = [
        context.Process(target=gallery_load.enroll_many, args=(str(path), writer, done))
        for writer in range(WRITERS)
    ]
    workers.append(
        context.Process(target=gallery_load.search_all_the_while, args=(str(path), done))
    )
    for worker in workers:
        worker.start()
    for worker in workers[:-1]:
        worker.join()
    if any(worker.exitcode for worker in workers[:-1]):
        workers[-1].kill()
    workers[-1].join()
    assert [worker.exitcode for worker in workers] == [0] * 5
    with Gallery.open(path, space=SPACE) as gallery:
        assert gallery.check() == []
        assert {p.template_count for p in gallery.people()} == {2}
        assert gallery.info().templates == WRITERS * EACH
        for writer in range(WRITERS):
            vectors = np.stack([unit(writer, number) for number in range(0, EACH, 50)])
            names = [hits[0].name for hits in gallery.search(vectors, 1)]
            assert names == [f"W{writer}-{number // 2}" for number in range(0, EACH, 50)]


def test_a_lock_held_for_too_long(path: Path) -> None:
    before = contents(path)
    holder = sqlite3.connect(path, isolation_level=None)
    with closing(holder), Gallery.open(path, space=SPACE, busy_timeout=0.1) as gallery:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(GalleryBusy, match="locked"):
            gallery.enroll("Late", three(9))
        assert len(gallery.people()) == 5
        assert gallery.search(unit(3, 1)[None], 1)[0][0].name == "P3"
        holder.execute("ROLLBACK")
        assert contents(path) == before
        gallery.enroll("Late", three(9))
    assert len(contents(path)) == 6


def test_a_lock_held_for_a_while_is_waited_for(path: Path) -> None:
    holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.5, lambda: holder.execute("ROLLBACK"))
    timer.start()
    with closing(holder), Gallery.open(path, space=SPACE) as gallery:
        gallery.enroll("Patient", three(9))
        timer.join()
    assert len(contents(path)) == 6


# No room


@contextmanager
def file_size_limit(limit: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def enroll_until_full(gallery: Gallery) -> list[str]:
    enrolled: list[str] = []
    for number in range(100, 2000):
        try:
            gallery.enroll(f"P{number}", three(number))
        except StorageFull:
            return enrolled
        enrolled.append(f"P{number}")
    pytest.fail("the disk never filled up")


def test_a_file_size_limit(path: Path) -> None:
    with Gallery.open(path, space=SPACE) as gallery:
        with file_size_limit(1_000_000):
            enrolled = enroll_until_full(gallery)
            assert enrolled
        names = {f"P{number}" for number in range(5)} | set(enrolled)
        assert {p.name for p in gallery.people()} == names
        gallery.enroll("After", three(9))
    assert len(contents(path)) == len(names) + 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if (
        not shutil.which("mount")
        or subprocess.run(command, check=False, capture_output=True).returncode
    ):
        pytest.skip("may not mount a small file system here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(small_disk: Path) -> None:
    path = small_disk / "people.db"
    with Gallery.open(path, space=SPACE, create=True) as gallery:
        enrolled = enroll_until_full(gallery)
        assert enrolled
        assert [p.name for p in gallery.people()] == sorted(enrolled)
        with pytest.raises(StorageFull):
            gallery.export(small_disk / "export")
        with pytest.raises(StorageFull):
            Gallery.open(small_disk / "another.db", space=SPACE, create=True)
        with pytest.raises(StorageFull):
            gallery.remove(enrolled[0])
        assert [p.name for p in gallery.people()] == sorted(enrolled)
    assert not list(small_disk.glob(".facekeep*"))
    assert not (small_disk / "export").exists()
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    with Gallery.open(path, space=SPACE) as gallery:
        assert gallery.check() == []
        gallery.remove(enrolled[0])
    assert [person.name for person, _ in contents(path)] == sorted(enrolled[1:])


def test_creating_without_room_leaves_nothing(tmp_path: Path) -> None:
    with file_size_limit(10_000), pytest.raises(StorageFull):
        Gallery.open(tmp_path / "people.db", space=SPACE, create=True)
    assert list(tmp_path.iterdir()) == []


# Files that are something else


def test_paths_that_are_no_galleries(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("Dear diary" * 1000)
    (tmp_path / "short").write_bytes(b"x")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe")
    with closing(sqlite3.connect(tmp_path / "foreign")) as connection:
        connection.execute("CREATE TABLE meta (gallery TEXT)")
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir() if f.is_file()}
    cases: list[tuple[Any, type[FacekeepError], str]] = [
        ("empty", GalleryCorrupt, "is empty"),
        ("text", GalleryCorrupt, "not a"),
        ("short", GalleryCorrupt, "not a"),
        ("foreign", GalleryCorrupt, "not a facekeep gallery"),
        (".", GalleryError, "is a folder"),
        ("pipe", GalleryError, "not a regular file"),
        ("loop", GalleryError, "links lead in a circle"),
        ("missing/people.db", GalleryNotFound, "no folder|nobody is enrolled yet"),
        ("text/people.db", GalleryError, "is not a folder; check the path"),
        ("n" * 300, GalleryError, "too long"),
        ("nul\0", InputError, "not a path"),
    ]
    for name, kind, why in cases:
        for create in (False, True):
            with pytest.raises(kind, match=why) as caught:
                Gallery.open(tmp_path / name, space=SPACE, create=create)
            assert "\n" not in str(caught.value)
    with pytest.raises(InputError):
        Gallery.open(None)  # type: ignore[arg-type]
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir() if f.is_file()} == before


def test_paths_with_strange_characters(tmp_path: Path) -> None:
    for name in ("a b?c#d%41&mode=ro.db", "ü.db", os.fsdecode(b"\xff\xfe.db"), "new\nline.db"):
        with Gallery.open(tmp_path / name, space=SPACE, create=True) as gallery:
            gallery.enroll("Ada", three(1))
        assert (tmp_path / name).is_file()
        assert len(contents(tmp_path / name)) == 1
    assert len(list(tmp_path.glob("*.db"))) == 4


def test_a_gallery_behind_a_symbolic_link(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(path)
    with Gallery.open(link, space=SPACE) as gallery:
        gallery.enroll("Ada", three(9))
    assert link.is_symlink()
    assert len(contents(path)) == 6


# Damage


@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    where=st.floats(0, 1, exclude_max=True),
    data=st.binary(min_size=1, max_size=64),
    cut=st.booleans(),
)
def test_damaged_files_raise_only_our_errors(
    path: Path, where: float, data: bytes, cut: bool
) -> None:
    good = path.read_bytes()
    at = int(where * len(good))
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        damaged = Path(folder) / "damaged.db"
        damaged.write_bytes(good[:at] if cut else good[:at] + data + good[at + len(data) :])
        use_everything(damaged)


def use_everything(path: Path) -> None:
    try:
        gallery = Gallery.open(path, space=SPACE, busy_timeout=0.1)
    except FacekeepError as error:
        assert_one_line(error)
        return
    uses: list[Callable[[], object]] = [
        gallery.check,
        gallery.people,
        gallery.info,
        gallery.audit,
        lambda: gallery.person("P3"),
        lambda: gallery.vectors("P3"),
        lambda: gallery.search(unit(1)[None]),
        lambda: gallery.enroll("P3", three(3)),
        lambda: gallery.rename("P1", "P9"),
        lambda: gallery.remove("P2"),
    ]
    with gallery:
        for use in uses:
            try:
                use()
            except FacekeepError as error:
                assert_one_line(error)


def assert_one_line(error: FacekeepError) -> None:
    assert str(error).count("\n") == 0


def test_damage_in_the_middle_of_a_file(path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 4)
        file.write(b"\xa5" * (size // 2))
    with Gallery.open(path, space=SPACE) as gallery:
        with pytest.raises(GalleryCorrupt, match="damaged"):
            gallery.search(unit(1)[None])
        assert "structure" in {finding.kind for finding in gallery.check()}


# Permissions. The superuser may do everything, so tests step down.


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that an ordinary user can reach."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def ordinary_user(*owned: Path) -> Iterator[None]:
    if os.geteuid() != 0:
        yield
        return
    for file in owned:
        os.chown(file, 65534, 65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def enroll_one(path: Path) -> None:
    with Gallery.open(path, space=SPACE) as gallery:
        gallery.enroll("Ada", three(9))


@pytest.mark.parametrize("what", ["file", "folder", "both"])
def test_a_gallery_that_may_not_be_written(folder: Path, path: Path, what: str) -> None:
    file = Path(shutil.copy(path, folder / "people.db"))
    before = contents(path)
    with ordinary_user(folder, file):
        if what != "folder":
            file.chmod(0o400)
        if what != "file":
            folder.chmod(0o500)
        try:
            with pytest.raises(GalleryReadOnly, match="cannot be written"):
                enroll_one(file)
            assert contents(file) == before
        finally:
            folder.chmod(0o755)
    assert contents(file) == before


def test_a_gallery_that_may_not_be_read(folder: Path, path: Path) -> None:
    file = Path(shutil.copy(path, folder / "people.db"))
    with ordinary_user(folder, file):
        file.chmod(0)
        with pytest.raises(GalleryReadOnly, match="permissions"):
            Gallery.open(file, space=SPACE)
        with pytest.raises(GalleryReadOnly, match="permissions"):
            Gallery.open(file, read_only=True)


def test_creating_in_a_folder_that_may_not_be_written(folder: Path) -> None:
    with ordinary_user(folder):
        folder.chmod(0o500)
        try:
            with pytest.raises(GalleryReadOnly, match="permissions"):
                Gallery.open(folder / "people.db", space=SPACE, create=True)
        finally:
            folder.chmod(0o755)
    assert list(folder.iterdir()) == []


# Faults that are no damage

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_IOERR_SHORT_READ)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_IOERR_READ, GalleryError),
        (sqlite3.SQLITE_IOERR_FSYNC, GalleryError),
        (sqlite3.SQLITE_IOERR_WRITE, StorageFull),
        (sqlite3.SQLITE_FULL, StorageFull),
        (sqlite3.SQLITE_INTERRUPT, GalleryError),
        (sqlite3.SQLITE_PROTOCOL, GalleryError),
        (sqlite3.SQLITE_LOCKED, GalleryBusy),
        (sqlite3.SQLITE_READONLY, GalleryReadOnly),
        (sqlite3.SQLITE_CORRUPT, GalleryCorrupt),
        (sqlite3.SQLITE_IOERR_SHORT_READ, GalleryCorrupt),
        (sqlite3.SQLITE_NOTADB, NotAGallery),
    ],
)
def test_only_damage_is_called_damage(path: Path, code: int, kind: type[FacekeepError]) -> None:
    error = sqlite3.OperationalError("disk I/O error\nin two lines")
    error.sqlite_errorcode = code
    with pytest.raises(kind) as caught, translate_errors(path):
        raise error
    assert type(caught.value) is kind
    assert_one_line(caught.value)
    assert ("is damaged (" in str(caught.value)) == (code in _DAMAGED)


@pytest.mark.parametrize("free", [60, 100, 104, 110, 120, 140, 160, 180, 200])
def test_a_gallery_created_on_a_nearly_full_disk_is_whole_or_not_there(
    small_disk: Path, free: int
) -> None:
    (small_disk / "fill").write_bytes(bytes((1024 - free) * 1024))
    path = small_disk / "people.db"
    try:
        with Gallery.open(path, space=SPACE, create=True) as gallery:
            gallery.enroll("Ada", three(1))
    except StorageFull:
        assert set(small_disk.glob(".*")) == set()
    (small_disk / "fill").unlink()
    with Gallery.open(path, space=SPACE, create=True) as gallery:
        assert gallery.check() == []
        gallery.enroll("Bea", three(2))
    assert "Bea" in [person.name for person, _ in contents(path)]
