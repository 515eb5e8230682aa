"""Sampling a square crop from an image, without aliasing: for looking again and for alignment."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["warp"]

# At most so many samples a side for each pixel of a crop; bilinear sampling doubles their reach.
_MAX_SUPERSAMPLING = 4
# Pixels of a halved image to those of the image: 0 covers 0 and 1, so its center is at 0.5.
_HALF_TO_FULL = np.array([[2, 0, 0.5], [0, 2, 0.5], [0, 0, 1]])


def warp(image: NDArray[np.uint8], matrix: NDArray[np.floating], size: int) -> NDArray[np.uint8]:
    """Sample a square crop through a similarity transform, without aliasing.

    Args:
        image: uint8 ``(H, W, 3)``.
        matrix: ``(2, 3)``, pixels of the image to pixels of the crop.
        size: The crop's side in pixels.

    Returns:
        uint8 ``(size, size, 3)``, black where the image ends.
    """
    import cv2

    image, matrix = _neighborhood(image, matrix, size)
    if image.size == 0:
        return np.zeros((size, size, 3), np.uint8)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    # This also keeps what is sampled below the 32,767 pixels a side that OpenCV 4 allows.
    while scale * _MAX_SUPERSAMPLING < 1:
        image, matrix, scale = _halved(image), matrix @ _HALF_TO_FULL, scale * 2
    factor = min(max(int(1 / scale), 1), _MAX_SUPERSAMPLING)
    # Scaling about pixel centers, not corners: the center of pixel 0 moves by half the factor.
    finer = matrix * factor
    finer[:, 2] += (factor - 1) / 2
    crop = cv2.warpAffine(image, finer, (size * factor, size * factor))
    if factor > 1:
        crop = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(crop, np.uint8)


def _neighborhood(
    image: NDArray[np.uint8], matrix: NDArray[np.floating], size: int
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The part of the image that a crop is sampled from, a view, and the matrix for that part."""
    import cv2

    inverse = cv2.invertAffineTransform(matrix)
    middle = inverse[:, :2].sum(axis=1) * (size - 1) / 2 + inverse[:, 2]
    reach = np.abs(inverse[:, :2]).sum(axis=1) * (size + 3) / 2 + 2
    limit = image.shape[1::-1]
    left, top = np.clip(np.floor(middle - reach), 0, limit).astype(int)
    right, bottom = np.clip(np.ceil(middle + reach), 0, limit).astype(int)
    moved = matrix[:, 2] + matrix[:, 0] * left + matrix[:, 1] * top
    shifted = np.column_stack([matrix[:, :2], moved])
    return image[top:bottom, left:right], shifted


def _halved(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Average 2 x 2 pixels into one; an odd last row or column is left out, the only one is not."""
    import cv2

    if min(image.shape[:2]) == 1:
        image = np.pad(image, [(0, int(side == 1)) for side in image.shape[:2]] + [(0, 0)])
    height, width = image.shape[0] // 2, image.shape[1] // 2
    even = image[: 2 * height, : 2 * width]
    return np.asarray(cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
