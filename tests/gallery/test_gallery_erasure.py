"""Erasure is proven by looking for what was erased in every byte of every file of the gallery."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from gallery_kit import KEY, KEY2, SPACE, make, new

from facekeep.errors import GalleryBusy, StorageFull
from facekeep.gallery import Consent, Gallery, Key, NewTemplate

NAME = "Zwxqv Unmistakable"
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def noise(size: int, seed: int) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def everything(path: Path) -> bytes:
    """Every byte of every file beside the gallery, whatever it is called."""
    return b"".join(file.read_bytes() for file in sorted(path.parent.iterdir()))


def victim() -> list[NewTemplate]:
    """Templates with small and large crops, so that some lie on overflow pages."""
    return [
        new(100, source="victim-one.jpg", crop=noise(300, 1001)),
        new(101, negative=True),
        new(102, source="victim-two.jpg", crop=noise(100_000, 1002)),
    ]


def pieces(templates: list[NewTemplate]) -> list[bytes]:
    """Short pieces from the beginning, middle and end of everything biometric."""
    long = [t.vector.tobytes() for t in templates] + [t.crop for t in templates if t.crop]
    return [data[at : at + 16] for data in long for at in (0, len(data) // 2, len(data) - 16)]


def secrets(templates: list[NewTemplate]) -> list[bytes]:
    """What is biometric, and every word about the person."""
    words = [b"victim-", b"Zwxqv", b"Unmistakable", b"shy secret", b"signed by victim"]
    return pieces(templates) + words


def mean(templates: list[NewTemplate]) -> np.ndarray:
    """What an index keeps of the vectors."""
    total = np.sum([t.vector for t in templates if not t.negative], axis=0)
    return (total / np.linalg.norm(total)).astype(np.float16)


def populate(gallery: Gallery) -> list[NewTemplate]:
    for number in range(40):
        gallery.enroll(f"P{number:02}", [new(number, crop=noise(500 * number + 1, number))])
    templates = victim()
    gallery.enroll(
        NAME,
        templates,
        metadata={"note": "shy secret"},
        consent=Consent("signed by victim", NOW),
        retain_until=NOW,
    )
    for number in range(40, 60):
        gallery.enroll(f"P{number:02}", [new(number)])
    return templates


def test_the_search_for_bytes_would_find_them(path: Path) -> None:
    """The proof is worth something only if it can fail."""
    with make(path) as gallery:
        templates = populate(gallery)
        assert [s for s in secrets(templates) if s not in everything(path)] == []


def plainly(gallery: Gallery) -> None:
    gallery.remove(NAME)


def after_rename(gallery: Gallery) -> None:
    gallery.rename(NAME, "Somebody Else")
    gallery.remove("Somebody Else")


def after_merge(gallery: Gallery) -> None:
    gallery.merge([NAME], "P07")
    gallery.remove("P07")


def after_split(gallery: Gallery) -> None:
    person = gallery.person(NAME)
    assert person.templates is not None
    gallery.split(NAME, [person.templates[2].id], NAME + " 2")
    gallery.remove(NAME)
    gallery.remove(NAME + " 2")


def by_purge(gallery: Gallery) -> None:
    assert [p.name for p in gallery.purge(NOW)] == [NAME]


@pytest.mark.parametrize("way", [plainly, after_rename, after_merge, after_split, by_purge])
def test_nothing_is_left_of_somebody_erased(
    path: Path, key: Key | None, way: Callable[[Gallery], None]
) -> None:
    with make(path, key) as gallery:
        templates = populate(gallery)
        person_id = gallery.person(NAME).id
        way(gallery)
        left = everything(path)
        assert [s for s in secrets(templates) if s in left] == []
        assert not gallery.info().erasure_pending
        assert gallery.check() == []
        assert len(gallery.people()) >= 59
        assert person_id in [entry.person_id for entry in gallery.audit()]


def test_the_ciphertext_is_erased_too(path: Path) -> None:
    with make(path, KEY) as gallery:
        populate(gallery)
        with closing(sqlite3.connect(path)) as connection:
            rows = connection.execute(
                "SELECT t.vector, t.crop FROM templates t JOIN people p ON p.id = t.person"
                " WHERE p.name = ?",
                (NAME,),
            ).fetchall()
        sealed = [blob[at : at + 16] for row in rows for blob in row if blob for at in (0, 40)]
        assert len(sealed) == 10
        assert all(piece in everything(path) for piece in sealed)
        gallery.remove(NAME)
        left = everything(path)
        assert [piece for piece in sealed if piece in left] == []


def test_single_templates_are_erased(path: Path) -> None:
    with make(path) as gallery:
        templates = populate(gallery)
        person = gallery.person(NAME)
        assert person.templates is not None
        person = gallery.remove_templates(NAME, [person.templates[2].id])
        assert person == gallery.person(NAME)
        left = everything(path)
        assert [s for s in pieces([templates[2]]) if s in left] == []
        assert b"victim-two" not in left
        assert b"victim-one" in left
        assert (person.template_count, person.negative_count) == (1, 1)


@pytest.mark.parametrize("old", [None, KEY], ids=["plain", "encrypted"])
def test_rekeying_leaves_nothing_of_the_old_form(path: Path, old: Key | None) -> None:
    with make(path, old) as gallery:
        templates = populate(gallery)
        with closing(sqlite3.connect(path)) as connection:
            blobs = [row[0] for row in connection.execute("SELECT vector FROM templates")]
        gallery.rekey(KEY2)
        left = everything(path)
        assert [blob for blob in blobs if blob[:16] in left or blob[-16:] in left] == []
        assert [s for s in pieces(templates) if s in left] == []


def test_a_reader_of_an_older_state_is_not_passed_over(path: Path) -> None:
    """While somebody reads on, traces cannot be wiped: say so, remember it, make it good."""
    with make(path, busy_timeout=0.2) as gallery, closing(sqlite3.connect(path)) as reader:
        templates = populate(gallery)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM people").fetchone()
        with pytest.raises(GalleryBusy, match=r"is done, but .* compact the gallery"):
            gallery.remove(NAME)
        assert NAME not in [person.name for person in gallery.people()]
        assert gallery.info().erasure_pending
        assert [finding.kind for finding in gallery.check()] == ["erasure"]
        with pytest.raises(GalleryBusy):
            gallery.compact()
        reader.execute("ROLLBACK")
        gallery.compact()
        assert not gallery.info().erasure_pending
        left = everything(path)
        assert [s for s in secrets(templates) if s in left] == []


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
def test_an_erasure_that_was_cut_off_is_finished_at_the_next_opening(
    path: Path, key: Key | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the process had been killed between deleting and wiping."""
    with make(path, key) as gallery:
        templates = populate(gallery)
        monkeypatch.setattr(Gallery, "compact", lambda _: None)
        gallery.remove(NAME)
        monkeypatch.undo()
        assert gallery.info().erasure_pending
    with Gallery.open(path, read_only=True) as gallery:
        assert gallery.info().erasure_pending
    with Gallery.open(path) as gallery:
        # Noted only by who can sign it, so that nothing looks changed without the key.
        assert gallery.info().erasure_pending is (key is not None)
        left = everything(path)
        assert [s for s in secrets(templates) if s in left] == []
    with Gallery.open(path, key=key) as gallery:
        assert not gallery.info().erasure_pending
        assert gallery.check() == []


