"""``facekeep`` itself: its options, and the commands under it, loaded when they are called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import click

from facekeep import __version__
from facekeep.cli import output
from facekeep.cli.completion import choices
from facekeep.cli.help import HelpedGroup
from facekeep.cli.options import parameters_of

__all__ = ["COMMANDS", "build_app"]

COMMANDS: Final = {
    "detect": ("detect", "Find the faces in pictures, with landmarks and quality."),
    "identify": (
        "identify",
        "Say who the people in pictures are, as far as they are enrolled.",
    ),
    "verify": ("verify", "Say whether two pictures show the same person."),
    "enroll": (
        "enroll",
        "Enroll a person from photos; one template for each photo that passes the review.",
    ),
    "search": ("search", "Find the photos of a folder that show a face, or an enrolled person."),
    "cluster": ("cluster", "Group the faces of a folder of photos by person."),
    "live": ("live", "Watch cameras, and say who comes and leaves."),
    "events": ("events", "The event log: who came and left, and what waits to be delivered."),
    "liveness": (
        "liveness",
        "Ask a person before a camera to move, and say whether it is a living one.",
    ),
    "people": ("people", "The people of a gallery."),
    "gallery": ("gallery", "The gallery's file: facts, checks, encryption, retention, audit."),
    "models": (
        "models",
        "The models: their licenses, their figures, and whether the files are intact.",
    ),
    "cache": (
        "cache",
        "What 'search' and 'cluster' remember of photos: biometric templates, no pixels, no names.",
    ),
    "config": ("config", "The settings in force, and the file that holds them."),
    "doctor": (
        "doctor",
        "Check what works on this machine and what does not, why, and how to fix it.",
    ),
    "demo": (
        "demo",
        "Enroll people, recognize them in changed photos, and see that strangers stay unknown.",
    ),
    "bench": (
        "lab.bench",
        "Measure each stage: median and 95th percentile, beside the bare network where there is"
        " one.",
    ),
    "align": ("lab.align", "Cut the main face out of each photo, aligned: what training takes."),
    "train": (
        "lab.train",
        "Train a face embedder, or make one better for your own people.",
    ),
    "compress": (
        "lab.compress",
        "Make a network smaller and faster, and measure what that costs.",
    ),
    "evaluate": (
        "lab.evaluate",
        "Measure how well a model distinguishes people, by the published protocols.",
    ),
}
"""The module of this package that holds each command, and the first sentence of its help."""

_HELP: Final = """\
Recognize faces on this machine: nothing leaves it.

\b
Exit status: 0 yes or done, 1 no or unknown, 2 wrong use or bad input,
3 a fault of the environment."""

_EXAMPLES: Final = (
    'facekeep enroll "Ada Lovelace" ada1.jpg ada2.jpg',
    "facekeep identify party.jpg",
    "facekeep doctor",
)


def _install_completion(ctx: click.Context, option: click.Parameter, shell: str | None) -> None:
    if shell is not None and not ctx.resilient_parsing:
        from facekeep.cli.shells import install_script, script_for

        shell, script = script_for(shell, ctx.command)
        output.say(f"{install_script(shell, script)}: installed; {shell} reads it when it starts")
        ctx.exit()


def _show_completion(ctx: click.Context, option: click.Parameter, shell: str | None) -> None:
    if shell is not None and not ctx.resilient_parsing:
        from facekeep.cli.shells import script_for

        click.echo(script_for(shell, ctx.command)[1], nl=False)
        ctx.exit()


_SHELL: Final[Mapping[str, Any]] = {
    "is_flag": False,
    "flag_value": "",
    "metavar": "[SHELL]",
    "expose_value": False,
    "shell_complete": choices("bash", "zsh", "fish"),
}

_OPTIONS: Final = parameters_of(
    click.version_option(
        __version__,
        "--version",
        prog_name="facekeep",
        message="%(prog)s %(version)s",
        help="Print the version.",
    ),
    click.option(
        "--install-completion",
        callback=_install_completion,
        help="Have your shell complete commands, options and names: bash, zsh or fish.",
        **_SHELL,
    ),
    click.option(
        "--show-completion",
        callback=_show_completion,
        help="Print the script for that instead, to install it yourself.",
        **_SHELL,
    ),
)


def build_app() -> HelpedGroup:
    """Build the command, with all commands under it."""
    app = HelpedGroup("facekeep", help=_HELP, examples=_EXAMPLES, params=_OPTIONS)
    for name, (module, summary) in COMMANDS.items():
        app.add_module(name, module, summary)
    return app
