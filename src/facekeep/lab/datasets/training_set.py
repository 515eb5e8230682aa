"""From a path to a source of training images: which of the formats lies there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from facekeep._internal.files import path_text, printable, why
from facekeep.errors import ImageError, InputError
from facekeep.lab.datasets.identity_table import read_identities
from facekeep.lab.datasets.recordio import open_recordio
from facekeep.lab.datasets.source import (
    MAX_IMAGE_BYTES,
    Classes,
    Source,
    Strings,
    name_people,
    read_span,
)
from facekeep.lab.datasets.webdataset import open_tars
from facekeep.pipeline.image import list_images, list_people

__all__ = ["FORMATS", "FolderSource", "open_folder", "open_source"]


class FolderSource(Source):
    """Image files of a folder; the key of one is its path in it. See ``open_folder``."""

    def __init__(self, folder: Path, files: Strings, classes: Classes) -> None:
        super().__init__(printable(folder), *classes.sorted())
        self._folder = folder
        self._files = files

    def key(self, index: int) -> str:
        """See `Source`."""
        return self._files[index]

    def read(self, index: int) -> bytes:
        """See `Source`."""
        path = self._folder / self._files[index]
        try:
            size = path.stat().st_size
        except (OSError, ValueError) as error:
            raise ImageError(f"{printable(path)}: cannot be read: {why(error)}") from error
        if size > MAX_IMAGE_BYTES:
            raise ImageError(f"{printable(path)}: {size} bytes are too many for a face crop")
        return read_span(path, 0, size)


def open_folder(folder: Path) -> FolderSource:
    """Index a folder of image files.

    Every folder in it is a person, who is on the images there and below. Without such folders, the
    images of the folder itself are taken, without labels. Folders below it that cannot be read are
    left out, with a warning.

    Raises:
        InputError: It holds no images, or some beside the folders of the people.
        ImageError: The folder cannot be read.
    """
    loose = [path.name for path in list_images(folder, recursive=False)]
    files, classes = Strings(), Classes()
    for person, paths in list_people(folder):
        for path in paths:
            files.append(os.fspath(path.relative_to(folder)))
            classes.append(person)
    if files and loose:
        raise InputError(
            f"{printable(folder / loose[0])}: lies beside the folders of the people; "
            "move it into the folder of the person it shows"
        )
    for name in loose:
        files.append(name)
        classes.append("")
    if not files:
        raise InputError(
            f"{printable(folder)}: holds no training images; give a folder with a folder of "
            "images for each person, a train.rec, or WebDataset tars"
        )
    return FolderSource(folder, files, classes)


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
    people = None if labels is None else read_identities(Path(path_text(labels)))
    source = _open_format(Path(path_text(path)), format)
    return source if people is None else name_people(source, people, printable(labels))


def _open_format(path: Path, kind: str) -> Source:
    tars, packs = _find_files(path, (".tar",)), _find_files(path, (".rec",))
    if kind == "auto":
        kind = _guess_format(path, tars, packs)
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


def _find_files(path: Path, endings: tuple[str, ...]) -> list[Path]:
    """List the files of these endings in a folder, or the file itself."""
    try:
        if not path.is_dir():
            return [path] if path.suffix.lower() in endings else []
        found = sorted(each for each in path.iterdir() if each.suffix.lower() in endings)
        return [each for each in found if each.name[0] != "." and not each.is_dir()]
    except (OSError, ValueError) as error:
        raise InputError(f"{printable(path)}: cannot be read: {why(error)}") from error


def _guess_format(path: Path, tars: list[Path], packs: list[Path]) -> str:
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
    raise InputError(f"{printable(path)}: is no training data; {_suggest(path)}")


def _suggest(path: Path) -> str:
    if path.suffix.lower() in (".idx", ".lst"):
        return f"name the .rec beside it, {path.with_suffix('.rec').name}"
    if path.suffix.lower() in (".gz", ".tgz", ".bz2", ".xz", ".zst", ".zip"):
        return "unpack it first"
    return "give a folder with a folder of images for each person, a train.rec or a .tar"
