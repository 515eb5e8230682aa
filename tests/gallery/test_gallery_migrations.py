"""Galleries written by every released version must open, whole, for ever.

``vN_*.sql`` were dumped from galleries of version N. They are never to be made anew; a new version
of the schema gets files of its own.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from gallery_kit import KEY, SPACE, contents, make, new, units

from facekeep.errors import GalleryVersion
from facekeep.gallery import Consent, Gallery, Key
from facekeep.gallery.sqlite import schema

HERE = Path(__file__).parent
FROZEN = [("v1_plain", None), ("v1_encrypted", KEY), ("v2_plain", None), ("v2_encrypted", KEY)]


def thaw(name: str, path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((HERE / f"{name}.sql").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("name", "key"), FROZEN)
def test_a_frozen_gallery_opens_whole(path: Path, name: str, key: Key | None) -> None:
    thaw(name, path)
    with Gallery.open(path, space=SPACE, key=key) as gallery:
        assert gallery.check() == []
        ada, renee = gallery.people()
        assert (ada.name, renee.name) == ("Ada Lovelace", "Renée")
        assert ada.metadata == {"room": "4b"}
        assert ada.consent == Consent("signed form", datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC))
        assert ada.retain_until == datetime(2099, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
        templates = gallery.person("Ada Lovelace").templates
        assert templates is not None
        assert [(t.quality, t.source, t.negative) for t in templates] == [
            (0.5, "ada.jpg", False),
            (None, None, True),
        ]
        assert gallery.crop(templates[0].id) == b"crop"
        (hit,) = gallery.search(units(1, 3), 1)[0]
        assert (hit.name, round(hit.similarity, 5)) == ("Renée", 1.0)
        assert [entry.action for entry in gallery.audit()] == ["enrolled", "enrolled", "created"]
        gallery.enroll("Bea", [new(4)])
        assert gallery.info().version == schema.VERSION


def test_a_new_file_has_the_schema_of_an_upgraded_one(path: Path, tmp_path: Path) -> None:
    thaw("v1_plain", path)
    Gallery.open(path).close()
    make(tmp_path / "new.db").close()
    shapes = []
    for file in (path, tmp_path / "new.db"):
        with closing(sqlite3.connect(file)) as connection:
            rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema")
            shapes.append(sorted(map(str, rows.fetchall())))
    assert shapes[0] == shapes[1]


def test_a_newer_gallery_is_refused_and_left_alone(path: Path) -> None:
    make(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    before = path.read_bytes()
    with pytest.raises(GalleryVersion, match="newer facekeep"):
        Gallery.open(path)
    assert path.read_bytes() == before


def add_column(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE people ADD COLUMN nickname TEXT")


def fail(connection: sqlite3.Connection) -> None:
    add_column(connection)
    raise RuntimeError("in the middle of an upgrade")


def test_an_upgrade_happens_once_and_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with make(path) as gallery:
        gallery.enroll("Ada", [new(1)])
        before = contents(gallery)
    released = schema.MIGRATIONS
    monkeypatch.setattr(schema, "VERSION", len(released) + 1)
    monkeypatch.setattr(schema, "MIGRATIONS", (*released, fail))
    with Gallery.open(path, read_only=True) as gallery:
        assert contents(gallery) == before
    with pytest.raises(RuntimeError):
        Gallery.open(path)
    monkeypatch.setattr(schema, "MIGRATIONS", (*released, add_column))
    for _ in range(2):
        with Gallery.open(path) as gallery:
            assert contents(gallery) == before
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(released) + 1,)
        assert connection.execute("SELECT nickname FROM people").fetchall() == [(None,)]
