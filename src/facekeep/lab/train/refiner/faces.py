"""What a refiner learns from: faces with landmarks, and rough crops of them in endless variety."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from facekeep.errors import InputError
from facekeep.lab.datasets.annotated import AnnotatedPhotos
from facekeep.lab.datasets.augment import Augment, augment
from facekeep.lab.nn.refiner import SIDE
from facekeep.lab.train.detector.labels import label_photos
from facekeep.lab.train.loop import Watch
from facekeep.lab.train.refiner.teacher import FaceMesh, MeshTeacher
from facekeep.pipeline.align import similarity_transform
from facekeep.pipeline.detect import Detector
from facekeep.pipeline.refine import MIRRORED, upright_landmarks
from facekeep.pipeline.warp import warp
from facekeep.runtime import RuntimeOptions

__all__ = [
    "CHANGES",
    "COVERED",
    "HARD_CHANGES",
    "FacePatches",
    "center_pose",
    "cut_out",
    "cut_taught",
    "make_batch",
    "measure_eye_distance",
]

_PATCH: Final = 128
_MARGIN: Final = 0.6
"""What a crop's side is of a patch's, so that there is something to turn and shift."""

# How far the crops by a detector's landmarks are from those by annotated ones, as standard
# deviations: about half as much again as measured with YuNet on faces of 20 to 80 pixels.
_SHIFT: Final = 0.035  # of the crop's side
_ZOOM: Final = 0.1  # of the logarithm of the scale
_TURN: Final = 9.0  # degrees

# Faces whose relief is known are turned to the side and nod, by these standard deviations.
_YAW: Final = 16.0  # degrees
_NOD: Final = 8.0
_FARTHEST_TURN: Final = 35.0
# The relief of a face, in cells of a patch:
_CELL: Final = 4  # pixels a side
_SMOOTH: Final = 1.2  # cells
_OUTLINE: Final = 0.05  # what share of the points is as far away as the outline
_FAINT: Final = 0.02  # the weight of the outline beside that of a point
_ROUNDS: Final = 3  # until a turn is turned back well enough

_GRID: Final = np.moveaxis(np.indices((SIDE // 2, SIDE // 2)), 0, -1)[..., ::-1] * 2 + 0.5
"""The middles of 2 x 2 pixels of a crop, x and y."""

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

HARD_CHANGES: Final = dataclasses.replace(
    CHANGES,
    side=(0.2, 0.8),
    blur=0.25,
    color=0.5,
    hue=(-40.0, 40.0),
    saturation=(0.4, 1.8),
    brightness=60.0,
    contrast=(0.35, 1.4),
    quality=(12.0, 90.0),
    erased=(0.02, 0.2),
)
"""The same where a teacher has seen the clear photo, which is often an old and good one."""

COVERED: Final = 0.25
"""The share of such crops that are partly covered by a piece of another face."""


@dataclass(frozen=True, slots=True, eq=False)
class FacePatches:
    """Faces cut out with room around them, n of them.

    Attributes:
        patches: uint8 ``(n, 128, 128, 3)`` RGB, upright by their landmarks.
        landmarks: float32 ``(n, 5, 2)`` in pixels of the patches.
        reliefs: float32 ``(n, 32, 32)``, how much nearer to the camera each part of a patch is,
            in its pixels; None where nobody knows.
    """

    patches: NDArray[np.uint8]
    landmarks: NDArray[np.float32]
    reliefs: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.patches)

    def select(self, places: NDArray[np.intp]) -> FacePatches:
        """Return some of them."""
        reliefs = None if self.reliefs is None else self.reliefs[places]
        return FacePatches(self.patches[places], self.landmarks[places], reliefs)


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
                landmarks.append(_lift(_move(points, matrix), lift))
            advance(1)
    if not patches:
        raise InputError("the photos hold no annotated faces to learn from, or to measure with")
    return FacePatches(np.stack(patches), np.array(landmarks, np.float32))


def cut_taught(
    photos: Path, teacher: MeshTeacher, *, lift: float, threads: int, watch: Watch
) -> FacePatches:
    """Cut the largest face out of each photo; its landmarks are where a teacher sees them.

    Args:
        photos: A tar or folder; see `datasets.training_set.open_source`.
        teacher: Looks at each face that the default detector finds.
        lift: How much higher than the teacher sees them the landmarks are taught, in distances of
            the eyes.
        threads: CPU threads of the detector; 0 for all cores.
        watch: Shows how far it is.

    Raises:
        InputError: No photo shows a face.
        ModelError: The teacher is another network.
    """
    options = RuntimeOptions(threads=threads)
    with Detector(max_faces=1, refiner="none", orienter="none", options=options) as detector:
        found = label_photos(photos, detector, watch).with_faces()
    patches, landmarks, reliefs = [], [], []
    with watch("Asking the teacher", len(found)) as advance:
        for place in range(len(found)):
            image, faces = found.photo(place)
            mesh = teacher.find(image, faces.landmarks[0])
            advance(1)
            if mesh is not None:
                matrix = similarity_transform(mesh.landmarks, center_pose(_PATCH, _MARGIN))
                patches.append(warp(image, matrix, _PATCH))
                landmarks.append(_lift(_move(mesh.landmarks, matrix), lift))
                reliefs.append(_relief(mesh, matrix))
    if not patches:
        raise InputError("the teacher sees no face in the photos to learn from")
    return FacePatches(np.stack(patches), np.array(landmarks, np.float32), np.stack(reliefs))


def make_batch(
    faces: FacePatches,
    places: NDArray[np.integer],
    rng: np.random.Generator,
    settings: Augment = CHANGES,
    covered: float = 0.0,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Crop faces as a detector's landmarks would, each a little wrong.

    Args:
        faces: The faces.
        places: Which of them, n.
        rng: Decides.
        settings: What is done to the crops besides.
        covered: The share of crops that a piece of another face covers in part.

    Returns:
        uint8 ``(n, 64, 64, 3)`` RGB, and landmarks ``(n, 5, 2)`` in sides of the crop.
    """
    crops = np.empty((len(places), SIDE, SIDE, 3), np.uint8)
    landmarks = np.empty((len(places), 5, 2), np.float32)
    for row, place in enumerate(places):
        crop, landmarks[row] = _crop_roughly(faces, place, rng)
        if rng.random() < covered:
            _cover(crop, faces.patches[rng.integers(len(faces))], rng)
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


