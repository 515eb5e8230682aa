"""docs/json.md lists what commands print under --json: all of it, and nothing else.

The fixture ``cli`` compares every document that any test makes a command print with the page. Here
commands print all that the page promises of them.
"""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from json_page import Seen, command_of, documents, objects_used, sections

from facekeep.cli.main import build

SOURCE = Path(__file__).resolve().parents[2] / "src" / "facekeep"
COMMANDS = {
    "photos": """
        detect party.jpg gray.png broken.jpg
        identify party.jpg hopper.jpg broken.jpg
        verify hopper.jpg party.jpg
        verify hopper.jpg gray.png
        verify hopper.jpg missing.jpg
        search hopper.jpg photos --no-cache
        """,
    "people": """
        enroll people
        enroll Grace party.jpg gray.png --new-person --largest
        people set Grace --meta unit=7 --consent form --retain-days 9
        people list
        people show Grace
        people refuse Grace collins.jpg
        people rename Grace Anna
        people export people.jsonl
        people import people.jsonl --on-conflict skip
        people merge Anna "Eileen Collins"
        people remove "Eileen Collins" --yes
        cluster photos --min-size 1 --name GROUP=New --sort-into sorted --new-person --no-cache
        """,
    "cameras": """
        live photos --csv events.csv
        live --status
        events list
        events status
        events expire
        """,
    "gallery": """
        gallery info
        gallery audit
        gallery compact
        gallery purge
        gallery keygen file:a.key
        gallery rekey --new-key file:a.key
        gallery check
        gallery rekey --plain --key file:a.key
        gallery migrate --embedder facekeep-xxs --terms facekeep-xxs
        """,
    "models": """
        models list
        models info sface --flops
        models info yunet
        models info mobilefacenet-fp
        models path yunet
        models pull
        models pull yunet
        models recommend
        models verify sface
        cache info
        cache clear
        config show
        config path
        config example
        doctor
        bench align --repeats 3
        """,
}
RARE = {
    "facekeep bench": {"model", "median_ms", "p95_ms", "repeats", "plain_export_ms", "plain_export"}
    | {"difference", "macs", "limit_ms", "ratio"},
    "Skipped folder": {"folder", "reason"},
    "Damaged model": {"name", "reason"},
}
"""What other tests make commands print: it takes long, or a folder that nobody can read."""


@pytest.mark.slow
@pytest.mark.parametrize("lines", COMMANDS.values(), ids=COMMANDS)
def test_commands_print_every_field_that_the_page_has(cli, photo_folder: Path, lines: str):
    photos, people = photo_folder / "photos", photo_folder / "people"
    for folder in (photos, people / "Eileen"):
        folder.mkdir(parents=True)
    for name in ("hopper.jpg", "hopper2.jpg", "broken.jpg"):
        shutil.copy(photo_folder / name, photos)
    shutil.copy(photo_folder / "collins.jpg", people / "Eileen")
    (photo_folder / "sorted").mkdir()
    seen, commands = Seen(), set()
    if "migrate" in lines:  # its photo is gone, so that a template cannot be made again
        (photo_folder / "hopper.jpg").unlink()
    for line in lines.strip().splitlines():
        words = shlex.split(line)
        if "--name" in words:
            (group,) = cli("cluster", "photos", "--no-cache", "--json").json["groups"]
            words[words.index("GROUP=New")] = f"{group['id']}=New"
        printed = documents(cli(*words, "--json").out)
        assert printed, line
        commands.add(command_of(words, build()))
        for document in printed:
            seen.document(command_of(words, build()), document)
    assert seen.wrong == []
    promised = {
        (title, name)
        for title in reached_from(commands)
        for name in sections()[title].keys() - RARE.get(title, set())
        if not name.startswith("-> ")
    }
    assert promised - seen.fields == set()


def reached_from(titles: set[str]) -> set[str]:
    """These sections and all objects that they contain."""
    while (more := titles | {name for title, name in objects_used() if title in titles}) != titles:
        titles = more
    return titles


def test_every_field_of_the_page_is_in_the_program():
    words = set(re.findall(r"\w+", "\n".join(p.read_text() for p in SOURCE.rglob("*.py"))))
    # Laboratory commands take long; other tests run them, but not with every option.
    fields = {name for table in sections().values() for name in table if not name.startswith("->")}
    assert fields - words == set()


def test_every_command_and_every_object_has_its_section():
    used = {name for _, name in objects_used()}
    tables = {title for title, fields in sections().items() if fields}
    objects = {title for title in tables if not title.startswith("facekeep ")}
    assert {each for each in used if not each.startswith("facekeep ")} == objects - {"Errors"}
    for path, command in leaves(build(), "facekeep"):
        assert path in sections() or path.rpartition(" ")[0] in sections(), command


def leaves(command, path: str):
    """The commands that do something."""
    children = getattr(command, "commands", {})
    if not children:
        yield path, command
    for name, child in children.items():
        yield from leaves(child, f"{path} {name}")


def test_a_document_that_is_not_as_the_page_says_is_noticed():
    whole = {"path": "people.db", "exists": True}
    for document, remark in [
        ({"path": "people.db"}, "has no exists"),
        (whole | {"size": 1}, "size is not in json.md"),
        (whole | {"path": 3}, "is 3, not text"),
        (whole | {"exists": 1}, "is 1, not true or false"),
        (whole | {"path": None}, "is None, not text"),
    ]:
        found = Seen()
        found.document("facekeep config path", document)
        assert any(remark in line for line in found.wrong), document
    found = Seen()
    found.document("facekeep config path", whole)
    assert found.wrong == []
