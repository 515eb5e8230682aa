"""A table that says who is on which image: tab- or comma-separated, with a line of titles."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from facekeep._internal.files import one_line, open_regular, printable, why
from facekeep.errors import InputError

__all__ = ["read_ages", "read_identities"]

_OLDEST: Final = 150


def read_identities(path: Path) -> dict[str, str]:
    """Read the columns ``key`` and ``identity`` of a table; others are ignored.

    Returns:
        The person on each image, by its key; empty where the table names nobody.

    Raises:
        InputError: It cannot be read, lacks a column, or names two people for one image.
    """
    people: dict[str, str] = {}
    for number, row in _read_rows(path):
        key, person = row["key"], row["identity"].strip()
        if people.setdefault(key, person) != person:
            raise InputError(f"{printable(path)}: line {number} names a second person for {key}")
    return people


def read_ages(path: Path) -> dict[str, float]:
    """Read the columns ``key`` and ``age`` of such a table.

    Returns:
        Years by the keys of the images that the table gives an age; empty without the column.

    Raises:
        InputError: It cannot be read, or an age is no number from 0 to 150.
    """
    ages: dict[str, float] = {}
    for number, row in _read_rows(path):
        text = row.get("age", "").strip()
        if not text:
            continue
        try:
            age = float(text)
        except ValueError:
            age = math.nan
        if not 0 <= age <= _OLDEST:
            raise InputError(f"{printable(path)}: line {number} has no age in years: {text!r}")
        ages[row["key"]] = age
    return ages


def _read_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a table with the numbers of their lines."""
    try:
        with (
            open_regular(path) as stream,
            io.TextIOWrapper(stream, "utf-8-sig", newline="") as text,
        ):
            yield from _parse_rows(text, path)
    except (OSError, UnicodeError, ValueError) as error:
        raise InputError(f"{printable(path)}: cannot be read: {why(error)}") from error
    except csv.Error as error:
        raise InputError(f"{printable(path)}: is no table of text: {one_line(error)}") from error


def _parse_rows(text: io.TextIOWrapper, path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    titles = text.readline()
    style = csv.excel_tab if "\t" in titles else csv.excel
    columns = next(csv.reader([titles], style), [])
    if not {"key", "identity"} <= set(columns):
        raise InputError(
            f"{printable(path)}: its first line must have the titles key and identity, "
            "separated by tabs or commas"
        )
    for number, row in enumerate(csv.reader(text, style), 2):
        if row and len(row) != len(columns):
            raise InputError(
                f"{printable(path)}: line {number} has {len(row)} columns, not {len(columns)}"
            )
        if row:
            yield number, dict(zip(columns, row, strict=True))
