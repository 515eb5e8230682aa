"""Celebrities in Frontal-Profile (Sengupta et al. 2016), in its published folders.

``Protocol/Pair_list_F.txt`` and ``Pair_list_P.txt`` number the frontal and the profile images
(``number path``, the path from ``Protocol/``); ``Protocol/Split/FF`` and ``FP`` hold a numbered
folder for each fold, whose ``same.txt`` and ``diff.txt`` hold the pairs (``number,number``).
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from facekeep._internal.files import printable, why
from facekeep.errors import InputError
from facekeep.lab.datasets.test_sets import PairSet
from facekeep.lab.datasets.text_lists import (
    NamedImages,
    find_file,
    list_error,
    parse_whole,
    quote,
    read_lines,
    require_folder,
)

__all__ = ["read_cfp"]

_LISTS = {"F": "frontal", "P": "profile"}
_IMAGE = re.compile(r"(?:\.\./)?Data/Images/(\w[\w-]*)/(frontal|profile)/(\w[\w.-]*)")


def read_cfp(
    root: str | os.PathLike[str], protocol: str = "FP", *, aligned: bool = False
) -> PairSet:
    """Read the pairs of CFP, frontal to frontal or frontal to profile.

    Args:
        root: The folder that holds ``Protocol`` and ``Data``.
        protocol: ``FF`` or ``FP``.
        aligned: The images are face crops, aligned as by ``align``, under the published names.

    Raises:
        InputError: A list is missing or damaged; the message names the line.
        ImageError: Images are missing.
    """
    if protocol not in ("FF", "FP"):
        raise InputError(f"the protocols of CFP are FF and FP, not {quote(str(protocol))}")
    top = require_folder(root, "Protocol and Data of CFP")
    first, second = (
        _read_images(top / "Protocol" / f"Pair_list_{kind}.txt", kind) for kind in protocol
    )
    named = NamedImages(top / "Protocol" / f"Pair_list_{protocol[1]}.txt")
    rows: list[tuple[int, int, bool, int]] = []
    for fold, folder in enumerate(_list_folds(top / "Protocol" / "Split" / protocol)):
        for kind in ("same", "diff"):
            path = folder / f"{kind}.txt"
            for number, text in read_lines(path):
                left, right = _read_pair(path, number, text, (first, second))
                places = (named.add(*left), named.add(*right))
                rows.append((*places, kind == "same", fold))
    if not rows:
        raise InputError(f"{printable(top)}: the lists of {protocol} hold no pairs")
    table = np.array(rows, np.intp)
    images = top / "Data" / "Images"
    samples = named.samples(images, lambda name: find_file(images / name), aligned=aligned)
    person = np.array([name.partition("/")[0] for name in named.names])
    return PairSet(
        f"CFP-{protocol}",
        samples,
        table[:, 0].copy(),
        table[:, 1].copy(),
        table[:, 2] == 1,
        table[:, 3].copy(),
        person,
    )


_Numbered = dict[int, tuple[str, int]]


def _read_images(path: Path, kind: str) -> _Numbered:
    """Return name and line of each image of a list, by its number."""
    found: _Numbered = {}
    for line, text in read_lines(path):
        number, _, place = text.partition(" ")
        image = _IMAGE.fullmatch(place.strip())
        key = parse_whole(number)
        if key is None or image is None or image[2] != _LISTS[kind]:
            form = f"NUMBER ../Data/Images/PERSON/{_LISTS[kind]}/FILE"
            raise list_error(path, line, f"expected {form}: {quote(text)}")
        if key in found:
            raise list_error(path, line, f"the number {key} stands here for the second time")
        found[key] = "/".join(image.groups()), line
    return found


def _list_folds(folder: Path) -> list[Path]:
    """List the numbered folders of the folds, in their order."""
    try:
        numbered = [path for path in folder.iterdir() if parse_whole(path.name) is not None]
    except (OSError, ValueError) as error:
        raise InputError(f"{printable(folder)}: cannot be read: {why(error)}") from error
    return sorted(numbered, key=lambda path: (int(path.name), path.name))


def _read_pair(
    path: Path, line: int, text: str, lists: tuple[_Numbered, _Numbered]
) -> tuple[tuple[str, int], tuple[str, int]]:
    numbers = [parse_whole(word.strip()) for word in text.split(",")]
    if len(numbers) != 2 or None in numbers:
        raise list_error(path, line, f"expected NUMBER,NUMBER: {quote(text)}")
    left, right = (images.get(key or 0) for images, key in zip(lists, numbers, strict=True))
    if left is None or right is None:
        raise list_error(path, line, f"the lists of images have no such number: {quote(text)}")
    return left, right
