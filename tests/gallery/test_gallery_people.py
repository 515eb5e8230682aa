from __future__ import annotations

import json
import shutil
import sqlite3
import threading
import unicodedata
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gallery_kit import KEY, KEY2, OTHER, SPACE, contents, doctor, make, new, units

from facekeep.errors import (
    GalleryCorrupt,
    GalleryError,
    GalleryKeyError,
    GalleryNotFound,
    GalleryReadOnly,
    InputError,
    PersonExists,
    PersonNotFound,
    SpaceMismatch,
    TemplateTampered,
)
from facekeep.gallery import Consent, Gallery, Key, NewTemplate, Space
from facekeep.gallery.sqlite import schema
from facekeep.gallery.sqlite.database import Database

NOW = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)


def test_what_is_enrolled_is_there_after_reopening(path: Path, key: Key | None) -> None:
    consent = Consent("signed form", NOW)
    later = NOW + timedelta(days=365)
    with make(path, key) as gallery:
        first = gallery.enroll(
            "Ada",
            [new(1, quality=0.5, source="a.jpg", crop=b"crop"), new(2, negative=True)],
            metadata={"room": "4b", "tags": ["ü", 1, None]},
            consent=consent,
            retain_until=later,
        )
        again = gallery.enroll("Ada", [new(3)])
    assert again.id == first.id
    with Gallery.open(path, key=key) as gallery:
        person = gallery.person("Ada")
        assert person == again
        assert person.metadata == {"room": "4b", "tags": ["ü", 1, None]}
        assert (person.consent, person.retain_until) == (consent, later)
        assert person.templates is not None
        assert [t.negative for t in person.templates] == [False, True, False]
        assert [t.quality for t in person.templates] == [0.5, None, None]
        assert [t.source for t in person.templates] == ["a.jpg", None, None]
        assert [gallery.crop(t.id) for t in person.templates] == [b"crop", None, None]
        stored = np.stack(list(gallery.vectors("Ada").values()))
        np.testing.assert_array_equal(stored, np.vstack([units(1, s) for s in (1, 2, 3)]))


def test_a_gallery_shows_where_it_is_and_not_its_key(path: Path) -> None:
    key = Key(b"0001020304050607" * 2)
    with make(path, key) as gallery:
        assert repr(gallery) == f"<Gallery {path}, templates of model-a, open>"
    assert repr(gallery) == f"<Gallery {path}, templates of model-a, closed>"
    with Gallery.open(path, read_only=True) as gallery:
        assert repr(gallery) == f"<Gallery {path}, templates of model-a, read-only>"


def test_vectors_are_stored_as_documented(path: Path) -> None:
    with make(path) as gallery:
        gallery.enroll("Ada", [new(1)])
    with closing(sqlite3.connect(path)) as connection:
        (blob,) = connection.execute("SELECT vector FROM templates").fetchone()
    assert blob == units(1, 1)[0].astype("<f4").tobytes()


def test_names_are_normalized_and_unique(gallery: Gallery) -> None:
    gallery.enroll(unicodedata.normalize("NFD", "  Renée "), [new(1)])
    gallery.enroll("Renée", [new(2)])
    (person,) = gallery.people()
    assert person.name == unicodedata.normalize("NFC", "Renée")
    assert person.template_count == 2


@pytest.mark.parametrize(
    "name", ["", "  ", "a\nb", "a\x00b", "a\u2028b", "\ud800", "x" * 201, None, 7, b"Ada"]
)
def test_unusable_names(gallery: Gallery, name: Any) -> None:
    with pytest.raises(InputError, match="name"):
        gallery.enroll(name, [new()])
    assert gallery.people() == []


@pytest.mark.parametrize(
    "vector",
    [
        units(1, width=15)[0],
        units(1),
        units(1)[0] * 2,
        np.full(16, np.nan, np.float32),
        np.full(16, np.inf, np.float32),
        np.zeros(16, np.float32),
        np.ones(16, np.int64),
        [0.25] * 15,
        "text",
        None,
        [[1.0], [0.5, 0.5]],
    ],
)
def test_unusable_vectors(gallery: Gallery, vector: Any) -> None:
    with pytest.raises(InputError, match="vector"):
        gallery.enroll("Ada", [new(1), NewTemplate(vector)])
    assert gallery.people() == []


