"""From the bytes of a crop to the pixels that a network takes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facekeep.errors import ImageError
from facekeep.pipeline.image import load_image

__all__ = ["decode"]

_MAX_PIXELS = 4096 * 4096


def decode(data: bytes, size: int) -> NDArray[np.uint8]:
    """Decode a face crop and bring it to the side that is asked for.

    Args:
        data: A JPEG, PNG, WebP or other picture file that ``load_image`` reads.
        size: The side in pixels.

    Returns:
        uint8 ``(size, size, 3)`` RGB. Larger crops are averaged down, smaller ones interpolated.

    Raises:
        ImageError: It cannot be decoded, or is not square: a photo, not an aligned crop.
    """
    image = load_image(data, max_pixels=_MAX_PIXELS)
    height, width = image.shape[:2]
    if height != width:
        raise ImageError(
            f"is not square ({width} x {height}), so it is a photo, not an aligned crop; "
            "run: facekeep align PHOTOS --out FACES"
        )
    if width == size:
        return image
    import cv2

    how = cv2.INTER_AREA if width > size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (size, size), interpolation=how), np.uint8)
