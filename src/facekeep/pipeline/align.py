"""Turn a face upright: five landmarks onto the template that the embedders were trained with."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facekeep.errors import InputError
from facekeep.pipeline.image import check_image
from facekeep.pipeline.warp import warp

__all__ = ["align", "align_batch", "similarity_transform", "template"]

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


def template(size: int = 112) -> NDArray[np.float64]:
    """Return where the five landmarks lie in a square crop: float64 ``(5, 2)`` pixels.

    Args:
        size: The crop's side in pixels; the 112-pixel template is scaled to it about the corner of
            the first pixel, as resizing a crop does.
    """
    scale = size / 112
    return _TEMPLATE_112 * scale + (scale - 1) / 2


def similarity_transform(source: ArrayLike, target: ArrayLike) -> NDArray[np.float64]:
    """Fit rotation, one scale and a shift by least squares (Umeyama 1991, in the plane).

    As complex numbers the best proper similarity is ``z -> a z + b`` with a closed form, which in
    two dimensions is Umeyama's solution without reflections.

    Args:
        source: Points ``(n, 2)``, n >= 2, not all equal.
        target: Where they should go, of the same shape.

    Returns:
        float64 ``(2, 3)``, for ``warp``: source pixels to target pixels.

    Raises:
        InputError: The points are of other shapes, not finite, all in one place, or so scattered
            that no transform is better than another.
    """
    source, target = _points(source), _points(target)
    if source.shape != target.shape or source.ndim != 2 or source.shape[1] != 2 or len(source) < 2:
        raise InputError(f"expected two point lists (n, 2), got {source.shape} and {target.shape}")
    p, q = (points[:, 0] + 1j * points[:, 1] for points in (source, target))
    p_mean, q_mean = p.sum() / len(p), q.sum() / len(q)
    centered = p - p_mean
    spread = np.vdot(centered, centered).real
    if spread < 1e-9:
        raise InputError("landmarks lie all in one place; a face cannot be aligned by them")
    a = np.vdot(centered, q - q_mean) / spread
    if np.abs(a) < 1e-6:
        raise InputError("landmarks are mirrored or scattered; a face cannot be aligned by them")
    b = q_mean - a * p_mean
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
        uint8 ``(size, size, 3)`` in the image's color order.

    Raises:
        InputError: The image is not such an array, the size is no whole number above 0, or the
            landmarks cannot be used; see ``similarity_transform``.
    """
    if not isinstance(size, Integral) or size < 1:
        raise InputError(f"size must be a whole number above 0, not {size!r}")
    return warp(check_image(image), similarity_transform(landmarks, template(size)), size)


def align_batch(
    image: NDArray[np.uint8], landmarks: Sequence[ArrayLike], size: int = 112
) -> NDArray[np.uint8]:
    """Cut out several faces of one image: uint8 ``(n, size, size, 3)``, n may be 0."""
    crops = np.empty((len(landmarks), size, size, 3), np.uint8)
    for crop, points in zip(crops, landmarks, strict=True):
        crop[...] = align(image, points, size)
    return crops
