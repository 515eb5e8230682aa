"""Ways in which a picture of a face loses what tells whose it is, in endless variety."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["damage", "distort"]

Crop = NDArray[np.uint8]
Rng = np.random.Generator
Damage = Callable[[Crop, Rng], Crop]
_REPEATED: Final = cv2.BORDER_REPLICATE


def damage(crop: Crop, rng: Rng) -> Crop:
    """Damage a crop in one or two ways, or, one in five, hardly or not at all.

    Args:
        crop: uint8 ``(s, s, 3)`` RGB.
        rng: Decides how. Generators in the same state damage different crops alike; only noise, and
            a small error of the alignment, are each crop's own.

    Returns:
        Such a crop.
    """
    side = crop.shape[0]
    scale = _between(0.6, 1.6, rng) if rng.random() < 0.5 else 1.0
    changed = _resized(crop, round(side * scale))
    for kinds in _KINDS[rng.choice(len(_KINDS), p=_SHARES)]:
        changed = kinds[rng.integers(len(kinds))](changed, rng)
    changed = _resized(changed, side)
    return _moved(changed) if rng.random() < 0.3 else changed


def distort(crop: Crop, rng: Rng) -> Crop:
    """Damage a crop so that its parts stay clear, but not the face: bend, mirror or veil it.

    Args:
        crop: uint8 ``(s, s, 3)`` RGB.
        rng: Decides how; see `damage`.

    Returns:
        Such a crop.
    """
    changed = _DISTORTED[rng.integers(len(_DISTORTED))](crop, rng)
    return _moved(changed) if rng.random() < 0.3 else changed


def _slight(crop: Crop, rng: Rng) -> Crop:
    """What any photo may have: other light and colors, few pixels less, some compression."""
    bent = (crop / 255) ** _between(0.7, 1.4, rng) * rng.normal(1, 0.06, 3)
    lit = (bent - bent.mean()) * _between(0.7, 1.3, rng) + bent.mean() * _between(0.75, 1.2, rng)
    soft = cv2.GaussianBlur(_uint8(lit * 255), (0, 0), _between(0.2, 0.8, rng))
    flag = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(50, 96))]
    _, data = cv2.imencode(".jpg", soft[..., ::-1], flag)
    return _uint8(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1])


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
    return _uint8(crop + _own(crop).normal(0, _between(8, 150, rng), crop.shape))


def _peppered(crop: Crop, rng: Rng) -> Crop:
    where, share = _own(crop).random(crop.shape[:2]), rng.uniform(0.02, 0.6)
    changed = crop.copy()
    changed[where < share / 2], changed[where > 1 - share / 2] = 0, 255
    return changed


def _negative(crop: Crop, rng: Rng) -> Crop:
    return 255 - (_gray(crop) if rng.random() < 0.3 else crop)


def _part_negative(crop: Crop, rng: Rng) -> Crop:
    """Only the light, or only the colors, of a negative."""
    yuv = cv2.cvtColor(crop, cv2.COLOR_RGB2YUV)
    part = np.s_[..., :1] if rng.random() < 0.5 else np.s_[..., 1:]
    yuv[part] = 255 - yuv[part]
    return _uint8(cv2.cvtColor(yuv, cv2.COLOR_YUV2RGB))


def _posterized(crop: Crop, rng: Rng) -> Crop:
    steps = int(rng.integers(1, 8))
    return _uint8(np.round(crop / 255 * steps) / steps * 255)


def _solarized(crop: Crop, rng: Rng) -> Crop:
    """Above a level, or below it, all light is inverted; each color, or all of them."""
    level = rng.integers(60, 200)
    light = _gray(crop) if rng.random() < 0.4 else crop
    inverted = 255 - (_gray(crop) if rng.random() < 0.2 else crop)
    return np.where(light > level if rng.random() < 0.7 else light < level, inverted, crop)


def _toned(crop: Crop, rng: Rng) -> Crop:
    """Light rises and falls along any curve; each color along its own, or all along one."""
    places = np.linspace(0, 255, int(rng.integers(3, 7)))
    curves = [np.interp(np.arange(256), places, rng.uniform(0, 255, len(places))) for _ in "rgb"]
    if rng.random() < 0.6:
        curves = curves[:1] * 3
    light = _gray(crop) if rng.random() < 0.3 else crop
    return _uint8(np.stack([curves[k][light[..., k]] for k in range(3)], 2))


def _sharpened(crop: Crop, rng: Rng) -> Crop:
    pixels = crop.astype(np.float32)
    soft = cv2.GaussianBlur(pixels, (0, 0), _between(0.8, 5, rng))
    return _uint8(pixels + _between(2, 15, rng) * (pixels - soft))


def _mixed(crop: Crop, rng: Rng) -> Crop:
    return _uint8(crop @ (np.eye(3) + rng.normal(0, 0.4, (3, 3))))


def _thermal(crop: Crop, rng: Rng) -> Crop:
    maps = (cv2.COLORMAP_JET, cv2.COLORMAP_HOT, cv2.COLORMAP_INFERNO, cv2.COLORMAP_TURBO)
    light = _blurred(crop, rng) if rng.random() < 0.3 else crop
    return _uint8(cv2.applyColorMap(_gray(light)[..., 0], maps[rng.integers(4)])[..., ::-1])


def _penciled(crop: Crop, rng: Rng) -> Crop:
    """A pencil drawing, black or of several colors."""
    light = _gray(crop) if rng.random() < 0.8 else crop
    soft = cv2.GaussianBlur(255 - light, (0, 0), _between(1.5, 10, rng)).astype(np.float32)
    lines = np.minimum(255, light * 255.0 / np.maximum(1, 255 - soft))
    return _uint8((lines / 255) ** _between(0.7, 3, rng) * 255)


def _outlined(crop: Crop, rng: Rng) -> Crop:
    """Lines on white, or a stencil."""
    light = cv2.GaussianBlur(_gray(crop)[..., 0], (0, 0), rng.uniform(0.7, 2))
    if rng.random() < 0.5:
        lines = 255 - cv2.Canny(light, rng.uniform(15, 60), rng.uniform(60, 140))
    else:
        lines = np.where(light > np.quantile(light, rng.uniform(0.3, 0.7)), 255, 0)
    return np.repeat(_uint8(lines)[..., None], 3, 2)


def _embossed(crop: Crop, rng: Rng) -> Crop:
    """A relief: what neighbors differ by, on gray or beside the picture."""
    turn, reach = rng.uniform(0, 2 * np.pi), rng.uniform(1, 2.5)
    x, y = reach * np.cos(turn), reach * np.sin(turn)
    light = (_gray(crop) if rng.random() < 0.6 else crop).astype(np.float32)
    moved = _shifted(light, x, y) - _shifted(light, -x, -y)
    below = crop if rng.random() < 0.2 else rng.uniform(60, 200)
    return _uint8(below + moved * _between(0.5, 4, rng))


def _washed(crop: Crop, rng: Rng) -> Crop:
    """Fog, or a faded print: all light lies between two levels."""
    share = _between(0.06, 0.5, rng)
    return _uint8(crop * share + rng.uniform(0, 255 * (1 - share)))


def _recolored(crop: Crop, rng: Rng) -> Crop:
    """Some colors are inverted, exchanged, or turned into others."""
    way = rng.integers(3)
    if way == 0:
        parts = rng.integers(1, 7)
        return np.where([bool(parts >> k & 1) for k in range(3)], 255 - crop, crop)
    if way == 1:
        return _uint8(crop[..., rng.permutation(3)])
    hsv = cv2.cvtColor(crop, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0].astype(int) + rng.integers(20, 160)) % 180
    return _uint8(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))


def _torn(crop: Crop, rng: Rng) -> Crop:
    """The colors lie beside each other."""
    ways = rng.normal(0, _between(2, 10, rng), (3, 2))
    return np.stack([_shifted(crop[..., k], *ways[k]) for k in range(3)], 2)


def _printed(crop: Crop, rng: Rng) -> Crop:
    """Round dots, larger where it is dark; black, or of each color."""
    turn, apart = rng.uniform(0, np.pi / 2), _between(2.5, 7, rng)
    y, x = np.mgrid[: crop.shape[0], : crop.shape[1]] * (2 * np.pi / apart)
    wave = np.cos(x * np.cos(turn) + y * np.sin(turn)) + np.cos(y * np.cos(turn) - x * np.sin(turn))
    light = (_gray(crop) if rng.random() < 0.6 else crop) / 255
    return _uint8(
        255 * np.clip((light - (wave[..., None] + 2) / 4) * _between(2, 50, rng) + 0.5, 0, 1)
    )


def _rows_lost(crop: Crop, rng: Rng) -> Crop:
    """Rows or columns repeat the one before, or are moved aside."""
    lines = crop if rng.random() < 0.7 else crop.transpose(1, 0, 2)
    if rng.random() < 0.5:
        kept = np.where(rng.random(len(lines)) < rng.uniform(0.3, 0.8), 0, np.arange(len(lines)))
        changed = lines[np.maximum.accumulate(kept)]
    else:
        reach = rng.uniform(2, 14)
        ways = np.rint(_own(crop).uniform(-reach, reach, len(lines))).astype(int)
        changed = np.stack([np.roll(line, way, 0) for line, way in zip(lines, ways, strict=True)])
    return _uint8(changed if lines is crop else changed.transpose(1, 0, 2))


def _shadowed(crop: Crop, rng: Rng) -> Crop:
    """Light from one side only."""
    turn, edge = rng.uniform(0, 2 * np.pi), _between(2, 25, rng)
    y, x = np.mgrid[: crop.shape[0], : crop.shape[1]] - crop.shape[0] / 2
    away = x * np.cos(turn) + y * np.sin(turn) + rng.uniform(-20, 20)
    return _uint8(crop * (1 / (1 + np.exp(-away / edge)))[..., None])


def _painted(crop: Crop, rng: Rng) -> Crop:
    return _uint8(cv2.medianBlur(crop, int(rng.integers(2, 12)) * 2 + 1))


def _masked(crop: Crop, rng: Rng) -> Crop:
    left, right = rng.uniform(0, 0.2), rng.uniform(0.8, 1)
    return _boxed(crop, (rng.uniform(0.5, 0.68), 1, left, right), rng.integers(0, 256, 3))


def _shaded(crop: Crop, rng: Rng) -> Crop:
    """A bar over the eyes."""
    middle, half, end = rng.uniform(0.41, 0.51), rng.uniform(0.04, 0.14), rng.uniform(-0.05, 0.15)
    color = rng.integers(0, 60) if rng.random() < 0.6 else rng.integers(0, 256)
    return _boxed(crop, (middle - half, middle + half, max(end, 0), 1 - max(end, 0)), color)


def _hidden(crop: Crop, rng: Rng) -> Crop:
    (top, left), (high, wide) = rng.uniform(0, 0.8, 2), rng.uniform(0.15, 0.7, 2)
    color = rng.integers(0, 256, 3) if rng.random() < 0.6 else rng.integers(0, 256)
    return _boxed(crop, (top, top + high, left, left + wide), color)


def _cut(crop: Crop, rng: Rng) -> Crop:
    """A part of the face lies outside the picture."""
    share = rng.uniform(0.15, 0.65)
    sides = ((0, 1, 0, share), (0, 1, 1 - share, 1), (1 - share, 1, 0, 1), (0, share, 0, 1))
    return _boxed(crop, sides[rng.integers(4)], 0 if rng.random() < 0.7 else rng.integers(0, 256))


def _barred(crop: Crop, rng: Rng) -> Crop:
    """Behind bars, upright or level."""
    apart = _between(6, 40, rng)
    covered = (np.arange(crop.shape[0]) + rng.uniform(0, apart)) % apart < apart * rng.uniform(
        0.2, 0.7
    )
    changed = crop.copy()
    color = rng.integers(0, 256)
    if rng.random() < 0.5:
        changed[covered] = color
    else:
        changed[:, covered] = color
    return changed


def _turned(crop: Crop, rng: Rng) -> Crop:
    angle = 90 * rng.integers(1, 4) if rng.random() < 0.6 else rng.uniform(15, 345)
    return _placed(crop, float(angle), 1.0, (0, 0), _REPEATED)


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


def _squeezed(crop: Crop, rng: Rng) -> Crop:
    """Another shape; as large as the alignment makes it."""
    ways = np.array([1.0, _between(0.25, 0.85, rng)])[rng.permutation(2)]
    matrix = np.diag(ways * ways.sum() / np.square(ways).sum())
    middle = np.full(2, crop.shape[0] / 2)
    border = (_REPEATED, cv2.BORDER_REFLECT, cv2.BORDER_CONSTANT)[rng.integers(3)]
    matrix = np.column_stack([matrix, middle - matrix @ middle])
    return _uint8(cv2.warpAffine(crop, matrix, crop.shape[1::-1], borderMode=border))


def _swirled(crop: Crop, rng: Rng) -> Crop:
    """Turned about a place in the face, less away from it."""
    x, y, middle = _about(crop, rng)
    turn = np.clip(1 - np.hypot(x, y) / (crop.shape[0] * rng.uniform(0.4, 0.8)), 0, None)
    turn *= _between(0.4, 3, rng) * rng.choice((-1, 1))
    across = np.cos(turn) * x - np.sin(turn) * y
    return _drawn(crop, across + middle[0], np.sin(turn) * x + np.cos(turn) * y + middle[1])


def _bulged(crop: Crop, rng: Rng) -> Crop:
    """As in a fairground mirror: large, or small, about a place in the face."""
    x, y, middle = _about(crop, rng)
    share = np.clip(np.hypot(x, y) / (crop.shape[0] * _between(0.35, 0.8, rng)), 0.02, 1)
    share = share ** (_between(0.15, 1.2, rng) if rng.random() < 0.7 else -_between(0.15, 0.7, rng))
    return _drawn(crop, share * x + middle[0], share * y + middle[1])


def _melted(crop: Crop, rng: Rng) -> Crop:
    """Each place is moved a little, and near places alike, as under running water."""
    side, parts = crop.shape[0], int(rng.integers(3, 14))
    size = side / parts * _between(0.1, 0.5, rng)
    ways = [rng.normal(0, size, (parts, parts)).astype(np.float32) for _ in "xy"]
    across, down = (cv2.resize(way, (side, side), interpolation=cv2.INTER_CUBIC) for way in ways)
    y, x = np.mgrid[:side, :side]
    return _drawn(crop, x + across, y + down)


def _doubled(crop: Crop, rng: Rng) -> Crop:
    """Exposed twice: it lies over itself, moved, turned, or seen in a mirror."""
    away, turn = _between(4, 40, rng), rng.uniform(0, 2 * np.pi)
    other = _shifted(crop, away * np.cos(turn), away * np.sin(turn))
    if rng.random() < 0.3:
        other = _placed(other, rng.normal(0, 20), _between(0.7, 1.4, rng), (0, 0), _REPEATED)
    if rng.random() < 0.2:
        other = other[:, ::-1]
    share = rng.uniform(0.3, 0.7)
    return _uint8(crop * share + other * (1 - share))


def _split(crop: Crop, rng: Rng) -> Crop:
    """A part is moved aside along a line."""
    lines = crop if rng.random() < 0.6 else crop.transpose(1, 0, 2)
    place = round(crop.shape[0] * rng.uniform(0.3, 0.7))
    changed = lines.copy()
    changed[place:] = np.roll(lines[place:], round(_between(5, 40, rng) * rng.choice((-1, 1))), 1)
    return _uint8(changed if lines is crop else changed.transpose(1, 0, 2))


def _waved(crop: Crop, rng: Rng) -> Crop:
    """Waves, level or upright, or rings, as on water."""
    x, y, middle = _about(crop, rng)
    size, step = _between(1, 7, rng), 1 / _between(1.5, 12, rng)
    if rng.random() < 0.5:
        away = np.hypot(x, y)
        share = 1 + size * np.sin(away * step) / np.maximum(away, 3)
        return _drawn(crop, share * x + middle[0], share * y + middle[1])
    across, down = rng.permutation((size, size * rng.uniform(0, 1)))
    moved = x + across * np.sin(y * step), y + down * np.sin(x * step)
    return _drawn(crop, moved[0] + middle[0], moved[1] + middle[1])


def _slanted(crop: Crop, rng: Rng) -> Crop:
    """Seen from aside, or sheared."""
    side = crop.shape[0]
    corners = np.array([[0, 0], [side, 0], [side, side], [0, side]], np.float32)
    size = side * _between(0.04, 0.25, rng)
    ways = (
        rng.normal(0, size, (4, 2))
        if rng.random() < 0.5
        else rng.normal(0, size, (2, 2))[[0, 0, 1, 1]]
    )
    moved = np.asarray(corners + ways - np.mean(ways, 0), np.float32)
    matrix = cv2.getPerspectiveTransform(corners, moved)
    return _uint8(cv2.warpPerspective(crop, matrix, (side, side), borderMode=_REPEATED))


def _mirrored(crop: Crop, rng: Rng) -> Crop:
    """One half is the other in a mirror."""
    lines = crop if rng.random() < 0.3 else crop.transpose(1, 0, 2)
    lines = lines[:: rng.choice((-1, 1))]
    half = round(len(lines) * rng.uniform(0.4, 0.5))
    changed = np.roll(lines, len(lines) // 2 - half, 0)
    changed[-(len(lines) // 2) :] = changed[: len(lines) // 2][::-1]
    return _uint8(changed if lines.strides[1] < lines.strides[0] else changed.transpose(1, 0, 2))


def _veiled(crop: Crop, rng: Rng) -> Crop:
    """Behind bars, lines, a net, or dots, through which more or less is seen."""
    turn = rng.choice((0, np.pi / 2)) if rng.random() < 0.5 else rng.uniform(0, np.pi)
    step, share = 2 * np.pi / _between(4, 40, rng), rng.uniform(0.15, 0.65)
    y, x = np.mgrid[: crop.shape[0], : crop.shape[1]] * step + rng.uniform(0, 6)
    first = np.cos(x * np.cos(turn) + y * np.sin(turn)) > np.cos(np.pi * share)
    second = np.cos(y * np.cos(turn) - x * np.sin(turn)) > np.cos(np.pi * share)
    way, seen = rng.integers(4), rng.uniform(0, 0.6) if rng.random() < 0.7 else 0
    covered = (first, first, first | second, first & second)[way][..., None]
    color = rng.integers(0, 256) if rng.random() < 0.7 else rng.integers(0, 256, 3)
    return _uint8(np.where(covered, crop * seen + color * (1 - seen), crop))


def _moved(crop: Crop) -> Crop:
    """Aligned a little wrong, as damaged faces are."""
    rng = _own(crop)
    return _placed(
        crop,
        rng.normal(0, 2),
        np.exp(rng.normal(0, 0.02)),
        rng.normal(0, 1.2, 2),
        _REPEATED,
    )


_WORN: Final[tuple[Damage, ...]] = (
    *(_blurred, _blurred, _blurred, _blurred, _shaken, _shaken, _compressed, _compressed),
    *(_compressed, _shrunk, _shrunk, _shrunk, _shrunk, _lit, _lit, _brightened, _gamma, _contrast),
    *(_washed, _washed, _noisy, _noisy, _peppered, _negative, _negative, _part_negative),
    *(_recolored, _recolored, _posterized, _posterized, _solarized, _solarized, _solarized),
    *(_solarized, _toned, _toned, _toned, _sharpened, _sharpened, _sharpened, _mixed, _thermal),
    *(_penciled, _penciled, _penciled, _outlined, _embossed, _embossed, _painted),
    *(_torn, _printed, _printed, _rows_lost, _shadowed),
)
_COVERED: Final[tuple[Damage, ...]] = (
    *(_masked, _masked, _masked, _masked, _shaded, _shaded, _shaded, _shaded, _shaded),
    *(_hidden, _hidden, _hidden, _cut, _cut, _cut, _cut, _cut, _barred),
)
_BENT: Final[tuple[Damage, ...]] = (
    *(_bulged, _bulged, _bulged, _bulged, _melted, _melted, _melted, _swirled, _swirled),
    *(_doubled, _doubled, _doubled, _doubled, _doubled, _split, _split, _split, _split),
)
_ALIEN: Final[tuple[Damage, ...]] = (
    *(_turned, _turned, _elsewhere, _elsewhere, _scrambled, _squeezed, _squeezed, _squeezed),
)
_DISTORTED: Final[tuple[Damage, ...]] = (_waved, _slanted, _mirrored, _veiled)
_KINDS: Final[tuple[tuple[tuple[Damage, ...], ...], ...]] = (
    (),
    ((_slight,),),
    (_WORN,),
    (_WORN, _WORN),
    (_COVERED,),
    (_COVERED, _WORN),
    (_BENT,),
    (_ALIEN,),
)
_SHARES: Final = (0.04, 0.14, 0.34, 0.05, 0.16, 0.04, 0.15, 0.08)
"""How often each of these happens to a crop."""


def _own(crop: Crop) -> Rng:
    """Return a generator that depends on the crop alone."""
    return np.random.default_rng(zlib.crc32(crop.tobytes()))


def _shifted(pixels: NDArray[Any], x: float, y: float) -> NDArray[Any]:
    matrix = np.array([[1, 0, x], [0, 1, y]])
    size = pixels.shape[1::-1]
    return cv2.warpAffine(pixels, matrix, size, borderMode=_REPEATED)


def _about(crop: Crop, rng: Rng) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Choose a place near the middle; return how far pixels lie from it, and the place."""
    middle = rng.uniform(0.38, 0.62, 2) * crop.shape[0]
    y, x = np.mgrid[: crop.shape[0], : crop.shape[1]]
    return x - middle[0], y - middle[1], middle


def _drawn(crop: Crop, x: NDArray[Any], y: NDArray[Any]) -> Crop:
    """Take each pixel from elsewhere."""
    sources = (np.asarray(x, np.float32), np.asarray(y, np.float32))
    return _uint8(cv2.remap(crop, *sources, cv2.INTER_LINEAR, borderMode=_REPEATED))


def _between(low: float, high: float, rng: Rng) -> float:
    """Draw a number whose logarithm is uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _uint8(pixels: NDArray[Any]) -> Crop:
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels)
    return np.asarray(np.clip(pixels, 0, 255), np.uint8)


def _gray(crop: Crop) -> Crop:
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