@pytest.mark.parametrize(
    "facts",
    [
        {"quality": float("nan")},
        {"quality": "good"},
        {"quality": True},
        {"source": "a\nb"},
        {"source": "x" * 5000},
        {"crop": b""},
        {"crop": "text"},
        {"crop": bytes(2 << 20)},
        {"negative": 1},
    ],
)
def test_unusable_facts_of_a_template(gallery: Gallery, facts: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        gallery.enroll("Ada", [new(1, **facts)])
    assert gallery.people() == []


@pytest.mark.parametrize(
    "facts",
    [
        {"metadata": {"a": float("nan")}},
        {"metadata": {"a": {1, 2}}},
        {"metadata": {1: "a"}},
        {"metadata": {"a": "\ud800"}},
        {"metadata": {"a": "x" * 70000}},
        {"metadata": [1]},
        {"consent": "yes"},
        {"consent": Consent("", NOW)},
        {"consent": Consent("form", NOW.replace(tzinfo=None))},
        {"retain_until": NOW.replace(tzinfo=None)},
        {"retain_until": "tomorrow"},
        {"retain_until": datetime.min.replace(tzinfo=timezone(timedelta(hours=9)))},
    ],
)
def test_unusable_facts_of_a_person(gallery: Gallery, facts: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        gallery.enroll("Ada", [new(1)], **facts)
    assert gallery.people() == []


def test_enrolling_nothing(gallery: Gallery) -> None:
    with pytest.raises(InputError, match="at least one"):
        gallery.enroll("Ada", [])


def test_counting(gallery: Gallery) -> None:
    assert gallery.count() == gallery.info().people == 0
    gallery.enroll("Ada", [new(1), new(2)])
    gallery.enroll("Bob", [new(3)])
    assert gallery.count() == gallery.info().people == 2


def test_people_by_pages(gallery: Gallery) -> None:
    for name in ("Cleo", "Ada", "Bea"):
        gallery.enroll(name, [new()])
    assert [p.name for p in gallery.people()] == ["Ada", "Bea", "Cleo"]
    assert [p.name for p in gallery.people(limit=2)] == ["Ada", "Bea"]
    assert [p.name for p in gallery.people(after="Ada", limit=1)] == ["Bea"]


def test_rename(gallery: Gallery) -> None:
    before = gallery.enroll("Ada", [new(1)])
    gallery.enroll("Bea", [new(2)])
    assert gallery.rename("Ada", "Ada L.").id == before.id
    with pytest.raises(PersonNotFound, match="Ada"):
        gallery.person("Ada")
    with pytest.raises(PersonExists, match="Bea"):
        gallery.rename("Ada L.", " Bea")
    assert gallery.rename("Bea", "Bea").name == "Bea"
    assert gallery.search(units(1, 1), 1)[0][0].name == "Ada L."


def test_update_replaces_or_takes_away(gallery: Gallery) -> None:
    gallery.enroll("Ada", [new(1)], metadata={"a": 1}, retain_until=NOW)
    assert gallery.update("Ada", consent=Consent("form", NOW)).metadata == {"a": 1}
    person = gallery.update("Ada", metadata={"b": 2}, retain_until=None)
    assert (person.metadata, person.retain_until) == ({"b": 2}, None)
    assert person.consent == Consent("form", NOW)
    assert gallery.update("Ada", consent=None).consent is None


def test_merge_moves_everything(gallery: Gallery) -> None:
    gallery.enroll("Ada", [new(1)], metadata={"a": 1, "c": 1}, retain_until=NOW)
    gallery.enroll("Bea", [new(2, crop=b"bea"), new(3, negative=True)], metadata={"a": 2, "b": 2})
    gallery.enroll("Cleo", [new(4)], retain_until=NOW - timedelta(days=1))
    person = gallery.merge(["Bea", "Cleo"], "Ada")
    assert [p.name for p in gallery.people()] == ["Ada"]
    assert person.metadata == {"a": 1, "b": 2, "c": 1}
    assert person.retain_until == NOW - timedelta(days=1)
    assert person.templates is not None
    assert [gallery.crop(t.id) for t in person.templates] == [None, b"bea", None, None]
    assert [t.negative for t in person.templates] == [False, False, True, False]
    assert gallery.search(units(1, 4), 1)[0][0].name == "Ada"
    assert gallery.check() == []


def test_merge_refuses_nonsense_and_changes_nothing(gallery: Gallery) -> None:
    gallery.enroll("Ada", [new(1)])
    gallery.enroll("Bea", [new(2)])
    before = contents(gallery)
    for sources in ([], ["Ada"], ["Bea", "Ada"]):
        with pytest.raises(InputError):
            gallery.merge(sources, "Ada")
    with pytest.raises(PersonNotFound):
        gallery.merge(["Bea", "Nobody"], "Ada")
    assert contents(gallery) == before


def test_split_moves_the_named_templates(gallery: Gallery) -> None:
    person = gallery.enroll(
        "Ada", [new(1), new(2, crop=b"two"), new(3)], consent=Consent("form", NOW), retain_until=NOW
    )
    assert person.templates is not None
    ids = [template.id for template in person.templates]
    split = gallery.split("Ada", ids[1:], "Bea")
    assert (split.consent, split.retain_until) == (person.consent, person.retain_until)
    assert set(gallery.vectors("Bea")) == set(ids[1:])
    assert set(gallery.vectors("Ada")) == set(ids[:1])
    assert gallery.crop(ids[1]) == b"two"
    assert gallery.search(units(1, 3), 1)[0][0].name == "Bea"
    assert gallery.check() == []


def test_split_refuses_nonsense_and_changes_nothing(gallery: Gallery) -> None:
    person = gallery.enroll("Ada", [new(1), new(2)])
    other = gallery.enroll("Bea", [new(3)])
    assert person.templates is not None
    assert other.templates is not None
    ids = [template.id for template in person.templates]
    before = contents(gallery)
    for wrong in ([], ["nonsense"], [ids[0], other.templates[0].id], ids):
        with pytest.raises(InputError):
            gallery.split("Ada", wrong, "Cleo")
    with pytest.raises(PersonExists):
        gallery.split("Ada", ids[:1], "Bea")
    assert contents(gallery) == before


def test_purge_erases_who_has_expired(gallery: Gallery) -> None:
    gallery.enroll("Ada", [new(1)], retain_until=NOW)
    gallery.enroll("Bea", [new(2)], retain_until=NOW + timedelta(microseconds=1))
    gallery.enroll("Cleo", [new(3)])
    assert gallery.purge(NOW - timedelta(microseconds=1)) == []
    assert [p.name for p in gallery.purge(NOW)] == ["Ada"]
    assert [p.name for p in gallery.people()] == ["Bea", "Cleo"]
    with pytest.raises(InputError, match="time zone"):
        gallery.purge(NOW.replace(tzinfo=None))


def test_audit_tells_what_happened_without_names(gallery: Gallery) -> None:
    ada = gallery.enroll("Ada", [new(1), new(2)], metadata={"secret": "Ada's"})
    assert ada.templates is not None
    gallery.rename("Ada", "Ada L.")
    gallery.split("Ada L.", [ada.templates[0].id], "Bea")
    gallery.merge(["Bea"], "Ada L.")
    gallery.update("Ada L.", metadata={})
    gallery.remove_templates("Ada L.", [ada.templates[0].id])
    gallery.remove("Ada L.")
    entries = gallery.audit()
    assert [entry.action for entry in reversed(entries)] == [
        "created",
        "enrolled",
        "renamed",
        "split",
        "merged",
        "updated",
        "template removed",
        "removed",
    ]
    assert entries[0].person_id == ada.id
    assert len(gallery.audit(3)) == 3
    details = json.dumps([entry.detail for entry in entries])
    assert "Ada" not in details
    assert "Bea" not in details


def test_spaces_do_not_mix(path: Path) -> None:
    make(path).close()
    for other in (OTHER, Space(SPACE.id, "model-c", 17)):
        with pytest.raises(SpaceMismatch, match=rf"model-a .*{other.model}"):
            Gallery.open(path, space=other)
    with Gallery.open(path) as gallery:
        assert gallery.space == SPACE
        assert gallery.people() == []
        with pytest.raises(InputError, match="without an embedding space"):
            gallery.enroll("Ada", [new()])
        with pytest.raises(InputError, match="without an embedding space"):
            gallery.search(units(1))


def test_creation_needs_a_space_and_a_wish(path: Path) -> None:
    with pytest.raises(GalleryNotFound, match="no gallery"):
        Gallery.open(path, space=SPACE)
    with pytest.raises(InputError, match="space"):
        Gallery.open(path, create=True)
    assert list(path.parent.iterdir()) == []
    with make(path):
        assert path.stat().st_mode & 0o777 == 0o600
        assert Path(f"{path}-wal").stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_creating_where_there_is_one_opens_it(path: Path) -> None:
    with make(path) as first:
        first.enroll("Ada", [new()])
    with make(path) as second:
        assert [p.name for p in second.people()] == ["Ada"]


def test_two_creators_get_one_gallery(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loser of the race must use the winner's file, not replace it."""
    from facekeep.gallery.sqlite import session

    def late(file: Path) -> bool:
        make_other()
        return False

    def make_other() -> None:
        monkeypatch.undo()
        with make(path) as winner:
            winner.enroll("Ada", [new()])

    monkeypatch.setattr(session, "has_file", late)
    with make(path) as loser:
        assert [p.name for p in loser.people()] == ["Ada"]


def test_creation_on_a_medium_without_hard_links(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "no hard links here")

    monkeypatch.setattr("os.link", refuse)
    with make(path) as gallery:
        gallery.enroll("Ada", [new()])
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_read_only_never_writes(path: Path) -> None:
    make(path).close()
    before = path.read_bytes()
    with Gallery.open(path, space=SPACE, read_only=True) as gallery:
        assert gallery.search(units(1)) == [[]]
        for change in (
            lambda: gallery.enroll("Ada", [new()]),
            gallery.compact,
            lambda: gallery.rekey(KEY),
        ):
            with pytest.raises(GalleryReadOnly, match="reading only"):
                change()
    assert path.read_bytes() == before


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    """The content and the time of change of all files."""
    return {
        file.name: (file.read_bytes(), file.stat().st_mtime_ns)
        for file in folder.iterdir()
        if not file.name.endswith("-shm")
    }


def test_reading_leaves_one_file_and_no_byte_of_it_changed(path: Path) -> None:
    with make(path) as gallery:
        gallery.enroll("Ada", [new()])
    before = files(path.parent)
    for traces in (0, 1):
        for suffix in ("-wal", "-shm")[: 2 * traces]:
            Path(f"{path}{suffix}").touch()
        with Gallery.open(path, space=SPACE, read_only=True) as first:
            with Gallery.open(path, read_only=True) as second:
                assert second.check() == []
            assert first.search(units(1))[0][0].name == "Ada"
        assert files(path.parent) == before
        assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_reading_leaves_the_log_of_a_killed_writer_as_it_is(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy" / path.name
    copy.parent.mkdir()
    with make(path) as gallery:
        gallery.enroll("Ada", [new()])
        for suffix in ("", "-wal"):
            shutil.copy2(f"{path}{suffix}", f"{copy}{suffix}")
    before = files(copy.parent)
    with Gallery.open(copy, space=SPACE, read_only=True) as gallery:
        assert gallery.search(units(1))[0][0].name == "Ada"
    assert files(copy.parent) == before
    assert len(before) == 2


def test_nothing_is_written_through_the_connection_of_a_reader(path: Path) -> None:
    make(path).close()
    database = Database(path, read_only=True, busy_timeout=1)
    with pytest.raises(GalleryReadOnly), database.read() as connection:
        connection.execute("DELETE FROM people")
    database.close()


def test_a_closed_gallery_says_so(path: Path) -> None:
    gallery = make(path)
    gallery.close()
    gallery.close()
    for use in (gallery.people, gallery.check, lambda: gallery.enroll("Ada", [new()])):
        with pytest.raises(GalleryError, match="closed"):
            use()


def test_encrypted_gallery_without_its_key(path: Path) -> None:
    with make(path, KEY) as gallery:
        person = gallery.enroll("Ada", [new(1, crop=b"crop")])
    assert person.templates is not None
    with Gallery.open(path, space=SPACE) as gallery:
        assert gallery.person("Ada") == person
        assert gallery.info().encrypted
        gallery.rename("Ada", "Bea")
        for use in (
            lambda: gallery.search(units(1)),
            lambda: gallery.enroll("Ada", [new()]),
            lambda: gallery.vectors("Bea"),
            lambda: gallery.crop(person.templates[0].id),
            lambda: gallery.rekey(None),
            lambda: gallery.export(path.with_name("out")),
        ):
            with pytest.raises(GalleryKeyError, match="no key"):
                use()
        assert [finding.kind for finding in gallery.check()] == ["key"]
        gallery.remove("Bea")
    assert not path.with_name("out").exists()


def test_wrong_and_needless_keys(path: Path, tmp_path: Path) -> None:
    make(path, KEY).close()
    with pytest.raises(GalleryKeyError, match="not the key"):
        Gallery.open(path, key=KEY2)
    plain = tmp_path / "plain.db"
    make(plain).close()
    with pytest.raises(GalleryKeyError, match="not encrypted"):
        Gallery.open(plain, key=KEY)


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE templates SET vector = (SELECT vector FROM templates WHERE id = 2) WHERE id = 1",
        "UPDATE templates SET person = 2 WHERE id = 1",
        "UPDATE templates SET negative = 1 WHERE id = 1",
        "UPDATE templates SET uuid = '00000000-0000-4000-8000-000000000000' WHERE id = 1",
        "UPDATE templates SET vector = zeroblob(92) WHERE id = 1",
        "UPDATE templates SET vector = x'' WHERE id = 1",
        "UPDATE people SET uuid = '00000000-0000-4000-8000-000000000000' WHERE id = 1",
    ],
)
def test_tampering_is_found(path: Path, tampering: str) -> None:
    with make(path, KEY) as gallery:
        gallery.enroll("Ada", [new(1)])
        gallery.enroll("Bea", [new(2)])
        for name in ("Ada", "Bea"):
            gallery.enroll(name, [new(3)])
    doctor(path, tampering)
    with Gallery.open(path, space=SPACE, key=KEY) as gallery:
        while findings := gallery.check():
            with pytest.raises(TemplateTampered) as caught:
                gallery.search(units(1))
            (finding,) = [each for each in findings if each.message == str(caught.value)]
            name, template_id = caught.value.person, caught.value.template_id
            assert name is not None
            start = f"template {finding.id} of {name} was changed outside facekeep"
            assert (finding.kind, finding.message[: len(start)]) == ("template", start)
            if template_id:
                assert template_id == finding.id
                gallery.remove_templates(name, [template_id])
            else:
                gallery.remove(name)
        assert gallery.info().templates > 1


def test_a_tampered_crop_is_found(path: Path) -> None:
    with make(path, KEY) as gallery:
        person = gallery.enroll("Ada", [new(1, crop=b"one"), new(2, crop=b"two")])
    assert person.templates is not None
    doctor(path, "UPDATE templates SET crop = (SELECT crop FROM templates WHERE id = 2)")
    with Gallery.open(path, space=SPACE, key=KEY) as gallery:
        with pytest.raises(TemplateTampered):
            gallery.crop(person.templates[0].id)
        assert [f.id for f in gallery.check()] == [person.templates[0].id]


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        ("UPDATE templates SET vector = zeroblob(64)", "template"),
        ("UPDATE templates SET vector = zeroblob(60)", "template"),
        ("UPDATE people SET metadata = '{'", "person"),
        ("UPDATE people SET created_at = 'yesterday'", "person"),
        ("DELETE FROM people", "structure"),
        ("UPDATE meta SET unswept = 1", "erasure"),
    ],
)
def test_check_finds_damage(path: Path, damage: str, kind: str) -> None:
    with make(path) as gallery:
        gallery.enroll("Ada", [new(1)])
    with Gallery.open(path) as gallery:
        assert gallery.check() == []
        doctor(path, damage)
        assert kind in {finding.kind for finding in gallery.check()}
        if kind == "person":
            with pytest.raises(GalleryCorrupt, match="changed outside facekeep"):
                gallery.person("Ada")
            assert [person.name for person in gallery.people()] == ["Ada"]


