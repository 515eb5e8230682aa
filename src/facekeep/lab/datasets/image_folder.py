"""Images in folders: one for each person, or one of images that nobody has named."""

from __future__ import annotations

import os
from pathlib import Path

from facekeep._internal.files import printable, why
from facekeep.errors import ImageError, InputError
from facekeep.lab.datasets.class_names import Classes, Strings
from facekeep.lab.datasets.source import MAX_IMAGE_BYTES, Source, read_span
from facekeep.pipeline.image import list_images, list_people

__all__ = ["FolderSource", "open_folder"]


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
