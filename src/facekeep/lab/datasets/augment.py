"""Random changes to training faces: those of the EdgeFace recipe, small shifts, and harder ones.

What changes geometry is one affine warp, what changes color is one matrix, so that most faces are
touched once or not at all.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from facekeep.pipeline.filters import blur
from facekeep.pipeline.warp import resize

__all__ = ["PRESETS", "Augment", "augment"]

_LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in gray (ITU-R BT.601), as OpenCV has them."""

_RGB_TO_YIQ = np.array([_LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_YIQ_TO_RGB = np.linalg.inv(_RGB_TO_YIQ)
_SAME_COLOR = np.eye(3, 4)
_MIDDLE_GRAY = 127.5
# Gaussians of 3 and 5 pixels.
_NARROW: Final = (1, 2, 1)
_WIDE: Final = (1, 4, 6, 4, 1)

_Range = tuple[float, float]
_SHARES = ("flip", "affine", "downscale", "blur", "color", "gray", "light", "jpeg", "erase")


@dataclass(frozen=True, slots=True, kw_only=True)
class Augment:
    """How often faces are changed, and by how much.

    The defaults are those published with EdgeFace (flip, downscale, blur, color, gray) and a small
    affine jitter. What is in pixels is given as a share of the side.

    Attributes:
        flip: Share of faces that are mirrored.
        affine: Share that are turned, scaled and shifted.
        turn: Largest angle either way, degrees.
        zoom: Largest change of scale either way.
        shift: Largest shift either way along each axis, share of the side.
        downscale: Share that lose resolution.
        side: Side that they are scaled down to, share of the side: 56 to 89 of 112 pixels.
        blur: Share that are blurred by a Gaussian of 3 or 5 pixels.
        color: Share whose hue and saturation change.
        hue: Angle in the color circle, degrees; from red to yellow where it is positive.
        saturation: Factor of saturation.
        gray: Share that lose their color.
        light: Share whose brightness and contrast change.
        brightness: Largest shift either way, gray levels.
        contrast: Factor of contrast.
        jpeg: Share that get the artifacts of a JPEG file.
        quality: Quality of that file, 1 to 100.
        erase: Share with a rectangle painted over.
        erased: Area of the rectangle, share of the face.
    """

    flip: float = 0.5
    affine: float = 0.5
    turn: float = 5.0
    zoom: float = 0.04
    shift: float = 0.02
    downscale: float = 0.1
    side: _Range = (56 / 112, 89 / 112)
    blur: float = 0.2
    color: float = 0.2
    hue: _Range = (0.0, 20.0)
    saturation: _Range = (1.0, 1.2)
    gray: float = 0.1
    light: float = 0.0
    brightness: float = 24.0
    contrast: _Range = (0.8, 1.2)
    jpeg: float = 0.0
    quality: _Range = (30.0, 90.0)
    erase: float = 0.0
    erased: _Range = (0.02, 0.2)

    @classmethod
    def none(cls) -> Augment:
        """Return settings that leave every face as it is."""
        nothing: dict[str, Any] = dict.fromkeys(_SHARES, 0.0)
        return cls(**nothing)


PRESETS: Final[Mapping[str, Augment]] = {
    "published": Augment(),
    "strong": Augment(
        affine=0.8,
        turn=8.0,
        zoom=0.08,
        shift=0.03,
        downscale=0.25,
        side=(0.25, 0.8),
        light=0.5,
        brightness=32.0,
        contrast=(0.6, 1.4),
        jpeg=0.25,
        erase=0.15,
    ),
    "none": Augment.none(),
}
"""Settings by name."""


def augment(
    image: NDArray[np.uint8], rng: np.random.Generator, settings: Augment
) -> NDArray[np.uint8]:
    """Change a face at random.

    Args:
        image: uint8 ``(S, S, 3)`` RGB; it is left as it is.
        rng: Decides; the same state gives the same face.
        settings: How often and how much.

    Returns:
        uint8 ``(S, S, 3)`` RGB; the image itself where chance leaves it alone.
    """
    happens = dict(zip(_SHARES, rng.random(len(_SHARES)), strict=True))
    wanted = {name for name, chance in happens.items() if chance < getattr(settings, name)}
    image = _move(image, rng, settings, wanted)
    if "downscale" in wanted:
        image = _downscale(image, rng.uniform(*settings.side))
    if "blur" in wanted:
        image = blur(image, _NARROW if rng.random() < 0.5 else _WIDE)
    image = _recolor(image, rng, settings, wanted)
    if "jpeg" in wanted:
        image = _compress(image, round(rng.uniform(*settings.quality)))
    if "erase" in wanted:
        image = _erase(image, rng, rng.uniform(*settings.erased))
    return image


def _move(
    image: NDArray[np.uint8], rng: np.random.Generator, settings: Augment, wanted: set[str]
) -> NDArray[np.uint8]:
    """Mirror, turn, scale and shift in one go; what lies outside is mirrored in."""
    if "affine" not in wanted:
        return np.ascontiguousarray(image[:, ::-1]) if "flip" in wanted else image
    import cv2

    side = len(image)
    middle = (side - 1) / 2
    turn = rng.uniform(-settings.turn, settings.turn)
    zoom = 1 + rng.uniform(-settings.zoom, settings.zoom)
    matrix = np.asarray(cv2.getRotationMatrix2D((middle, middle), turn, zoom), np.float64)
    matrix[:, 2] += side * rng.uniform(-settings.shift, settings.shift, 2)
    if "flip" in wanted:
        matrix[:, 2] += matrix[:, 0] * (side - 1)
        matrix[:, 0] *= -1
    moved = cv2.warpAffine(image, matrix, (side, side), borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(moved, np.uint8)


def _downscale(image: NDArray[np.uint8], share: float) -> NDArray[np.uint8]:
    side = len(image)
    less = max(1, round(side * share))
    return resize(resize(image, less, less), side, side)


def _recolor(
    image: NDArray[np.uint8], rng: np.random.Generator, settings: Augment, wanted: set[str]
) -> NDArray[np.uint8]:
    """Apply all changes of color as one matrix ``(3, 4)`` on (red, green, blue, 1)."""
    if not wanted & {"color", "light", "gray"}:
        return image
    matrix: NDArray[np.float64] = _SAME_COLOR.copy()
    if "color" in wanted:
        matrix = _tint(rng.uniform(*settings.hue), rng.uniform(*settings.saturation)) @ matrix
    if "light" in wanted:
        contrast = rng.uniform(*settings.contrast)
        matrix = matrix * contrast
        matrix[:, 3] += _MIDDLE_GRAY * (1 - contrast)
        matrix[:, 3] += rng.uniform(-settings.brightness, settings.brightness)
    if "gray" in wanted:
        matrix = np.tile(_LUMA @ matrix, (3, 1))
    changed = image.astype(np.float32) @ matrix[:, :3].T.astype(np.float32)
    changed += matrix[:, 3].astype(np.float32)
    return np.rint(changed).clip(0, 255).astype(np.uint8)


def _tint(hue: float, saturation: float) -> NDArray[np.float64]:
    """Turn the chroma plane of YIQ from red to yellow, and stretch it; grays stay as they are."""
    angle = math.radians(hue)
    cosine, sine = saturation * math.cos(angle), saturation * math.sin(angle)
    chroma = np.array([[1, 0, 0], [0, cosine, sine], [0, -sine, cosine]])
    return np.asarray(_YIQ_TO_RGB @ chroma @ _RGB_TO_YIQ)


def _compress(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    from PIL import Image

    encoded = io.BytesIO()
    Image.fromarray(image).save(encoded, "JPEG", quality=quality)
    return np.asarray(Image.open(encoded))


def _erase(image: NDArray[np.uint8], rng: np.random.Generator, area: float) -> NDArray[np.uint8]:
    """Paint a rectangle of one random color, from twice as wide as high to the contrary."""
    side = len(image)
    stretch = math.exp(rng.uniform(-math.log(2), math.log(2)) / 2)
    shape = [side * math.sqrt(area) * stretch, side * math.sqrt(area) / stretch]
    height, width = (min(side, max(1, round(each))) for each in shape)
    top, left = rng.integers(side - height + 1), rng.integers(side - width + 1)
    image = image.copy()
    image[top : top + height, left : left + width] = rng.integers(0, 256, 3)
    return image
