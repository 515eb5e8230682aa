"""Sampling an image anew without aliasing: square crops, halves and other sizes.

All in whole numbers or float32 of NumPy, and within one gray level of what OpenCV gives for
``warpAffine``, ``resize`` by area and linear ``resize`` (benchmarks/pixels.py). Rows are worked on
some at a time, so that what is in between stays in the cache of the processor.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.workers import ALONE, Workers

__all__ = ["resize", "scale", "shrink", "warp"]

Pixels = NDArray[np.uint8]

# At most so many samples a side for each pixel of a crop; bilinear sampling doubles their reach.
_MAX_SUPERSAMPLING = 4
# So many values are worked on at once.
_WARPED_AT_ONCE: Final = 1 << 16
_RESIZED_AT_ONCE: Final = 1 << 17
_SHRUNK_AT_ONCE: Final = 1 << 19

# Places in an image as whole numbers: 4096 to a pixel while they are added up, then 256.
_FINE_BITS: Final = 12
_BITS: Final = 8
_ONE: Final = 1 << _BITS
# A pixel is one number of 64 bits, 16 of them for each color. Weights add up to 256.
_HALVES: Final = np.uint64(0x80_0080_0080)
_BYTES: Final = np.uint64(0xFF_00FF_00FF)

_SHARED: Final = 1 << 21  # what threads share is of so many values; less is not worth it


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
        block = 1 << min(math.ceil(math.log2(step / _MAX_SUPERSAMPLING)), 4)
        image, turn, step = shrink(image, block), turn / block, step / block
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
    rows += (1 << _FINE_BITS) + (1 << (_FINE_BITS - _BITS - 1))  # the border; rounding
    crop = np.empty((size, size, 3), np.uint8)
    at_once = min(max(1, _WARPED_AT_ONCE // (size * factor * factor)), size)
    space = _Space.of(at_once * factor, size * factor)
    for start in range(0, size, at_once):
        part = crop[start : start + at_once]
        finer = slice(start * factor, (start + len(part)) * factor)
        colors = _bilinear(source, columns, rows[:, finer, None], space)
        if factor > 1:
            count = factor * factor
            colors >>= _BITS
            colors &= _BYTES
            sums = _sums(colors, factor).view("<u2").reshape(*part.shape[:2], 4)
            sums += count // 2
            sums //= count
            part[...] = sums[..., :3]
        else:
            part[...] = colors.view(np.uint8).reshape(*part.shape[:2], 8)[..., 1:6:2]
    return crop


def _bordered(image: Pixels) -> NDArray[np.uint64]:
    """Make one number of each pixel, with a black pixel before and two behind rows and columns."""
    height, width = image.shape[:2]
    bordered = np.zeros((height + 3, width + 3, 4), "<u2")
    for channel in range(3):
        bordered[1:-2, 1:-2, channel] = image[..., channel]
    return bordered.view("<u8")[..., 0]


class _Space(NamedTuple):
    """What places ``(h, w)`` are worked on in; taking it anew each time would cost as much."""

    whole: NDArray[np.int32]  # (5, h, w)
    colors: NDArray[np.uint64]  # (2, h, w)

    @classmethod
    def of(cls, height: int, width: int) -> _Space:
        whole = np.empty((5, height, width), np.int32)
        return cls(whole, np.empty((2, height, width), "<u8"))


def _bilinear(
    source: NDArray[np.uint64],
    columns: NDArray[np.int32],
    rows: NDArray[np.int32],
    space: _Space,
) -> NDArray[np.uint64]:
    """Interpolate between the four pixels around each place.

    Args:
        source: What ``_bordered`` gave.
        columns: What a step along a row of the crop adds to column and row of the source, of which
            4096 make a pixel, ``(2, w)``.
        rows: The same for a step along its columns, ``(2, h, 1)``.
        space: To work in; at least ``(h, w)``.

    Returns:
        Red in the lowest 16 bits, then green and blue, each times 256 and rounded: ``(h, w)``.
    """
    height, width = source.shape
    x, y, right, below, corner = space.whole[:, : rows.shape[1]]
    for column, row, places, part, length in (
        (columns[0], rows[0], x, right, width),
        (columns[1], rows[1], y, below, height),
    ):
        np.add(column, row, out=places)
        corners = places[:: len(places) - 1 or 1, :: places.shape[1] - 1 or 1]
        end = (length - 2) << _FINE_BITS
        if corners.min() < 0 or corners.max() > end:  # the crop reaches beyond the image
            np.clip(places, 0, end, out=places)
        np.right_shift(places, _FINE_BITS - _BITS, out=part)
        np.bitwise_and(part, _ONE - 1, out=part)
        np.right_shift(places, _FINE_BITS, out=places)
    np.multiply(right, below, out=corner)
    corner += _ONE // 2
    corner >>= _BITS
    right -= corner
    below -= corner
    y *= width
    y += x
    place = y.astype(np.intp)
    pixels = source.ravel()
    here = np.subtract(_ONE, right, out=x)
    here -= below
    here -= corner
    total, seen = space.colors[:, : rows.shape[1]]
    steps = {0: here, 1: right, width: below, width + 1: corner}
    for step, weight in steps.items():
        colors = seen if step else total
        pixels[step:].take(place, out=colors, mode="clip")  # all are inside; the fastest mode
        colors *= weight.view(np.uint32)  # whole numbers without a sign, as the colors
        if step:
            total += seen
    rounded: NDArray[np.uint64] = np.add(total, _HALVES, out=total)
    return rounded


def _sums(values: NDArray[np.uint64], factor: int) -> NDArray[np.uint64]:
    """Add up blocks of ``factor`` x ``factor`` values."""
    height, width = values.shape
    blocks = values.reshape(height // factor, factor, width // factor, factor)
    rows = blocks[:, 0] + blocks[:, 1]
    for place in range(2, factor):
        rows += blocks[:, place]
    total = rows[..., 0] + rows[..., 1]
    for place in range(2, factor):
        total += rows[..., place]
    return np.asarray(total, np.uint64)


def shrink(image: Pixels, block: int, workers: Workers = ALONE) -> Pixels:
    """Average blocks of pixels into one each.

    Rows and columns left over at the end are left out; a side too short is continued in black.

    Args:
        image: uint8 ``(H, W, 3)``.
        block: How many pixels wide and high a block is, 1 to 16.
        workers: Who shares the work on large images.

    Returns:
        uint8 ``(H // block, W // block, 3)``, rounded.
    """
    if block == 1:
        return image
    if min(image.shape[:2]) < block:
        image = np.pad(image, [(0, max(block - side, 0)) for side in image.shape[:2]] + [(0, 0)])
    height, width = image.shape[0] // block, image.shape[1] // block
    smaller = np.empty((height, width, 3), np.uint8)
    bands = _bands(image, height, workers)
    workers.map(lambda band: _average(image[block * band.start :], block, smaller[band]), bands)
    return smaller


def _bands(image: Pixels, rows: int, workers: Workers) -> list[slice]:
    """Divide the rows that are made of an image among workers."""
    count = min(workers.threads if image.size >= _SHARED else 1, rows)
    ends = [rows * part // count for part in range(count + 1)]
    return [slice(start, end) for start, end in itertools.pairwise(ends)]


def _average(image: Pixels, block: int, smaller: Pixels) -> None:
    """Fill an image with the means of blocks of another one, from its top left corner on."""
    height, width = smaller.shape[:2]
    at_once = min(max(1, _SHRUNK_AT_ONCE // (6 * width * block)), height)
    # Along rows, as many neighbors are added everywhere at first as divide a block evenly: what is
    # left out of later costs less than picking pixels that lie apart.
    window = min(block & -block, block // 2)
    some_sums = np.empty((2, at_once, 3 * width * block), np.uint16)
    some_totals = np.empty((at_once, width, 3), np.uint16)
    for start in range(0, height, at_once):
        part = smaller[start : start + at_once]
        (sums, more), totals = some_sums[:, : len(part)], some_totals[: len(part)]
        rows = image[block * start : block * (start + len(part)), : block * width]
        rows = rows.reshape(len(part), block, -1)
        np.add(rows[:, 0], rows[:, 1], out=sums, dtype=np.uint16)
        for place in range(2, block):
            np.add(sums, rows[:, place], out=sums)
        for reach in (1, 2, 4):
            if reach < window:
                np.add(sums[:, : -3 * reach], sums[:, 3 * reach :], out=more[:, : -3 * reach])
                sums, more = more, sums
        for channel in range(3):
            first, second, *others = (
                sums[:, channel + 3 * place :: 3 * block] for place in range(0, block, window)
            )
            total = np.add(first, second, out=totals[..., channel])
            for each in others:
                total += each
        totals += block * block // 2
        totals //= block * block
        part[...] = totals


def resize(image: Pixels, width: int, height: int, workers: Workers = ALONE) -> Pixels:
    """Bring an image to another size, without aliasing.

    Along a side that shrinks, pixels are averaged by the area that they have in the new ones; along
    one that grows, they are interpolated linearly.

    Args:
        image: uint8 ``(H, W, C)``.
        width: The new width, at least 1.
        height: The new height, at least 1.
        workers: Who shares the work on large images.

    Returns:
        uint8 ``(height, width, C)``; the image itself where it has this size.
    """
    if (height, width) == image.shape[:2]:
        return image
    channels = image.shape[2]
    if (3 * height, 3 * width) == (2 * image.shape[0], 2 * image.shape[1]):
        return _two_thirds(image, workers)
    rows = _resizing(image.shape[0], height)
    columns, weights = _resizing(image.shape[1], width)
    columns = (columns[..., None] * channels + np.arange(channels)).reshape(len(columns), -1)
    weights = np.repeat(weights, channels, axis=1)
    flat = image.reshape(len(image), -1)
    resized = np.empty((height, width * channels), np.uint8)

    def fill(band: slice) -> None:
        _resample(flat, [each[:, band] for each in rows], (columns, weights), resized[band])

    workers.map(fill, _bands(image, height, workers))
    return resized.reshape(height, width, channels)


def _two_thirds(image: Pixels, workers: Workers) -> Pixels:
    """Do the same where three pixels become two, as from Full HD: in whole numbers, and faster."""
    groups, width, channels = len(image) // 3, image.shape[1] // 3 * 2, image.shape[2]
    resized = np.empty((groups, 2, width // 2, 2, channels), np.uint8)
    lines = image.reshape(groups, 3, -1)

    def fill(band: slice) -> None:
        part = resized[band]
        at_once = min(max(1, 2 * _RESIZED_AT_ONCE // (3 * lines.shape[2])), len(part))
        some = np.empty((4, at_once, lines.shape[2]), np.uint16)
        for start in range(0, len(part), at_once):
            goal, rows = part[start : start + at_once], lines[band][start : start + at_once]
            first, second, sums, twice = some[:, : len(goal)]
            np.copyto(second, rows[:, 1])
            for line, outer in enumerate((0, 2)):
                np.add(rows[:, outer], rows[:, outer], out=first, dtype=np.uint16)
                np.add(first, second, out=sums)
                np.add(sums, sums, out=twice)
                sums += 4  # the sum of all weights is 9
                for column, (near, other) in enumerate(((0, 1), (2, 1))):
                    for channel in range(channels):
                        total = twice[:, near * channels + channel :: 3 * channels]
                        total = total + sums[:, other * channels + channel :: 3 * channels]
                        goal[:, line, :, column, channel] = np.floor_divide(total, 9, out=total)

    workers.map(fill, _bands(image, groups, workers))
    return resized.reshape(2 * groups, width, channels)


def _resample(flat: Pixels, rows: Sequence[Any], columns: Sequence[Any], resized: Pixels) -> None:
    """Fill an image with weighed sums of rows and columns of another one.

    Args:
        flat: uint8 ``(H, W * C)``.
        rows: What ``_resizing`` gave: which rows, and their weights, ``(n, h)`` both.
        columns: The same for the values of a row, ``(m, w * C)``.
        resized: uint8 ``(h, w * C)``.
    """
    at_once = min(max(1, _RESIZED_AT_ONCE // flat.shape[1]), len(resized))
    seen = np.empty((at_once, flat.shape[1]), np.uint8)
    wide = np.empty((2, *seen.shape), np.float32)
    narrow = np.empty((2, at_once, resized.shape[1]), np.float32)
    for start in range(0, len(resized), at_once):
        part = resized[start : start + at_once]
        (lines, line), (sums, more) = wide[:, : len(part)], narrow[:, : len(part)]
        for tap, (places, weights) in enumerate(zip(*rows, strict=True)):
            flat.take(places[start : start + at_once], 0, seen[: len(part)], "clip")
            weighed = line if tap else lines
            weighed[...] = seen[: len(part)]
            weighed *= weights[start : start + at_once, None]
            if tap:
                lines += line
        for tap, (places, weights) in enumerate(zip(*columns, strict=True)):
            weighed = lines.take(places, 1, more if tap else sums, "clip")
            weighed *= weights
            if tap:
                sums += more
        sums += 0.5
        part[...] = sums


def scale(image: Pixels, factor: float) -> Pixels:
    """Bring an image to ``factor`` times its size; see ``resize``.

    Args:
        image: uint8 ``(H, W, C)``.
        factor: Of both sides.
    """
    height, width = (max(round(side * factor), 1) for side in image.shape[:2])
    return resize(image, width, height)


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
