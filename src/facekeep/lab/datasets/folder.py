"""A folder for each person: the plainest labelled set there is."""

from __future__ import annotations

import os

import numpy as np

from facekeep._internal.files import printable
from facekeep.errors import ImageError, InputError
from facekeep.lab.datasets.lists import folder_at
from facekeep.lab.evaluate.data import PersonSet, samples_of_files
from facekeep.pipeline.image import list_people

__all__ = ["person_folder"]


def person_folder(root: str | os.PathLike[str], *, aligned: bool = False) -> PersonSet:
    """Read a folder that holds a folder for each person, with pictures in it or below it.

    Hidden folders, folders without pictures, pictures outside a person's folder and links that lead
    back to the folder itself are left out; so are folders that cannot be read, with a warning.

    Args:
        root: The folder.
        aligned: The pictures are face crops, aligned as by ``align``.

    Raises:
        InputError: There is no such folder, it cannot be read, or it holds no person.
    """
    top = folder_at(root, "a folder for each person")
    try:
        pictures = {name: paths for name, paths in list_people(top) if paths}
    except ImageError as error:
        raise InputError(str(error)) from error
    people = tuple(pictures)
    if not people:
        raise InputError(
            f"{printable(top)}: holds no pictures in folders; make a folder for each person"
        )
    person = np.repeat(np.arange(len(people)), [len(pictures[name]) for name in people])
    paths = [path for name in people for path in pictures[name]]
    names = [str(path.relative_to(top)) for path in paths]
    samples = samples_of_files(names, paths, aligned=aligned)
    return PersonSet(top.resolve().name, samples, person, people)
