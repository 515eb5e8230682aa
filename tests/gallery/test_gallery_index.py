"""The index of large galleries: its file may be lost, damaged, stale or half written."""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from gallery_kit import KEY, SPACE, make, new, sketched, units
from hypothesis import given, settings
from hypothesis import strategies as st

from facekeep.errors import GalleryBusy, StorageFull
from facekeep.gallery import Gallery, Key, NewTemplate, edit, index_file
from facekeep.gallery import sketch as sketch_module
from facekeep.gallery.blocks import Block, packed, widened
from facekeep.gallery.index import Index
from facekeep.gallery.reading import blocks_of
from facekeep.gallery.rows import Rows
from facekeep.gallery.sketch import agreement, nearest, sketches

PEOPLE = 30
VECTORS = units(PEOPLE, 7)


@pytest.fixture(autouse=True)
def _large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any gallery is a large one here, with small blocks."""
    sketched(monkeypatch)
    for module in ("blocks", "index_file"):
        monkeypatch.setattr(f"facekeep.gallery.{module}.BLOCK_ROWS", 8)


def filled(path: Path, key: Key | None = None, **options: float) -> Gallery:
    """A gallery of people with a template each, enrolled in one transaction."""
    gallery = make(path, key, **options)
    with gallery._write(rewrite=False) as rows:
        for number, vector in enumerate(VECTORS):
            edit.enroll(rows, f"P{number}", [NewTemplate(vector)], {})
    return gallery


def index_of(path: Path) -> Path:
    return Path(f"{path}-index")


def kept(vector: np.ndarray) -> list[bytes]:
    """What an index keeps of a vector."""
    return [vector.astype(np.float16).tobytes(), sketches(vector[None]).tobytes()]


def found(gallery: Gallery, vectors: np.ndarray = VECTORS) -> list[str]:
    return [hits[0].name if hits else "" for hits in gallery.search(vectors, 1)]


NAMES = [f"P{number}" for number in range(PEOPLE)]


def test_a_sketch_is_the_signs_of_a_vector_of_512() -> None:
    vectors = units(3, width=512)
    bits = np.unpackbits(sketches(vectors).view(np.uint8), axis=1)
    np.testing.assert_array_equal(bits, vectors > 0)


def test_sketches_of_other_widths_tell_angles_and_stay_the_same_for_ever() -> None:
    one = np.zeros((1, 16), np.float32)
    one[0, 3] = 1
    assert sketches(one)[0, :2].tolist() == [6803823304794355487, 14166950523896666752]
    vectors = units(200, width=128)
    bits = sketches(vectors)
    distances = np.bitwise_count(bits[:, None] ^ bits).sum(axis=2) / 512
    angles = np.arccos(np.clip(vectors @ vectors.T, -1, 1)) / np.pi
    assert np.abs(distances - angles).max() < 0.12


@pytest.mark.parametrize("faiss", [False, True], ids=["NumPy", "faiss"])
@given(
    sizes=st.lists(st.integers(0, 40), max_size=4),
    depth=st.integers(1, 50),
    step=st.integers(1, 20),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_the_nearest_are_the_nearest(
    faiss: bool, sizes: list[int], depth: int, step: int, seed: int
) -> None:
    if faiss:
        pytest.importorskip("faiss")
    rng = np.random.default_rng(seed)
    blocks = [rng.integers(0, 2**64, (size, 8), np.uint64) for size in sizes]
    probe = rng.integers(0, 2**64, 8, np.uint64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sketch_module, "_has_faiss", lambda: faiss)
        patch.setattr(sketch_module, "_ROWS_AT_ONCE", step)
        rows = nearest(blocks, probe, depth)
    every = np.concatenate([np.empty((0, 8), np.uint64), *blocks])
    distances = np.bitwise_count(every ^ probe).sum(axis=1)
    assert len(set(rows.tolist())) == len(rows) == min(depth, len(every))
    assert sorted(distances[rows]) == sorted(distances)[: len(rows)]


def test_a_faiss_that_cannot_be_imported_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "faiss.py").write_text("raise ImportError('libgomp.so.1:\\nno such file')\n")
    monkeypatch.delitem(sys.modules, "faiss", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    sketch_module._has_faiss.cache_clear()
    blocks = [sketches(units(20, width=512))]
    try:
        for row in (3, 5):
            assert nearest(blocks, blocks[0][row], 1).tolist() == [row]
    finally:
        sketch_module._has_faiss.cache_clear()
    told = "faiss cannot be imported (libgomp.so.1: no such file); NumPy searches instead"
    assert caplog.messages == [told]


def test_widening_is_exact() -> None:
    every = np.arange(2**16).astype(np.uint16).view(np.float16)
    finite = every[np.isfinite(every)]
    assert widened(finite).tobytes() == finite.astype(np.float32).tobytes()


def test_the_file_is_private_and_serves_the_next_opener(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with filled(path) as gallery:
        assert found(gallery) == NAMES
    assert stat.S_IMODE(index_of(path).stat().st_mode) == 0o600
    read: list[int] = []

    def spy(rows: Rows, people: Sequence[int]) -> Iterator[Block]:
        read.extend(people)
        return blocks_of(rows, people)

    monkeypatch.setattr("facekeep.gallery.searchable.blocks_of", spy)
    with Gallery.open(path, space=SPACE, read_only=True) as gallery:
        assert found(gallery) == NAMES
        assert read == []
        assert gallery._index is not None
        assert all(block.stored for block in gallery._index.blocks)


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
        with gallery._write(rewrite=False) as rows:
            for number in range(PEOPLE):
                edit.enroll(rows, f"P{number}", [NewTemplate(VECTORS[number])], {})
        assert found(gallery) == NAMES
        gallery.enroll("P0", [new(100)])
        assert found(gallery) == NAMES
        assert index_of(path).stat().st_ino != before
        assert len(gallery._index or ()) == PEOPLE + 1


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


def test_a_file_that_is_taken_away_under_a_search_is_noticed(path: Path) -> None:
    with filled(path) as gallery:
        found(gallery)
        with Gallery.open(path, space=SPACE, read_only=True) as other:
            assert found(other) == NAMES
            gallery._index_file.discard()
            assert found(other) == NAMES


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


def test_encrypting_a_gallery_takes_its_index_away(path: Path) -> None:
    with filled(path) as gallery, Gallery.open(path, space=SPACE, key=None) as other:
        assert found(gallery) == found(other) == NAMES
        view = other._index
        gallery.rekey(KEY)
        assert not index_of(path).exists()
        assert view is not None
        assert not view.blocks[0].vectors.any()  # what somebody still has open was overwritten
        assert found(gallery) == NAMES


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_damaged_file_does_no_harm(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever was changed or cut off, nobody is missed whose row was hit."""
    folder = tmp_path_factory.getbasetemp() / "sound"
    path = folder / "people.db"
    with pytest.MonkeyPatch.context() as patch:
        sketched(patch)
        for module in ("blocks", "index_file"):
            patch.setattr(f"facekeep.gallery.{module}.BLOCK_ROWS", 8)
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
        gallery._database.close()
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


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import pytest
from gallery_kit import SPACE, sketched, units
from facekeep.gallery import Gallery, index_file
patch = pytest.MonkeyPatch()
sketched(patch)
for module in ("blocks", "index_file"):
    patch.setattr(f"facekeep.gallery.{module}.BLOCK_ROWS", 8)
