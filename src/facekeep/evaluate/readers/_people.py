"""Images of known people, however they are kept."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from facekeep._files import path_text, printable
from facekeep.errors import InputError
from facekeep.evaluate.data import PersonSet, Samples
from facekeep.evaluate.readers._folder import person_folder
from facekeep.image import load_image
from facekeep.train.data import Source, open_source, select

__all__ = ["known_people"]

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
            not say who they show. Images that it does not name are left out.
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
            f"{printable(where)}: says of no image who it shows; name a table with --labels"
        )
    return _person_set(select(source, known), where, aligned)


def _is_packed(where: Path) -> bool:
    if not where.is_dir():
        return where.suffix.lower() in _PACKED
    return any(each.suffix.lower() in _PACKED for each in where.iterdir())


def _person_set(source: Source, where: Path, aligned: bool) -> PersonSet:
    samples = Samples(
        tuple(map(source.key, range(len(source)))),
        lambda index: load_image(source.read(index)),
        aligned=aligned,
    )
    person = source.labels.astype(np.intp)
    return PersonSet(where.resolve().name, samples, person, tuple(source.names))
