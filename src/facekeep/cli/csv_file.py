"""Results as a table in a CSV file: UTF-8, one header row, safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

import click

from facekeep._internal.files import is_full, printable, replacing, why
from facekeep.cli.output import escape_line, to_plain
from facekeep.errors import InputError, StorageFull

__all__ = ["csv_option", "csv_rows"]

csv_option = click.option(
    "--csv",
    metavar="FILE",
    help="Write a table as CSV (UTF-8, a header row) to this file; - for standard output.",
)

# A cell that begins with one of these is run as a formula by spreadsheets.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")


@contextmanager
def csv_rows(
    target: str | None, columns: Sequence[str], *, json: bool = False
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Open a CSV table, which is written whole or not at all; yields what adds a row.

    Missing values become empty cells. Texts that a spreadsheet would run as a formula begin with
    an apostrophe; control characters are escaped.

    Args:
        target: The file; ``-`` for standard output; None for no table, so that rows go nowhere.
        columns: The header row, and the keys of the rows.
        json: JSON goes to standard output.

    Raises:
        InputError: The file cannot be written, or standard output is taken.
        StorageFull: There is no room for it.
    """
    if target is None:
        yield lambda row: None
        return
    if target == "-":
        if json:
            raise InputError("--json and --csv - both print; name a file with --csv")
        sys.stdout.flush()
        yield _writer(sys.stdout.buffer, columns)
        return
    stack = ExitStack()
    try:
        with _told(target):
            add = _writer(stack.enter_context(replacing(_checked(target))), columns, target)
        yield add
    except BaseException:
        with suppress(OSError):  # closing the file tells once more that there is no room
            stack.__exit__(*sys.exc_info())
        raise
    with _told(target):
        stack.close()


def _checked(target: str) -> str:
    from facekeep.pipeline.image import is_picture

    if is_picture(target):
        raise InputError(f"{printable(target)} has the name of a picture; end it in .csv")
    if Path(target).is_dir():
        raise InputError(f"{printable(target)} is a folder: name a file with --csv")
    return target


@contextmanager
def _told(target: str) -> Iterator[None]:
    """Say which file cannot be written."""
    try:
        yield
    except (OSError, ValueError) as error:
        if is_full(error):
            raise StorageFull(f"{printable(target)}: no room for the table") from error
        raise InputError(f"{printable(target)}: cannot be written: {why(error)}") from error


class _Encoder:
    """What ``csv`` writes text to."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        self._stream.write(text.encode("utf-8", "backslashreplace"))
        self._stream.flush()


def _writer(
    stream: BinaryIO, columns: Sequence[str], target: str = ""
) -> Callable[[Mapping[str, Any]], None]:
    table = csv.writer(_Encoder(stream), lineterminator="\n")
    table.writerow(columns)

    def add(row: Mapping[str, Any]) -> None:
        with _told(target) if target else nullcontext():
            table.writerow([_cell(row.get(column)) for column in columns])

    return add


def _cell(value: object) -> object:
    """One cell: numbers as JSON has them, yes and no in words, texts that are no formulas."""
    if value is None or isinstance(value, bool):
        return "" if value is None else "yes" if value else "no"
    if isinstance(value, int | float):
        return to_plain(value)
    text = escape_line(os.fspath(value) if isinstance(value, os.PathLike) else value)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text
