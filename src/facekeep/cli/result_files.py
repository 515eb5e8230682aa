"""Where the results of a command go: checked before anything is read."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from facekeep._internal.files import printable, why
from facekeep._internal.listing import is_picture
from facekeep.errors import InputError

__all__ = ["check_sheet", "check_targets", "make_folder"]


def check_targets(targets: Iterable[Path], read: Iterable[Path]) -> None:
    """Refuse to write a picture where none can be, or over one of those to be read."""
    from facekeep.pipeline.image import check_output

    kept = {os.path.realpath(image) for image in read}
    for target in targets:
        if os.path.realpath(target) in kept:
            raise InputError(f"{target} is itself a picture to read: name another with --out")
        check_output(target)


def check_sheet(out: Path, folder: Path, *probes: Path) -> None:
    """Refuse a contact sheet likewise; the photos of ``folder`` and below it are read."""
    from facekeep.pipeline.image import list_images

    photos = list_images(folder, on_skip=lambda *_: None) if os.path.lexists(out) else []
    check_targets([out], [*probes, *photos])


def make_folder(folder: Path, option: str, *, private: bool = False) -> None:
    """Make a folder for results where it is missing.

    Raises:
        InputError: It cannot be made, or is a file.
    """
    shown = printable(folder)
    if folder.is_dir():
        return
    if is_picture(folder) or folder.exists():
        what = "one picture" if is_picture(folder) else "a file"
        raise InputError(f"{shown} is {what}: name a folder with {option} for several pictures")
    try:
        folder.mkdir(0o700 if private else 0o777)
    except OSError as error:
        raise InputError(f"cannot make the folder {shown} for {option}: {why(error)}") from error