def test_rekey_there_and_back(path: Path) -> None:
    with make(path) as gallery:
        gallery.enroll("Ada", [new(1, crop=b"crop"), new(2, negative=True)])
        before = contents(gallery)
        for key in (KEY, KEY2, None):
            gallery.rekey(key)
            assert contents(gallery) == before
            assert gallery.check() == []
            assert gallery.search(units(1, 1))[0][0].name == "Ada"
            with Gallery.open(path, space=SPACE, key=key) as reopened:
                assert contents(reopened) == before


def test_an_old_sqlite_is_said_to_be_too_old(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 1))
    with pytest.raises(GalleryError, match=r"a gallery needs 3\.37\.0 or newer: use a Python"):
        make(path)
    assert not path.exists()
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 37, 0))
    make(path).close()


@pytest.mark.parametrize("new_key", [KEY2, None])
def test_an_empty_gallery_keeps_its_key_too(path: Path, new_key: Key | None) -> None:
    make(path, KEY).close()
    with (
        Gallery.open(path, space=SPACE) as gallery,
        pytest.raises(GalleryKeyError, match="no key was given"),
    ):
        gallery.rekey(new_key)
    with Gallery.open(path, space=SPACE, key=KEY) as gallery:
        assert gallery.info().encrypted


def test_nothing_is_sealed_with_a_key_that_was_changed_meanwhile(path: Path) -> None:
    with make(path, KEY) as owner, make(path, KEY) as late:
        owner.enroll("Ada", [new(1)])
        late.search(units(1))
        owner.rekey(KEY2)
        for use in (lambda: late.enroll("Bea", [new(2)]), lambda: late.search(units(1))):
            with pytest.raises(GalleryKeyError, match="not the key"):
                use()
        assert [p.name for p in owner.people()] == ["Ada"]
        assert owner.check() == []


