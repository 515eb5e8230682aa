#!/usr/bin/env python3
"""Write a manual page for facekeep and for each of its commands, from the program's own help.

python scripts/gen_man.py build/man/man1      then: man build/man/man1/facekeep.1
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from facekeep import __version__
from facekeep.cli.help import in_words, placeholder
from facekeep.cli.main import build

EXIT_STATUS = {
    "0": "Yes, or done.",
    "1": "No, or unknown.",
    "2": "Wrong use or bad input.",
    "3": "A fault of the environment.",
}
FILES = {
    "~/.config/facekeep/config.toml": "Settings; facekeep config example prints one.",
    "~/.local/share/facekeep/people.db": "The gallery.",
    "~/.local/share/facekeep/models": "Models that were pulled or imported.",
    "~/.cache/facekeep": "What can be made again at any time.",
}


def pages() -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each page."""
    tree = dict(walk(build(), "facekeep", None))
    for path, context in tree.items():
        yield path.replace(" ", "-"), page(path, context, list(tree))


def walk(command: Any, path: str, parent: Any) -> Iterator[tuple[str, Any]]:
    """Yield the context of a command and of everything below it that is not hidden."""
    name = path.rsplit(maxsplit=1)[-1]
    context = command.context_class(
        command, info_name=name, parent=parent, **command.context_settings
    )
    yield path, context
    for name, child in getattr(command, "commands", {}).items():
        if not child.hidden:
            yield from walk(child, f"{path} {name}", context)


def page(path: str, context: Any, paths: list[str]) -> str:
    """Render the page of one command."""
    command = context.command
    title = path.replace(" ", "-")
    summary, _, rest = plain(command.help).partition("\n\n")
    summary = " ".join(summary.split())
    parameters = command.get_params(context)
    arguments = [each for each in parameters if each.param_type_name == "argument"]
    words = ["[OPTIONS]", *map(placeholder, arguments)]
    words += ["COMMAND ..."] if hasattr(command, "commands") else []
    lines = [
        f'.TH {escape(title.upper())} 1 "" "facekeep {__version__}" "User Commands"',
        *section("NAME", [f"{escape(title)} \\- {escape(summary.rstrip('.'))}"]),
        *section("SYNOPSIS", [f".B {escape(path)}", escape(" ".join(words))]),
    ]
    lines += section("DESCRIPTION", paragraphs(rest)) if rest else []
    below = [other for other in paths if re.fullmatch(rf"{re.escape(path)} \S+", other)]
    commands = [(other, command.commands[other.split()[-1]]) for other in below]
    lines += section(
        "COMMANDS",
        items((other, each.get_short_help_str(limit=400)) for other, each in commands),
    )
    lines += section("ARGUMENTS", items((placeholder(p), p.help or "") for p in arguments))
    records = (p.get_help_record(context) for p in parameters if p not in arguments)
    lines += section("OPTIONS", items((r[0], in_words(r[1])) for r in records if r))
    if command.epilog:
        shown = [escape(line.strip()) for line in plain(command.epilog).splitlines()[1:]]
        lines += section("EXAMPLES", [".nf", *shown, ".fi"])
    lines += section("EXIT STATUS", items(EXIT_STATUS.items()))
    lines += section("FILES", items(FILES.items())) if path == "facekeep" else []
    above = path.rpartition(" ")[0]
    also = [each.replace(" ", "-") for each in [*filter(None, [above]), *below]]
    links = [f".BR {escape(name)} (1){',' * (name != also[-1])}" for name in also]
    lines += section("SEE ALSO", links)
    return "\n".join(lines) + "\n"


def section(title: str, lines: list[str]) -> list[str]:
    """A section, if there is anything in it."""
    return [f".SH {title}", *lines] if lines else []


def items(pairs: Any) -> list[str]:
    """A list of terms, each with its explanation."""
    return [
        line
        for term, text in pairs
        for line in (".TP", f".B {escape(term)}", escape(" ".join(text.split())) or "\\&")
    ]


def paragraphs(text: str) -> list[str]:
    """Running text, a paragraph after the other."""
    parts = [escape(" ".join(part.split())) for part in text.split("\n\n") if part.strip()]
    return [line for part in parts for line in (".PP", part)][1:]


def plain(text: str | None) -> str:
    """A help text without the marks that keep its lines as they are."""
    return inspect.cleandoc(text or "").replace("\b\n", "")


def escape(text: str) -> str:
    """Write a text so that roff prints it as it is."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text[:1] in (".", "'") else text


def main() -> None:
    """Write all pages into the folder that is named."""
    if len(sys.argv) != 2:
        sys.exit("usage: gen_man.py FOLDER")
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages():
        (folder / f"{name}.1").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
