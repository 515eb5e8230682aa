"""The index of large galleries under erasure, and with several processes at work."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gallery_kit import KEY, SPACE, new, units
from index_kit import NAMES, VECTORS, filled, found, index_of, kept

from facekeep.errors import GalleryError, StorageFull
from facekeep.gallery import Gallery
from facekeep.gallery.sqlite.index.block_file import BlockFile, UnusableIndexError
from facekeep.gallery.sqlite.index.file_reader import FileReader
from facekeep.gallery.sqlite.index.search_index import SearchIndex

HELPERS = Path(__file__).parents[1] / "helpers"

pytestmark = pytest.mark.usefixtures("small_blocks")


@pytest.mark.parametrize("searched", [False, True])
def test_erasure_leaves_nothing_in_the_index(path: Path, searched: bool) -> None:
    with filled(path) as gallery, Gallery.open(path, space=SPACE) as other:
        gallery.enroll("P3", [new(101)])
        found(gallery)
        both = VECTORS[3] + units(1, 101)[0]
        secrets = kept(both / np.linalg.norm(both)) + kept(VECTORS[9])
        if searched:
            found(other)
        assert all(secret in index_of(path).read_bytes() for secret in secrets)
        templates = gallery.person("P3").templates
        assert templates is not None
        gallery.remove_templates("P3", [templates[0].id])
        gallery.remove("P9")
        left = index_of(path).read_bytes()
        assert [secret for secret in secrets if secret in left] == []
        assert all(secret in left for secret in kept(VECTORS[10]))
        for opened in (gallery, other):
            assert found(opened, units(1, 101)) == ["P3"]
            assert "P9" not in found(opened)


def test_a_file_that_is_taken_away_under_a_search_is_noticed(path: Path) -> None:
    with filled(path) as gallery:
        found(gallery)
        with Gallery.open(path, space=SPACE, read_only=True) as other:
            assert found(other) == NAMES
            gallery._session.index_file.discard()
            assert found(other) == NAMES


def test_a_reader_that_met_a_change_takes_the_file_again_later(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with filled(path) as gallery:
        found(gallery)
        with Gallery.open(path, space=SPACE, read_only=True) as other:

            def changed(*_: object) -> None:
                raise UnusableIndexError("it is being changed")

            with monkeypatch.context() as patch:
                patch.setattr(BlockFile, "blocks", changed)
                assert found(other) == NAMES
            assert other._searcher._index is not None
            assert not any(block.stored for block in other._searcher._index.blocks)
            gallery.remove("P9")
            assert "P9" not in found(other)
            assert all(block.stored for block in other._searcher._index.blocks)


def test_a_file_that_is_taken_away_while_it_is_opened_is_noticed(path: Path) -> None:
    """Its vectors, which no digest covers, may be overwritten after the rows were checked."""
    with filled(path) as gallery:
        found(gallery)
    with index_of(path).open("r+b", buffering=0) as file:
        index = BlockFile(file, SPACE.width)
        assert index.header
        os.pwrite(file.fileno(), bytes(16), 0)
        with pytest.raises(UnusableIndexError, match="taken away"):
            index.blocks()


def test_a_file_that_grows_while_it_is_opened_is_opened(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with filled(path) as gallery:
        found(gallery)
        sizes = [index_of(path).stat().st_size]
        gallery.enroll("Late", [new(100)])
        found(gallery)
    size = BlockFile._size
    monkeypatch.setattr(BlockFile, "_size", lambda self: sizes.pop() if sizes else size(self))
    with index_of(path).open("rb", buffering=0) as file:
        assert sum(map(len, BlockFile(file, SPACE.width).blocks())) == len(NAMES) + 1


def test_encrypting_a_gallery_takes_its_index_away(path: Path) -> None:
    with filled(path) as gallery, Gallery.open(path, space=SPACE, key=None) as other:
        assert found(gallery) == found(other) == NAMES
        view = other._searcher._index
        gallery.rekey(KEY)
        assert not index_of(path).exists()
        assert view is not None
        assert not view.blocks[0].vectors[:].any()  # what somebody still has open was overwritten
        assert found(gallery) == NAMES


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import pytest
from gallery_kit import SPACE, search_by_codes, units
from facekeep.gallery import Gallery
from facekeep.gallery.sqlite.index.block_file import BlockFile, UnusableIndexError
patch = pytest.MonkeyPatch()
search_by_codes(patch)
for module in ("blocks", "block_file", "index_file"):
    patch.setattr(f"facekeep.gallery.sqlite.index.{module}.BLOCK_ROWS", 8)
write, left = BlockFile._write, int(sys.argv[3])
def dying(*arguments):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    write(*arguments)
BlockFile._write = dying
with Gallery.open(Path(sys.argv[1]), space=SPACE) as gallery:
    gallery.search(units(1))
"""