def test_info_counts(gallery: Gallery, key: Key | None) -> None:
    gallery.enroll("Ada", [new(1, crop=b"c"), new(2, negative=True)], retain_until=NOW)
    gallery.enroll("Bea", [new(3)])
    info = gallery.info()
    assert (info.people, info.templates, info.negatives, info.crops) == (2, 3, 1, 1)
    assert info.encrypted == (key is not None)
    assert (info.space, info.version, info.path) == (SPACE, schema.VERSION, gallery.path)
    assert info.expired == (1 if datetime.now(UTC) >= NOW else 0)
    assert info.size >= gallery.path.stat().st_size
    assert not info.erasure_pending


def test_threads_share_one_gallery(gallery: Gallery) -> None:
    vectors = units(60, 9)
    wrong: list[object] = []

    def work(first: int) -> None:
        try:
            for number in range(first, 60, 4):
                gallery.enroll(f"P{number}", [NewTemplate(vectors[number])])
                hits = gallery.search(vectors[number : number + 1], 1)
                if hits[0][0].name != f"P{number}":
                    wrong.append(hits)
        except Exception as error:  # noqa: BLE001 - a thread must report it
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert gallery.info().templates == 60


@pytest.mark.slow
def test_threads_search_while_the_key_changes(path: Path) -> None:
    with make(path) as gallery:
        gallery.enroll("Ada", [new(1)])
        done = threading.Event()
        wrong: list[object] = []

        def look() -> None:
            while not done.is_set():
                try:
                    assert gallery.search(units(1, 1))[0][0].name == "Ada"
                except BaseException as error:  # noqa: BLE001 - a thread must report it
                    wrong.append(error)
                    return

        thread = threading.Thread(target=look)
        thread.start()
        for key in (KEY, None) * 10:
            gallery.rekey(key)
        done.set()
        thread.join()
    assert wrong == []


