"""What somebody changes in a gallery's file is found: each row, each column, and the schema."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from gallery_kit import KEY, KEY2, SPACE, contents, doctor, make, new

from facekeep.errors import (
    FacekeepError,
    GalleryCorrupt,
    GalleryError,
    GalleryKeyError,
    InputError,
    TemplateTampered,
)
from facekeep.gallery import Consent, Gallery, Key

LATER = datetime(2090, 1, 1, tzinfo=UTC)


@pytest.fixture
def filled(path: Path, key: Key | None) -> Path:
    """Three people with everything that can be stored."""
    with make(path, key) as gallery:
        for seed, name in enumerate(("Ada", "Bea", "Cleo")):
            gallery.enroll(
                name,
                [
                    new(seed, crop=b"crop" * 20, source="a.jpg", quality=0.5),
                    new(seed + 9, negative=True),
                ],
                metadata={"room": seed},
                consent=Consent("form", datetime(2026, 1, 1, tzinfo=UTC)),
                retain_until=LATER,
            )
    return path


OTHER_UUID = "00000000-0000-4000-8000-000000000000"
CHANGES = {
    "people": {
        "uuid": OTHER_UUID,
        "name": "Adb",
        "metadata": '{"room": 7}',
        "consent_basis": "none",
        "consent_at": "2027-01-01T00:00:00.000000+00:00",
        "retain_until": None,
        "created_at": "2027-01-01T00:00:00.000000+00:00",
        "digest": bytes(32),
    },
    "templates": {
        "uuid": OTHER_UUID,
        "person": 2,
        "negative": 1,
        "quality": 0.25,
        "source": "b.jpg",
        "created_at": "2027-01-01T00:00:00.000000+00:00",
        "vector": new(77).vector.tobytes(),
        "crop": b"CROP" * 20,
        "digest": None,
    },
    "audit": {
        "at": "2027-01-01T00:00:00.000000+00:00",
        "action": "removed",
        "person": OTHER_UUID,
        "detail": "{}",
        "digest": b"",
    },
}
CELLS = [(table, column) for table, columns in CHANGES.items() for column in columns]


@pytest.mark.parametrize(("table", "column"), CELLS)
def test_check_finds_a_change_of_every_column(
    filled: Path, key: Key | None, table: str, column: str
) -> None:
    doctor(
        filled,
        f"UPDATE {table} SET {column} = ? WHERE id = 1",
        parameters=(CHANGES[table][column],),
    )
    with Gallery.open(filled, space=SPACE, key=key) as gallery:
        kinds = {finding.kind for finding in gallery.check()}
    assert kinds & {"person", "template", "audit", "structure"}


@pytest.mark.parametrize(
    "tampering",
    [
        "DELETE FROM templates WHERE id = 1",
        "DELETE FROM audit WHERE id = 2",
        "INSERT INTO audit SELECT 9, at, action, person, detail, digest FROM audit WHERE id = 1",
        "UPDATE templates SET id = 99 WHERE id = 1",
        "UPDATE meta SET created_at = '2027-01-01T00:00:00.000000+00:00'",
        "UPDATE meta SET changes = 99",
        "UPDATE meta SET rewrites = 99",
        "UPDATE meta SET total = zeroblob(32)",
        "UPDATE spaces SET model = 'evil'",
        "INSERT INTO spaces VALUES (2, 'x', 'y', 3)",
        "UPDATE sqlite_sequence SET seq = 9223372036854775807",
    ],
)
def test_check_finds_what_was_done_to_the_whole(
    filled: Path, key: Key | None, tampering: str
) -> None:
    doctor(filled, tampering)
    with Gallery.open(filled, key=key) as gallery:
        assert {"structure", "template"} & {finding.kind for finding in gallery.check()}
        with (
            pytest.raises(FacekeepError)
            if "sequence" in tampering
            else pytest.MonkeyPatch.context()
        ):
            gallery.update("Cleo", metadata={"a": 1})
        assert gallery.check() != [], "a change must not cover it up"


def test_somebody_who_was_erased_and_put_back_is_found(path: Path, key: Key | None) -> None:
    with make(path, key) as gallery:
        gallery.enroll("Ada", [new(1)])
        gallery.enroll("Bea", [new(2)])
    with closing(sqlite3.connect(path)) as connection:
        rows = {
            table: connection.execute(f"SELECT * FROM {table} WHERE {by} = 1").fetchall()
            for table, by in (("people", "id"), ("templates", "person"))
        }
    with Gallery.open(path, space=SPACE, key=key) as gallery:
        gallery.remove("Ada")
        assert gallery.check() == []
    for table, found in rows.items():
        marks = ", ".join("?" * len(found[0]))
        doctor(path, f"INSERT INTO {table} VALUES ({marks})", parameters=found[0])
    with Gallery.open(path, space=SPACE, key=key) as gallery:
        assert [finding.kind for finding in gallery.check()] == ["structure"]


@pytest.mark.parametrize(
    ("statements", "named"),
    [
        (
            ["CREATE TRIGGER t BEFORE DELETE ON people BEGIN SELECT RAISE(IGNORE); END"],
            "trigger 't'",
        ),
        (["CREATE TABLE shadow (a)"], "table 'shadow'"),
        (["CREATE VIEW everybody AS SELECT * FROM people"], "view 'everybody'"),
        (["CREATE INDEX more ON people (metadata)"], "index 'more'"),
        (["DROP INDEX templates_by_person"], "templates_by_person"),
        (["ALTER TABLE people ADD COLUMN nickname TEXT"], "people"),
        (["ANALYZE"], "sqlite_stat1"),
    ],
)
def test_a_foreign_schema_is_refused(filled: Path, statements: list[str], named: str) -> None:
    doctor(filled, *statements)
    for read_only in (True, False):
        with pytest.raises(GalleryCorrupt, match="changed outside facekeep") as caught:
            Gallery.open(filled, read_only=read_only)
        assert named in str(caught.value)


def test_a_trigger_that_comes_while_the_gallery_is_open_stops_changes(
    filled: Path, key: Key | None
) -> None:
    with Gallery.open(filled, space=SPACE, key=key) as gallery:
        doctor(filled, "CREATE TRIGGER t BEFORE DELETE ON people BEGIN SELECT RAISE(IGNORE); END")
        with pytest.raises(GalleryCorrupt, match="trigger"):
            gallery.remove("Bea")
        assert [person.name for person in gallery.people()] == ["Ada", "Bea", "Cleo"]


def test_a_removal_that_removes_nothing_is_an_error(
    filled: Path, key: Key | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    doctor(filled, "CREATE TRIGGER t BEFORE DELETE ON people BEGIN SELECT RAISE(IGNORE); END")
    monkeypatch.setattr("facekeep.gallery.sqlite.schema.compare_schema", lambda *_: "")
    with Gallery.open(filled, space=SPACE, key=key) as gallery:
        with pytest.raises(GalleryCorrupt, match="keeps it from being changed"):
            gallery.remove("Bea")
        assert [person.name for person in gallery.people()] == ["Ada", "Bea", "Cleo"]


def test_what_was_changed_outside_is_not_covered_up_by_a_change(
    filled: Path, key: Key | None
) -> None:
    doctor(filled, "UPDATE people SET metadata = '{\"room\": 9}' WHERE name = 'Ada'")
    with Gallery.open(filled, space=SPACE, key=key) as gallery:
        changes: list[Callable[[], Any]] = [
            lambda: gallery.rename("Ada", "Eve"),
            lambda: gallery.update("Ada", retain_until=None),
            lambda: gallery.enroll("Ada", [new(5)]),
            lambda: gallery.merge(["Bea"], "Ada"),
            lambda: gallery.rekey(KEY2),
            lambda: gallery.person("Ada"),
        ]
        for change in changes:
            with pytest.raises(GalleryCorrupt, match="Ada were changed outside facekeep"):
                change()
        assert gallery.remove("Ada").name == "Ada"
        assert gallery.check() == []


def test_changes_without_the_key_are_found_with_it_until_they_are_confirmed(path: Path) -> None:
    with make(path, KEY) as gallery:
        gallery.enroll("Ada", [new(1)])
        gallery.enroll("Bea", [new(2)])
    with Gallery.open(path) as gallery:
        gallery.rename("Ada", "Eve")
        gallery.remove("Bea")
    with Gallery.open(path, space=SPACE, key=KEY) as gallery:
        gallery.enroll("Cleo", [new(3)])
        found = gallery.check()
        assert {finding.kind for finding in found} == {"unsigned"}
        assert any("Eve was written without the key" in finding.message for finding in found)
        gallery.rekey(KEY)
        assert gallery.check() == []


def test_a_gallery_without_digests_is_signed_once_its_key_is_there(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        frozen = Path(__file__).with_name("v1_encrypted.sql")
        connection.executescript(frozen.read_text(encoding="utf-8"))
    Gallery.open(path).close()
    with Gallery.open(path, key=KEY) as gallery:
        assert gallery.check() == []
        assert gallery.info().version == 2
    doctor(path, "UPDATE people SET name = 'Eve' WHERE id = 1")
    with Gallery.open(path, key=KEY) as gallery:
        assert [finding.kind for finding in gallery.check()] == ["person"]


def test_a_changed_check_value_is_not_taken_for_a_wrong_key(path: Path) -> None:
    make(path, KEY).close()
    with pytest.raises(GalleryKeyError, match="not the key"):
        Gallery.open(path, key=KEY2)
    doctor(path, "UPDATE meta SET key_check = zeroblob(32)")
    with pytest.raises(GalleryCorrupt, match="description"):
        Gallery.open(path, key=KEY)


METADATA = [
    '{"a": NaN}',
    '{"a": 1e999}',
    '{"a": "\\ud800"}',
    '{"a": ' + "[" * 900 + "]" * 900 + "}",
]


@pytest.mark.parametrize("text", [*METADATA, "[1]", "{", '{"a":' + "9" * 5000 + "}"])
def test_damaged_metadata_concerns_one_person_only(
    filled: Path, key: Key | None, text: str, tmp_path: Path
) -> None:
    doctor(filled, "UPDATE people SET metadata = ? WHERE name = 'Ada'", parameters=(text,))
    with Gallery.open(filled, space=SPACE, key=key) as gallery:
        assert [(p.name, bool(p.metadata)) for p in gallery.people()] == [
            ("Ada", False),
            ("Bea", True),
            ("Cleo", True),
        ]
        assert "person" in {finding.kind for finding in gallery.check()}
        for use in (lambda: gallery.person("Ada"), lambda: gallery.export(tmp_path / "x")):
            with pytest.raises(GalleryCorrupt, match="Ada"):
                use()
        assert not (tmp_path / "x").exists()
        gallery.remove("Ada")
        assert gallery.check() == []
        gallery.export(tmp_path / "x")


@pytest.mark.parametrize(
    "metadata",
    [
        {"a": float("nan")},
        {"a": float("inf")},
        {"a": "\ud800"},
        {"\udfff": 1},
        {"a": 10**5000},
        {"a": "x" * 70_000},
    ],
)
def test_metadata_that_is_no_json_is_refused(path: Path, metadata: dict[str, Any]) -> None:
    with make(path) as gallery:
        with pytest.raises(InputError, match="metadata") as caught:
            gallery.enroll("Ada", [new(1)], metadata=metadata)
        assert "\n" not in str(caught.value)
        assert gallery.people() == []


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


@pytest.mark.slow
def test_metadata_has_a_depth(path: Path) -> None:
    with make(path) as gallery:
        gallery.enroll("Ada", [new(1)], metadata={"a": nested(63), "b": "[" * 100})
        for levels in (64, 900, 100_000):
            with pytest.raises(InputError, match=r"nested|recursion"):
                gallery.enroll("Bea", [new(1)], metadata={"a": nested(levels)})
        assert gallery.person("Ada").metadata["b"] == "[" * 100


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE people SET created_at = '0001-01-01T00:00:00+23:59'",
        "UPDATE people SET retain_until = '0001-01-01T00:00:00+23:59'",
        "UPDATE templates SET created_at = '9999-12-31T23:59:59-23:59'",
        "UPDATE templates SET quality = 9e999",
        "UPDATE audit SET at = '0001-01-01T00:00:00+23:59'",
        "UPDATE meta SET created_at = '0001-01-01T00:00:00+23:59'",
        "UPDATE meta SET changes = 9223372036854775807",
        "UPDATE spaces SET width = 9223372036854775807",
    ],
)
def test_values_out_of_range_raise_our_errors(
    filled: Path, key: Key | None, tampering: str, tmp_path: Path
) -> None:
    doctor(filled, tampering)
    with Gallery.open(filled, key=key) as gallery:
        assert gallery.check()
        use_everything(gallery, tmp_path)


def use_everything(gallery: Gallery, folder: Path) -> None:
    uses: list[Callable[[], Any]] = [
        gallery.people,
        gallery.info,
        gallery.audit,
        lambda: gallery.search(new(1).vector[None]),
        lambda: contents(gallery),
        lambda: gallery.export(folder / "x"),
        lambda: gallery.update("Ada", metadata={}),
        lambda: gallery.enroll("Bea", [new(4)]),
        lambda: gallery.rename("Cleo", "Dora"),
        lambda: gallery.purge(LATER),
        lambda: gallery.remove("Ada"),
    ]
    for use in uses:
        message = ""
        try:
            use()
        except FacekeepError as error:
            message = str(error)
        assert "\n" not in message


def everything(gallery: Gallery) -> list[Any]:
    return [contents(gallery), gallery.audit(None)]


@pytest.mark.slow
def test_random_flips_are_found_or_change_nothing(
    filled: Path, key: Key | None, tmp_path: Path
) -> None:
    good, chance = filled.read_bytes(), random.Random(7)
    with Gallery.open(filled, space=SPACE, key=key) as gallery:
        before = everything(gallery)
    found = 0
    for number in range(150):
        data = bytearray(good)
        for _ in range(chance.choice([1, 1, 2, 8])):
            data[chance.randrange(len(data))] ^= chance.randrange(1, 256)
        file = tmp_path / f"{number}.db"
        file.write_bytes(data)
        try:
            with Gallery.open(file, space=SPACE, key=key) as gallery:
                if gallery.check():
                    found += 1
                else:
                    assert everything(gallery) == before
                use_everything(gallery, tmp_path)
        except (GalleryError, TemplateTampered):
            found += 1
        file.unlink()
    assert found > 10
