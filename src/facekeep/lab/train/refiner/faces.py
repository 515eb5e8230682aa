"""What a refiner learns from: faces with landmarks, and rough crops of them in endless variety."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from facekeep.errors import InputError
from facekeep.lab.datasets.annotated import AnnotatedPhotos
from facekeep.lab.datasets.augment import Augment, augment
from facekeep.lab.nn.refiner import SIDE
from facekeep.lab.train.loop import Watch
from facekeep.pipeline.align import similarity_transform
from facekeep.pipeline.refine import MIRRORED, upright_landmarks
from facekeep.pipeline.warp import warp

__all__ = ["CHANGES", "FacePatches", "center_pose", "cut_out", "make_batch", "measure_eye_distance"]

_PATCH: Final = 128
_MARGIN: Final = 0.6
"""What a crop's side is of a patch's, so that there is something to turn and shift."""

# How far the crops by a detector's landmarks are from those by annotated ones, as standard
# deviations: about half as much again as measured with YuNet on faces of 20 to 80 pixels.
_SHIFT: Final = 0.035  # of the crop's side
_ZOOM: Final = 0.1  # of the logarithm of the scale
_TURN: Final = 9.0  # degrees

CHANGES: Final = Augment(
    flip=0.0,
    affine=0.0,
    downscale=0.3,
    side=(0.25, 0.8),
    blur=0.2,
    color=0.3,
    hue=(-20.0, 20.0),
    saturation=(0.6, 1.4),
    gray=0.15,
    light=0.6,
    brightness=40.0,
    contrast=(0.6, 1.3),
    jpeg=0.3,
    quality=(20.0, 90.0),
    erase=0.3,
    erased=(0.02, 0.15),
)
"""What is done to crops besides moving them."""


@dataclass(frozen=True, slots=True, eq=False)
class FacePatches:
    """Faces cut out with room around them, n of them.

    Attributes:
        patches: uint8 ``(n, 128, 128, 3)`` RGB, upright by their landmarks.
        landmarks: float32 ``(n, 5, 2)`` in pixels of the patches.
    """

    patches: NDArray[np.uint8]
    landmarks: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.patches)


def cut_out(photos: AnnotatedPhotos, *, lift: float, watch: Watch) -> FacePatches:
    """Cut the annotated faces out of photos.

    Args:
        photos: The photos.
        lift: How much higher than annotated the landmarks are taught, in distances of the eyes.
        watch: Shows how far it is.

    Raises:
        InputError: No face is annotated.
        ImageError: A photo cannot be read.
    """
    patches, landmarks = [], []
    with watch("Cutting out faces", len(photos)) as advance:
        for index in range(len(photos)):
            image = photos.image(index)
            for points in photos.landmarks(index):
                matrix = similarity_transform(points, center_pose(_PATCH, _MARGIN))
                patches.append(warp(image, matrix, _PATCH))
                placed = points @ matrix[:, :2].T + matrix[:, 2]
                landmarks.append(placed - [0.0, lift * measure_eye_distance(placed)])
            advance(1)
    if not patches:
        raise InputError("the photos hold no annotated faces to learn from, or to measure with")
    return FacePatches(np.stack(patches), np.array(landmarks, np.float32))


def make_batch(
    faces: FacePatches,
    places: NDArray[np.integer],
    rng: np.random.Generator,
    settings: Augment = CHANGES,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Crop faces as a detector's landmarks would, each a little wrong.

    Args:
        faces: The faces.
        places: Which of them, n.
        rng: Decides.
        settings: What is done to the crops besides.

    Returns:
        uint8 ``(n, 64, 64, 3)`` RGB, and landmarks ``(n, 5, 2)`` in sides of the crop.
    """
    crops = np.empty((len(places), SIDE, SIDE, 3), np.uint8)
    landmarks = np.empty((len(places), 5, 2), np.float32)
    for row, place in enumerate(places):
        crop, landmarks[row] = _rough(faces.patches[place], faces.landmarks[place], rng)
        crops[row] = augment(crop, rng, settings)
    return crops, landmarks


def measure_eye_distance(landmarks: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the distance of the eyes in landmarks ``(..., 5, 2)``."""
    distance: NDArray[np.floating] = np.linalg.norm(
        landmarks[..., 1, :] - landmarks[..., 0, :], axis=-1
    )
    return distance


def center_pose(patch: int, margin: float) -> NDArray[np.float64]:
    """Return where the pose lies in the middle of a patch: float64 ``(5, 2)`` pixels.

    Args:
        patch: The side of the patch in pixels.
        margin: What a crop's side is of it.
    """
    centered = upright_landmarks(patch) - (patch - 1) / 2
    return centered * margin + (patch - 1) / 2


def _rough(
    patch: NDArray[np.uint8], points: NDArray[np.float32], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Crop a face as if by landmarks that are off; every other one is mirrored."""
    import cv2

    scale = SIDE / (_PATCH * _MARGIN) * np.exp(rng.normal(0, _ZOOM))
    angle = np.radians(rng.normal(0, _TURN))
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if rng.random() < 0.5:
        turn = turn @ np.diag([-1.0, 1.0])
        points = points[MIRRORED]
    middle = (SIDE - 1) / 2 + SIDE * rng.normal(0, _SHIFT, 2)
    matrix = np.column_stack([turn, middle - turn @ np.full(2, (_PATCH - 1) / 2)])
    crop = cv2.warpAffine(patch, matrix, (SIDE, SIDE))
    placed = (points @ matrix[:, :2].T + matrix[:, 2]) / SIDE
    return np.asarray(crop, np.uint8), placed.astype(np.float32)
