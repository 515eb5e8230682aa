"""From a path to a source: which of the formats lies there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from facekeep._internal.files import path_text, printable, why
from facekeep.errors import InputError
from facekeep.lab.datasets.identity_table import read_people
from facekeep.lab.datasets.image_folder import open_folder
from facekeep.lab.datasets.recordio import open_recordio
from facekeep.lab.datasets.source import Source, name_people
from facekeep.lab.datasets.webdataset import open_tars

__all__ = ["FORMATS", "open_source"]

FORMATS: Final = ("auto", "folder", "recordio", "webdataset")


def open_source(
    path: str | os.PathLike[str],
    format: str = "auto",  # noqa: A002 - the word that users know
    *,
    labels: str | os.PathLike[str] | None = None,
) -> Source:
    """Index training images, whichever way they are kept.

    Args:
        path: A folder with a folder of images for each person; a folder of images, without labels;
            a ``train.rec`` or its folder; a WebDataset tar or a folder of them.
        format: One of `FORMATS`; "auto" goes by what lies there.
        labels: A table with the columns ``key`` and ``identity`` that says who is on which image.

    Raises:
        InputError: Nothing there can be trained on; the message says what to do.
        ImageError: A file or folder cannot be read.
    """
    if format not in FORMATS:
        raise InputError(f"format must be one of {', '.join(FORMATS)}; got {printable(format)}")
    people = None if labels is None else read_people(Path(path_text(labels)))
    source = _opened(Path(path_text(path)), format)
    return source if people is None else name_people(source, people, printable(labels))


def _opened(path: Path, kind: str) -> Source:
    tars, packs = _files(path, (".tar",)), _files(path, (".rec",))
    if kind == "auto":
        kind = _guess(path, tars, packs)
    if kind == "folder":
        return open_folder(path)
    if kind == "webdataset":
        if not tars:
            raise InputError(f"{printable(path)}: holds no .tar files")
        return open_tars(printable(path), tars)
    if len(packs) != 1:
        found = "several .rec files; name one of them" if packs else "no .rec file"
        raise InputError(f"{printable(path)}: holds {found}")
    return open_recordio(packs[0])


def _files(path: Path, endings: tuple[str, ...]) -> list[Path]:
    """List the files of these endings in a folder, or the file itself."""
    try:
        if not path.is_dir():
            return [path] if path.suffix.lower() in endings else []
        found = sorted(each for each in path.iterdir() if each.suffix.lower() in endings)
        return [each for each in found if each.name[0] != "." and not each.is_dir()]
    except (OSError, ValueError) as error:
        raise InputError(f"{printable(path)}: cannot be read: {why(error)}") from error


def _guess(path: Path, tars: list[Path], packs: list[Path]) -> str:
    if tars and packs:
        raise InputError(
            f"{printable(path)}: holds both .rec and .tar files; name the file, or the format"
        )
    if packs:
        return "recordio"
    if tars:
        return "webdataset"
    if path.is_dir():
        return "folder"
    if not os.path.lexists(path):
        raise InputError(f"{printable(path)}: no such file or folder; check the path")
    raise InputError(f"{printable(path)}: is no training data; {_mend(path)}")


def _mend(path: Path) -> str:
    if path.suffix.lower() in (".idx", ".lst"):
        return f"name the .rec beside it, {path.with_suffix('.rec').name}"
    if path.suffix.lower() in (".gz", ".tgz", ".bz2", ".xz", ".zst", ".zip"):
        return "unpack it first"
    return "give a folder with a folder of images for each person, a train.rec or a .tar"
