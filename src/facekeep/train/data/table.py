"""A table that says who is on which image: tab- or comma-separated, with a line of titles."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from facekeep._files import one_line, open_regular, printable, why
from facekeep.errors import InputError

__all__ = ["read_people"]


def read_people(path: Path) -> dict[str, str]:
    """Read the columns ``key`` and ``identity`` of a table; others are ignored.

    Returns:
        The person on each image, by its key; empty where the table names nobody.

    Raises:
        InputError: It cannot be read, lacks a column, or names two people for one image.
    """
    try:
        with (
            open_regular(path) as stream,
            io.TextIOWrapper(stream, "utf-8-sig", newline="") as text,
        ):
            return _people(text, path)
    except (OSError, UnicodeError, ValueError) as error:
        raise InputError(f"{printable(path)}: cannot be read: {why(error)}") from error
    except csv.Error as error:
        raise InputError(f"{printable(path)}: is no table of text: {one_line(error)}") from error


def _people(text: io.TextIOWrapper, path: Path) -> dict[str, str]:
    titles = text.readline()
    style = csv.excel_tab if "\t" in titles else csv.excel
    columns = next(csv.reader([titles], style), [])
    if not {"key", "identity"} <= set(columns):
        raise InputError(
            f"{printable(path)}: its first line must have the titles key and identity, "
            "separated by tabs or commas"
        )
    key_at, identity_at = columns.index("key"), columns.index("identity")
    people: dict[str, str] = {}
    for number, row in enumerate(csv.reader(text, style), 2):
        if not row:
            continue
        if len(row) != len(columns):
            raise InputError(
                f"{printable(path)}: line {number} has {len(row)} columns, not {len(columns)}"
            )
        key, person = row[key_at], row[identity_at].strip()
        if people.setdefault(key, person) != person:
            raise InputError(f"{printable(path)}: line {number} names a second person for {key}")
    return people
