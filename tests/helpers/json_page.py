"""Reads docs/json.md, and compares what commands print with it."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[2] / "docs" / "json.md"
SECTION = re.compile(r"^###? (.+)$")
ROW = re.compile(r"^\| `(\w+)` \| (.+?) \| (.+) \|$")
OBJECT = re.compile(r"\[(.+?)\]\(#.+?\)")
PLAIN = {
    "text": (str,),
    "integer": (int,),
    "number": (int, float),
    "true or false": (bool,),
    "map": (dict,),
    "any": (object,),
}


@dataclass(frozen=True)
class Field:
    """A row of a table: its type, and whether the field may be missing."""

    kind: str
    optional: bool


@functools.cache
def sections() -> dict[str, dict[str, Field]]:
    """The fields of each object and each command, by the title of its section."""
    found: dict[str, dict[str, Field]] = {}
    title = ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if heading := SECTION.match(line):
            title = heading[1]
            found[title] = {}
        elif row := ROW.match(line):
            name, kind, meaning = row.groups()
            assert name not in found[title], f"{title} lists {name} twice"
            found[title][name] = Field(kind, meaning.startswith("optional"))
        elif title.startswith("facekeep ") and (other := OBJECT.search(line)):
            found[title].setdefault(f"-> {other[1]}", Field(other[1], True))
    return found


def titles_of(command: str) -> list[str]:
    """Which tables the documents of a command may follow."""
    known = sections()
    while command not in known and " " in command:
        command = command.rpartition(" ")[0]
    fields = known.get(command, {})
    others = [each.kind for name, each in fields.items() if name.startswith("-> ")]
    own = [command] if any(not name.startswith("-> ") for name in fields) else []
    return [*own, *others, "Errors"]


@dataclass
class Seen:
    """Which fields of which tables were met, and what was wrong."""

    fields: set[tuple[str, str]] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)

    def document(self, command: str, document: dict[str, Any]) -> None:
        """Compare a document with the table that fits it best."""
        trials = []
        for title in titles_of(command):
            trial = Seen()
            trial.table(title, document, command)
            trials.append(trial)
        best = min(trials, key=lambda trial: len(trial.wrong))
        self.fields |= best.fields
        self.wrong += best.wrong

    def table(self, title: str, document: dict[str, Any], where: str) -> None:
        """Compare an object with the table of a section."""
        fields = {n: f for n, f in sections()[title].items() if not n.startswith("-> ")}
        for name in document.keys() - fields.keys():
            self.wrong.append(f"{where}.{name} is not in {PAGE.name}, section {title!r}")
        for name, each in fields.items():
            if name in document:
                self.fields.add((title, name))
                self.value(each.kind, document[name], f"{where}.{name}")
            elif not each.optional:
                self.wrong.append(f"{where} has no {name}, which {PAGE.name} promises")

    def value(self, kind: str, value: Any, where: str) -> None:
        """Compare a value with the type that the page gives it."""
        if kind.endswith(" or null"):
            if value is not None:
                self.value(kind.removesuffix(" or null"), value, where)
        elif kind.startswith("list of ") and isinstance(value, list):
            for each in value:
                self.value(kind.removeprefix("list of "), each, f"{where}[]")
        elif kind.startswith("map of ") and isinstance(value, dict):
            for each in value.values():
                self.value(kind.removeprefix("map of "), each, f"{where}.*")
        elif (link := OBJECT.fullmatch(kind)) and isinstance(value, dict):
            self.table(link[1], value, where)
        elif not isinstance(value, PLAIN.get(kind, ())) or (
            isinstance(value, bool) and kind not in ("true or false", "any")
        ):
            self.wrong.append(f"{where} is {value!r}, not {kind} as {PAGE.name} says")


def documents(printed: str) -> list[dict[str, Any]]:
    """The JSON documents among the lines of an output."""
    lines = [line for line in printed.splitlines() if line.startswith("{")]
    return [json.loads(line) for line in lines]


def command_of(words: list[str], root: Any) -> str:
    """The command that these words run, such as ``facekeep people list``."""
    path, command = ["facekeep"], root
    for word in words:
        if word not in getattr(command, "commands", {}):
            break
        command = command.commands[word]
        path.append(word)
    return " ".join(path)


def objects_used() -> Iterator[tuple[str, str]]:
    """Every link from a table to the table of an object: the section, and the object."""
    for title, fields in sections().items():
        for field_name, each in fields.items():
            if field_name.startswith("-> "):
                yield title, each.kind
            for name in OBJECT.findall(each.kind):
                yield title, name
