"""Two portraits in the public domain, and ways to change a photo, to try the library with."""

from __future__ import annotations

import importlib.metadata
import io
import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facekeep.errors import InputError
from facekeep.pipeline.image import load_image
from facekeep.pipeline.warp import scale

__all__ = ["CHANGES", "change_photo", "load_portraits"]

Pixels = NDArray[np.uint8]

# Rows that are blurred at once.
_BAND = 64
# Works of the US Navy and of NASA that ship inside PyPI wheels.
_PORTRAITS = {
    "Grace Hopper": ("matplotlib", "matplotlib/mpl-data/sample_data/grace_hopper.jpg"),
    "Eileen Collins": ("scikit-image", "skimage/data/astronaut.png"),
}


def load_portraits() -> dict[str, Pixels]:
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


def change_photo(photo: Pixels) -> tuple[tuple[str, Pixels], ...]:
    """Return the changed versions of a photo, each with the name of the change."""
    return tuple((name, change(photo)) for name, change in CHANGES.items())


def _rotate(image: Pixels) -> Pixels:
    return np.array(Image.fromarray(image).rotate(20, Image.Resampling.BILINEAR))


def _darken(image: Pixels) -> Pixels:
    return (image * 0.35).astype(np.uint8)


def _blur(image: Pixels) -> Pixels:
    sigma = max(image.shape[:2]) / 200
    rows = _blur_rows(image.astype(np.float32), sigma)
    both = _blur_rows(rows.swapaxes(0, 1), sigma).swapaxes(0, 1)
    return np.rint(both).astype(np.uint8)


def _blur_rows(values: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Blur values ``(n, m, 3)`` along their first axis by a Gaussian, mirrored at the ends.

    Pillow's ``GaussianBlur`` only approximates a Gaussian.
    """
    reach = min(math.ceil(3 * sigma), len(values) - 1)
    weights = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    band = np.zeros((_BAND, _BAND + 2 * reach), np.float32)
    for row in range(_BAND):
        band[row, row : row + len(weights)] = weights / weights.sum()
    wide = np.pad(values.reshape(len(values), -1), ((reach, reach), (0, 0)), "reflect")
    parts = [wide[at : at + band.shape[1]] for at in range(0, len(values), _BAND)]
    blurred = [band[: len(part) - 2 * reach, : len(part)] @ part for part in parts]
    return np.concatenate(blurred).reshape(values.shape)


def _compress(image: Pixels) -> Pixels:
    encoded = io.BytesIO()
    Image.fromarray(image).save(encoded, "JPEG", quality=30)
    return load_image(encoded.getvalue())


def _crop(image: Pixels) -> Pixels:
    height, width = image.shape[:2]
    return np.ascontiguousarray(image[: height * 3 // 4, width // 6 : width - width // 10])


def _shrink(image: Pixels) -> Pixels:
    return scale(image, 0.4)


CHANGES: Mapping[str, Callable[[Pixels], Pixels]] = {
    "rotated": _rotate,
    "darkened": _darken,
    "blurred": _blur,
    "JPEG 30": _compress,
    "cropped": _crop,
    "small": _shrink,
}
"""What is done to a photo before somebody must be recognized in it."""
