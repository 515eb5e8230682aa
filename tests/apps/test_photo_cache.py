"""The cache of photos: what it keeps, what it forgets, and that it is never in the way."""

from __future__ import annotations

import dataclasses
import logging
import os
import secrets
import sqlite3
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facekeep.apps import photo_cache as cache_module
from facekeep.apps.photo_cache import PhotoCache, pack_faces, stamp_of, unpack_faces
from facekeep.apps.photo_cache_file import CacheInfo, cache_info, cache_path, clear_cache
from facekeep.errors import InputError
from facekeep.gallery import Key
from facekeep.types import Face, Quality

DIGEST, RECIPE = "d" * 64, "r" * 64


def face(seed: int, width: int = 128) -> Face:
    rng = np.random.default_rng(seed)
    facts = np.float32(rng.random(len(dataclasses.fields(Quality)))).tolist()
    return Face(
        bbox=rng.random(4, np.float32) * 100,
        landmarks=rng.random((5, 2), np.float32) * 100,
        score=float(rng.random(dtype=np.float32)),
        quality=Quality(*facts),
        embedding=rng.normal(size=width).astype(np.float32),
    )


def same(first: list[Face] | str | None, second: list[Face]) -> bool:
    return isinstance(first, list) and pack_faces(first) == pack_faces(second)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "photos.db"


def bytes_on_disk(path: Path) -> bytes:
    return b"".join(each.read_bytes() for each in sorted(path.parent.iterdir()))


# Faces as bytes


@pytest.mark.parametrize("count", [0, 1, 7])
def test_faces_come_back_as_they_were(count: int):
    faces = [face(seed) for seed in range(count)]
    back = unpack_faces(pack_faces(faces))
    assert back is not None
    for given_face, found in zip(faces, back, strict=True):
        np.testing.assert_array_equal(found.bbox, given_face.bbox)
        np.testing.assert_array_equal(found.landmarks, given_face.landmarks)
        np.testing.assert_array_equal(found.embedding, given_face.embedding)
        assert (found.score, found.quality) == (given_face.score, given_face.quality)


@given(st.binary(max_size=300))
@settings(max_examples=300)
def test_bytes_that_are_no_faces_are_none_or_faces_never_a_crash(data: bytes):
    found = unpack_faces(data)
    assert found is None or pack_faces(found) == data


def test_a_cut_off_or_infinite_row_is_nothing():
    data = pack_faces([face(1), face(2)])
    assert unpack_faces(data[:-4]) is None
    assert unpack_faces(data + data[4:8]) is None
    assert unpack_faces(data[:-4] + np.float32(np.inf).tobytes()) is None


# Keeping


def test_what_was_kept_is_found_by_another_run(path: Path):
    faces = [face(1), face(2)]
    with PhotoCache(path) as cache:
        cache.keep(DIGEST, RECIPE, faces)
        cache.link(b"stamp", DIGEST)
    with PhotoCache(path) as cache:
        assert cache.digest_of(b"stamp") == DIGEST
        assert same(cache.find(DIGEST, RECIPE), faces)


def test_what_was_kept_is_on_disk_before_the_cache_is_closed(path: Path):
    first = PhotoCache(path)
    first.keep(DIGEST, RECIPE, [face(1)])
    with PhotoCache(path) as second:
        assert same(second.find(DIGEST, RECIPE), [face(1)])
    first.close()
    first.close()


def test_other_photos_and_other_recipes_are_not_known(path: Path):
    with PhotoCache(path) as cache:
        cache.keep(DIGEST, RECIPE, [])
        assert cache.find(DIGEST, RECIPE) == []
        assert cache.find("e" * 64, RECIPE) is None
        assert cache.find(DIGEST, "s" * 64) is None
        assert cache.digest_of(b"unknown") is None


def test_an_unreadable_photo_is_tried_again_when_other_programs_read_pictures(
    path: Path, monkeypatch: pytest.MonkeyPatch
):
    with PhotoCache(path) as cache:
        cache.keep(DIGEST, RECIPE, "it is cut short")
        assert cache.find(DIGEST, RECIPE) == "it is cut short"
        monkeypatch.setattr(cache_module, "_readers", lambda: "pillow 99")
        assert cache.find(DIGEST, RECIPE) is None


def test_photos_that_no_run_met_are_forgotten(path: Path, monkeypatch: pytest.MonkeyPatch):
    today = cache_module._today()
    met, unmet = "a" * 64, "b" * 64
    with PhotoCache(path) as cache:
        for digest in (met, unmet):
            cache.keep(digest, RECIPE, [face(1)])
            cache.link(digest.encode(), digest)
    monkeypatch.setattr(cache_module, "_today", lambda: today + 80)
    with PhotoCache(path) as cache:
        assert cache.find(met, RECIPE)
    monkeypatch.setattr(cache_module, "_today", lambda: today + 100)
    with PhotoCache(path) as cache:
        assert cache.find(met, RECIPE)
        assert cache.find(unmet, RECIPE) is None
        assert cache.digest_of(met.encode()) == met
        assert cache.digest_of(unmet.encode()) is None


