"""Pairs of images in a table of your own."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from facekeep._internal.files import path_text, printable
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

__all__ = ["read_cells", "read_pairs_table"]

_NEEDED = ("left", "right", "mated")
_YES_NO = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


@dataclass(slots=True)
class _Table:
    """What was read so far; ``seen`` leads from a pair to its line."""

    left: list[int] = field(default_factory=list)
    right: list[int] = field(default_factory=list)
    mated: list[bool] = field(default_factory=list)
    fold: list[int] = field(default_factory=list)
    seen: dict[tuple[int, int], int] = field(default_factory=dict)


def read_pairs_table(
    file: str | os.PathLike[str],
    root: str | os.PathLike[str] | None = None,
    *,
    aligned: bool = False,
) -> PairSet:
    """Read pairs from a table in UTF-8 text, with commas or tabs between the cells.

    The first line names the columns, in any order: ``left`` and ``right`` (paths of images),
    ``mated`` (1, true, yes or 0, false, no) and, if the pairs are divided, ``fold`` (a whole
    number). Tabs separate the cells when the first line has one. A pair may stand there only once,
    whichever image comes first.

    Args:
        file: The table.
        root: The folder that the paths start from; the table's own by default.
        aligned: The images are face crops, aligned as by ``align``.

    Raises:
        InputError: The table is damaged; the message names the line.
        ImageError: Images are missing.
    """
    path = Path(path_text(file))
    folder = require_folder(path.parent if root is None else root, "the images")
    named, table = NamedImages(path), _Table()
    rows = read_cells(path)
    header = next(rows, (1, []))[1]
    columns = _find_columns(path, header)
    for number, cells in rows:
        if len(cells) != len(header):
            raise list_error(
                path, number, f"has {len(cells)} cells, the first line has {len(header)}"
            )
        row = {name: cells[column].strip() for name, column in columns.items()}
        _add_row(table, named, number, row)
    if not table.left:
        raise InputError(f"{printable(path)}: holds no pairs")
    samples = named.samples(folder, lambda name: find_file(folder / name), aligned=aligned)
    fold = np.unique(table.fold, return_inverse=True)[1] if table.fold else None
    left, right = np.array(table.left, np.intp), np.array(table.right, np.intp)
    return PairSet(path.stem, samples, left, right, np.array(table.mated), fold)


def read_cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the cells of each line with its number."""
    delimiter = ""
    for number, text in read_lines(path):
        delimiter = delimiter or ("\t" if "\t" in text else ",")
        try:
            (cells,) = csv.reader([text], delimiter=delimiter, strict=True)
        except (csv.Error, ValueError) as error:
            raise list_error(
                path, number, f"cannot be read as cells: {printable(error)}"
            ) from error
        yield number, cells


def _find_columns(path: Path, header: list[str]) -> dict[str, int]:
    """Return the places of the columns by their names."""
    names = [name.strip().lower() for name in header]
    known = [*_NEEDED, "fold"]
    if not set(_NEEDED) <= set(names) <= set(known) or len(set(names)) < len(names):
        message = "the first line must name the columns left, right, mated and, if there are, fold"
        raise list_error(path, 1, f"{message}: {quote(','.join(header))}")
    return {name: names.index(name) for name in names}


def _add_row(table: _Table, named: NamedImages, number: int, row: dict[str, str]) -> None:
    mated = _YES_NO.get(row["mated"].lower())
    if mated is None:
        raise list_error(named.path, number, f"mated must be 1 or 0, not {quote(row['mated'])}")
    if not row["left"] or not row["right"]:
        raise list_error(named.path, number, "left and right must name two images")
    left, right = (named.add(row[side], number) for side in ("left", "right"))
    if left == right:
        raise list_error(named.path, number, f"compares an image with itself: {quote(row['left'])}")
    before = table.seen.setdefault((min(left, right), max(left, right)), number)
    if before != number:
        raise list_error(named.path, number, f"this pair stands in line {before} already")
    table.left.append(left)
    table.right.append(right)
    table.mated.append(mated)
    if "fold" in row:
        fold = parse_whole(row["fold"])
        if fold is None:
            raise list_error(
                named.path, number, f"fold must be a whole number: {quote(row['fold'])}"
            )
        table.fold.append(fold)
