"""What the command line adds to messages of the library: the options and commands that help."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from facekeep.errors import ConfigError, FacekeepError, Hint

__all__ = ["COMMANDS", "add_hint", "explain", "first_enrollment"]

COMMANDS: Final[Mapping[str, str]] = {
    "config_example": "facekeep config example shows what is allowed",
    "config_show": "see: facekeep config show",
    "enroll_makes": "facekeep enroll makes it",
    "import_again": "run: facekeep models remove {model}, then facekeep models import FILE --name"
    " {model}",
    "pull": "run: facekeep models pull {model}",
}
"""Hints that are more than an option: what is added after a semicolon."""


def explain(error: FacekeepError) -> str:
    """Write the message of an error, with the option or the command that helps."""
    return add_hint(str(error), error.hint)


def add_hint(message: str, hint: Hint | None) -> str:
    """Add to a message what a hint says; a hint that is no command stands for options."""
    if hint is None:
        return message
    if hint.key == "enroll_first":
        return f"{message}; {first_enrollment(Path(str(hint.facts['gallery'])))}"
    if hint.key in COMMANDS:
        facts = {name: shlex.quote(str(value)) for name, value in hint.facts.items()}
        return f"{message}; {COMMANDS[hint.key].format(**facts)}"
    options = (f"--{name.replace('_', '-')}" for name in hint.key.split())
    return f"{message} ({', '.join(options)})"


def first_enrollment(gallery: Path) -> str:
    """Say how to begin where nobody is enrolled."""
    from facekeep.config.settings import default_gallery_path

    try:
        default = gallery == default_gallery_path()
    except ConfigError:  # there is no home folder
        default = False
    option = "" if default else f" --gallery {shlex.quote(str(gallery))}"
    return f"begin with: facekeep enroll NAME PHOTO{option}"
