"""Mosaics to compare detectors on: annotated faces of one size, cut out of photos, side by side.

Photos show each face at one size only. Scaled down, never up, and set beside each other they show
the same faces at every size, in pictures as large as those that a detector works on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facekeep.errors import InputError
from facekeep.lab.datasets.annotated import AnnotatedPhotos
from facekeep.lab.datasets.augment import Augment, augment
from facekeep.pipeline.warp import resize

__all__ = ["SIDE", "SIZES", "Mosaic", "MosaicSet"]

SIDE: Final = 640
"""No mosaic is wider or higher, in pixels."""

SIZES: Final = (20, 40, 80, 160)
"""The shorter sides of the faces' boxes, in pixels, unless others are asked for."""

_SURROUNDINGS: Final = 2.5  # sides of the face that a cell has room for: hair, neck, background
_LARGEST: Final = int(SIDE / _SURROUNDINGS)
_HARD: Final = Augment(
    flip=0,
    affine=0,
    downscale=0.4,
    side=(0.4, 0.8),
    blur=0.3,
    light=0.8,
    brightness=70,
    contrast=(0.3, 1.2),
    jpeg=0.6,
    quality=(10, 60),
    erase=0.5,
    erased=(0.01, 0.06),
)


@dataclass(frozen=True, slots=True, eq=False)
class Mosaic:
    """A picture of n annotated faces, most of them of one size; each in a square cell of its own.

    Attributes:
        image: uint8 ``(H, W, 3)`` RGB.
        size: The shorter side of the boxes of the faces that count, in pixels.
        boxes: float32 ``(n, 4)`` pixels: x1, y1, x2, y2.
        landmarks: float32 ``(n, 5, 2)`` pixels, in the order of ``Face``.
        counts: bool ``(n,)``; false for a neighbor, cut out along with a face, that need not be
            found and may be.
        person: intp ``(n,)``, whom each face shows.
        cells: intp ``(rows, columns)``, the person of each cell, -1 where it is empty.
    """

    image: NDArray[np.uint8]
    size: int
    boxes: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    counts: NDArray[np.bool_]
    person: NDArray[np.intp]
    cells: NDArray[np.intp]

    def person_at(self, points: NDArray[np.floating]) -> NDArray[np.intp]:
        """Return whose cells points ``(k, 2)`` lie in; -1 for empty ones."""
        side = self.image.shape[0] // self.cells.shape[0]
        column, row = (points // side).astype(np.intp).T
        rows, columns = self.cells.shape
        places = row.clip(0, rows - 1), column.clip(0, columns - 1)
        return np.asarray(self.cells[places], np.intp)


@dataclass(frozen=True, slots=True)
class _Tile:
    """A face to show: the place of its photo, its place in the photo, and whom it shows."""

    photo: int
    face: int
    person: int


class MosaicSet:
    """Annotated photos arranged on mosaics, which are painted when they are asked for.

    Each face is shown once at every size that it is not smaller than. The same photos, sizes and
    seed give the same mosaics.

    Args:
        annotated: The photos.
        sizes: The shorter sides of the boxes to show, in pixels.
        seed: Decides the order of the faces and where in its cell each lies.
        hard: Damage the cells at random: dark, pale, blurred, coarse, compressed, partly covered.

    Raises:
        InputError: A size is out of range, or no face is as large as the smallest.
    """

    def __init__(
        self,
        annotated: AnnotatedPhotos,
        sizes: Sequence[int] = SIZES,
        *,
        seed: int = 0,
        hard: bool = False,
    ) -> None:
        wrong = [size for size in sizes if not 4 <= size <= _LARGEST]
        if wrong or not sizes:
            raise InputError(f"sizes of faces must be from 4 to {_LARGEST} pixels, not {wrong}")
        self.annotated = annotated
        self.sizes = tuple(sorted(set(sizes)))
        self.seed = seed
        self.hard = hard
        owners = _list_people(annotated)
        names, numbers = np.unique(owners, return_inverse=True)
        self.people = len(names)
        self.faces = sum(len(annotated.boxes(photo)) for photo in range(len(annotated)))
        self._plan = [
            (size, group) for size in self.sizes for group in self._groups(size, numbers.tolist())
        ]
        if not self._plan:
            raise InputError(
                f"no annotated face is {self.sizes[0]} pixels in size; ask for smaller sizes"
            )

    def __len__(self) -> int:
        return len(self._plan)

    def __iter__(self) -> Iterator[Mosaic]:
        """Paint one after the other, those of the smallest faces first.

        Raises:
            ImageError: A photo cannot be read.
        """
        for number, (size, group) in enumerate(self._plan):
            yield self._painted(size, group, np.random.default_rng([self.seed, number]))

    def _groups(self, size: int, person: Sequence[int]) -> Iterator[list[_Tile]]:
        """Draw the faces that are large enough, as many at a time as a mosaic has cells."""
        large = [
            _Tile(photo, face, person[photo])
            for photo in range(len(self.annotated))
            for face, side in enumerate(_measure_sides(self.annotated.boxes(photo)))
            if side >= size
        ]
        order = np.random.default_rng([self.seed, size]).permutation(len(large))
        cells = (SIDE // _cell_side(size)) ** 2
        for start in range(0, len(large), cells):
            yield [large[place] for place in order[start : start + cells]]

    def _painted(self, size: int, group: list[_Tile], rng: np.random.Generator) -> Mosaic:
        side = _cell_side(size)
        columns = min(SIDE // side, len(group))
        rows = -(-len(group) // columns)
        image = np.empty((rows * side, columns * side, 3), np.uint8)
        image[:] = rng.integers(256, size=3)
        cells = np.full((rows, columns), -1)
        shown = []
        for place, cutting in enumerate(group):
            row, column = divmod(place, columns)
            cell = image[row * side : (row + 1) * side, column * side : (column + 1) * side]
            faces = _paint_face(cell, self.annotated, cutting, size, rng)
            if self.hard:
                cell[:] = augment(cell, rng, _HARD)
            cells[row, column] = cutting.person
            shown.append(faces.moved(np.array([column * side, row * side])))
        boxes, landmarks, counts, person = map(np.concatenate, zip(*shown, strict=True))
        return Mosaic(image, size, boxes, landmarks, counts, person, cells)


class _TileFaces(NamedTuple):
    """The faces of a cell; see ``Mosaic``."""

    boxes: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    counts: NDArray[np.bool_]
    person: NDArray[np.intp]

    def moved(self, by: NDArray[np.integer]) -> _TileFaces:
        """Move the faces by x and y."""
        step = by.astype(np.float32)
        return self._replace(boxes=self.boxes + np.tile(step, 2), landmarks=self.landmarks + step)


def _list_people(annotated: AnnotatedPhotos) -> list[str]:
    """Name the person of each photo; of photos without one each stands for itself."""
    people = [annotated.person(photo) for photo in range(len(annotated))]
    return [f"n{i:09d}" if name is None else f"p{name}" for i, name in enumerate(people)]


def _measure_sides(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray((boxes[:, 2:] - boxes[:, :2]).min(axis=1), np.float32)


def _cell_side(size: int) -> int:
    return int(np.ceil(_SURROUNDINGS * size))


def _paint_face(
    cell: NDArray[np.uint8],
    annotated: AnnotatedPhotos,
    cutting: _Tile,
    size: int,
    rng: np.random.Generator,
) -> _TileFaces:
    """Paint a face and its surroundings into a cell, scaled down to a size, somewhere at random."""
    photo = annotated.image(cutting.photo)
    boxes = annotated.boxes(cutting.photo)
    box = boxes[cutting.face]
    wanted = size / float((box[2:] - box[:2]).min())
    tile, factor, shift = _cut_part(photo, (box[:2] + box[2:]) / 2, wanted, len(cell))
    room = len(cell) - np.array(tile.shape[:2])
    y, x = rng.integers(room + 1).tolist()
    cell[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
    own = np.arange(len(boxes)) == cutting.face
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2 * factor + shift
    here = own | ((centers > 0) & (centers < tile.shape[1::-1])).all(axis=1)
    return _TileFaces(
        (boxes[here] * np.tile(factor, 2) + np.tile(shift, 2)).astype(np.float32),
        (annotated.landmarks(cutting.photo)[here] * factor + shift).astype(np.float32),
        own[here],
        np.full(here.sum(), cutting.person),
    ).moved(np.array([x, y]))


def _cut_part(
    photo: NDArray[np.uint8], center: NDArray[np.floating], wanted: float, side: int
) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.float64]]:
    """Cut a part out of a photo and scale it down.

    Args:
        photo: uint8 ``(H, W, 3)``.
        center: Where the middle of the part is, x and y in pixels, if the photo goes so far.
        wanted: The factor of scale, at most 1.
        side: What the part may measure, once scaled, in pixels.

    Returns:
        The part; and the factors and shifts, for x and y each, that bring points of the photo to
        pixels of the part.
    """
    reach = side / wanted / 2
    end = np.array(photo.shape[1::-1])
    low = np.ceil(center - reach).clip(0, end - 1).astype(int)
    high = np.floor(center + reach).clip(low + 1, end).astype(int)
    size = np.floor((high - low) * wanted).astype(int).clip(1, side)
    cut = photo[low[1] : high[1], low[0] : high[0]]
    part = resize(cut, *size.tolist())
    factor = size / (high - low)
    # Scaled about pixel corners, not centers: the center of pixel 0 moves.
    return part, factor, (factor - 1) / 2 - low * factor
