"""Mosaics: what the detector sees in training, composed of labeled photos at many scales."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from facekeep.lab.datasets.augment import Augment, augment
from facekeep.lab.train.detector.labels import FaceLabels, Known, LabeledPhotos
from facekeep.pipeline.warp import warp

__all__ = ["MosaicComposer"]

_SMALLEST: Final = 10.0  # pixels; of smaller faces nothing is asked
_SMALL: Final = 0.2  # of the tile
_LARGE: Final = 0.85
_VISIBLE: Final = 0.6  # the share of a box from which a face that is cut off is asked for
_LAYOUTS: Final = (0.25, 0.35, 0.25, 0.15)  # shares of mosaics of 1, 4, 9 and 16 tiles
_EMPTY: Final = 0.4  # of many tiles, the share that only shows what is behind
_BACKED: Final = 0.6  # share of mosaics with a photo behind all others
_STEEP: Final = 0.15  # share of tiles that are turned far
_CHANGES: Final = Augment(
    flip=0,
    affine=0,
    downscale=0.1,
    side=(0.4, 0.8),
    blur=0.1,
    color=0.3,
    hue=(-15, 15),
    saturation=(0.6, 1.4),
    gray=0.1,
    light=0.6,
    brightness=48,
    contrast=(0.5, 1.3),
    jpeg=0.25,
    quality=(25, 90),
)


@dataclass(frozen=True, slots=True)
class MosaicComposer:
    """Makes mosaics.

    Attributes:
        photos: Where the photos come from.
        shares: How much each of them is drawn from; they add up to one.
        backdrops: Photos without faces, behind the others.
        side: Of a mosaic, in pixels.
    """

    photos: Sequence[LabeledPhotos]
    shares: Sequence[float]
    backdrops: LabeledPhotos | None
    side: int

    def compose(self, rng: np.random.Generator) -> tuple[NDArray[np.uint8], FaceLabels]:
        """Compose a mosaic.

        Args:
            rng: Decides; the same state gives the same mosaic.

        Returns:
            uint8 ``(side, side, 3)`` RGB, and its faces.
        """
        mosaic = self._backdrop(rng)
        count = int(rng.choice(len(_LAYOUTS), p=_LAYOUTS)) + 1
        cuts = np.linspace(0, self.side, count + 1).round().astype(int).tolist()
        spans = list(pairwise(cuts))
        parts = []
        for top, bottom in spans:
            for left, right in spans:
                if count > 2 and rng.random() < _EMPTY:
                    continue
                photos = self.photos[int(rng.choice(len(self.photos), p=self.shares))]
                faces = _show(photos, mosaic[top:bottom, left:right], rng)
                parts.append(faces.shift(left, top))
        return augment(mosaic, rng, _CHANGES), FaceLabels.join(parts)

    def _backdrop(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        mosaic = np.empty((self.side, self.side, 3), np.uint8)
        mosaic[:] = rng.integers(0, 256, 3) if rng.random() < 0.5 else rng.integers(0, 256)
        if self.backdrops and rng.random() < _BACKED:
            _show(self.backdrops, mosaic, rng)
        return mosaic


def _show(photos: LabeledPhotos, tile: NDArray[np.uint8], rng: np.random.Generator) -> FaceLabels:
    """Put a photo onto a tile: turned, scaled, shifted and perhaps mirrored; return its faces."""
    import cv2

    size = (tile.shape[1], tile.shape[0])
    image, faces = photos.photo(int(rng.integers(len(photos))))
    matrix = _place(image.shape, faces, size, rng)
    shown = warp(image, matrix, max(size))[: size[1], : size[0]]
    height, width = image.shape[:2]
    corners = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]])
    outline = np.round(corners @ matrix[:, :2].T + matrix[:, 2]).astype(np.int32)
    covered = cv2.fillConvexPoly(np.zeros(tile.shape[:2], np.uint8), outline, 1)
    np.copyto(tile, shown, where=covered[:, :, None] > 0)
    seen = _crop(_turn(faces, matrix), size)
    if rng.random() < 0.5:
        tile[:] = tile[:, ::-1].copy()
        return seen.mirror(size[0])
    return seen


def _place(
    shape: tuple[int, ...], faces: FaceLabels, size: tuple[int, int], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Choose the similarity from photo to tile, so that one of the faces has a size drawn."""
    angle = math.radians(rng.normal(0, 35 if rng.random() < _STEEP else 8))
    if len(faces):
        box = faces.boxes[rng.integers(len(faces))]
        center, width = (box[:2] + box[2:]) / 2, float((box[2:] - box[:2]).max())
        low, high = (math.log(share * min(size)) for share in (_SMALL, _LARGE))
        scale = math.exp(rng.uniform(low, high)) / max(width, 1.0)
        target = np.array([rng.uniform(0.15, 0.85) * each for each in size])
    else:
        center = np.array(shape[1::-1]) / 2
        scale = max(size) / min(shape[:2]) * math.exp(rng.uniform(-0.5, 0.9))
        target = np.array(size) / 2
    turn = scale * np.array(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    )
    return np.column_stack([turn, target - turn @ center])


def _turn(faces: FaceLabels, matrix: NDArray[np.float64]) -> FaceLabels:
    """Move faces by a similarity; boxes stay upright and keep their shape."""
    turn, shift = matrix[:, :2], matrix[:, 2]
    scale = math.hypot(matrix[0, 0], matrix[1, 0])
    centers = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2 @ turn.T + shift
    halves = (faces.boxes[:, 2:] - faces.boxes[:, :2]) / 2 * scale
    boxes = np.concatenate([centers - halves, centers + halves], axis=1).astype(np.float32)
    return FaceLabels(boxes, (faces.landmarks @ turn.T + shift).astype(np.float32), faces.known)


def _crop(faces: FaceLabels, size: tuple[int, int]) -> FaceLabels:
    """Cut boxes at the edges; a face that is hardly there, or tiny, is no longer asked for."""
    limit = np.tile(np.array(size, np.float32), 2)
    cut = np.clip(faces.boxes, 0, limit)
    sides, whole = cut[:, 2:] - cut[:, :2], faces.boxes[:, 2:] - faces.boxes[:, :2]
    share = sides.prod(axis=1) / whole.prod(axis=1)
    poor = (share < _VISIBLE) | (sides.max(axis=1, initial=0) < _SMALLEST)
    known = np.where(poor, Known.UNSURE, faces.known)
    return FaceLabels(cut, faces.landmarks, known).select(sides.min(axis=1, initial=np.inf) > 1)