def test_opening_does_not_wait_for_a_reader_to_finish_an_erasure(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with make(path) as gallery:
        populate(gallery)
        monkeypatch.setattr(Gallery, "compact", lambda _: None)
        gallery.remove(NAME)
        monkeypatch.undo()
    with closing(sqlite3.connect(path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM people").fetchone()
        with Gallery.open(path) as gallery:
            assert gallery.info().erasure_pending
    assert "unfinished" in caplog.text


def test_an_erasure_without_room_to_rewrite_is_not_called_complete(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with make(path) as gallery:
        populate(gallery)

        def full() -> None:
            raise StorageFull("no room")

        monkeypatch.setattr(gallery._session.database, "compact", full)
        with pytest.raises(StorageFull, match="is done, but"):
            gallery.remove(NAME)
        assert gallery.info().erasure_pending


def test_the_index_forgets_too(path: Path) -> None:
    with make(path) as gallery:
        templates = populate(gallery)
        assert gallery.search(templates[0].vector[None], 1)[0][0].name == NAME
        gallery.remove(NAME)
        hits = gallery.search(templates[0].vector[None], 100)[0]
        assert NAME not in [hit.name for hit in hits]
        assert len(hits) == 60
        state = gallery._searcher._index
        assert state is not None
        held = b"".join(block.vectors.tobytes() for block in state.blocks)
        assert new(59).vector.astype(np.float16).tobytes() in held
        assert mean(templates).tobytes() not in held


def test_compacting_gives_the_room_back(path: Path) -> None:
    with make(path) as gallery:
        populate(gallery)
        gallery.compact()
        before = gallery.info().size
        for number in range(1, 40):
            with gallery._session.write() as rows:
                rows.delete_person(rows.person(f"P{number:02}").id)
        gallery.compact()
        assert gallery.info().size < before / 2
        assert gallery.search(np.zeros((0, SPACE.width), np.float32)) == []


def test_deleted_content_is_overwritten_even_before_the_file_is_rewritten(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second line of defence, for the blocks that rewriting gives back to the file system."""
    with make(path) as gallery:
        populate(gallery)
    with Gallery.open(path) as gallery:
        monkeypatch.setattr(Gallery, "compact", lambda _: None)
        gallery.remove(NAME)
    crop = noise(100_000, 1002)
    left = everything(path)
    assert [at for at in range(0, 100_000 - 16, 1000) if crop[at : at + 16] in left] == []


def test_erasing_waits_for_a_reader_to_finish(path: Path, key: Key | None) -> None:
    with make(path, key) as gallery, make(path, key) as other:
        gallery.enroll("Ada", [new(1)])
        gallery.enroll("Bea", [new(2)])
        reading = other._session.database.snapshot()
        reading.__enter__()
        timer = threading.Timer(0.5, lambda: reading.__exit__(None, None, None))
        timer.start()
        gallery.remove("Ada")
        timer.join()
        assert not gallery.info().erasure_pending
        assert gallery.check() == []


def test_those_who_erase_at_the_same_time_wait_for_each_other(path: Path) -> None:
    with make(path) as gallery:
        for number in range(18):
            gallery.enroll(f"P{number}", [new(number)])
    faults: list[BaseException] = []

    def erase(first: int) -> None:
        try:
            with Gallery.open(path) as gallery:
                for number in range(first, 18, 3):
                    gallery.remove(f"P{number}")
                    gallery.check()
        except Exception as error:  # noqa: BLE001 - a thread must report it
            faults.append(error)

    threads = [threading.Thread(target=erase, args=(first,)) for first in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    with Gallery.open(path) as gallery:
        assert gallery.people() == []
        assert gallery.check() == []
        assert not gallery.info().erasure_pending
