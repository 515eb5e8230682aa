"""Arguments and options that several commands share, and the groups of settings they use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from facekeep.cli.completion import completion_of, model_names
from facekeep.config.fields import Field
from facekeep.config.settings import SETTINGS

__all__ = [
    "ENGINE",
    "GALLERY",
    "Collage",
    "Folder",
    "Image",
    "Images",
    "Model",
    "Out",
    "default_of",
    "setting_option",
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

Image = Annotated[
    str, typer.Argument(metavar="IMAGE", help="A picture; or - for one on standard input.")
]
Images = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGE",
        help="Pictures; folders, with the folders in them; or - for a picture on standard input.",
    ),
]
Model = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="A model, as `models list` names it.",
        autocompletion=model_names(),
    ),
]
Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder of pictures.")]
Out = Annotated[
    Path | None, typer.Option("--out", "-o", metavar="PATH", help="Write the result to this file.")
]

JsonFlag = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print JSON and nothing else on stdout: one document, or lines for several.",
    ),
]
Collage = Annotated[
    bool, typer.Option("--collage", help="A picture may show a person several times.")
]
QuietFlag = Annotated[bool, typer.Option("--quiet", "-q", help="Print no progress and no notes.")]
VerboseFlag = Annotated[bool, typer.Option("--verbose", "-v", help="Report each step on stderr.")]
ConfigOption = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="PATH",
        help="Read settings from this TOML file. [env: FACEKEEP_CONFIG]",
        show_default=False,
    ),
]

_SHORT: Final = {"gallery": "-g"}


def setting_option(name: str) -> Any:
    """The annotation of the option for a setting; its default is None, "not given"."""
    setting = SETTINGS[name]
    text = f"{setting.doc} [env: {setting.env}; default: {default_of(setting)}]"
    if not setting.metavar:
        flags = f"{setting.option}/--no-{setting.option.removeprefix('--')}"
        return Annotated[bool | None, typer.Option(flags, help=text, show_default=False)]
    names = [setting.option, *([_SHORT[name]] if name in _SHORT else [])]
    option = typer.Option(
        *names,
        metavar=setting.metavar,
        help=text,
        show_default=False,
        autocompletion=completion_of(setting),
    )
    return Annotated[str | None, option]


def default_of(setting: Field) -> str:
    """The default in words; a default that has no words is the example, which a test checks."""
    return setting.default_text or setting.example.strip('"')
