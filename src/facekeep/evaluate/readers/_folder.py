"""A folder for each person: the plainest labelled set there is."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from facekeep._files import printable, why
from facekeep.errors import InputError
from facekeep.evaluate.data import PersonSet, samples_of_files
from facekeep.evaluate.readers._lists import folder_at
from facekeep.image import list_images

__all__ = ["person_folder"]


def person_folder(root: str | os.PathLike[str], *, aligned: bool = False) -> PersonSet:
    """Read a folder that holds a folder for each person, with pictures in it or below it.

    Hidden folders, folders without pictures, pictures outside a person's folder and links that lead
    back to the folder itself are left out.

    Args:
        root: The folder.
        aligned: The pictures are face crops, aligned as by ``align``.

    Raises:
        InputError: There is no such folder, or it holds no person.
        ImageError: A folder below it cannot be read.
    """
    top = folder_at(root, "a folder for each person")
    pictures = {path.name: list_images(path) for path in _subfolders(top)}
    people = tuple(name for name, paths in pictures.items() if paths)
    if not people:
        raise InputError(
            f"{printable(top)}: holds no pictures in folders; make a folder for each person"
        )
    person = np.repeat(np.arange(len(people)), [len(pictures[name]) for name in people])
    paths = [path for name in people for path in pictures[name]]
    names = [str(path.relative_to(top)) for path in paths]
    samples = samples_of_files(names, paths, aligned=aligned)
    return PersonSet(top.resolve().name, samples, person, people)


def _subfolders(top: Path) -> list[Path]:
    try:
        found = sorted(path for path in top.iterdir() if path.is_dir() and path.name[0] != ".")
        whole = top.resolve()
        return [path for path in found if not whole.is_relative_to(path.resolve())]
    except OSError as error:
        raise InputError(f"{printable(top)}: cannot be read: {why(error)}") from error
