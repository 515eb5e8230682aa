"""Labeled Faces in the Wild (Huang et al. 2007) and sets laid out like it.

``pairs.txt`` (View 2) begins with the number of folds and of pairs of each kind in a fold;
``pairsDevTrain.txt`` and ``pairsDevTest.txt`` (View 1) begin with the number of pairs of each kind
alone. Then, for each fold, come the mated pairs (``name number number``) and the non-mated ones
(``name number name number``).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from facekeep._internal.files import printable
from facekeep.errors import InputError
from facekeep.lab.datasets.test_sets import PairSet, Samples
from facekeep.lab.datasets.text_lists import (
    NamedImages,
    find_file,
    is_name,
    list_error,
    parse_whole,
    quote,
    read_lines,
    require_folder,
)

__all__ = ["read_lfw", "read_lfw_view_1"]

_MOST_IMAGES = 9999  # of one person: file names have four digits
_SUFFIXES = (".jpg", ".png", ".jpeg", ".webp", ".bmp")


def read_lfw(
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
    folder = require_folder(images, "the people's folders")
    rows = list(read_lines(pairs))
    folds, each = _read_header(pairs, rows)
    if len(rows) - 1 != folds * 2 * each:
        message = f"the file has {len(rows) - 1} pairs, its first line promises {folds * 2 * each}"
        raise list_error(pairs, rows[-1][0], message)
    named = NamedImages(pairs)
    left, right = np.empty((2, len(rows) - 1), np.intp)
    mated = np.arange(len(rows) - 1) % (2 * each) < each
    for i, (number, text) in enumerate(islice(rows, 1, None)):
        first, second = _read_pair(pairs, number, text, mated=bool(mated[i]))
        left[i], right[i] = named.add(first, number), named.add(second, number)
    samples = named.samples(folder, lambda name: _find_file(folder, name), aligned=aligned)
    fold = np.arange(len(mated)) // (2 * each) if folds > 1 else None
    person = np.array([name.partition("/")[0] for name in named.names])
    return PairSet("LFW", samples, left, right, mated, fold, person)


def read_lfw_view_1(
    images: str | os.PathLike[str],
    train: str | os.PathLike[str],
    test: str | os.PathLike[str],
    *,
    aligned: bool = False,
) -> PairSet:
    """Read LFW's View 1: pairs to choose a threshold on, and pairs to judge it by.

    Args:
        images: As for ``read_lfw``.
        train: ``pairsDevTrain.txt``; its pairs become ``development``.
        test: ``pairsDevTest.txt``.
        aligned: The images are face crops, aligned as by ``align``.

    Raises:
        InputError: A list is damaged, and the message names the line; or it has folds.
        ImageError: Images are missing.
    """
    chosen, judged = parts = [read_lfw(images, path, aligned=aligned) for path in (train, test)]
    for path, part in zip((train, test), parts, strict=True):
        if part.fold is not None:
            raise InputError(f"{printable(path)}: has folds, and lists of View 1 have none")
    ahead = len(chosen.samples)
    return PairSet(
        "LFW View 1",
        _join_samples(chosen.samples, judged.samples),
        np.concatenate([chosen.left, ahead + judged.left]),
        np.concatenate([chosen.right, ahead + judged.right]),
        np.concatenate([chosen.mated, judged.mated]),
        person=np.concatenate([part.person for part in parts if part.person is not None]),
        development=np.arange(len(chosen.left) + len(judged.left)) < len(chosen.left),
    )


def _join_samples(first: Samples, second: Samples) -> Samples:
    ahead = len(first)
    return Samples(
        first.names + second.names,
        lambda place: first.load(place) if place < ahead else second.load(place - ahead),
        aligned=first.aligned,
    )


def _read_header(path: str | os.PathLike[str], rows: Sequence[tuple[int, str]]) -> tuple[int, int]:
    """Return the number of folds, 1 where the list has none, and of pairs of a kind in each."""
    counts = [parse_whole(word) or 0 for word in rows[0][1].split()] if rows else []
    if len(counts) not in (1, 2) or 0 in counts:
        raise list_error(path, 1, "expected the numbers of folds and pairs, or of pairs alone")
    return (1, counts[0]) if len(counts) == 1 else (counts[0], counts[1])


def _read_pair(
    path: str | os.PathLike[str], number: int, text: str, *, mated: bool
) -> tuple[str, str]:
    words = text.split()
    if mated and len(words) == 3:
        words.insert(2, words[0])
    elif mated or len(words) != 4:
        form = "NAME NUMBER NUMBER, a mated" if mated else "NAME NUMBER NAME NUMBER, a non-mated"
        raise list_error(path, number, f"expected {form} pair: {quote(text)}")
    images = [parse_whole(word) for word in words[1::2]]
    if not all(image and image <= _MOST_IMAGES for image in images):
        raise list_error(path, number, f"expected numbers from 1 to {_MOST_IMAGES}: {quote(text)}")
    if not all(map(is_name, words[::2])):
        raise list_error(path, number, f"these are no names of folders: {quote(text)}")
    if mated and images[0] == images[1]:
        raise list_error(path, number, f"compares an image with itself: {quote(text)}")
    if not mated and words[0] == words[2]:
        raise list_error(path, number, f"a non-mated pair must be of two people: {quote(text)}")
    return _name_image(words[0], images[0] or 0), _name_image(words[2], images[1] or 0)


def _name_image(name: str, number: int) -> str:
    return f"{name}/{name}_{number:04d}"


def _find_file(folder: Path, name: str) -> Path | None:
    """Find the file of an image, whatever its format."""
    candidates = (folder / f"{name}{suffix}" for suffix in _SUFFIXES)
    return next((path for path in candidates if find_file(path)), None)