write, left = index_file._write, int(sys.argv[3])
def dying(*arguments):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    write(*arguments)
index_file._write = dying
with Gallery.open(Path(sys.argv[1]), space=SPACE) as gallery:
    gallery.search(units(1))
"""


@pytest.mark.parametrize("writes", [0, 1, 3, 5, 6, 9, 17])
def test_who_is_killed_while_writing_leaves_a_file_that_serves(path: Path, writes: int) -> None:
    filled(path).close()
    command = [sys.executable, "-c", KILLED, str(path), str(Path(__file__).parent), str(writes)]
    assert subprocess.run(command, check=False).returncode == -9
    with Gallery.open(path, space=SPACE) as gallery:
        gallery.remove("P5")
        left = index_of(path).read_bytes() if index_of(path).exists() else b""
        assert [secret for secret in kept(VECTORS[5]) if secret in left] == []
        names = found(gallery)
        assert names[:5] + names[6:] == NAMES[:5] + NAMES[6:]
        assert gallery.check() == []


def test_where_no_index_can_be_written_it_is_kept_in_memory(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(index_file, "_write", full)
    with filled(path) as gallery:
        assert found(gallery) == NAMES
        gallery.enroll("Late", [new(100)])
        assert found(gallery, units(1, 100)) == ["Late"]
    assert [record.getMessage() for record in caplog.records] == [
        "the search index is kept in memory: [Errno 28] No space left on device"
    ]


def test_an_erasure_that_cannot_reach_the_index_is_not_called_complete(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with filled(path) as gallery:
        found(gallery)

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(index_file, "_write", full)
            with pytest.raises(StorageFull, match="is done, but"):
                gallery.remove("P9")
        assert gallery.info().erasure_pending
        gallery.compact()
        assert not gallery.info().erasure_pending
        left = index_of(path).read_bytes()
        assert [secret for secret in kept(VECTORS[9]) if secret in left] == []


def test_nobody_waits_for_ever_for_the_index(path: Path) -> None:
    with filled(path, busy_timeout=0.1) as gallery:
        with gallery._index_file.locked(0), pytest.raises(GalleryBusy, match="search index"):
            found(gallery)
        assert found(gallery) == NAMES


@pytest.mark.parametrize("width", [512, 128])
def test_known_numbers_tell_more_than_their_signs(width: int) -> None:
    vectors = units(2000, width=width)
    probe = vectors[0]
    words = sketches(vectors)
    cosines = (vectors @ probe)[1:]
    by_numbers = agreement(words, probe)
    by_signs = -np.bitwise_count(words ^ words[0]).sum(axis=1).astype(float)
    assert by_numbers.argmax() == 0
    signs, numbers = (np.corrcoef(x[1:], cosines)[0, 1] for x in (by_signs, by_numbers))
    assert numbers > signs + 0.05


def test_sketches_find_the_mates_among_strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a hard cosine, with all stages at work: most would be lost without any of them."""
    rng = np.random.default_rng(5)
    strangers = units(5000, 3, width=128)
    mates = strangers[:200]
    noise = rng.normal(size=mates.shape).astype(np.float32) / np.sqrt(128)
    probes = 0.42 * mates + np.sqrt(1 - 0.42**2) * noise
    probes /= np.linalg.norm(probes, axis=1, keepdims=True)
    people = np.arange(1, 5001)
    index = Index((packed(people, people.astype(np.uint64), strangers),), 0, 0, 0)
    exact = (probes @ strangers.T).argmax(axis=1) + 1
    found = [best[0] for best in index.search(probes, 1)]
    assert np.mean(found == exact) >= 0.99
    monkeypatch.setattr("facekeep.gallery.index._SHARE", 10**9)
    monkeypatch.setattr("facekeep.gallery.index.DEPTH", 1)
    monkeypatch.setattr("facekeep.gallery.index._KEPT", 2)
    few = [best[0] for best in index.search(probes, 1)]
    assert 0.2 < np.mean(few == exact) < 0.98
