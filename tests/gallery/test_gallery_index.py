"""The index of large galleries: its file may be lost, damaged, stale or half written."""

from __future__ import annotations

import shutil
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from gallery_kit import KEY, SPACE, new, search_by_codes, units
from hypothesis import given, settings
from hypothesis import strategies as st
from index_kit import NAMES, PEOPLE, VECTORS, filled, found, index_of, kept

from facekeep.gallery import Gallery, NewTemplate
from facekeep.gallery.sqlite.index.block_file import BlockFile
from facekeep.gallery.sqlite.index.blocks import Block, read_blocks
from facekeep.gallery.sqlite.repository import Repository

pytestmark = pytest.mark.usefixtures("small_blocks")


def test_the_file_is_private_and_serves_the_next_opener(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with filled(path) as gallery:
        assert found(gallery) == NAMES
    assert stat.S_IMODE(index_of(path).stat().st_mode) == 0o600
    read: list[int] = []

    def spy(repo: Repository, people: Sequence[int]) -> Iterator[Block]:
        read.extend(people)
        return read_blocks(repo, people)

    monkeypatch.setattr("facekeep.gallery.sqlite.index.searcher.read_blocks", spy)
    with Gallery.open(path, space=SPACE, read_only=True) as gallery:
        assert found(gallery) == NAMES
        assert read == []
        assert gallery._searcher._index is not None
        assert all(block.stored for block in gallery._searcher._index.blocks)


def test_additions_are_appended(path: Path) -> None:
    with filled(path) as gallery:
        found(gallery)
        before = index_of(path).read_bytes()
        gallery.enroll("Late", [new(100)])
        gallery.enroll("P3", [new(101)])
        assert found(gallery, units(1, 100)) == ["Late"]
        (hit,) = gallery.search(units(1, 101), 1)[0]
        assert (hit.name, hit.templates) == ("P3", 2)
        after = index_of(path).read_bytes()
        row = VECTORS[0].astype(np.float16).tobytes()
        assert len(after) > len(before)
        assert after.index(row) == before.index(row)


def test_a_file_in_which_too_much_changed_is_made_anew(path: Path) -> None:
    with filled(path) as gallery:
        found(gallery)
        before = index_of(path).stat().st_ino
        gallery.enroll_many(
            (name, [NewTemplate(v)]) for name, v in zip(NAMES, VECTORS, strict=True)
        )
        assert found(gallery) == NAMES
        gallery.enroll("P0", [new(100)])
        assert found(gallery) == NAMES
        assert index_of(path).stat().st_ino != before
        assert len(gallery._searcher._index or ()) == PEOPLE + 1


def test_a_stranger_in_place_of_the_index_is_left_alone_by_a_search(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mine = path.parent / "mine"
    mine.write_bytes(b"somebody's own file")
    with filled(path) as gallery:
        index_of(path).symlink_to(mine)
        assert found(gallery) == NAMES
    assert "kept in memory" in caplog.text
    assert mine.read_bytes() == b"somebody's own file"


def test_a_file_of_anybodys_becomes_private(path: Path) -> None:
    with filled(path) as gallery:
        index_of(path).touch(0o644)
        assert found(gallery) == NAMES
    assert stat.S_IMODE(index_of(path).stat().st_mode) == 0o600


def test_an_encrypted_gallery_leaves_no_vector_on_the_disk(path: Path) -> None:
    with filled(path, KEY) as gallery:
        assert found(gallery) == NAMES
        gallery.enroll("Late", [new(100)])
        assert found(gallery, units(1, 100)) == ["Late"]
        everything = b"".join(file.read_bytes() for file in path.parent.iterdir())
        assert not index_of(path).exists()
        assert [s for v in VECTORS for s in kept(v) if s in everything] == []


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=60)
def test_a_damaged_file_does_no_harm(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever was changed or cut off, nobody is missed whose row was hit."""
    folder = tmp_path_factory.getbasetemp() / "sound"
    path = folder / "people.db"
    with pytest.MonkeyPatch.context() as patch:
        search_by_codes(patch)
        for module in ("blocks", "block_file", "index_file"):
            patch.setattr(f"facekeep.gallery.sqlite.index.{module}.BLOCK_ROWS", 8)
        if not folder.exists():
            folder.mkdir()
            with filled(path) as gallery:
                found(gallery)
        whole = index_of(path).read_bytes()
        vectors = 8 * SPACE.width * 2
        columns = len(whole) - vectors
        at = data.draw(st.sampled_from([0, 9, 41, 50, 4096, 4100, 4105, 8192, 8200, 8300, columns]))
        at = min(at + data.draw(st.integers(0, 600)), len(whole) - 1)
        cut = data.draw(st.booleans())
        broken = whole[:at] if cut else whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :]
        index_of(path).write_bytes(broken)
        try:
            with Gallery.open(path, space=SPACE) as gallery:
                names = found(gallery)
            # The vectors themselves are not summed up: a hit there can cost that person's rank.
            assert sum(a != b for a, b in zip(names, NAMES, strict=True)) <= (0 if cut else 1)
        finally:
            index_of(path).unlink(missing_ok=True)
            index_of(path).write_bytes(whole)


def test_an_index_of_a_past_that_did_not_happen_is_not_used(path: Path) -> None:
    """A copy was put back: the same numbers now belong to other templates."""
    copy = path.with_name("copy.db")
    with filled(path) as gallery:
        gallery.compact()
        gallery._session.database.close()
    shutil.copy(path, copy)
    with Gallery.open(path, space=SPACE) as gallery:
        gallery.enroll("Late", [new(100)])
        found(gallery)
    for name in ("-wal", "-shm"):
        Path(f"{path}{name}").unlink(missing_ok=True)
    shutil.copy(copy, path)
    with Gallery.open(path, space=SPACE) as gallery:
        gallery.enroll("Other", [new(200)])
        assert found(gallery, units(1, 200)) == ["Other"]
        assert "Late" not in found(gallery, units(1, 100))
        left = index_of(path).read_bytes()
        assert [secret for secret in kept(units(1, 100)[0]) if secret in left] == []


def test_where_no_index_can_be_written_it_is_kept_in_memory(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(BlockFile, "_write", full)
    with filled(path) as gallery:
        assert found(gallery) == NAMES
        gallery.enroll("Late", [new(100)])
        assert found(gallery, units(1, 100)) == ["Late"]
    # A row: person, mark, code and sixteen numbers of two bytes.
    assert [record.getMessage() for record in caplog.records] == [
        f"the search index is kept in memory, which takes {PEOPLE * (80 + 32) / 1e6:.1f} MB in"
        f" each process and the time to read {PEOPLE} people: {index_of(path)} cannot be used:"
        " no room is left; free some space"
    ]


def test_an_index_that_cannot_be_read_is_told_of_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with filled(path) as gallery:
        found(gallery)
    content = bytearray(index_of(path).read_bytes())
    content[4096 + 8] ^= 1
    index_of(path).write_bytes(content)
    with (
        Gallery.open(path, space=SPACE, read_only=True) as gallery,
        Gallery.open(path, space=SPACE) as other,
    ):
        assert found(gallery) == NAMES
        other._session.index_file.path = path  # so that it is left as it is
        for name in ("P1", "P2"):
            templates = other.enroll(name, [new(101)]).templates or ()
            other.remove_templates(name, [templates[-1].id])
            assert found(gallery)[3:] == NAMES[3:]
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    cost = f"to read {PEOPLE} people: {index_of(path)} cannot be used: it is damaged"
    assert cost in record.getMessage()


def test_where_files_cannot_be_locked_the_index_is_kept_in_memory(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with filled(path) as gallery:
        monkeypatch.setitem(sys.modules, "fcntl", None)
        assert found(gallery) == NAMES
        assert not index_of(path).exists()
    assert "this system has no locks" in caplog.text
