"""What the networks are fed."""

from __future__ import annotations

from torch import Tensor

__all__ = ["normalise"]


def normalise(pixels: Tensor) -> Tensor:
    """Turn uint8 pixels into what the networks take: ``p / 127.5 - 1`` as float32."""
    return pixels.float().div_(127.5).sub_(1)
