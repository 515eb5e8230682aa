"""Photos with labeled faces: labeled by people, by a teacher, or by both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import compress
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from facekeep.errors import ImageError
from facekeep.lab.datasets.annotated import AnnotatedPhotos
from facekeep.lab.datasets.source import Source, select
from facekeep.lab.datasets.training_set import open_source
from facekeep.lab.train.loop import Watch
from facekeep.pipeline.detect import Detector
from facekeep.pipeline.image import load_image
from facekeep.pipeline.refine import MIRRORED

__all__ = [
    "UNSURE",
    "FaceLabels",
    "Known",
    "LabeledPhotos",
    "label_annotated",
    "label_photos",
    "overlap",
]

_SURE: Final = 0.8
"""The score from which a teacher is believed; what scores less is neither face nor background."""

UNSURE: Final = 0.3
_SAME: Final = 0.3
"""The intersection over union from which two boxes are of one face."""

Image = NDArray[np.uint8]


class Known(IntEnum):
    """How a face is known."""

    ANNOTATED = 0
    TAUGHT = 1
    UNSURE = 2


@dataclass(frozen=True, slots=True, eq=False)
class FaceLabels:
    """The faces of an image, n of them.

    Attributes:
        boxes: float32 ``(n, 4)``, x1, y1, x2, y2 in pixels.
        landmarks: float32 ``(n, 5, 2)`` pixels, in the order of ``Face``.
        known: int64 ``(n,)``, of `Known`.
    """

    boxes: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    known: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.known)

    def select(self, which: NDArray[np.bool_]) -> FaceLabels:
        """Return some of them."""
        return FaceLabels(self.boxes[which], self.landmarks[which], self.known[which])

    def shift(self, x: float, y: float) -> FaceLabels:
        """Return them shifted to the right and down."""
        by = np.array([x, y], np.float32)
        return FaceLabels(self.boxes + np.tile(by, 2), self.landmarks + by, self.known)

    def mirror(self, width: int) -> FaceLabels:
        """Return them as a mirror shows an image of this width."""
        boxes, landmarks = self.boxes.copy(), self.landmarks[:, MIRRORED].copy()
        boxes[:, [0, 2]] = width - 1 - self.boxes[:, [2, 0]]
        landmarks[:, :, 0] = width - 1 - landmarks[:, :, 0]
        return FaceLabels(boxes, landmarks, self.known)

    @staticmethod
    def join(parts: Sequence[FaceLabels]) -> FaceLabels:
        """Return the faces of all parts in one."""
        return FaceLabels(
            np.concatenate([np.zeros((0, 4), np.float32), *(each.boxes for each in parts)]),
            np.concatenate([np.zeros((0, 5, 2), np.float32), *(each.landmarks for each in parts)]),
            np.concatenate([np.zeros(0, np.int64), *(each.known for each in parts)]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class LabeledPhotos:
    """Photos, each with its faces; the photos stay on the disk.

    Attributes:
        read: Loads a photo, uint8 ``(h, w, 3)`` RGB.
        places: What `read` takes for each photo.
        faces: The faces of each.
    """

    read: Callable[[int], Image]
    places: tuple[int, ...]
    faces: tuple[FaceLabels, ...]

    def __len__(self) -> int:
        return len(self.places)

    def without_faces(self) -> LabeledPhotos:
        """Return the photos in which nobody sees a face."""
        return self._select([len(faces) == 0 for faces in self.faces])

    def with_faces(self) -> LabeledPhotos:
        """Return the photos that surely show a face."""
        return self._select([bool((faces.known != Known.UNSURE).any()) for faces in self.faces])

    def photo(self, index: int) -> tuple[Image, FaceLabels]:
        """Return a photo and its faces."""
        return self.read(self.places[index]), self.faces[index]

    def _select(self, wanted: Sequence[bool]) -> LabeledPhotos:
        places, faces = compress(self.places, wanted), compress(self.faces, wanted)
        return LabeledPhotos(self.read, tuple(places), tuple(faces))


@dataclass(frozen=True, slots=True)
class _Reader:
    source: Source

    def __call__(self, place: int) -> Image:
        return load_image(self.source.read(place))


def label_annotated(photos: AnnotatedPhotos, teacher: Detector, watch: Watch) -> LabeledPhotos:
    """Take annotated photos; the teacher adds the faces that nobody annotated.

    Raises:
        ImageError: A photo cannot be read.
    """
    found = []
    with watch("Looking for more faces", len(photos)) as advance:
        for place in range(len(photos)):
            boxes, landmarks = photos.boxes(place), photos.landmarks(place)
            own = FaceLabels(boxes, landmarks, np.full(len(boxes), Known.ANNOTATED, np.int64))
            others = _label(teacher, photos.image(place))
            found.append(FaceLabels.join([own, others.select(_apart(others.boxes, boxes))]))
            advance(1)
    return LabeledPhotos(photos.image, tuple(range(len(photos))), tuple(found))


def label_photos(
    path: Path, teacher: Detector, watch: Watch, *, most: int = 100_000
) -> LabeledPhotos:
    """Take photos that nobody annotated, with the faces that the teacher finds.

    Args:
        path: A tar, or anything else that holds training faces.
        teacher: Looks at each photo; those that cannot be read are left out.
        watch: Shows how far it is.
        most: Of more photos, so many are taken, spread over all.

    Raises:
        InputError: There are no photos.
    """
    whole = open_source(path)
    chosen = np.unique(np.linspace(0, len(whole) - 1, min(most, len(whole))).astype(np.int64))
    read = _Reader(select(whole, chosen))
    places, found = [], []
    with watch("Labeling photos", len(chosen)) as advance:
        for place in range(len(chosen)):
            advance(1)
            try:
                faces = _label(teacher, read(place))
            except ImageError:
                continue
            places.append(place)
            found.append(faces)
    return LabeledPhotos(read, tuple(places), tuple(found))


def overlap(boxes: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the intersection over union ``(n, m)`` of boxes ``(n, 4)`` and ``(m, 4)``."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = (high - low).clip(min=0).prod(axis=2)
    areas, others_areas = ((each[:, 2:] - each[:, :2]).prod(axis=1) for each in (boxes, others))
    return np.asarray(shared / (areas[:, None] + others_areas - shared + 1e-9), np.float32)


def _apart(boxes: NDArray[np.float32], known: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.asarray((overlap(boxes, known) < _SAME).all(axis=1), np.bool_)


def _label(teacher: Detector, image: Image) -> FaceLabels:
    """Label what a teacher finds; its own score must be no higher than `UNSURE`."""
    seen = teacher.refine(image, teacher.detect(image))
    return FaceLabels(
        np.array([face.bbox for face in seen], np.float32).reshape(-1, 4),
        np.array([face.landmarks for face in seen], np.float32).reshape(-1, 5, 2),
        np.array(
            [Known.TAUGHT if face.score >= _SURE else Known.UNSURE for face in seen], np.int64
        ),
    )
