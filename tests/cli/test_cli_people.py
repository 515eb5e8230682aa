"""``people``: list, show, change, merge, split, erase, refuse, export, import."""

from __future__ import annotations

import io

import pytest
from event_kit import make_event

from facekeep import EventLog, Gallery

pytestmark = pytest.mark.usefixtures("photo_folder")

PERSON = [
    "name",
    "id",
    "created_at",
    "template_count",
    "negative_count",
    "metadata",
    "consent",
    "retain_until",
]
TEMPLATE = ["id", "negative", "quality", "source", "crop", "created_at"]


def names(cli, *options: str) -> list[str]:
    return [person["name"] for person in cli("people", "list", "--json", *options).json["people"]]


def shown(cli, name: str):
    return cli("people", "show", name, "--json").json


def test_list(cli):
    people = cli("people", "list", "--json").json["people"]
    assert [list(person) for person in people] == [PERSON, PERSON]
    assert [(person["name"], person["template_count"]) for person in people] == [
        ("Eileen Collins", 1),
        ("Grace Hopper", 1),
    ]
    header, first, second = cli("people", "list").out.splitlines()
    assert header.split() == ["name", "templates", "enrolled", "kept", "until"]
    assert first.split()[:3] == ["Eileen", "Collins", "1"]
    assert second.startswith("Grace Hopper")


def test_show(cli):
    document = shown(cli, "Grace Hopper")
    assert list(document) == [*PERSON, "templates"]
    assert document["template_count"] == 1
    (template,) = document["templates"]
    assert list(template) == TEMPLATE
    assert template["source"].startswith("hopper.jpg sha256:")
    assert 0 < template["quality"] <= 1
    assert (template["negative"], template["crop"]) == (False, False)
    cli(
        "people", "set", "Grace Hopper", "--consent", "form 12", "--retain-days", 9, "--meta", "a=b"
    )
    lines = cli("people", "show", "Grace Hopper").out.splitlines()
    assert lines[0].startswith("Grace Hopper, enrolled 20")
    assert lines[1] == "1 template"
    assert lines[2].startswith("consent: form 12, 20")
    assert lines[3].startswith("kept until 20")
    assert lines[4] == "a: b"
    assert template["id"] in lines[6]


def test_set_changes_what_is_given_and_leaves_the_rest(cli):
    first = cli("people", "set", "Grace Hopper", "--meta", "team=navy", "--json").json
    assert (first["metadata"], first["consent"]) == ({"team": "navy"}, None)
    second = cli("people", "set", "Grace Hopper", "--consent", "form 12", "--json").json
    assert second["metadata"] == {"team": "navy"}
    assert second["consent"]["basis"] == "form 12"
    assert second["retain_until"] is None
    assert cli("people", "set", "Grace Hopper", "--retain-days", "2").out.startswith(
        "Grace Hopper: "
    )
    assert shown(cli, "Grace Hopper")["retain_until"] is not None


@pytest.mark.slow
def test_rename(cli):
    outcome = cli("people", "rename", "Grace Hopper", "Admiral Hopper")
    assert (outcome.status, outcome.out) == (0, "Admiral Hopper: renamed, 1 template\n")
    assert names(cli) == ["Admiral Hopper", "Eileen Collins"]
    (face,) = cli("identify", "hopper2.jpg", "--json").json["faces"]
    assert face["match"]["name"] == "Admiral Hopper"


@pytest.mark.slow
def test_merge_then_split(cli):
    cli("enroll", "Grace", "hopper2.jpg", "--review", "off")
    merged = cli("people", "merge", "Grace", "Grace Hopper", "--json")
    assert merged.status == 0
    assert merged.json["name"] == "Grace Hopper"
    kept, moved = merged.json["templates"]
    assert names(cli) == ["Eileen Collins", "Grace Hopper"]
    split = cli("people", "split", "Grace Hopper", "Amazing Grace", moved["id"], "--json")
    assert split.status == 0
    assert [template["id"] for template in split.json["templates"]] == [moved["id"]]
    assert [each["id"] for each in shown(cli, "Grace Hopper")["templates"]] == [kept["id"]]
    assert names(cli) == ["Amazing Grace", "Eileen Collins", "Grace Hopper"]


def test_remove(cli, photo_folder):
    outcome = cli("people", "remove", "Grace Hopper", "--yes", "--json")
    assert (outcome.status, outcome.json) == (
        0,
        {"removed": "Grace Hopper", "template_count": 1, "events": 0, "event_crops": 0},
    )
    assert names(cli) == ["Eileen Collins"]
    assert b"Grace Hopper" not in (photo_folder / "people.db").read_bytes()
    assert cli("identify", "hopper.jpg").status == 1
    assert cli("people", "remove", "Eileen Collins", "-y").out == (
        "Eileen Collins: erased, 1 template\n"
    )