def test_templates_that_do_not_exist(gallery: Gallery) -> None:
    person = gallery.enroll("Ada", [new(1), new(2)])
    assert person.templates is not None
    ids = [template.id for template in person.templates]
    with pytest.raises(InputError, match="not templates of 'Ada': nonsense; see"):
        gallery.remove_templates("Ada", [ids[0], "nonsense"])
    with pytest.raises(InputError, match="all templates of 'Ada': remove the person instead"):
        gallery.remove_templates("Ada", ids)
    gallery.enroll("Bea", [new(3)])
    with pytest.raises(InputError, match="not templates of 'Bea'"):
        gallery.remove_templates("Bea", ids[:1])
    with pytest.raises(PersonNotFound):
        gallery.remove_templates("Cleo", ids[:1])
    assert gallery.person("Ada") == person
    with pytest.raises(InputError, match="no template"):
        gallery.crop("nonsense")


@pytest.mark.parametrize(
    "damage", ["DELETE FROM meta", "UPDATE people SET metadata = '[1]'", "DROP TABLE people"]
)
def test_a_gallery_that_lost_what_it_needs(path: Path, damage: str) -> None:
    with make(path) as gallery:
        gallery.enroll("Ada", [new(1)])
    doctor(path, damage)
    with pytest.raises(GalleryCorrupt, match="restore a copy"), Gallery.open(path) as gallery:
        gallery.person("Ada")


def test_two_threads_wait_for_each_others_transactions(path: Path) -> None:
    """A writer in one thread holds up other writers of the process, never its readers."""
    with make(path) as gallery:
        gallery.enroll("Ada", [new(1)])
        seen: list[object] = []
        with gallery._session.write() as rows:
            rows.add_person("Half done")
            thread = threading.Thread(target=lambda: seen.extend(gallery.search(units(1, 1), 2)))
            thread.start()
            thread.join(timeout=20)
            assert [[hit.name for hit in hits] for hits in seen] == [["Ada"]]  # type: ignore[attr-defined]
            assert [p.name for p in gallery.people()] == ["Ada"]
