"""The log of a run: a CSV file that an interrupted run continues where its checkpoint stands."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, TextIO

from facekeep._internal.closing import Closing

__all__ = ["COLUMNS", "Log", "read_log"]

COLUMNS: Final = (
    "step",
    "epoch",
    "loss",
    "loss_head",
    "loss_teacher",
    "grad_norm",
    "lr",
    "images_per_second",
    "tar_fmr_1e-2",
    "tar_fmr_1e-3",
)
"""The columns of an embedder's ``log.csv``; a cell that has nothing to say is empty."""


class Log(Closing):
    """Appends rows to ``log.csv``; what stands there behind ``position`` is taken off first.

    Args:
        path: The file; made where it is missing.
        position: Bytes that count, as `mark` gave them; 0 starts a new log.
        columns: The columns.

    Raises:
        OSError: The file cannot be written.
    """

    def __init__(self, path: Path, position: int = 0, *, columns: Sequence[str] = COLUMNS) -> None:
        self._columns = columns
        self._stream: TextIO = path.open("a", encoding="utf-8", newline="")
        self._stream.truncate(position)
        self._writer = csv.writer(self._stream, lineterminator="\n")
        if position == 0:
            self._writer.writerow(columns)

    def write(self, row: Mapping[str, float | int | None]) -> None:
        """Add a row; floats keep seven significant digits."""
        cells = (row.get(name) for name in self._columns)
        self._writer.writerow(["" if cell is None else _shown(cell) for cell in cells])
        self._stream.flush()

    def mark(self) -> int:
        """Make what was written durable, and return the position that a checkpoint records."""
        self._stream.flush()
        os.fsync(self._stream.fileno())
        return os.fstat(self._stream.fileno()).st_size

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def read_log(path: Path) -> dict[str, list[float | None]]:
    """Read a log as columns; empty cells are None.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        rows = list(reader)
    return {name: [_cell(row[name]) for row in rows] for name in reader.fieldnames or ()}


def _cell(text: str | None) -> float | None:
    return float(text) if text else None


def _shown(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.7g}"
