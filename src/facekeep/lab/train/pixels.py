"""What the networks are fed."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

__all__ = ["normalize", "normalize_crops", "resize_images"]


def normalize(pixels: Tensor) -> Tensor:
    """Turn uint8 pixels into what the networks take: ``p / 127.5 - 1`` as float32."""
    return pixels.float().div_(127.5).sub_(1)


def normalize_crops(crops: NDArray[np.uint8]) -> Tensor:
    """Turn crops, uint8 ``(n, S, S, 3)``, into what the networks take, ``(n, 3, S, S)``."""
    return normalize(torch.from_numpy(crops).permute(0, 3, 1, 2))


def resize_images(images: Tensor, size: int) -> Tensor:
    """Return the images as float32 0 to 255 with this side; shrinking does not alias."""
    pixels = images.float()
    if images.shape[-1] == size:
        return pixels
    shrunk: Tensor = functional.interpolate(
        pixels, (size, size), mode="bilinear", align_corners=False, antialias=True
    )
    return shrunk.clamp(0, 255)
