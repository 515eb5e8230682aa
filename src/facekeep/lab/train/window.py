"""The losses since the last row of the log, left on the GPU until somebody asks for them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from facekeep.errors import ModelError

__all__ = ["Window"]


class Window:
    """Collects what each step gives, and looks at it all at once.

    Args:
        names: What the numbers of a step are; the first is the loss.
        forgiving: Single losses that are not finite do no harm, for their steps were left out.
    """

    def __init__(self, names: Sequence[str], *, forgiving: bool = False) -> None:
        self._names, self._forgiving = tuple(names), forgiving
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
        if bad and not (self._forgiving and len(bad) < len(values)):
            first = step - len(values) + 1 + bad[0]
            raise ModelError(
                f"the loss is no longer a finite number at step {first}; the last checkpoint is"
                " kept: train anew with a lower --lr, or with --precision fp32"
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
