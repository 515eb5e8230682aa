"""Ways in which a picture of a face loses what tells whose it is, in endless variety."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["damage"]

Crop = NDArray[np.uint8]
Rng = np.random.Generator
Damage = Callable[[Crop, Rng], Crop]


def damage(crop: Crop, rng: Rng) -> Crop:
    """Damage a crop in one or two ways, or, one in eight, leave it as it is.

    Args:
        crop: uint8 ``(s, s, 3)`` RGB.
        rng: Decides.

    Returns:
        Such a crop.
    """
    side = crop.shape[0]
    scale = _between(0.6, 1.6, rng) if rng.random() < 0.5 else 1.0
    changed = _resized(crop, round(side * scale))
    for kinds in _KINDS[rng.choice(len(_KINDS), p=_SHARES)]:
        changed = kinds[rng.integers(len(kinds))](changed, rng)
    changed = _resized(changed, side)
    return _moved(changed, rng) if rng.random() < 0.3 else changed


def _blurred(crop: Crop, rng: Rng) -> Crop:
    return _uint8(cv2.GaussianBlur(crop, (0, 0), _between(0.8, 9, rng)))


def _shaken(crop: Crop, rng: Rng) -> Crop:
    length = int(rng.integers(3, 16)) * 2 + 1
    kernel = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1
    turn = cv2.getRotationMatrix2D((length // 2, length // 2), rng.uniform(0, 180), 1)
    kernel = np.asarray(cv2.warpAffine(kernel, turn, (length, length)), np.float32)
    return _uint8(cv2.filter2D(crop, -1, kernel / kernel.sum()))


def _compressed(crop: Crop, rng: Rng) -> Crop:
    ending, flag = (".jpg", cv2.IMWRITE_JPEG_QUALITY)
    if rng.random() < 0.2:
        ending, flag = (".webp", cv2.IMWRITE_WEBP_QUALITY)
    _, data = cv2.imencode(ending, crop[..., ::-1], [flag, int(_between(1, 25, rng))])
    return _uint8(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1])


def _shrunk(crop: Crop, rng: Rng) -> Crop:
    side = max(2, round(crop.shape[0] * _between(0.06, 0.45, rng)))
    way = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_NEAREST)[rng.integers(3)]
    return _uint8(cv2.resize(_resized(crop, side), crop.shape[1::-1], interpolation=way))


def _lit(crop: Crop, rng: Rng) -> Crop:
    factor = _between(0.015, 0.5, rng) if rng.random() < 0.5 else _between(1.5, 10, rng)
    return _uint8(crop * factor)


def _brightened(crop: Crop, rng: Rng) -> Crop:
    """Taken in the dark and brightened: few levels are left."""
    factor = _between(0.015, 0.1, rng)
    return _uint8(np.floor(crop * factor) / factor)


def _gamma(crop: Crop, rng: Rng) -> Crop:
    return _uint8((crop / 255) ** _between(0.2, 5, rng) * 255)


def _contrast(crop: Crop, rng: Rng) -> Crop:
    factor = _between(0.02, 0.5, rng) if rng.random() < 0.5 else _between(1.5, 8, rng)
    return _uint8((crop - crop.mean()) * factor + crop.mean())


def _noisy(crop: Crop, rng: Rng) -> Crop:
    return _uint8(crop + rng.normal(0, _between(8, 150, rng), crop.shape))


def _peppered(crop: Crop, rng: Rng) -> Crop:
    where, share = rng.random(crop.shape[:2]), rng.uniform(0.02, 0.6)
    changed = crop.copy()
    changed[where < share / 2], changed[where > 1 - share / 2] = 0, 255
    return changed


def _negative(crop: Crop, rng: Rng) -> Crop:
    return 255 - (_grey(crop) if rng.random() < 0.3 else crop)


def _part_negative(crop: Crop, rng: Rng) -> Crop:
    """Only the light, or only the colors, of a negative."""
    yuv = cv2.cvtColor(crop, cv2.COLOR_RGB2YUV)
    part = np.s_[..., :1] if rng.random() < 0.5 else np.s_[..., 1:]
    yuv[part] = 255 - yuv[part]
    return _uint8(cv2.cvtColor(yuv, cv2.COLOR_YUV2RGB))


def _posterized(crop: Crop, rng: Rng) -> Crop:
    steps = int(rng.integers(1, 5))
    return _uint8(np.round(crop / 255 * steps) / steps * 255)


def _solarized(crop: Crop, rng: Rng) -> Crop:
    return np.where(crop > rng.integers(90, 180), 255 - crop, crop).astype(np.uint8)


def _mixed(crop: Crop, rng: Rng) -> Crop:
    return _uint8(crop @ (np.eye(3) + rng.normal(0, 0.4, (3, 3))))


def _thermal(crop: Crop, rng: Rng) -> Crop:
    maps = (cv2.COLORMAP_JET, cv2.COLORMAP_HOT, cv2.COLORMAP_INFERNO)
    return _uint8(cv2.applyColorMap(_grey(crop)[..., 0], maps[rng.integers(3)])[..., ::-1])


def _drawn(crop: Crop, rng: Rng) -> Crop:
    """A pencil drawing, an outline, or a stencil."""
    grey = _grey(crop)[..., 0]
    way = rng.integers(3)
    if way == 0:
        soft = cv2.GaussianBlur(255 - grey, (0, 0), rng.uniform(3, 7)).astype(np.float32)
        lines = np.minimum(255, grey * 255.0 / np.maximum(1, 255 - soft))
    elif way == 1:
        lines = 255 - cv2.Canny(cv2.GaussianBlur(grey, (0, 0), 1), 40, 110)
    else:
        lines = np.where(grey > np.median(grey), 255, 0)
    return np.repeat(_uint8(lines)[..., None], 3, 2)


def _painted(crop: Crop, rng: Rng) -> Crop:
    return _uint8(cv2.medianBlur(crop, int(rng.integers(2, 12)) * 2 + 1))


def _waved(crop: Crop, rng: Rng) -> Crop:
    y, x = np.mgrid[: crop.shape[0], : crop.shape[1]].astype(np.float32)
    size = rng.uniform(1, 7)
    return _uint8(
        cv2.remap(
            crop,
            x + size * np.sin(y / 7, dtype=np.float32),
            y + size * np.sin(x / 9, dtype=np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT,
        )
    )


def _masked(crop: Crop, rng: Rng) -> Crop:
    left, right = rng.uniform(0, 0.2), rng.uniform(0.8, 1)
    return _boxed(crop, (rng.uniform(0.52, 0.66), 1, left, right), rng.integers(0, 256, 3))


def _shaded(crop: Crop, rng: Rng) -> Crop:
    """A bar over the eyes."""
    middle, half = rng.uniform(0.44, 0.5), rng.uniform(0.05, 0.12)
    return _boxed(crop, (middle - half, middle + half, 0.05, 0.95), rng.integers(0, 80))


def _hidden(crop: Crop, rng: Rng) -> Crop:
    (top, left), (high, wide) = rng.uniform(0, 0.8, 2), rng.uniform(0.15, 0.7, 2)
    color = rng.integers(0, 256, 3) if rng.random() < 0.6 else rng.integers(0, 256)
    return _boxed(crop, (top, top + high, left, left + wide), color)


def _cut(crop: Crop, rng: Rng) -> Crop:
    """A part of the face lies outside the picture."""
    share = rng.uniform(0.15, 0.6)
    sides = ((0, 1, 0, share), (0, 1, 1 - share, 1), (1 - share, 1, 0, 1), (0, share, 0, 1))
    return _boxed(crop, sides[rng.integers(4)], 0)


def _turned(crop: Crop, rng: Rng) -> Crop:
    angle = 90 * rng.integers(1, 4) if rng.random() < 0.6 else rng.uniform(15, 345)
    return _placed(crop, float(angle), 1.0, (0, 0), cv2.BORDER_REPLICATE)


def _elsewhere(crop: Crop, rng: Rng) -> Crop:
    """A part of the face, or what is beside it."""
    way = rng.uniform(-0.5, 0.5, 2) * crop.shape[0]
    border = (cv2.BORDER_CONSTANT, cv2.BORDER_REFLECT)[rng.integers(2)]
    return _placed(crop, 0, _between(0.35, 2.8, rng), way, border)


def _scrambled(crop: Crop, rng: Rng) -> Crop:
    pieces = int(rng.integers(2, 5))
    side = crop.shape[0] // pieces
    changed = crop.copy()
    for place, source in enumerate(rng.permutation(pieces * pieces)):
        (y, x), (row, column) = divmod(place, pieces), divmod(int(source), pieces)
        changed[y * side : (y + 1) * side, x * side : (x + 1) * side] = crop[
            row * side : (row + 1) * side, column * side : (column + 1) * side
        ]
    return changed


def _stretched(crop: Crop, rng: Rng) -> Crop:
    factor, middle = _between(0.5, 2, rng), crop.shape[0] / 2
    matrix = np.diag([factor, 1 / factor])
    offset = middle - matrix @ np.full(2, middle)
    return _uint8(cv2.warpAffine(crop, np.column_stack([matrix, offset]), crop.shape[1::-1]))


def _moved(crop: Crop, rng: Rng) -> Crop:
    """Aligned a little wrong, as damaged faces are."""
    return _placed(
        crop,
        rng.normal(0, 2),
        np.exp(rng.normal(0, 0.02)),
        rng.normal(0, 1.2, 2),
        cv2.BORDER_REPLICATE,
    )


_WORN: Final[tuple[Damage, ...]] = (
    *(_blurred, _blurred, _shaken, _shaken, _compressed, _compressed, _compressed),
    *(_shrunk, _shrunk, _shrunk, _lit, _lit, _brightened, _gamma, _contrast, _contrast),
    *(_noisy, _noisy, _peppered, _negative, _negative, _part_negative, _part_negative),
    *(_posterized, _solarized, _mixed, _thermal, _drawn, _drawn, _drawn, _painted, _waved),
)
_COVERED: Final[tuple[Damage, ...]] = (_masked, _masked, _shaded, _hidden, _hidden, _cut, _cut)
_ALIEN: Final[tuple[Damage, ...]] = (
    *(_turned, _turned, _elsewhere, _elsewhere, _scrambled, _stretched),
)
_KINDS: Final[tuple[tuple[tuple[Damage, ...], ...], ...]] = (
    (),
    (_WORN,),
    (_WORN, _WORN),
    (_COVERED,),
    (_COVERED, _WORN),
    (_ALIEN,),
)
_SHARES: Final = (0.12, 0.50, 0.12, 0.10, 0.06, 0.10)
"""How often each of these happens to a crop."""


def _between(low: float, high: float, rng: Rng) -> float:
    """Draw a number whose logarithm is uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _uint8(pixels: NDArray[Any]) -> Crop:
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels)
    return np.asarray(np.clip(pixels, 0, 255), np.uint8)


def _grey(crop: Crop) -> Crop:
    return np.repeat(_uint8(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY))[..., None], 3, 2)


def _resized(crop: Crop, side: int) -> Crop:
    if crop.shape[0] == side:
        return crop
    way = cv2.INTER_AREA if crop.shape[0] > side else cv2.INTER_LINEAR
    return _uint8(cv2.resize(crop, (side, side), interpolation=way))


def _boxed(crop: Crop, place: tuple[float, float, float, float], color: Any) -> Crop:
    """Paint over a box: its top, bottom, left and right in sides of the crop."""
    top, bottom, left, right = (round(edge * crop.shape[0]) for edge in place)
    changed = crop.copy()
    changed[top:bottom, left:right] = color
    return changed


def _placed(crop: Crop, degrees: float, scale: float, way: Any, border: int) -> Crop:
    """Turn and scale about the middle, and move."""
    middle = crop.shape[0] / 2
    matrix = cv2.getRotationMatrix2D((middle, middle), degrees, scale)
    matrix[:, 2] += way
    return _uint8(cv2.warpAffine(crop, matrix, crop.shape[1::-1], borderMode=border))
