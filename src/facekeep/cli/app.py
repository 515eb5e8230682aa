"""``facekeep`` itself: its options, and all commands under it."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Annotated, Any, Final

import typer
import typer.main

from facekeep import __version__
from facekeep.cli import output
from facekeep.cli.command import group

__all__ = ["build_app"]

_HELP: Final = """Recognize faces on this machine: nothing leaves it.

\b
Exit status: 0 yes or done, 1 no or unknown, 2 wrong use or bad input,
3 a fault of the environment.
"""

_EXAMPLES: Final = (
    'facekeep enroll "Ada Lovelace" ada1.jpg ada2.jpg',
    "facekeep identify party.jpg",
    "facekeep doctor",
)


def _version(value: bool) -> None:
    if value:
        output.say(f"facekeep {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_version),
    ] = False,
) -> None:
    """Options that stand before the verb."""


def build_app(groups: Sequence[str]) -> Any:
    """Build the command, with every group under it; each is a module of this package."""
    app = group("facekeep", _HELP, examples=_EXAMPLES)
    app.callback()(_root)
    for name in groups:
        module = importlib.import_module(f"facekeep.cli.{name}")
        if module.app not in [each.typer_instance for each in app.registered_groups]:
            app.add_typer(module.app)
    return typer.main.get_command(app)
