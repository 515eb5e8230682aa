"""Arguments and options that several commands share, and the groups of settings they use."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import click

from facekeep._internal.tables import unwrap
from facekeep.cli.completion import completion_of, file_names, model_names
from facekeep.config.fields import Field
from facekeep.config.settings import SETTINGS

__all__ = [
    "COMMON",
    "ENGINE",
    "GALLERY",
    "PATH",
    "Decorator",
    "argument",
    "collage_option",
    "default_of",
    "folder_argument",
    "image_argument",
    "images_argument",
    "model_argument",
    "out_option",
    "parameters_of",
    "setting_option",
    "table_option",
]

ENGINE: Final = (
    "detector",
    "refiner",
    "orienter",
    "embedder",
    "terms",
    "min_face",
    "max_faces",
    "any_quality",
    "max_pixels",
    "max_bytes",
    "flip",
    "runtime",
    "device",
    "precision",
    "threads",
)
"""Settings of the pipeline from a picture to embeddings."""

GALLERY: Final = ("gallery", "key")
"""Settings that say which gallery, and how to open it."""

PATH: Final = click.Path(path_type=Path)
"""The type of options and arguments that name a file or a folder."""

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class _Argument(click.Argument):
    """An argument with a help text, which those of click have from 8.5 on."""

    def __init__(self, *declarations: Any, help: str, **attributes: Any) -> None:
        super().__init__(*declarations, **attributes)
        self.help = help


argument = partial(click.argument, cls=_Argument)
"""``click.argument``, with ``help=``."""

image_argument = partial(
    argument,
    metavar="IMAGE",
    help="A picture; or - for one on standard input.",
    shell_complete=file_names,
)
images_argument = argument(
    "images",
    nargs=-1,
    required=True,
    metavar="IMAGE",
    help="Pictures; folders, with the folders in them; or - for a picture on standard input.",
    shell_complete=file_names,
)
model_argument = argument(
    "name",
    metavar="NAME",
    help="A model, as `models list` names it.",
    shell_complete=model_names(),
)
folder_argument = argument("folder", type=PATH, metavar="FOLDER", help="A folder of pictures.")
out_option = click.option(
    "--out", "-o", type=PATH, metavar="PATH", help="Write the result to this file."
)
collage_option = click.option(
    "--collage", is_flag=True, help="A picture may show a person several times."
)

COMMON: Final = (
    click.Option(
        ["--config"],
        metavar="PATH",
        help="Read settings from this TOML file. [env: FACEKEEP_CONFIG]",
        shell_complete=file_names,
    ),
    click.Option(
        ["--json"],
        is_flag=True,
        help="Print JSON and nothing else on stdout: one document, or lines for several.",
    ),
    click.Option(["--quiet", "-q"], is_flag=True, help="Print no progress and no notes."),
    click.Option(["--verbose", "-v"], is_flag=True, help="Report each step on stderr."),
)
"""Options of every command."""

_SHORT: Final = {"gallery": "-g"}


def parameters_of(*decorators: Decorator) -> list[click.Parameter]:
    """Return the arguments and options that decorators add."""

    def function() -> None: ...

    for decorate in reversed(decorators):
        decorate(function)
    return click.command(function).params


@cache
def setting_option(name: str) -> click.Option:
    """The option for a setting; its default is None, "not given"."""
    setting = SETTINGS[name]
    text = f"{setting.doc} [env: {setting.env}; default: {default_of(setting)}]"
    if not setting.metavar:
        flags = f"{setting.option}/--no-{setting.option.removeprefix('--')}"
        return click.Option([flags], default=None, help=text)
    names = [setting.option, *([_SHORT[name]] if name in _SHORT else [])]
    return click.Option(
        names, metavar=setting.metavar, help=text, shell_complete=completion_of(setting)
    )


def table_option(field: Field) -> click.Option:
    """The option for a key of a table of the configuration file; None or () is "not given"."""
    text = f"{field.doc} [default: {default_of(field)}]"
    if not field.metavar:
        flags = f"{field.option}/--no-{field.option.removeprefix('--')}"
        return click.Option([flags], default=None, help=text)
    several = getattr(unwrap(field.hint)[0], "__origin__", None) is tuple
    return click.Option(
        [field.option],
        metavar=field.metavar,
        help=text,
        multiple=several,
        shell_complete=completion_of(field),
    )


def default_of(setting: Field) -> str:
    """The default in words; a default that has no words is the example, which a test checks."""
    return setting.default_text or setting.example.strip('"')
