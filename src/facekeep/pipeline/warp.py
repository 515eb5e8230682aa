"""Sampling an image anew without aliasing: square crops, halves and other sizes.

All in whole numbers or float32 of NumPy, and within one gray level of what OpenCV gives for
``warpAffine``, ``resize`` by area and linear ``resize`` (benchmarks/pixels.py). Rows are worked on
some at a time, so that what is in between stays in the cache of the processor.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["halve", "resize", "scale", "warp"]

Pixels = NDArray[np.uint8]

# At most so many samples a side for each pixel of a crop; bilinear sampling doubles their reach.
_MAX_SUPERSAMPLING = 4
# So many values are worked on at once.
_WARPED_AT_ONCE: Final = 1 << 14  # more, and the allocator asks the system for memory each time
_RESIZED_AT_ONCE: Final = 1 << 17
_HALVED_AT_ONCE: Final = 1 << 18

# Places in an image as whole numbers: 4096 to a pixel while they are added up, then 256.
_FINE_BITS: Final = 12
_BITS: Final = 8
_ONE: Final = 1 << _BITS
# A pixel is one number of 32 bits. Red and blue are weighed in 16 bits each; what all three colors
# give together is more by green alone. Weights add up to 256.
_RED_AND_BLUE: Final = np.uint32(0xFF00FF)
_HALF_RED_AND_BLUE: Final = np.uint32(0x800080)
_HALF_GREEN: Final = np.uint32(0x8000)


def warp(image: Pixels, matrix: NDArray[np.floating], size: int) -> Pixels:
    """Sample a square crop through a similarity transform, without aliasing.

    Args:
        image: uint8 ``(H, W, 3)``.
        matrix: ``(2, 3)``, pixels of the image to pixels of the crop.
        size: The crop's side in pixels.

    Returns:
        uint8 ``(size, size, 3)``, black where the image ends.
    """
    turn, shift = _inverse(matrix)
    image, shift = _neighborhood(image, turn, shift, size)
    if image.size == 0:
        return np.zeros((size, size, 3), np.uint8)
    step = float(np.hypot(turn[0, 0], turn[1, 0]))  # pixels of the image to one of the crop
    while step > _MAX_SUPERSAMPLING:
        times = min(math.ceil(math.log2(step / _MAX_SUPERSAMPLING)), 4)
        block = 1 << times
        image, turn, step = halve(image, times), turn / block, step / block
        shift = (shift - (block - 1) / 2) / block  # a pixel covers a block: its center is there
    factor = min(max(int(step), 1), _MAX_SUPERSAMPLING)
    # Scaling about pixel centers, not corners: the center of pixel 0 moves by half the factor.
    turn = turn / factor
    return _sample(image, turn, shift - turn.sum(axis=1) * (factor - 1) / 2, size, factor)


def _inverse(matrix: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what brings pixels of a crop into the image: ``(2, 2)``, and a shift."""
    turn = np.linalg.inv(np.asarray(matrix[:, :2], np.float64))
    return turn, -turn @ matrix[:, 2]


def _neighborhood(
    image: Pixels, turn: NDArray[np.float64], shift: NDArray[np.float64], size: int
) -> tuple[Pixels, NDArray[np.float64]]:
    """The part of the image that a crop is sampled from, a view, and the shift for that part."""
    middle = turn.sum(axis=1) * (size - 1) / 2 + shift
    reach = np.abs(turn).sum(axis=1) * (size + 3) / 2 + 2
    limit = image.shape[1::-1]
    left, top = np.clip(np.floor(middle - reach), 0, limit).astype(int)
    right, bottom = np.clip(np.ceil(middle + reach), 0, limit).astype(int)
    return image[top:bottom, left:right], shift - [left, top]


