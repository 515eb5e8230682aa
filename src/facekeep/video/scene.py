"""What a camera shows besides faces: where to look, whether anything moves, how light it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from facekeep.errors import InputError
from facekeep.pipeline.filters import to_gray
from facekeep.types import Face

__all__ = ["Exposure", "Polygon", "Scene"]

Exposure = Literal["day", "night", "dark"]
Polygon = Sequence[tuple[float, float]]

# The shorter side of the small gray picture, in blocks, and the pixels of a block along each side
# that are looked at.
_BLOCKS = 30
_PIXELS = 4
# So many blocks that differ by so many gray levels are motion; noise of a camera stays below.
_MOVED = 2
_LEVELS = 8.0
# Mean brightness below which it is dark or night, and what it must pass to change back.
_DARK = 0.06
_NIGHT = 0.2
_MARGIN = 0.02


class Scene:
    """The scene of one camera.

    Args:
        region: Polygons of which faces are wanted, points in shares of the width and the height;
            none: everywhere.
        mask: Polygons of which they are not.

    Attributes:
        exposure: ``day``, ``night`` or ``dark``, by the mean brightness of the latest picture that
            was looked at; None before.
    """

    def __init__(self, region: Sequence[Polygon] = (), mask: Sequence[Polygon] = ()) -> None:
        self.exposure: Exposure | None = None
        self._region = _check_polygons("region", region)
        self._mask = _check_polygons("mask", mask)
        self._seen: NDArray[np.float32] | None = None

    def part(self, height: int, width: int) -> tuple[slice, slice]:
        """Return the rows and columns around the region, which is all that is looked at."""
        if not self._region:
            return slice(0, height), slice(0, width)
        points = np.array([point for polygon in self._region for point in polygon])
        (x1, y1), (x2, y2) = points.min(axis=0), points.max(axis=0)
        rows = slice(int(y1 * height), max(int(np.ceil(y2 * height)), int(y1 * height) + 1))
        columns = slice(int(x1 * width), max(int(np.ceil(x2 * width)), int(x1 * width) + 1))
        return rows, columns

    def keep(self, faces: Sequence[Face], height: int, width: int) -> list[Face]:
        """Return the faces whose center lies in the region and outside the mask."""
        if not self._region and not self._mask:
            return list(faces)
        return [face for face in faces if self._wanted(face, height, width)]

    def _wanted(self, face: Face, height: int, width: int) -> bool:
        x1, y1, x2, y2 = face.bbox.tolist()
        x, y = (x1 + x2) / 2 / width, (y1 + y2) / 2 / height
        inside = not self._region or any(_contains(each, x, y) for each in self._region)
        return inside and not any(_contains(each, x, y) for each in self._mask)

    def moves(self, image: NDArray[np.uint8]) -> bool:
        """Tell whether a picture differs from the last one that was looked at.

        Args:
            image: uint8 ``(H, W, 3)`` RGB, the whole picture.
        """
        now = self._shrink(image)
        if self._seen is None or self._seen.shape != now.shape:
            return True
        return int((np.abs(now - self._seen) > _LEVELS).sum()) >= _MOVED

    def look(self, image: NDArray[np.uint8]) -> None:
        """Remember a picture that is looked at: what ``moves`` compares with, and its exposure."""
        self._seen = self._shrink(image)
        self.exposure = _expose(float(self._seen.mean()) / 255, self.exposure)

    def _shrink(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return a small gray picture of the part that is looked at."""
        return _shrink(image[self.part(*image.shape[:2])])


def _expose(light: float, before: Exposure | None) -> Exposure:
    """Return the exposure at a mean brightness; near a bound it stays what it was."""
    dark = _DARK + {"dark": _MARGIN, None: 0.0}.get(before, -_MARGIN)
    night = _NIGHT + {"day": -_MARGIN, None: 0.0}.get(before, _MARGIN)
    if light < dark:
        return "dark"
    return "night" if light < night else "day"


def _shrink(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return a small gray picture: the means of blocks."""
    step = max(min(image.shape[:2]) // (_BLOCKS * _PIXELS), 1)
    gray = to_gray(np.ascontiguousarray(image[::step, ::step])).astype(np.float32)
    height, width = (length // _PIXELS * _PIXELS for length in gray.shape)
    if not height or not width:
        return gray
    blocks = gray[:height, :width].reshape(height // _PIXELS, _PIXELS, width // _PIXELS, _PIXELS)
    return np.asarray(blocks.mean(axis=(1, 3)), np.float32)


def _check_polygons(name: str, polygons: Sequence[Polygon]) -> tuple[Polygon, ...]:
    """Return polygons as they are used.

    Raises:
        InputError: One has fewer than three points, points outside the picture, or all on one line.
    """
    try:
        checked = tuple(tuple((float(x), float(y)) for x, y in each) for each in polygons)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name} must be polygons: lists of points (x, y) in shares of the picture, 0 to 1"
        ) from error
    for polygon in checked:
        if len(polygon) < 3:
            raise InputError(f"a polygon of {name} has {len(polygon)} points; give at least 3")
        if not all(0 <= value <= 1 for point in polygon for value in point):
            raise InputError(f"a polygon of {name} has a point outside 0 to 1: shares are wanted")
        if np.linalg.matrix_rank(np.subtract(polygon, polygon[0])) < 2:
            raise InputError(f"a polygon of {name} has all its points on one line")
    return checked


def _contains(polygon: Polygon, x: float, y: float) -> bool:
    """Tell whether a point lies inside: a ray from it crosses the border an odd number of times."""
    inside = False
    for (x1, y1), (x2, y2) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
        if (y1 > y) != (y2 > y) and x < (x2 - x1) * (y - y1) / (y2 - y1) + x1:
            inside = not inside
    return inside