def _crop_roughly(
    faces: FacePatches, place: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Crop a face as if by landmarks that are off; every other one is mirrored."""
    import cv2

    patch, points = faces.patches[place], faces.landmarks[place].astype(np.float64)
    relief = None if faces.reliefs is None else faces.reliefs[place]
    turn = np.radians(np.clip(rng.normal(0, (_YAW, _NOD)), -_FARTHEST_TURN, _FARTHEST_TURN))
    if relief is not None:
        points = _turn(points, relief, turn)
    matrix = _shake(rng) @ np.vstack(
        [similarity_transform(points, upright_landmarks(SIDE)), [0, 0, 1]]
    )
    placed = _move(points, matrix[:2])
    if np.linalg.det(matrix) < 0:
        placed = placed[MIRRORED]
    if relief is None:
        crop = cv2.warpAffine(patch, matrix[:2], (SIDE, SIDE))
    else:
        places = _move(_GRID, np.linalg.inv(matrix)[:2]).astype(np.float32)
        seen = cv2.resize(_turn_back(places, relief, turn), (SIDE, SIDE))
        crop = cv2.remap(patch, seen[..., 0], seen[..., 1], cv2.INTER_LINEAR)
    return np.asarray(crop, np.uint8), (placed / SIDE).astype(np.float32)


def _shake(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return what moves a crop by the errors of a detector and may mirror it, ``(3, 3)``."""
    scale = np.exp(rng.normal(0, _ZOOM))
    angle = np.radians(rng.normal(0, _TURN))
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if rng.random() < 0.5:
        turn = turn @ np.diag([-1.0, 1.0])
    middle = np.full(2, (SIDE - 1) / 2)
    moved = np.eye(3)
    moved[:2, :2] = turn
    moved[:2, 2] = middle + SIDE * rng.normal(0, _SHIFT, 2) - turn @ middle
    return moved


def _cover(crop: NDArray[np.uint8], other: NDArray[np.uint8], rng: np.random.Generator) -> None:
    """Cover a part of a crop by an oval piece of another face, in place."""
    import cv2

    height, width = rng.integers(SIDE // 6, SIDE // 2, 2)
    top, left = rng.integers(SIDE - height), rng.integers(SIDE - width)
    y, x = rng.integers(_PATCH - height), rng.integers(_PATCH - width)
    mask = np.zeros((height, width), np.uint8)
    middle, axes = (width // 2, height // 2), (width // 2, height // 2)
    cv2.ellipse(mask, middle, axes, 0, 0, 360, 1, cv2.FILLED)
    part = crop[top : top + height, left : left + width]
    part[mask > 0] = other[y : y + height, x : x + width][mask > 0]


def _relief(mesh: FaceMesh, matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return how near to the camera a patch is; beyond the face as near as its outline."""
    import cv2

    cells = _PATCH // _CELL
    near = -mesh.surface[:, 2] * np.hypot(*matrix[0, :2])
    near -= near.mean()
    at = np.floor((_move(mesh.surface[:, :2], matrix) + 0.5) / _CELL).astype(int)
    inside = ((at >= 0) & (at < cells)).all(axis=1)
    total, count = np.zeros((2, cells, cells))
    np.add.at(total, (at[inside, 1], at[inside, 0]), near[inside])
    np.add.at(count, (at[inside, 1], at[inside, 0]), 1)
    around, weight = (cv2.GaussianBlur(each, (0, 0), _SMOOTH) for each in (total, count))
    outline = np.quantile(near, _OUTLINE)
    return np.asarray((around + _FAINT * outline) / (weight + _FAINT), np.float32)


def _turn(
    points: NDArray[np.float64], relief: NDArray[np.float32], turn: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return where points ``(n, 2)`` of a patch go as the face turns to the side and nods."""
    middle = (_PATCH - 1) / 2
    near = _look_up(relief, points)[:, None]
    return np.asarray(middle + (points - middle) * np.cos(turn) + near * np.sin(turn))


def _turn_back(
    points: NDArray[np.float32], relief: NDArray[np.float32], turn: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return what points ``(..., 2)`` of a turned face show: the inverse of `_turn`, nearly."""
    middle = (_PATCH - 1) / 2
    flat = middle + (points - middle) / np.cos(turn, dtype=np.float32)
    found, pull = flat, np.tan(turn, dtype=np.float32)
    for _ in range(_ROUNDS):
        found = flat - _look_up(relief, found)[..., None] * pull
    return np.asarray(found, np.float32)


def _look_up(relief: NDArray[np.float32], points: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return how near a patch is at points ``(..., 2)``."""
    import cv2

    places = ((points + 0.5) / _CELL - 0.5).reshape(1, -1, 2).astype(np.float32)
    near = cv2.remap(
        relief, places[..., 0], places[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(near, np.float32).reshape(points.shape[:-1])


def _move(points: NDArray[np.floating], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where a transform ``(2, 3)`` brings points ``(..., 2)``."""
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2], np.float64)


def _lift(points: NDArray[np.float64], by: float) -> NDArray[np.float64]:
    return points - [0.0, by * measure_eye_distance(points)]
