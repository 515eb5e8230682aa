"""Labeled Faces in the Wild (Huang et al. 2007) and sets laid out like it.

``pairs.txt`` (View 2) begins with the number of folds and of pairs of each kind in a fold;
``pairsDevTrain.txt`` and ``pairsDevTest.txt`` (View 1) begin with the number of pairs of each kind
alone. Then, for each fold, come the mated pairs (``name number number``) and the non-mated ones
(``name number name number``). The lists of people are laid out likewise: ``name images``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from facekeep._internal.files import printable
from facekeep.errors import InputError
from facekeep.lab.datasets.lists import (
    Named,
    fault,
    folder_at,
    is_name,
    lines,
    named_file,
    shown,
    whole,
)
from facekeep.lab.evaluate.data import PairSet, PersonSet, Samples

__all__ = ["lfw", "lfw_people", "lfw_view_1"]

_MOST_IMAGES = 9999  # of one person: file names have four digits
_SUFFIXES = (".jpg", ".png", ".jpeg", ".webp", ".bmp")


def lfw(
    images: str | os.PathLike[str], pairs: str | os.PathLike[str], *, aligned: bool = False
) -> PairSet:
    """Read LFW's pairs, of View 2 (with folds) or View 1 (without).

    Args:
        images: The folder of the people's folders, ``Name/Name_0001.jpg``; it may hold more images
            than the list needs.
        pairs: ``pairs.txt``, ``pairsDevTrain.txt`` or ``pairsDevTest.txt``.
        aligned: The images are face crops, aligned as by ``align``.

    Raises:
        InputError: The list is damaged; the message names the line.
        ImageError: Images are missing.
    """
    folder = folder_at(images, "the people's folders")
    rows = list(lines(pairs))
    folds, each = _header(pairs, rows)
    if len(rows) - 1 != folds * 2 * each:
        told = f"the file has {len(rows) - 1} pairs, its first line promises {folds * 2 * each}"
        raise fault(pairs, rows[-1][0], told)
    named = Named(pairs)
    left, right = np.empty((2, len(rows) - 1), np.intp)
    mated = np.arange(len(rows) - 1) % (2 * each) < each
    for i, (number, text) in enumerate(islice(rows, 1, None)):
        first, second = _pair(pairs, number, text, mated=bool(mated[i]))
        left[i], right[i] = named.add(first, number), named.add(second, number)
    samples = named.samples(folder, lambda name: _file_of(folder, name), aligned=aligned)
    fold = np.arange(len(mated)) // (2 * each) if folds > 1 else None
    person = np.array([name.partition("/")[0] for name in named.names])
    return PairSet("LFW", samples, left, right, mated, fold, person)


def lfw_view_1(
    images: str | os.PathLike[str],
    train: str | os.PathLike[str],
    test: str | os.PathLike[str],
    *,
    aligned: bool = False,
) -> PairSet:
    """Read LFW's View 1: pairs to choose a threshold on, and pairs to judge it by.

    Args:
        images: As for ``lfw``.
        train: ``pairsDevTrain.txt``; its pairs become ``development``.
        test: ``pairsDevTest.txt``.
        aligned: The images are face crops, aligned as by ``align``.

    Raises:
        InputError: A list is damaged, and the message names the line; or it has folds.
        ImageError: Images are missing.
    """
    chosen, judged = parts = [lfw(images, path, aligned=aligned) for path in (train, test)]
    for path, part in zip((train, test), parts, strict=True):
        if part.fold is not None:
            raise InputError(f"{printable(path)}: has folds, and lists of View 1 have none")
    ahead = len(chosen.samples)
    return PairSet(
        "LFW View 1",
        _one_after_the_other(chosen.samples, judged.samples),
        np.concatenate([chosen.left, ahead + judged.left]),
        np.concatenate([chosen.right, ahead + judged.right]),
        np.concatenate([chosen.mated, judged.mated]),
        person=np.concatenate([part.person for part in parts if part.person is not None]),
        development=np.arange(len(chosen.left) + len(judged.left)) < len(chosen.left),
    )


def _one_after_the_other(first: Samples, second: Samples) -> Samples:
    ahead = len(first)
    return Samples(
        first.names + second.names,
        lambda place: first.load(place) if place < ahead else second.load(place - ahead),
        aligned=first.aligned,
    )


def lfw_people(
    images: str | os.PathLike[str], people: str | os.PathLike[str], *, aligned: bool = False
) -> PersonSet:
    """Read one of LFW's lists of people, and all images of each, for identification.

    Args:
        images: The folder of the people's folders, with all images of those listed.
        people: ``peopleDevTrain.txt``, ``peopleDevTest.txt`` or ``people.txt``.
        aligned: The images are face crops, aligned as by ``align``.

    Raises:
        InputError: The list is damaged; the message names the line.
        ImageError: Images are missing.
    """
    folder = folder_at(images, "the people's folders")
    named = Named(people)
    listed: dict[str, int] = {}
    for number, text in _people_rows(people):
        name, count = _person_row(people, number, text)
        if name in listed:
            raise fault(people, number, f"{shown(name)} stands here for the second time")
        listed[name] = count
        for i in range(1, count + 1):
            named.add(_image(name, i), number)
    samples = named.samples(folder, lambda name: _file_of(folder, name), aligned=aligned)
    person = np.repeat(np.arange(len(listed)), list(listed.values()))
    return PersonSet("LFW", samples, person, tuple(listed))


def _header(path: str | os.PathLike[str], rows: Sequence[tuple[int, str]]) -> tuple[int, int]:
    """Return the number of folds, 1 where the list has none, and of pairs of a kind in each."""
    counts = [whole(word) or 0 for word in rows[0][1].split()] if rows else []
    if len(counts) not in (1, 2) or 0 in counts:
        raise fault(path, 1, "expected the numbers of folds and pairs, or of pairs alone")
    return (1, counts[0]) if len(counts) == 1 else (counts[0], counts[1])


def _pair(path: str | os.PathLike[str], number: int, text: str, *, mated: bool) -> tuple[str, str]:
    words = text.split()
    if mated and len(words) == 3:
        words.insert(2, words[0])
    elif mated or len(words) != 4:
        form = "NAME NUMBER NUMBER, a mated" if mated else "NAME NUMBER NAME NUMBER, a non-mated"
        raise fault(path, number, f"expected {form} pair: {shown(text)}")
    images = [whole(word) for word in words[1::2]]
    if not all(image and image <= _MOST_IMAGES for image in images):
        raise fault(path, number, f"expected numbers from 1 to {_MOST_IMAGES}: {shown(text)}")
    if not all(map(is_name, words[::2])):
        raise fault(path, number, f"these are no names of folders: {shown(text)}")
    if mated and images[0] == images[1]:
        raise fault(path, number, f"compares an image with itself: {shown(text)}")
    if not mated and words[0] == words[2]:
        raise fault(path, number, f"a non-mated pair must be of two people: {shown(text)}")
    return _image(words[0], images[0] or 0), _image(words[2], images[1] or 0)


def _people_rows(path: str | os.PathLike[str]) -> list[tuple[int, str]]:
    """Return the lines of a list of people without those that only count: of folds, of people."""
    rows = list(lines(path))
    counts = [whole(text) for _, text in rows if len(text.split()) == 1]
    people = [row for row in rows if len(row[1].split()) != 1]
    if not people or not counts or None in counts:
        raise InputError(f"{printable(path)}: is no list of people that begins with their number")
    promised = sum(count or 0 for count in (counts[1:] or counts))
    if promised != len(people):
        told = f"the file has {len(people)} people, its counts promise {promised}"
        raise fault(path, rows[-1][0], told)
    return people


def _person_row(path: str | os.PathLike[str], number: int, text: str) -> tuple[str, int]:
    name, *rest = text.split()
    count = whole(rest[0]) if len(rest) == 1 else None
    if not count or count > _MOST_IMAGES or not is_name(name):
        raise fault(path, number, f"expected a name and a number of images: {shown(text)}")
    return name, count


def _image(name: str, number: int) -> str:
    return f"{name}/{name}_{number:04d}"


def _file_of(folder: Path, name: str) -> Path | None:
    """Find the file of an image, whatever its format."""
    candidates = (folder / f"{name}{suffix}" for suffix in _SUFFIXES)
    return next((path for path in candidates if named_file(path)), None)