def test_remove_erases_the_person_from_the_event_log(cli, photo_folder):
    person = shown(cli, "Grace Hopper")["id"]
    path = photo_folder / "people.events.db"
    with EventLog.open(path) as log:
        log.append(make_event(1, name="Grace Hopper", person_id=person, crop=b"jpeg"))
        log.append(make_event(2, name="Grace Hopper", person_id=person))
        outcome = cli("people", "remove", "Grace Hopper", "--yes")
        assert outcome.out == (
            "Grace Hopper: erased, 1 template, the name in 2 events, the crop in 1 event\n"
        )
        assert [each.name for each in log.events()] == [None, None]
    assert b"Grace Hopper" not in path.read_bytes()


def test_a_person_stays_whose_events_cannot_be_erased(cli, photo_folder):
    (photo_folder / "people.events.db").write_bytes(b"something else " * 99)
    outcome = cli("people", "remove", "Grace Hopper", "--yes")
    assert outcome.status == 2
    assert "is not an event log of facekeep, and is left alone" in outcome.err
    assert "Grace Hopper" in names(cli)


@pytest.mark.slow
def test_events_of_a_merged_person_are_erased_with_the_other(cli, photo_folder):
    cli("enroll", "Grace", "hopper2.jpg", "--review", "off")
    with EventLog.open(photo_folder / "people.events.db") as log:
        log.append(make_event(1, name="Grace", person_id=shown(cli, "Grace")["id"]))
        assert cli("people", "merge", "Grace", "Grace Hopper").status == 0
        assert [each.name for each in log.events()] == ["Grace"]
        outcome = cli("people", "remove", "Grace Hopper", "--yes", "--json")
        assert outcome.json["events"] == 1
        assert [each.name for each in log.events()] == [None]


@pytest.mark.slow
def test_merging_while_the_event_log_is_damaged_changes_nothing(cli, photo_folder):
    cli("enroll", "Grace", "hopper2.jpg", "--review", "off")
    (photo_folder / "people.events.db").write_bytes(b"damaged" * 100)
    assert cli("people", "merge", "Grace", "Grace Hopper").status != 0
    assert len(shown(cli, "Grace")["templates"]) == 1


@pytest.mark.slow
def test_remove_only_some_templates(cli, photo_folder):
    cli("enroll", "Grace Hopper", "hopper2.jpg", "--review", "off")
    first, second = shown(cli, "Grace Hopper")["templates"]
    outcome = cli("people", "remove", "Grace Hopper", "--template", first["id"], "--yes", "--json")
    assert (outcome.status, outcome.json["templates"]) == (0, [second])
    assert b"hopper.jpg" not in (photo_folder / "people.db").read_bytes()
    outcome = cli("people", "remove", "Grace Hopper", "--template", second["id"], "--yes")
    assert outcome.status == 2
    assert "all templates of 'Grace Hopper': remove the person instead" in outcome.err
    assert shown(cli, "Grace Hopper")["templates"] == [second]


def test_remove_asks_about_templates_too(cli, monkeypatch):
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    some = [word for number in "112" for word in ("--template", number)]
    outcome = cli("people", "remove", "Grace Hopper", *some)
    assert outcome.status == 1
    assert "Erase 2 templates of Grace Hopper for good? [y/N]" in outcome.err


class Terminal(io.StringIO):
    """A terminal at which somebody answers."""

    def isatty(self) -> bool:
        return True


@pytest.mark.slow
@pytest.mark.parametrize(("answer", "status"), [("y\n", 0), ("n\n", 1), ("", 1)])
def test_remove_asks_at_a_terminal(cli, monkeypatch, answer: str, status: int):
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    outcome = cli("people", "remove", "Grace Hopper")
    assert outcome.status == status
    assert "Erase Grace Hopper for good? [y/N]" in outcome.err
    assert ("Grace Hopper" in names(cli)) == (status == 1)


@pytest.mark.parametrize("stdin", [io.StringIO("y\n"), None])
def test_nothing_is_erased_where_nobody_can_be_asked(cli, monkeypatch, stdin):
    monkeypatch.setattr("sys.stdin", stdin)
    outcome = cli("people", "remove", "Grace Hopper")
    assert outcome.status == 2
    assert "confirm with --yes" in outcome.err
    assert "Grace Hopper" in names(cli)


@pytest.mark.slow
def test_refuse(cli):
    assert cli("identify", "hopper2.jpg").status == 0
    outcome = cli("people", "refuse", "Grace Hopper", "hopper2.jpg", "--json")
    assert outcome.status == 0
    assert [each["negative"] for each in outcome.json["templates"]] == [False, True]
    unknown = cli("identify", "hopper2.jpg", "--json")
    assert unknown.status == 1
    (face,) = unknown.json["faces"]
    assert face["match"] is None
    assert face["candidates"][0]["name"] == "Grace Hopper"
    assert face["candidates"][0]["refused"] is True
    assert cli("identify", "hopper.jpg").status == 0, "who is more like the person is still known"


