"""Images of known people, however they are kept."""

from __future__ import annotations

import math
import os
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.files import path_text, printable
from facekeep.errors import InputError
from facekeep.lab.datasets.folder import person_folder
from facekeep.lab.evaluate.data import PersonSet, Samples
from facekeep.lab.train.data import Source, open_source, select
from facekeep.lab.train.data.table import read_ages
from facekeep.pipeline.image import load_image

__all__ = ["build_person_set", "known_people"]

_PACKED = (".rec", ".tar")


def known_people(
    path: str | os.PathLike[str],
    *,
    labels: str | os.PathLike[str] | None = None,
    aligned: bool = False,
) -> PersonSet:
    """Read images of known people: a folder for each of them, or what training reads.

    Args:
        path: A folder that holds a folder for each person; an InsightFace ``train.rec`` or its
            folder; a WebDataset tar or a folder of them.
        labels: A table with the columns ``key`` and ``identity``, where the images themselves do
            not say who they show. Images that it does not name are left out. A column ``age``, in
            years, is read too.
        aligned: The images are face crops, aligned as by ``align``.

    Raises:
        InputError: There is nothing of the kind, or nobody is known on any image.
        ImageError: A file or folder cannot be read.
    """
    where = Path(path_text(path))
    if labels is None and not _is_packed(where):
        return person_folder(where, aligned=aligned)
    source = open_source(where, labels=labels)
    known = np.flatnonzero(source.labels >= 0)
    if not len(known):
        raise InputError(
            f"{printable(where)}: says of no image who it shows; name a table that does", "labels"
        )
    chosen = select(source, known)
    return build_person_set(
        chosen, where, aligned=aligned, age=None if labels is None else _ages(chosen, labels)
    )


def _is_packed(where: Path) -> bool:
    if not where.is_dir():
        return where.suffix.lower() in _PACKED
    return any(each.suffix.lower() in _PACKED for each in where.iterdir())


def _ages(source: Source, labels: str | os.PathLike[str]) -> NDArray[np.float64]:
    ages = read_ages(Path(path_text(labels)))
    keys = map(source.key, range(len(source)))
    # A table may name images with or without their extension.
    found = (ages.get(key, ages.get(str(PurePath(key).with_suffix("")))) for key in keys)
    return np.array([math.nan if age is None else age for age in found])


def build_person_set(
    source: Source, where: Path, *, aligned: bool, age: NDArray[np.float64] | None = None
) -> PersonSet:
    """Return the images of a source, whose people are all known.

    Args:
        source: The images.
        where: Their file or folder, which gives the name.
        aligned: The images are aligned face crops.
        age: The age of the person on each image in years, NaN where it is not known.
    """
    samples = Samples(
        tuple(map(source.key, range(len(source)))),
        lambda index: load_image(source.read(index)),
        aligned=aligned,
    )
    person = source.labels.astype(np.intp)
    return PersonSet(where.resolve().name, samples, person, tuple(source.names), age)