def test_a_stamp_changes_with_name_content_and_time(tmp_path: Path):
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(b"one")
    second.write_bytes(b"one")
    os.utime(second, ns=(0, first.stat().st_mtime_ns))
    before = stamp_of(first)
    assert stamp_of(os.path.relpath(first)) == before
    assert stamp_of(second) != before
    os.utime(first, ns=(0, 1))
    assert stamp_of(first) != before


# Secrecy


def test_only_its_owner_may_read_it(path: Path):
    path.parent.mkdir()
    path.touch(0o666)
    path.chmod(0o666)
    with PhotoCache(path) as cache:
        cache.keep(DIGEST, RECIPE, [face(1)])
        modes = {stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    assert modes == {0o600}


def test_a_plain_cache_is_discarded_when_a_key_is_set(path: Path, caplog: pytest.LogCaptureFixture):
    embedding = face(1).embedding
    assert embedding is not None
    key = Key(secrets.token_bytes(32))
    with PhotoCache(path) as cache:
        cache.keep(DIGEST, RECIPE, [face(1)])
    assert embedding.tobytes() in bytes_on_disk(path)
    with PhotoCache(path, key=key) as cache:
        assert cache.find(DIGEST, RECIPE) is None
        cache.keep(DIGEST, RECIPE, [face(1)])
        assert embedding.tobytes() not in bytes_on_disk(path)
    assert "was not encrypted and was discarded" in caplog.text
    with PhotoCache(path, key=key) as cache:
        assert same(cache.find(DIGEST, RECIPE), [face(1)])
    assert embedding.tobytes() not in bytes_on_disk(path)
    assert cache_info(path).encrypted


@pytest.mark.parametrize("key", [None, Key(b"w" * 32)], ids=["no key", "wrong key"])
def test_without_the_key_an_encrypted_cache_is_left_alone(
    path: Path, key: Key | None, caplog: pytest.LogCaptureFixture
):
    right = Key(secrets.token_bytes(32))
    with PhotoCache(path, key=right) as cache:
        cache.keep(DIGEST, RECIPE, [face(1)])
    with PhotoCache(path, key=key) as cache:
        assert cache.find(DIGEST, RECIPE) is None
        cache.keep(DIGEST, RECIPE, [face(2)])
    assert "encrypted with another key" in caplog.text
    with PhotoCache(path, key=right) as cache:
        assert same(cache.find(DIGEST, RECIPE), [face(1)])


def test_faces_moved_to_another_photo_are_not_believed(path: Path):
    key = Key(secrets.token_bytes(32))
    with PhotoCache(path, key=key) as cache:
        cache.keep(DIGEST, RECIPE, [face(1)])
        with sqlite3.connect(path) as attacker:
            attacker.execute("UPDATE photos SET digest = ?", ("e" * 64,))
        attacker.close()
        assert cache.find("e" * 64, RECIPE) is None


def test_clearing_leaves_no_file(path: Path):
    cache = PhotoCache(path)
    cache.keep(DIGEST, RECIPE, [face(1)])
    assert clear_cache(path)
    assert list(path.parent.iterdir()) == []
    assert not clear_cache(path)
    cache.close()


# Never in the way


@pytest.mark.parametrize("damage", ["cut", "scribbled", "scribbled late"])
def test_a_damaged_cache_is_discarded(path: Path, damage: str, caplog: pytest.LogCaptureFixture):
    with PhotoCache(path) as cache:
        for number in range(200):
            cache.keep(f"{number:064}", RECIPE, [face(number)])
    content = path.read_bytes()
    damaged = {
        "cut": content[: len(content) // 2],
        "scribbled": content[:4096] + secrets.token_bytes(len(content) - 4096),
        "scribbled late": content[:40960] + b"\xff" * (len(content) - 40960),
    }
    path.write_bytes(damaged[damage])
    with PhotoCache(path) as cache:
        for number in range(200):
            cache.find(f"{number:064}", RECIPE)
    assert "was damaged and was discarded" in caplog.text
    with PhotoCache(path) as cache:
        cache.keep(DIGEST, RECIPE, [face(1)])
        assert same(cache.find(DIGEST, RECIPE), [face(1)])


def foreign_database(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE precious (value)")
        connection.execute("INSERT INTO precious VALUES (42)")
    connection.close()


def foreign_text(path: Path) -> None:
    path.write_text("my important list of photos")


def foreign_link(path: Path) -> None:
    victim = path.parent.parent / "victim"
    victim.write_bytes(b"")
    path.symlink_to(victim)


def link_to_nowhere(path: Path) -> None:
    path.symlink_to(path.parent.parent / "victim")


def link_to_a_cache(path: Path) -> None:
    PhotoCache(path.parent.parent / "victim").close()
    path.symlink_to(path.parent.parent / "victim")


def facts(path: Path) -> tuple[object, ...]:
    """All that must stay of a file, and of what a link of its name leads to."""
    state, names = path.lstat(), sorted(each.name for each in path.parent.iterdir())
    content = path.read_bytes() if path.is_file() else None
    modes = [each.stat().st_mode for each in (path, path.parent.parent / "victim") if each.exists()]
    return state.st_ino, state.st_mode, state.st_mtime_ns, content, modes, names


@pytest.mark.parametrize(
    "make",
    [foreign_database, foreign_text, foreign_link, link_to_nowhere, link_to_a_cache, os.mkfifo],
)
def test_what_is_not_a_cache_of_ours_is_left_alone(
    path: Path,
    make: Callable[[Path], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    path.parent.mkdir()
    make(path)
    before = facts(path)
    with PhotoCache(path) as cache:
        cache.keep(DIGEST, RECIPE, [face(1)])
        assert cache.find(DIGEST, RECIPE) is None
    assert caplog.text.count("not a cache of photos of facekeep's; move it away") == 1
    for refused in (cache_info, clear_cache):
        with pytest.raises(InputError, match="not a cache of photos of facekeep's; move it away"):
            refused(path)
    assert facts(path) == before
    assert make is not link_to_nowhere or not (path.parent.parent / "victim").exists()


@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
def test_a_link_in_place_of_a_cache_s_log_is_not_followed(path: Path, suffix: str) -> None:
    with PhotoCache(path) as cache:
        cache.keep(DIGEST, RECIPE, [face(1)])
    victim = path.parent.parent / "victim"
    victim.write_bytes(b"important")
    Path(f"{path}{suffix}").symlink_to(victim)
    with PhotoCache(path) as cache:
        cache.keep("e" * 64, RECIPE, [face(2)])
    assert victim.read_bytes() == b"important"
    assert clear_cache(path)
    assert victim.read_bytes() == b"important"
    assert list(path.parent.iterdir()) == []


def test_a_cache_says_that_it_is_one_from_its_first_byte_on(path: Path) -> None:
    """Whenever a run is killed, the next one knows the file for its own."""
    statements: list[str] = []
    connect = sqlite3.connect

    def watched(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)

        def note(statement: str) -> None:
            statements.append(statement)
            head = path.read_bytes()[:72]
            assert not head or head[68:] == b"FKPC", statement

        connection.set_trace_callback(note)
        return connection

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite3, "connect", watched)
        PhotoCache(path).close()
    assert "PRAGMA journal_mode = WAL" in statements


def test_a_cache_that_cannot_be_made_is_done_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "file").touch()
    with PhotoCache(tmp_path / "file" / "photos.db") as cache:
        cache.keep(DIGEST, RECIPE, [face(1)])
        cache.link(b"stamp", DIGEST)
        assert cache.find(DIGEST, RECIPE) is None
        assert cache.digest_of(b"stamp") is None
    assert caplog.text.count("going without the cache") == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_done_without(path: Path, caplog: pytest.LogCaptureFixture):
    path.parent.mkdir()
    path.parent.chmod(0o500)
    with PhotoCache(path) as cache:
        cache.keep(DIGEST, RECIPE, [face(1)])
    path.parent.chmod(0o700)
    assert "going without the cache" in caplog.text


def test_a_fault_in_the_middle_of_a_run_is_survived(path: Path, caplog: pytest.LogCaptureFixture):
    with PhotoCache(path) as cache:
        cache.keep(DIGEST, RECIPE, [face(1)])
        with sqlite3.connect(path) as other:
            other.execute("DROP TABLE photos")
        other.close()
        assert cache.find(DIGEST, RECIPE) is None
        cache.keep(DIGEST, RECIPE, [face(1)])
        assert cache.find(DIGEST, RECIPE) is None
    assert caplog.text.count("going without the cache") == 1


def test_many_may_share_one(path: Path, caplog: pytest.LogCaptureFixture):
    """Four runs with two threads each begin at once and keep 100 photos each."""
    caplog.set_level(logging.WARNING)
    barrier = threading.Barrier(4)

    def work(run: int) -> None:
        barrier.wait()
        with PhotoCache(path) as cache:

            def keep(start: int) -> None:
                for number in range(start, 100, 2):
                    cache.keep(f"{run:032}{number:032}", RECIPE, [face(number)])

            threads = [threading.Thread(target=keep, args=(start,)) for start in (0, 1)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    runs = [threading.Thread(target=work, args=(run,)) for run in range(4)]
    for each in runs:
        each.start()
    for each in runs:
        each.join()
    assert caplog.text == ""
    assert cache_info(path).photos == 400


# Looking at it


def test_the_cache_stands_in_the_folder_of_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FACEKEEP_CACHE", str(tmp_path))
    assert cache_path() == tmp_path / "photos.db"
    assert cache_info() == CacheInfo(tmp_path / "photos.db", exists=False)
    with PhotoCache() as cache:
        cache.keep(DIGEST, RECIPE, [face(1)])
        cache.keep("e" * 64, RECIPE, "it is cut short")
    info = cache_info()
    assert (info.exists, info.photos, info.unreadable, info.encrypted) == (True, 1, 1, False)
    assert info.size >= (tmp_path / "photos.db").stat().st_size