@pytest.mark.slow
@pytest.mark.parametrize("writes", [0, 1, 3, 5, 6, 9, 17])
def test_who_is_killed_while_writing_leaves_a_file_that_serves(path: Path, writes: int) -> None:
    filled(path).close()
    command = [sys.executable, "-c", KILLED, str(path), str(HELPERS), str(writes)]
    assert subprocess.run(command, check=False).returncode == -9
    with Gallery.open(path, space=SPACE) as gallery:
        gallery.remove("P5")
        left = index_of(path).read_bytes() if index_of(path).exists() else b""
        assert [secret for secret in kept(VECTORS[5]) if secret in left] == []
        names = found(gallery)
        assert names[:5] + names[6:] == NAMES[:5] + NAMES[6:]
        assert gallery.check() == []


def test_an_erasure_that_cannot_reach_the_index_is_not_called_complete(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with filled(path) as gallery:
        found(gallery)

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(BlockFile, "_write", full)
            with pytest.raises(StorageFull, match="is done, but"):
                gallery.remove("P9")
        assert gallery.info().erasure_pending
        gallery.compact()
        assert not gallery.info().erasure_pending
        left = index_of(path).read_bytes()
        assert [secret for secret in kept(VECTORS[9]) if secret in left] == []


def test_an_erasure_that_fails_says_what_is_done_and_how_to_mend_the_rest(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with filled(path) as gallery:
        found(gallery)

        def broken(*_: object) -> None:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(BlockFile, "_write", broken)
        with pytest.raises(GalleryError) as caught:
            gallery.remove("P9")
        assert str(caught.value) == (
            f"the search index {index_of(path)} cannot be overwritten: input/output error; what was"
            " asked is done, but what was erased may still lie in the files: mend that and"
            " compact the gallery"
        )


def test_who_finds_the_index_being_written_searches_in_memory(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with filled(path, busy_timeout=0.1) as gallery:
        with gallery._session.index_file.lock(0):
            assert found(gallery) == NAMES
            gallery.enroll("Late", [new(100)])
            assert found(gallery, units(1, 100)) == ["Late"]
        assert not index_of(path).exists()
        (record,) = caplog.records
        assert "cannot be used: another program is writing it" in record.getMessage()
        gallery.enroll("Later", [new(101)])
        assert found(gallery, units(1, 101)) == ["Later"]
        assert index_of(path).exists()


def test_who_only_adds_to_the_index_does_not_wait_for_others(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with filled(path, busy_timeout=1000) as gallery:
        assert found(gallery) == NAMES
        gallery.enroll("Late", [new(100)])
        with gallery._session.index_file.lock(0):
            assert found(gallery, units(1, 100)) == ["Late"]


def during_searches(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> None:
    """Have something done just before any index is searched."""
    search = SearchIndex.search

    def disturbed(self: SearchIndex, *arguments: Any) -> list[list[int]]:
        action()
        return search(self, *arguments)

    monkeypatch.setattr(SearchIndex, "search", disturbed)


def test_nobody_is_missed_however_often_others_change_the_gallery(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with filled(path) as gallery, Gallery.open(path, space=SPACE) as other:
        other.enroll("New0", [new(100)])
        numbers = itertools.count()

        def replace() -> None:
            number = next(numbers)
            other.remove(f"New{number}")
            other.enroll(f"New{number + 1}", [new(100)])

        during_searches(monkeypatch, replace)
        (name,) = found(gallery, units(1, 100))
        assert name == f"New{next(numbers)}" != "New1"


def test_a_row_that_is_erased_under_a_search_is_noticed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with filled(path) as gallery, Gallery.open(path, space=SPACE) as other:
        found(gallery)
        actions = iter([lambda: other.enroll("P3", [new(101)]), other.compact])

        def act() -> None:
            # Both within one search: the row was good when it began.
            for action in actions:
                action()

        during_searches(monkeypatch, act)
        (hit,) = gallery.search(VECTORS[3][None], 1)[0]
        assert (hit.name, hit.templates) == ("P3", 2)


def test_an_index_whose_erasure_was_cut_off_is_made_anew(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with filled(path) as gallery:
        found(gallery)
        write = BlockFile._write
        written: list[bytes] = []

        def cut_off(self: BlockFile, data: bytes, at: int) -> None:
            if len(written) == 3:
                raise OSError(5, "Input/output error")
            written.append(data)
            write(self, data, at)

        with monkeypatch.context() as patch:
            patch.setattr(BlockFile, "_write", cut_off)
            with pytest.raises(GalleryError):
                gallery.remove("P9")
    with (
        index_of(path).open("rb", buffering=0) as file,
        pytest.raises(UnusableIndexError, match="cut"),
    ):
        BlockFile(file, SPACE.width).blocks()
    with Gallery.open(path, space=SPACE) as gallery:
        assert found(gallery) == [*NAMES[:9], found(gallery)[9], *NAMES[10:]]
        left = index_of(path).read_bytes()
        assert [secret for secret in kept(VECTORS[9]) if secret in left] == []


def test_erasure_leaves_the_holes_of_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("blocks", "block_file", "index_file"):
        monkeypatch.setattr(f"facekeep.gallery.sqlite.index.{module}.BLOCK_ROWS", 65536)
    with filled(path) as gallery:
        found(gallery)
        before = index_of(path).stat()
        assert before.st_blocks * 512 < before.st_size // 4
        gallery.remove("P9")
        assert index_of(path).stat().st_blocks == before.st_blocks
        assert kept(VECTORS[9])[0] not in index_of(path).read_bytes()


def test_an_index_that_was_copied_without_its_lock_is_erased_too(path: Path) -> None:
    with filled(path) as gallery:
        found(gallery)
    Path(f"{index_of(path)}.lock").unlink()
    with Gallery.open(path, space=SPACE) as gallery:
        gallery.remove("P9")
    left = index_of(path).read_bytes()
    assert [secret for secret in kept(VECTORS[9]) if secret in left] == []
    assert all(secret in left for secret in kept(VECTORS[10]))


def test_a_stranger_in_place_of_the_index_is_left_alone_by_an_erasure(path: Path) -> None:
    with filled(path) as gallery:
        index_of(path).write_bytes(b"somebody's own file")
        gallery.remove("P9")
        assert index_of(path).read_bytes() == b"somebody's own file"


CUT = """
import os, sys
sys.path.insert(0, sys.argv[2])
import pytest
from pathlib import Path
from gallery_kit import SPACE, search_by_codes
from index_kit import NAMES, found, index_of
from facekeep.gallery import Gallery
from facekeep.gallery.sqlite.index import file_reader
patch = pytest.MonkeyPatch()
search_by_codes(patch)
for module in ("blocks", "block_file", "index_file"):
    patch.setattr(f"facekeep.gallery.sqlite.index.{module}.BLOCK_ROWS", 8)
if sys.argv[4] == "one by one":
    patch.setattr(file_reader, "_find_copy", lambda: None)
path = Path(sys.argv[1])
with Gallery.open(path, space=SPACE) as gallery:
    assert found(gallery) == NAMES
    assert all(block.stored for block in gallery._searcher._index.blocks)
    os.truncate(index_of(path), int(sys.argv[3]))
    assert found(gallery) == NAMES
    assert found(gallery) == NAMES
"""


@pytest.mark.slow
@pytest.mark.parametrize("way", ["at once", "one by one"])
@pytest.mark.parametrize("size", [0, 10, 4096, 5000, 12_000])
def test_an_index_that_another_program_cuts_off_kills_nobody(
    path: Path, size: int, way: str
) -> None:
    filled(path).close()
    command = [sys.executable, "-c", CUT, str(path), str(HELPERS), str(size), way]
    subprocess.run(command, check=True)


def test_rows_are_read_alike_in_both_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = np.random.default_rng(0).integers(0, 256, (3000, 24), np.uint8)
    (tmp_path / "file").write_bytes(data.tobytes())
    places = np.sort(np.random.default_rng(1).integers(0, 3000, 2500))
    for way in ("at once", "one by one"):
        if way == "one by one":
            monkeypatch.setattr(
                "facekeep.gallery.sqlite.index.file_reader._find_copy", lambda: None
            )
        handle = os.open(tmp_path / "file", os.O_RDWR)
        file = FileReader(os.dup(handle), data.nbytes)
        assert np.array_equal(file.rows(places * 24, 24), data[places])
        assert np.array_equal(file.run(240, 480), data[10:30].reshape(-1))
        assert not file.broken
        assert not file.rows(np.array([data.nbytes]), 24).any()
        assert file.broken
        os.close(handle)
