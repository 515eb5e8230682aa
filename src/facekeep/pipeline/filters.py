"""The brightness of pixels, and their mean with their neighbors, as OpenCV has them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["blur", "to_gray"]

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
        weights: Of a pixel and its neighbors, an odd number of them, whose sum is at most 256.

    Returns:
        uint8 ``(H, W, C)``, rounded.
    """
    reach = len(weights) // 2
    height, width = image.shape[:2]
    wide = np.pad(image, ((reach, reach), (reach, reach), (0, 0)), "reflect").astype(np.uint32)
    rows = np.zeros((height, *wide.shape[1:]), np.uint32)
    both = np.full(image.shape, sum(weights) ** 2 // 2, np.uint32)
    for place, weight in enumerate(weights):
        rows += weight * wide[place : place + height]
    for place, weight in enumerate(weights):
        both += weight * rows[:, place : place + width]
    both //= sum(weights) ** 2
    return both.astype(np.uint8)
