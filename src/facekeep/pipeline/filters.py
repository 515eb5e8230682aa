"""Gray, blur and standard deviation of pixels, with the results of OpenCV."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["blur", "deviation", "to_gray"]

# Red, green and blue in gray (ITU-R BT.601), of 32768.
_GRAY = np.array([9798, 19235, 3735], np.float32)


def to_gray(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the brightness of an RGB image (ITU-R BT.601), rounded.

    Args:
        image: uint8 ``(H, W, 3)`` RGB.

    Returns:
        uint8 ``(H, W)``.
    """
    gray = image.astype(np.float32) @ _GRAY  # whole numbers below 2 ** 24: exact
    gray += 1 << 14
    gray *= 1 / (1 << 15)
    return gray.astype(np.uint8)


def blur(image: NDArray[np.uint8], weights: Sequence[int]) -> NDArray[np.uint8]:
    """Blur an image along rows and columns; beyond its edges it is mirrored.

    Args:
        image: uint8 ``(H, W, C)``.
        weights: Of a pixel and its neighbors, an odd number of them, the same on both sides, whose
            sum is at most 256.

    Returns:
        uint8 ``(H, W, C)``, rounded.
    """
    reach = len(weights) // 2
    height, width, channels = image.shape
    lines, columns = (_mirrored(length, reach) for length in (height, width))
    wide = image.take(lines, axis=0).take(columns, axis=1).astype(np.uint16)
    wide = wide.reshape(len(wide), -1)
    rows = wide[reach : reach + height] * np.uint16(weights[reach])
    for away, weight in enumerate(weights[:reach]):
        rows += (wide[away : away + height] + wide[2 * reach - away :][:height]) * np.uint16(weight)
    sums = rows.astype(np.uint32)
    length = width * channels
    both = sums[:, reach * channels :][:, :length] * np.uint32(weights[reach])
    for away, weight in enumerate(weights[:reach]):
        first, last = (sums[:, at * channels :][:, :length] for at in (away, 2 * reach - away))
        both += (first + last) * np.uint32(weight)
    both += sum(weights) ** 2 // 2
    both //= sum(weights) ** 2
    return both.astype(np.uint8).reshape(image.shape)


@functools.cache
def _mirrored(length: int, reach: int) -> NDArray[np.intp]:
    return np.pad(np.arange(length), reach, "reflect")


def deviation(values: NDArray[np.float32]) -> float:
    """Return the standard deviation, for few values several times as fast as NumPy's own."""
    centered = values.ravel() - values.sum() / values.size
    return math.sqrt(float(centered @ centered) / values.size)
