"""Contact sheets of comparisons: two faces side by side, and how alike the model finds them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facekeep.draw import contact_sheet

__all__ = ["Pair", "pair_sheet"]

_COLUMNS = 3
_TILE = 112
_GAP = 24  # on the right of a pair: further from the next one than its own faces are apart
_WHITE = 255

Crop = NDArray[np.uint8]


class Pair(NamedTuple):
    """A comparison worth looking at.

    Attributes:
        left: Place of an image.
        right: Place of another one.
        cosine: How alike they are.
    """

    left: int
    right: int
    cosine: float


def pair_sheet(pairs: Sequence[Pair], crop: Callable[[int], Crop]) -> Crop:
    """Draw comparisons, row by row, each with its place in the sequence and its cosine.

    Args:
        pairs: The comparisons.
        crop: Gives the aligned face of an image by its place, uint8 ``(s, s, 3)`` RGB.

    Returns:
        uint8 ``(H, W, 3)`` RGB.
    """
    cells = [
        (f"{number}.  cosine {pair.cosine:.3f}", [crop(pair.left), crop(pair.right)])
        for number, pair in enumerate(pairs, 1)
    ]
    columns = [
        contact_sheet(cells[start::_COLUMNS], tile=_TILE, columns=2)
        for start in range(min(_COLUMNS, max(len(cells), 1)))
    ]
    height = max(len(column) for column in columns)
    return np.hstack([_padded(column, height) for column in columns])


def _padded(column: Crop, height: int) -> Crop:
    missing = ((0, height - len(column)), (0, _GAP), (0, 0))
    return np.pad(column, missing, constant_values=_WHITE)
