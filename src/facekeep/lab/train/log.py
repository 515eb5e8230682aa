"""The log of a run: a CSV file that an interrupted run continues where its checkpoint stands.

Its rows hold the means of the losses since the row before.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, TextIO

import torch
from torch import Tensor

from facekeep._internal.closing import Closing
from facekeep.errors import ModelError

__all__ = ["COLUMNS", "Log", "LossMeans", "read_log"]

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


class LossMeans:
    """Means of the losses since the last row of the log.

    What each step gives is left on the GPU until somebody asks for it.

    Args:
        names: What the numbers of a step are; the first is the loss.
        skips_overflows: Single losses that are not finite do no harm: their steps were left out.
    """

    def __init__(self, names: Sequence[str], *, skips_overflows: bool = False) -> None:
        self._names, self._skips_overflows = tuple(names), skips_overflows
        self._earlier: list[list[float]] = []
        self._rows: list[Tensor] = []
        self._images = 0
        self._seconds = 0.0

    def add(self, row: Tensor, images: int, seconds: float) -> None:
        """Take the numbers of a step, ``(n,)`` on any device, and how long it took."""
        self._rows.append(row)
        self._images += images
        self._seconds += seconds

    def rows(self, step: int) -> list[list[float]]:
        """Return the numbers of all steps so far, having checked them.

        Args:
            step: The number of the last one.

        Raises:
            ModelError: A loss or the length of a gradient is not finite; names the step.
        """
        self._earlier += torch.stack(self._rows).tolist() if self._rows else []
        self._rows = []
        values = self._earlier
        bad = [place for place, row in enumerate(values) if not all(map(math.isfinite, row))]
        if bad and not (self._skips_overflows and len(bad) < len(values)):
            first = step - len(values) + 1 + bad[0]
            raise ModelError(
                f"the loss is no longer a finite number at step {first}; the last checkpoint is"
                " kept: train anew with a lower learning rate, or in fp32"
            )
        return values

    def restore(self, rows: Sequence[Sequence[float]]) -> None:
        """Go on from what `rows` gave."""
        self._earlier = [list(row) for row in rows]

    def close(self, step: int) -> dict[str, float]:
        """Return the means by name, and ``images_per_second``; then begin anew.

        Raises:
            ModelError: As by `rows`.
        """
        rows = [row for row in self.rows(step) if all(map(math.isfinite, row))]
        means = (math.fsum(column) / len(rows) for column in zip(*rows, strict=True))
        found = dict(zip(self._names, means, strict=True))
        found["images_per_second"] = self._images / max(self._seconds, 1e-9)
        self._earlier, self._images, self._seconds = [], 0, 0.0
        return found


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
