"""``gallery``: facts, checks, space, retention, keys, audit."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from event_kit import make_event

from facekeep import EventLog, Gallery, load_key

pytestmark = pytest.mark.usefixtures("photo_folder")

INFO = {
    "path",
    "id",
    "version",
    "space",
    "encrypted",
    "created_at",
    "people",
    "templates",
    "negatives",
    "crops",
    "expired",
    "size",
    "erasure_pending",
}


@pytest.fixture
def key(cli) -> tuple[str, ...]:
    """Encrypts the gallery; the options that open it."""
    assert cli("gallery", "keygen", "file:g.key").status == 0
    assert cli("gallery", "rekey", "--new-key", "file:g.key").status == 0
    return ("--key", "file:g.key")


def test_info(cli, photo_folder):
    facts = cli("gallery", "info", "--json").json
    assert set(facts) == INFO
    assert facts["path"] == str(photo_folder / "people.db")
    assert (facts["people"], facts["templates"], facts["encrypted"]) == (2, 2, False)
    assert facts["space"]["model"] == "sface"
    assert facts["size"] == (photo_folder / "people.db").stat().st_size
    lines = cli("gallery", "info").out.splitlines()
    assert lines[0].split() == ["fact", "value"]
    assert ["model", "sface,", "128", "numbers", "a", "template"] in [x.split() for x in lines]
    assert ["encrypted", "no"] in [x.split() for x in lines]


def test_check(cli, key):
    assert cli("gallery", "check", *key).out == "the gallery is whole\n"
    assert cli("gallery", "check", *key, "--json").json == {"ok": True, "findings": []}
    locked = cli("gallery", "check")
    assert locked.status == 1
    assert locked.out.startswith("key: ")


def test_compact(cli, photo_folder):
    with Gallery.open("people.db") as gallery:
        gallery.update("Grace Hopper", metadata={"life": "x" * 60_000})
        gallery.update("Grace Hopper", metadata={})
    before = cli("gallery", "compact", "--json")
    assert before.status == 0
    assert before.json["after"] < before.json["before"]
    assert before.json["after"] == (photo_folder / "people.db").stat().st_size
    assert cli("gallery", "compact").out.endswith(" after\n")


def test_purge(cli):
    with Gallery.open("people.db") as gallery:
        yesterday = datetime.now(UTC) - timedelta(days=1)
        gallery.update("Grace Hopper", retain_until=yesterday)
    assert cli("gallery", "info", "--json").json["expired"] == 1
    with Gallery.open("people.db") as gallery:
        person = gallery.person("Grace Hopper").id
    with EventLog.open("people.events.db") as log:
        log.append(make_event(1, name="Grace Hopper", person_id=person))
    whole = Path("people.events.db").read_bytes()
    Path("people.events.db").write_bytes(b"damaged" * 100)
    assert cli("gallery", "purge").status != 0
    info = cli("gallery", "info", "--json").json
    assert info["expired"] == 1  # nobody is gone: it can be done again
    Path("people.events.db").write_bytes(whole)
    outcome = cli("gallery", "purge", "--json")
    assert (outcome.status, outcome.json) == (
        0,
        {"erased": ["Grace Hopper"], "events": 1, "event_crops": 0},
    )
    again = cli("gallery", "purge")
    assert (again.status, again.out) == (0, "0 people erased\n")
    assert cli("people", "show", "Eileen Collins").status == 0


def test_keygen(cli, photo_folder):
    outcome = cli("gallery", "keygen", "file:g.key", "--json")
    assert (outcome.status, outcome.json) == (0, {"key": "file:g.key"})
    assert (photo_folder / "g.key").stat().st_mode & 0o777 == 0o600
    secret = (photo_folder / "g.key").read_text().strip()
    assert secret not in cli("gallery", "keygen", "file:h.key").out + outcome.out
    assert len(secret) == 44


def test_rekey(cli, photo_folder, key):
    info = cli("gallery", "info", "--json").json
    assert info["encrypted"] is True
    cli("gallery", "keygen", "file:h.key")
    with EventLog.open("people.events.db", key=load_key("file:g.key")) as log:
        event = log.append(make_event(1))
    outcome = cli("gallery", "rekey", *key, "--new-key", "file:h.key")
    assert (outcome.status, outcome.out) == (0, "encrypted with the new key\n")
    with EventLog.open("people.events.db", key=load_key("file:h.key")) as log:
        assert list(log.events()) == [event]
    assert cli("identify", "hopper.jpg", *key).status == 2
    assert cli("identify", "hopper.jpg", "--key", "file:h.key").status == 0
    outcome = cli("gallery", "rekey", "--key", "file:h.key", "--plain", "--json")
    assert (outcome.status, outcome.json) == (0, {"encrypted": False})
    assert cli("identify", "hopper.jpg").status == 0


@pytest.mark.slow
def test_an_encrypted_gallery_works_throughout(cli, key, monkeypatch):
    monkeypatch.setenv("FACEKEEP_KEY", "file:g.key")
    assert cli("enroll", "Grace Hopper", "hopper2.jpg").status == 0
    assert cli("identify", "party.jpg", "--json").status == 0
    assert cli("people", "show", "Grace Hopper").status == 0
    assert cli("people", "remove", "Grace Hopper", "--yes").status == 0
    assert cli("gallery", "check").status == 0
    monkeypatch.delenv("FACEKEEP_KEY")
    assert cli("people", "list").status == 0, "what needs no template needs no key"
    assert cli("identify", "party.jpg").status == 2


@pytest.mark.slow
def test_a_new_gallery_with_a_key_is_encrypted(cli, photo_folder):
    cli("gallery", "keygen", "file:g.key")
    keyed = ("-g", "new.db", "--key", "file:g.key")
    assert cli("enroll", "Ada", "hopper.jpg", *keyed).status == 0
    assert cli("gallery", "info", "--json", *keyed).json["encrypted"] is True


@pytest.mark.slow
def test_audit(cli):
    cli("people", "rename", "Grace Hopper", "Ada Lovelace")
    cli("people", "remove", "Ada Lovelace", "--yes")
    lines = cli("gallery", "audit", "--json").json["audit"]
    assert [list(line) for line in lines] == [["id", "at", "action", "person_id", "detail"]] * len(
        lines
    )
    assert [line["action"] for line in lines] == [
        "removed",
        "renamed",
        "enrolled",
        "enrolled",
        "created",
    ]
    assert "Ada" not in json.dumps(lines)
    assert len({line["person_id"] for line in lines[:2]}) == 1
    last = cli("gallery", "audit", "--last", "1")
    assert len(last.out.splitlines()) == 2
    assert "removed" in last.out


def change(statement: str, *values: object) -> None:
    with closing(sqlite3.connect("people.db")) as connection:
        connection.execute(statement, values)
        connection.commit()


@pytest.mark.slow
def test_check_exits_with_1_whatever_is_wrong(cli, photo_folder):
    whole = (photo_folder / "people.db").read_bytes()
    for damage in (
        lambda: change("UPDATE people SET name = 'Mallory' WHERE id = 1"),
        lambda: change("DELETE FROM audit"),
        lambda: change("CREATE TRIGGER t AFTER DELETE ON people BEGIN SELECT 1; END"),
        lambda: change("DROP TABLE people"),
        lambda: change("PRAGMA application_id = 1"),
        lambda: (photo_folder / "people.db").write_bytes(whole[:20_000]),
        lambda: (photo_folder / "people.db").write_bytes(b"text" * 9999),
        lambda: (photo_folder / f".facekeep-{0:016}-0.part").write_bytes(b"faces"),
    ):
        damage()
        outcome = cli("gallery", "check", "--json")
        assert outcome.status == 1
        assert not outcome.json["ok"]
        assert outcome.json["findings"]
        (photo_folder / "people.db").write_bytes(whole)
    assert cli("gallery", "compact").status == 0
    assert cli("gallery", "check").status == 0


@pytest.mark.slow
def test_restore(cli, photo_folder):
    shutil.copy("people.db", "copy.db")
    assert cli("people", "rename", "Grace Hopper", "Mallory").status == 0
    outcome = cli("gallery", "restore", "copy.db", "--json")
    assert outcome.status == 0
    assert outcome.json == {
        "gallery": str(photo_folder / "people.db"),
        "people": 2,
        "replaced": True,
        "remarks": [],
    }
    assert cli("people", "show", "Grace Hopper").status == 0
    photo = (photo_folder / "hopper.jpg").read_bytes()
    refused = cli("gallery", "restore", "copy.db", "-g", "hopper.jpg")
    assert refused.status == 2
    assert "has the name of a picture" in refused.err
    assert (photo_folder / "hopper.jpg").read_bytes() == photo
    (photo_folder / "people.db").write_bytes(b"text" * 9999)
    assert cli("gallery", "restore", "copy.db").out.endswith("people.db: restored, 2 people\n")
    assert cli("gallery", "check").status == 0
    for copy, kind in (("missing.db", "gallery_not_found"), ("hopper.jpg", "gallery_corrupt")):
        refused = cli("gallery", "restore", copy, "--json")
        assert (refused.status, refused.json["error"]["kind"]) == (2, kind)
    assert cli("gallery", "check").status == 0


@pytest.mark.slow
def test_damaged_facts_of_one_person_do_not_hide_the_others(cli):
    change("UPDATE people SET metadata = '{\"a\": NaN}' WHERE name = 'Grace Hopper'")
    people = cli("people", "list", "--json").json["people"]
    assert [person["name"] for person in people] == ["Eileen Collins", "Grace Hopper"]
    assert cli("people", "show", "Eileen Collins", "--json").status == 0
    shown = cli("people", "show", "Grace Hopper", "--json")
    assert (shown.status, shown.json["error"]["kind"]) == (2, "gallery_corrupt")


def test_an_export_does_not_replace_the_key(cli, photo_folder, key):
    before = (photo_folder / "g.key").read_bytes()
    refused = cli("people", "export", "g.key", *key)
    assert refused.status == 2
    assert "holds a key" in refused.err
    assert (photo_folder / "g.key").read_bytes() == before


@pytest.mark.slow
def test_migrate_from_photos(cli, photo_folder):
    refused = cli(
        "gallery", "migrate", "--embedder", "facekeep-xxs", "--terms", "research", "--json"
    )
    assert refused.status == 1
    assert refused.json["done"] is False
    assert {each["person"] for each in refused.json["lost"]} == {"Grace Hopper", "Eileen Collins"}
    table = cli("gallery", "migrate", "--embedder", "facekeep-xxs", "--terms", "research")
    assert table.status == 1
    assert "nothing was changed: 2 people cannot be carried over whole" in table.out
    assert cli("gallery", "info", "--json").json["space"]["model"] == "sface"
    done = cli(
        *("gallery", "migrate", "--embedder", "facekeep-xxs", "--terms", "research", "--json"),
        *("--photos", ".", "--backup", "old.db"),
    )
    assert done.status == 0
    assert done.json["done"] is True
    assert (done.json["from"]["model"], done.json["to"]["model"]) == ("sface", "facekeep-xxs")
    assert (done.json["people"], done.json["from_photos"], done.json["lost"]) == (2, 2, [])
    found = cli(
        "identify",
        "hopper2.jpg",
        "--embedder",
        "facekeep-xxs",
        "--terms",
        "research",
        "--fmr",
        "1e-3",
        "--json",
    )
    assert found.json["faces"][0]["candidates"][0]["name"] == "Grace Hopper"
    assert cli("gallery", "check").status == 0
    assert cli("identify", "hopper2.jpg", "-g", "old.db").status == 0
    again = cli("gallery", "migrate", "--embedder", "facekeep-xxs", "--terms", "research")
    assert (again.status, again.out) == (0, "the gallery is of facekeep-xxs already\n")


@pytest.mark.slow
def test_migrate_drops_whom_it_is_told_to(cli, key):
    words = ("gallery", "migrate", "--embedder", "facekeep-xxs", "--terms", "research", *key)
    assert cli(*words, "--drop", "Grace Hopper").status == 1
    assert cli(*words, "--drop", "Nobody").status == 2
    cli("enroll", "Ada", "hopper.jpg", "--review", "off", "--keep-crops", *key)
    with EventLog.open("people.events.db", key=load_key("file:g.key")) as log:
        person = cli("people", "show", "Grace Hopper", "--json").json["id"]
        log.append(make_event(1, name="Grace Hopper", person_id=person))
    done = cli(*words, "--drop", "Grace Hopper", "--drop", "Eileen Collins", "--json")
    assert done.status == 0
    assert done.json["erased"] == ["Eileen Collins", "Grace Hopper"]
    with EventLog.open("people.events.db", key=load_key("file:g.key")) as log:
        assert [each.name for each in log.events()] == [None]
    people = cli("people", "list", "--json").json["people"]
    assert [(person["name"], person["template_count"]) for person in people] == [("Ada", 1)]
    assert cli("gallery", "info", "--json").json["encrypted"] is True


@pytest.mark.slow
def test_audit_fits_a_terminal(cli):
    cli("people", "rename", "Grace Hopper", "Admiral Hopper")
    person = cli("people", "show", "Admiral Hopper", "--json").json
    lines = cli("gallery", "audit").out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert lines[1].split()[2:] == ["renamed", person["id"][:8]]
    assert "{" not in "".join(lines), "no literals of Python"
    assert cli("people", "show", person["id"][:8], "--json").json == person