@pytest.mark.slow
def test_export_and_import(cli, photo_folder):
    outcome = cli("people", "export", "people.jsonl", "--json")
    assert (outcome.status, outcome.json) == (0, {"file": "people.jsonl", "people": 2})
    plain = cli("people", "import", "people.jsonl", "-g", "new.db")
    assert plain.out == "people.jsonl: 2 people added, 0 merged, 0 skipped\n"
    assert names(cli, "-g", "new.db") == ["Eileen Collins", "Grace Hopper"]
    again = cli("people", "import", "people.jsonl", "--on-conflict", "skip", "--json")
    assert (again.status, again.json) == (0, {"added": 0, "merged": 0, "skipped": 2})
    merged = cli("people", "import", "people.jsonl", "--on-conflict", "merge", "--json")
    assert merged.json == {"added": 0, "merged": 2, "skipped": 0}
    assert shown(cli, "Grace Hopper")["templates"][1:] == [], "the same template is not added twice"
    cli("people", "import", "people.jsonl", "--on-conflict", "rename")
    assert "Grace Hopper (2)" in names(cli)
    assert cli("identify", "hopper2.jpg", "-g", "new.db").status == 0


@pytest.mark.slow
def test_an_export_of_an_encrypted_gallery_is_encrypted_unless_asked(cli, photo_folder):
    for key in ("a", "b"):
        cli("gallery", "keygen", f"file:{key}.key")
    cli("gallery", "rekey", "--new-key", "file:a.key")
    keyed = ("--key", "file:a.key")
    assert cli("people", "export", "own.jsonl", *keyed).status == 0
    assert cli("people", "export", "other.jsonl", *keyed, "--file-key", "file:b.key").status == 0
    assert cli("people", "export", "plain.jsonl", *keyed, "--plain").status == 0
    assert b"Grace" not in (photo_folder / "own.jsonl").read_bytes()
    assert b"Grace" not in (photo_folder / "other.jsonl").read_bytes()
    assert b"Grace" in (photo_folder / "plain.jsonl").read_bytes()
    assert cli("people", "import", "own.jsonl", "-g", "x.db").status == 2
    assert (
        cli("people", "import", "own.jsonl", "-g", "x.db", "--file-key", "file:a.key").status == 0
    )
    assert (
        cli("people", "import", "other.jsonl", "-g", "y.db", "--file-key", "file:b.key").status == 0
    )
    assert cli("people", "import", "plain.jsonl", "-g", "z.db").status == 0
    with Gallery.open("x.db") as one, Gallery.open("z.db") as other:
        assert [p.id for p in one.people()] == [p.id for p in other.people()]


@pytest.mark.slow
def test_ids_may_be_cut_short_and_tables_fit_a_terminal(cli, photo_folder):
    (photo_folder / ("long name " * 12 + ".jpg")).write_bytes(
        (photo_folder / "hopper2.jpg").read_bytes()
    )
    cli("enroll", "Grace Hopper", photo_folder / ("long name " * 12 + ".jpg"), "--review", "off")
    cli("people", "refuse", "Grace Hopper", "collins.jpg")
    templates = shown(cli, "Grace Hopper")["templates"]
    lines = cli("people", "show", "Grace Hopper").out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert [line.split()[0] for line in lines[3:]] == [each["id"] for each in templates]
    moved = cli("people", "split", "Grace Hopper", "Grace", templates[1]["id"][:8], "--json")
    assert [each["id"] for each in moved.json["templates"]] == [templates[1]["id"]]
    cut = ("--template", templates[2]["id"][:8], "--yes", "--json")
    left = cli("people", "remove", "Grace Hopper", *cut)
    assert [each["id"] for each in left.json["templates"]] == [templates[0]["id"]]


@pytest.mark.slow
def test_names_that_look_alike_are_asked_about(cli):
    for words in (
        ("people", "rename", "Eileen Collins", "grace hopper"),
        ("people", "rename", "Eileen Collins", "Grace\u200b Hopper"),
        ("enroll", "\uff27race Hopper", "collins.jpg", "--review", "off"),
    ):
        outcome = cli(*words)
        assert outcome.status == 2
        assert "looks like 'Grace Hopper', who is enrolled already" in outcome.err
        assert "new_person" in outcome.err
    outcome = cli("people", "rename", "Eileen Collins", "GRACE HOPPER", "--json")
    assert outcome.json["error"]["kind"] == "name_conflict"
    assert names(cli) == ["Eileen Collins", "Grace Hopper"]
    assert cli("people", "rename", "Eileen Collins", "grace hopper", "--new-person").status == 0
    assert names(cli) == ["Grace Hopper", "grace hopper"]
    missing = cli("people", "show", "GRACE HOPPER")
    assert "did you mean 'Grace Hopper'?" in missing.err
    assert cli("people", "show", "Grace_Hopper", "--json").json["name"] == "Grace Hopper"
