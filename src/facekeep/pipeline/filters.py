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

_AT_ONCE = 1 << 14  # so many pixels are worked on at once, for the cache of the processor


def to_gray(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the brightness of an RGB image (ITU-R BT.601), rounded.

    Args:
        image: uint8 ``(H, W, 3)`` RGB.

    Returns:
        uint8 ``(H, W)``.
    """
    height, width = image.shape[:2]
    gray = np.empty((height, width), np.uint8)
    at_once = min(max(1, _AT_ONCE // max(width, 1)), height)
    colors, sums = np.empty((at_once, width, 3), np.float32), np.empty((at_once, width), np.float32)
    for start in range(0, height, max(at_once, 1)):
        part = gray[start : start + at_once]
        colors[: len(part)] = image[start : start + at_once]
        # Whole numbers below 2 ** 24: exact.
        weighed = np.matmul(colors[: len(part)], _GRAY, out=sums[: len(part)])
        weighed += 1 << 14
        weighed *= 1 / (1 << 15)
        part[...] = weighed
    return gray


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
