"""Turn a face upright: five landmarks onto the template that the embedders were trained with."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facekeep.errors import InputError
from facekeep.image import check_image

__all__ = ["TEMPLATE_NAME", "align", "align_batch", "similarity_transform", "template", "warp"]

TEMPLATE_NAME = "arcface-112"

# The five points of the ArcFace crop (Deng et al. 2019), in pixels of a 112 x 112 image.
_TEMPLATE_112 = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)

_FARTHEST = 1e6
# At most so many samples a side for each pixel of a crop; bilinear sampling doubles their reach.
_MAX_SUPERSAMPLING = 4
# Pixels of a halved image to those of the image: 0 covers 0 and 1, so its centre is at 0.5.
_HALF_TO_FULL = np.array([[2, 0, 0.5], [0, 2, 0.5], [0, 0, 1]])


def template(size: int = 112) -> NDArray[np.float64]:
    """Return where the five landmarks lie in a square crop: float64 ``(5, 2)`` pixels.

    Args:
        size: The crop's side in pixels; the 112-pixel template is scaled to it.
    """
    return _TEMPLATE_112 * (size / 112)


def similarity_transform(source: ArrayLike, target: ArrayLike) -> NDArray[np.float64]:
    """Fit rotation, one scale and a shift by least squares (Umeyama 1991, in the plane).

    As complex numbers the best proper similarity is ``z -> a z + b`` with a closed form, which in
    two dimensions is Umeyama's solution without reflections.

    Args:
        source: Points ``(n, 2)``, n >= 2, not all equal.
        target: Where they should go, of the same shape.

    Returns:
        float64 ``(2, 3)`` for ``cv2.warpAffine``: source pixels to target pixels.

    Raises:
        InputError: The points are of other shapes, not finite, all in one place, or so scattered
            that no transform is better than another.
    """
    source, target = _points(source), _points(target)
    if source.shape != target.shape or source.ndim != 2 or source.shape[1] != 2 or len(source) < 2:
        raise InputError(f"expected two point lists (n, 2), got {source.shape} and {target.shape}")
    p, q = (points[:, 0] + 1j * points[:, 1] for points in (source, target))
    centred = p - p.mean()
    spread = (np.abs(centred) ** 2).sum()
    if spread < 1e-9:
        raise InputError("landmarks lie all in one place; a face cannot be aligned by them")
    a = (centred.conj() * (q - q.mean())).sum() / spread
    if np.abs(a) < 1e-6:
        raise InputError("landmarks are mirrored or scattered; a face cannot be aligned by them")
    b = q.mean() - a * p.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def _points(values: ArrayLike) -> NDArray[np.float64]:
    try:
        points = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError("landmarks must be pairs of numbers") from error
    if not (np.abs(points) < _FARTHEST).all():
        raise InputError(f"landmarks must be finite numbers below {_FARTHEST:g} pixels")
    return points


def align(image: NDArray[np.uint8], landmarks: ArrayLike, size: int = 112) -> NDArray[np.uint8]:
    """Cut one face out, upright and at the size that the embedder asks for.

    Bilinear sampling; pixels of a face more than twice as large as the crop are averaged, so that
    large faces do not alias. Black where the image ends.

    Args:
        image: uint8 ``(H, W, 3)``.
        landmarks: ``(5, 2)`` pixels, in the order of ``Face.landmarks``.
        size: The crop's side in pixels.

    Returns:
        uint8 ``(size, size, 3)`` in the image's colour order.

    Raises:
        InputError: The image is not such an array, the size is no whole number above 0, or the
            landmarks cannot be used; see ``similarity_transform``.
    """
    if not isinstance(size, Integral) or size < 1:
        raise InputError(f"size must be a whole number above 0, not {size!r}")
    return warp(check_image(image), similarity_transform(landmarks, template(size)), size)


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

    image, matrix = _neighbourhood(image, matrix, size)
    if image.size == 0:
        return np.zeros((size, size, 3), np.uint8)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    while scale * _MAX_SUPERSAMPLING < 1 and min(image.shape[:2]) > 1:
        image, matrix, scale = _halved(image), matrix @ _HALF_TO_FULL, scale * 2
    factor = min(max(int(1 / scale), 1), _MAX_SUPERSAMPLING)
    # Scaling about pixel centres, not corners: the centre of pixel 0 moves by half the factor.
    finer = matrix * factor
    finer[:, 2] += (factor - 1) / 2
    crop = cv2.warpAffine(image, finer, (size * factor, size * factor))
    if factor > 1:
        crop = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(crop, np.uint8)


def _neighbourhood(
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
    """Average 2 x 2 pixels into one; an odd last row or column is left out."""
    import cv2

    height, width = image.shape[0] // 2, image.shape[1] // 2
    even = image[: 2 * height, : 2 * width]
    return np.asarray(cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def align_batch(
    image: NDArray[np.uint8], landmarks: Sequence[ArrayLike], size: int = 112
) -> NDArray[np.uint8]:
    """Cut out several faces of one image: uint8 ``(n, size, size, 3)``, n may be 0."""
    crops = np.empty((len(landmarks), size, size, 3), np.uint8)
    for crop, points in zip(crops, landmarks, strict=True):
        crop[...] = align(image, points, size)
    return crops