def _sample(
    image: Pixels,
    turn: NDArray[np.float64],
    shift: NDArray[np.float64],
    size: int,
    factor: int,
) -> Pixels:
    """Sample a crop with ``factor`` samples a side for each pixel, and average them."""
    source = _bordered(image)
    side = np.arange(size * factor)
    columns = np.rint(turn[:, :1] * side * (1 << _FINE_BITS)).astype(np.int32)
    rows = np.rint((turn[:, 1:] * side + shift[:, None]) * (1 << _FINE_BITS)).astype(np.int32)
    rows += 1 << (_FINE_BITS - _BITS - 1)
    crop = np.empty((size, size, 3), np.uint8)
    at_once = max(1, _WARPED_AT_ONCE // (size * factor * factor))
    for start in range(0, size, at_once):
        part = crop[start : start + at_once]
        finer = slice(start * factor, (start + len(part)) * factor)
        x, y = columns[:, None] + rows[:, finer, None]
        red_blue, green = _bilinear(source, x, y)
        if factor > 1:
            red_blue, green = (_sums(each, factor) for each in (red_blue, green))
            count = factor * factor
            part[..., 0] = ((red_blue & 0xFFFF) + count // 2) // count
            part[..., 1] = (green + count // 2) // count
            part[..., 2] = ((red_blue >> 16) + count // 2) // count
        else:
            part[..., 0] = red_blue
            part[..., 1] = green
            part[..., 2] = red_blue >> 16
    return crop


def _bordered(image: Pixels) -> NDArray[np.uint32]:
    """Make one number of each pixel, with a black pixel before and two behind rows and columns."""
    height, width = image.shape[:2]
    bordered = np.zeros((height + 3, width + 3, 4), np.uint8)
    for channel in range(3):
        bordered[1:-2, 1:-2, channel] = image[..., channel]
    return bordered.view("<u4")[..., 0]


def _bilinear(
    source: NDArray[np.uint32], x: NDArray[np.int32], y: NDArray[np.int32]
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Interpolate between the four pixels around each place.

    Args:
        source: What ``_bordered`` gave.
        x: Columns, ``(h, w)``, of which 4096 make a pixel; used up.
        y: Rows likewise.

    Returns:
        Red, and blue 16 bits higher, ``(h, w)``; and green.
    """
    height, width = source.shape
    for places, length in ((x, width), (y, height)):
        np.right_shift(places, _FINE_BITS - _BITS, out=places)
        corners = places[:: len(places) - 1 or 1, :: places.shape[1] - 1 or 1]
        end = (length - 3) * _ONE
        if corners.min() < -_ONE or corners.max() > end:  # the crop reaches beyond the image
            np.clip(places, -_ONE, end, out=places)
    right, below = ((places & (_ONE - 1)).view(np.uint32) for places in (x, y))
    corner = right * below
    corner += _ONE // 2
    corner >>= _BITS
    right -= corner
    below -= corner
    np.right_shift(x, _BITS, out=x)
    np.right_shift(y, _BITS, out=y)
    y *= width
    y += x
    y += width + 1  # of the border
    place = y.astype(np.intp)
    pixels = source.ravel()
    red_blue, total = np.zeros((2, *place.shape), np.uint32)
    weights = (_ONE - right - below - corner, right, below, corner)
    for step, weight in zip((0, 1, width, width + 1), weights, strict=True):
        seen = pixels[step:].take(place, mode="clip")  # all are inside; this is the fastest mode
        total += seen * weight  # all three colors, 8 bits apart: below 2 ** 32
        seen &= _RED_AND_BLUE
        seen *= weight
        red_blue += seen
    green = total - red_blue
    green += _HALF_GREEN
    red_blue += _HALF_RED_AND_BLUE
    red_blue >>= _BITS
    red_blue &= _RED_AND_BLUE
    green >>= 2 * _BITS
    return red_blue, green


def _sums(values: NDArray[np.uint32], factor: int) -> NDArray[np.uint32]:
    """Add up blocks of ``factor`` x ``factor`` values."""
    height, width = values.shape
    blocks = values.reshape(height // factor, factor, width // factor, factor)
    rows = sum(blocks[:, place] for place in range(1, factor)) + blocks[:, 0]
    total: NDArray[np.uint32] = sum(rows[..., p] for p in range(1, factor)) + rows[..., 0]
    return total


def halve(image: Pixels, times: int = 1) -> Pixels:
    """Average 2 x 2 pixels into one, several times at once.

    Rows and columns left over at the end are left out; a side too short is continued in black.

    Args:
        image: uint8 ``(H, W, 3)``.
        times: How often, 0 to 4.

    Returns:
        uint8 ``(H / 2 ** times, W / 2 ** times, 3)``.
    """
    if times == 0:
        return image
    block = 1 << times
    if min(image.shape[:2]) < block:
        image = np.pad(image, [(0, max(block - side, 0)) for side in image.shape[:2]] + [(0, 0)])
    height, width = image.shape[0] // block, image.shape[1] // block
    half = np.empty((height, width, 3), np.uint8)
    at_once = max(1, _HALVED_AT_ONCE // (6 * width * block))
    for start in range(0, height, at_once):
        part = half[start : start + at_once]
        rows = image[block * start : block * (start + len(part)), : block * width]
        sums = np.add(rows[::2], rows[1::2], dtype=np.uint16)
        while len(sums) > len(part):
            sums = sums[::2] + sums[1::2]
        sums = sums.reshape(len(part), -1)
        # Sums from every pixel on, though few of them are wanted: this way none is far from others.
        for time in range(times):
            sums = sums[:, : -3 << time] + sums[:, 3 << time :]
        sums += block * block // 2
        sums >>= 2 * times
        for channel in range(3):
            part[..., channel] = sums[:, channel :: 3 * block]
    return half


def resize(image: Pixels, width: int, height: int) -> Pixels:
    """Bring an image to another size, without aliasing.

    Along a side that shrinks, pixels are averaged by the area that they have in the new ones; along
    one that grows, they are interpolated linearly.

    Args:
        image: uint8 ``(H, W, C)``.
        width: The new width, at least 1.
        height: The new height, at least 1.

    Returns:
        uint8 ``(height, width, C)``; the image itself where it has this size.
    """
    if (height, width) == image.shape[:2]:
        return image
    channels = image.shape[2]
    rows, row_weights = _resizing(image.shape[0], height)
    columns, column_weights = _resizing(image.shape[1], width)
    column_weights = np.repeat(column_weights, channels, axis=1)
    flat = image.reshape(len(image), -1)
    resized = np.empty((height, width, channels), np.uint8)
    at_once = max(1, _RESIZED_AT_ONCE // flat.shape[1])
    for start in range(0, height, at_once):
        part = resized[start : start + at_once].reshape(-1, width * channels)
        some = slice(start, start + at_once)
        sums = _weigh(flat, rows[:, some], row_weights[:, some, None], axis=0)
        sums = sums.reshape(len(part), -1, channels)
        sums = _weigh(sums, columns, column_weights, axis=1)
        sums += 0.5
        part[...] = sums
    return resized


def scale(image: Pixels, factor: float) -> Pixels:
    """Bring an image to ``factor`` times its size; see ``resize``.

    Args:
        image: uint8 ``(H, W, C)``.
        factor: Of both sides.
    """
    height, width = (max(round(side * factor), 1) for side in image.shape[:2])
    return resize(image, width, height)


def _weigh(
    values: NDArray[np.generic],
    places: NDArray[np.intp],
    weights: NDArray[np.float32],
    axis: int,
) -> NDArray[np.float32]:
    """Add up what is at ``places`` ``(n, m)`` of an axis, weighed; two axes stay."""
    total: NDArray[np.float32] | None = None
    for place, weight in zip(places, weights, strict=True):
        part = values.take(place, axis=axis)
        part = part.reshape(len(part), -1) * weight
        total = part if total is None else np.add(total, part, out=total)
    assert total is not None  # noqa: S101 - a pixel is made of at least one
    return total


def _resizing(length: int, wanted: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Of which pixels of a side each new one is made, ``(n, wanted)``, and by what weights."""
    ratio = length / wanted
    if ratio > 1:
        edges = np.arange(wanted + 1) * ratio
        low, high = edges[:-1], edges[1:]
        first = np.floor(low + 1e-9)
        count = int((np.ceil(high - 1e-9) - first).max())
        places = first + np.arange(count)[:, None]
        shares = np.clip(np.minimum(high, places + 1) - np.maximum(low, places), 0, None) / ratio
    else:
        centers = (np.arange(wanted) + 0.5) * ratio - 0.5
        first = np.floor(centers)
        places = first + np.arange(2)[:, None]
        shares = np.stack([1 - (centers - first), centers - first])
    return np.clip(places, 0, length - 1).astype(np.intp), shares.astype(np.float32)
