"""Two portraits in the public domain, and ways to change a photo, to try the library with."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from facekeep.errors import InputError
from facekeep.pipeline.image import load_image

__all__ = ["CHANGES", "change_photo", "load_portraits"]

Image = NDArray[np.uint8]

# Works of the US Navy and of NASA that ship inside PyPI wheels.
_PORTRAITS = {
    "Grace Hopper": ("matplotlib", "matplotlib/mpl-data/sample_data/grace_hopper.jpg"),
    "Eileen Collins": ("scikit-image", "skimage/data/astronaut.png"),
}


def load_portraits() -> dict[str, Image]:
    """Load the portraits that come with the demo extra.

    Returns:
        uint8 ``(h, w, 3)`` RGB, by the name of the person.

    Raises:
        InputError: The extra is not installed.
    """
    portraits = {}
    for name, (distribution, path) in _PORTRAITS.items():
        try:
            found = importlib.metadata.distribution(distribution).locate_file(path)
        except importlib.metadata.PackageNotFoundError as error:
            raise InputError(
                "the two sample portraits are not installed; run: pip install 'facekeep[demo]'"
            ) from error
        portraits[name] = load_image(str(found))
    return portraits


def change_photo(photo: Image) -> tuple[tuple[str, Image], ...]:
    """Return the changed versions of a photo, each with the name of the change."""
    return tuple((name, change(photo)) for name, change in CHANGES.items())


def _rotate(image: Image) -> Image:
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), 20, 1)
    return np.asarray(cv2.warpAffine(image, matrix, (width, height)), np.uint8)


def _darken(image: Image) -> Image:
    return (image * 0.35).astype(np.uint8)


def _blur(image: Image) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), max(image.shape[:2]) / 200), np.uint8)


def _compress(image: Image) -> Image:
    _, encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 30])
    decoded = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(decoded[..., ::-1])


def _crop(image: Image) -> Image:
    height, width = image.shape[:2]
    return np.ascontiguousarray(image[: height * 3 // 4, width // 6 : width - width // 10])


def _shrink(image: Image) -> Image:
    return np.asarray(
        cv2.resize(image, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA), np.uint8
    )


CHANGES: Mapping[str, Callable[[Image], Image]] = {
    "rotated": _rotate,
    "darkened": _darken,
    "blurred": _blur,
    "JPEG 30": _compress,
    "cropped": _crop,
    "small": _shrink,
}
"""What is done to a photo before somebody must be recognized in it."""
