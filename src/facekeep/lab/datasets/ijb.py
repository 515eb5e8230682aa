"""IJB-B and IJB-C (Whitelam et al. 2017, Maze et al. 2018), 1:1, as they are commonly laid out.

``loose_crop`` holds the images. In ``meta``, ``ijbc_face_tid_mid.txt`` names each image's template
and media (``image template media``), ``ijbc_name_5pts_score.txt`` its landmarks and the detector's
confidence (``image x y x y x y x y x y score``) in the same order, and
``ijbc_template_pair_label.txt`` the comparisons (``template template 1|0``), millions of them.
"""

from __future__ import annotations

import dataclasses
import os
from array import array
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.files import open_regular, printable, why
from facekeep.errors import InputError
from facekeep.lab.datasets.test_sets import Samples, TemplatePairs, TemplateSet, make_file_samples
from facekeep.lab.datasets.text_lists import (
    is_name,
    list_error,
    missing_image_error,
    parse_whole,
    quote,
    read_lines,
    require_folder,
)

__all__ = ["read_ijb"]


def read_ijb(root: str | os.PathLike[str], version: str = "C") -> TemplateSet:
    """Read the templates and comparisons of IJB-B or IJB-C.

    Args:
        root: The folder that holds ``meta`` and ``loose_crop``.
        version: ``B`` or ``C``.

    Raises:
        InputError: A list is missing or damaged; the message names the line.
        ImageError: Images are missing.
    """
    if version not in ("B", "C"):
        raise InputError(f"the versions of IJB read here are B and C, not {quote(str(version))}")
    top = require_folder(root, "meta and loose_crop of IJB")
    faces, points, pairs = (
        top / "meta" / f"ijb{version.lower()}_{name}.txt"
        for name in ("face_tid_mid", "name_5pts_score", "template_pair_label")
    )
    names, template, media = _read_faces(faces)
    landmarks, faceness = _read_points(points, names)
    comparisons = _read_pairs(pairs, np.unique(template))
    samples = _make_samples(top / "loose_crop", names, landmarks, faces)
    return TemplateSet(f"IJB-{version}", samples, template, media, faceness, comparisons)


def _read_faces(path: Path) -> tuple[list[str], NDArray[np.intp], NDArray[np.intp]]:
    names: list[str] = []
    ids = array("q")
    for number, text in read_lines(path):
        words = text.split()
        numbers = [parse_whole(word) for word in words[1:]]
        if len(words) != 3 or None in numbers or not is_name(words[0]):
            raise list_error(path, number, f"expected IMAGE TEMPLATE MEDIA: {quote(text)}")
        names.append(words[0])
        ids.extend(each for each in numbers if each is not None)
    if not names:
        raise InputError(f"{printable(path)}: names no images")
    table = np.array(ids, np.intp).reshape(-1, 2)
    return names, table[:, 0].copy(), table[:, 1].copy()


def _read_points(path: Path, names: list[str]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    values = array("d")
    count = 0
    for number, text in read_lines(path):
        name, *words = text.split()
        if count == len(names) or name != names[count]:
            message = quote(names[count]) if count < len(names) else "no more"
            raise list_error(
                path, number, f"expected {message}, as the templates have it: {quote(text)}"
            )
        values.extend(_read_numbers(path, number, text, words))
        count += 1
    if count < len(names):
        raise InputError(f"{printable(path)}: has {count} images, the templates {len(names)}")
    table = np.array(values, np.float32).reshape(-1, 11)
    return table[:, :10].reshape(-1, 5, 2), table[:, 10].copy()


def _read_numbers(path: Path, number: int, text: str, words: list[str]) -> list[float]:
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = []
    if len(values) != 11 or not all(abs(value) < 1e6 for value in values):
        raise list_error(path, number, f"expected IMAGE, five times X Y, and SCORE: {quote(text)}")
    return values


def _read_pairs(path: Path, templates: NDArray[np.intp]) -> TemplatePairs:
    """Read the comparisons, and check that their templates exist."""
    table = _read_table(path)
    if table.shape[1:] != (3,) or not (
        np.isin(table[:, 0], templates).all()
        and np.isin(table[:, 1], templates).all()
        and np.isin(table[:, 2], (0, 1)).all()
    ):
        raise _find_error(path, templates)
    return TemplatePairs(table[:, 0].copy(), table[:, 1].copy(), table[:, 2] == 1)


def _read_table(path: Path) -> NDArray[np.intp]:
    """Read lines of whole numbers fast; an empty table where that is not what the file holds."""
    if next(read_lines(path), None) is None:
        return np.empty(0, np.intp)
    try:
        with open_regular(path) as stream:
            return np.loadtxt(stream, np.intp, comments=None, ndmin=2, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{printable(path)}: cannot be read: {why(error)}") from error
    except ValueError:
        return np.empty(0, np.intp)


def _find_error(path: Path, templates: NDArray[np.intp]) -> InputError:
    """Find the line that is wrong, slowly."""
    known = set(templates.tolist())
    for number, text in read_lines(path):
        words = [parse_whole(word) for word in text.split()]
        if len(words) != 3 or None in words or words[2] not in (0, 1):
            return list_error(path, number, f"expected TEMPLATE TEMPLATE 1|0: {quote(text)}")
        if not known.issuperset(words[:2]):
            return list_error(path, number, f"no image is of such a template: {quote(text)}")
    return InputError(f"{printable(path)}: holds no comparisons")


def _make_samples(
    folder: Path,
    names: list[str],
    landmarks: NDArray[np.float32],
    faces: Path,
) -> Samples:
    """Make samples of the images; one look into the folder is faster than half a million."""
    try:
        present = set(os.listdir(folder))  # noqa: PTH208 - paths would cost seconds and memory
    except (OSError, ValueError) as error:
        raise InputError(f"{printable(folder)}: cannot be read: {why(error)}") from error
    missing = [place for place, name in enumerate(names) if name not in present]
    if missing:
        line = next(islice(read_lines(faces), missing[0], None))[0]
        raise missing_image_error(faces, line, names[missing[0]], len(missing) - 1, folder)
    samples = make_file_samples(names, [folder / name for name in names])
    return dataclasses.replace(samples, landmarks=landmarks)
