"""Margins: how much harder a head makes the comparison of a face with its own class.

Each takes and gives the cosines between embeddings and the centers of their own classes. Every
margin falls as the angle grows, all the way to 180 degrees, so that a gradient always draws the
embedding toward its center.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from facekeep.errors import InputError

__all__ = ["ArcFace", "CosFace", "Margin"]

# Keeps the sine's gradient finite in float32 where the angle is 0 or 180 degrees.
_LEAST_SQUARED_SINE = 1e-6


@dataclass(frozen=True, slots=True)
class CosFace:
    """Take the margin off the cosine: ``cos t - m`` (Wang et al., arXiv 1801.09414).

    Attributes:
        margin: m, in cosine; 0 to below 1.

    Raises:
        InputError: The margin is out of range.
    """

    margin: float = 0.4

    def __post_init__(self) -> None:
        _check("cosface", self.margin, 1.0, "1")

    def __call__(self, cosines: Tensor) -> Tensor:
        """Apply the margin to cosines of any shape."""
        return cosines - self.margin


@dataclass(frozen=True, slots=True)
class ArcFace:
    """Add the margin to the angle: ``cos(t + m)`` (Deng et al., arXiv 1801.07698).

    Beyond ``t = pi - m``, where the cosine of the sum would rise again, it goes on as
    ``cos t - (1 - cos m)``: without a step, and still falling.

    Attributes:
        margin: m, in radians; 0 to below pi / 2.

    Raises:
        InputError: The margin is out of range.
    """

    margin: float = 0.5

    def __post_init__(self) -> None:
        _check("arcface", self.margin, math.pi / 2, "pi / 2")

    def __call__(self, cosines: Tensor) -> Tensor:
        """Apply the margin to cosines of any shape."""
        cos_m, sin_m = math.cos(self.margin), math.sin(self.margin)
        sines = (1 - cosines.square()).clamp(min=_LEAST_SQUARED_SINE).sqrt()
        turned = cosines * cos_m - sines * sin_m
        return turned.where(cosines > -cos_m, cosines - (1 - cos_m))


Margin = CosFace | ArcFace


def _check(kind: str, margin: float, end: float, end_name: str) -> None:
    if not 0 <= margin < end:
        raise InputError(f"the margin of {kind} must be 0 to below {end_name}, not {margin!r}")
