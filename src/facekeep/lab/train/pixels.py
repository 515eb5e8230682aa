"""What the networks are fed."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

__all__ = ["normalise", "resized"]


def normalise(pixels: Tensor) -> Tensor:
    """Turn uint8 pixels into what the networks take: ``p / 127.5 - 1`` as float32."""
    return pixels.float().div_(127.5).sub_(1)


def resized(images: Tensor, size: int) -> Tensor:
    """Return the images as float32 0 to 255 with this side; shrinking does not alias."""
    pixels = images.float()
    if images.shape[-1] == size:
        return pixels
    shrunk: Tensor = functional.interpolate(
        pixels, (size, size), mode="bilinear", align_corners=False, antialias=True
    )
    return shrunk.clamp(0, 255)
