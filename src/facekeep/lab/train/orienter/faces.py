"""What an orienter learns from: upright faces, and crops of them turned by any angle."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from facekeep.errors import InputError
from facekeep.lab.datasets.augment import Augment, augment
from facekeep.lab.nn.refiner import SIDE
from facekeep.lab.train.detector.labels import label_photos
from facekeep.lab.train.loop import Watch
from facekeep.lab.train.refiner.faces import center_pose
from facekeep.pipeline.align import similarity_transform
from facekeep.pipeline.detect import Detector
from facekeep.pipeline.warp import warp
from facekeep.runtime import RuntimeOptions

__all__ = ["CHANGES", "cut_upright", "make_batch"]

CHANGES: Final = Augment(
    flip=0.0,
    affine=0.0,
    downscale=0.25,
    side=(0.25, 0.8),
    blur=0.2,
    color=0.6,
    hue=(-40.0, 40.0),
    saturation=(0.4, 2.0),
    gray=0.15,
    light=0.6,
    brightness=50.0,
    contrast=(0.5, 1.4),
    jpeg=0.25,
    quality=(15.0, 90.0),
    erase=0.25,
    erased=(0.02, 0.2),
)
"""What is done to crops besides moving them: hard on color, as the photos are mostly old."""

_PATCH: Final = 128
_MARGIN: Final = 0.6
"""What a crop's side is of a patch's."""

_BOX: Final = np.array([0.5, 0.57])
"""Where the middle of a face's box lies in the crop, in sides; a face turns about it."""

# How far crops by a detector's landmarks are off on turned faces, as standard deviations; measured
# with YuNet on the training photos turned by quarters.
_SHIFT: Final = 0.07  # of the crop's side
_ZOOM: Final = 0.15  # of the logarithm of the scale

_UPRIGHT: Final = 0.4
"""The share of crops that are nearly upright, by this standard deviation in degrees:"""
_TILT: Final = 15.0
_NO_FACE: Final = 0.05
"""The share of crops that show a part of a face, or what is beside it."""


def cut_upright(photos: Path, *, threads: int, watch: Watch) -> NDArray[np.uint8]:
    """Cut the largest face out of each upright photo; those in which none is found are left out.

    Args:
        photos: A tar or folder; see `datasets.training_set.open_source`.
        threads: CPU threads of the detector; 0 for all cores.
        watch: Shows how far it is.

    Returns:
        uint8 ``(n, 128, 128, 3)`` RGB, upright by their refined landmarks, with room around them;
        beyond the photo its edge goes on.

    Raises:
        InputError: No photo shows a face.
    """
    import cv2

    with Detector(
        max_faces=1, orienter="none", options=RuntimeOptions(threads=threads)
    ) as detector:
        upright = label_photos(photos, detector, watch).with_faces()
    patches = []
    for place in range(len(upright)):
        image, faces = upright.photo(place)
        border = max(image.shape[:2]) // 2
        wide = cv2.copyMakeBorder(image, border, border, border, border, cv2.BORDER_REPLICATE)
        matrix = similarity_transform(faces.landmarks[0] + border, center_pose(_PATCH, _MARGIN))
        patches.append(warp(np.asarray(wide, np.uint8), matrix, _PATCH))
    if not patches:
        raise InputError("no upright face was found in the photos to learn from")
    return np.stack(patches)


def make_batch(
    patches: NDArray[np.uint8],
    places: NDArray[np.integer],
    rng: np.random.Generator,
    settings: Augment = CHANGES,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Crop faces as a detector does that takes any face for upright.

    Args:
        patches: The faces; see `cut_upright`.
        places: Which of them, n.
        rng: Decides.
        settings: What is done to the crops besides.

    Returns:
        uint8 ``(n, 64, 64, 3)`` RGB, and the answers ``(n, 2)``; see `nn.orienter.FaceOrienter`.
    """
    crops = np.empty((len(places), SIDE, SIDE, 3), np.uint8)
    answers = np.empty((len(places), 2), np.float32)
    for row, place in enumerate(places):
        crop, answers[row] = _turn(patches[place], rng)
        crops[row] = augment(crop, rng, settings)
    return crops, answers


def _turn(
    patch: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    import cv2

    degrees = rng.normal(0, _TILT) if rng.random() < _UPRIGHT else rng.uniform(-180, 180)
    angle = np.radians(degrees)
    direction = np.array([np.cos(angle), np.sin(angle)])
    scale = SIDE / (_PATCH * _MARGIN) * np.exp(rng.normal(0, _ZOOM))
    source = ((_BOX - 0.5) * _MARGIN + 0.5) * _PATCH - 0.5
    target = (_BOX + rng.normal(0, _SHIFT, 2)) * SIDE - 0.5
    answer = direction
    if rng.random() < _NO_FACE:
        source, scale = _beside(source, scale, rng)
        answer = np.zeros(2)
    turn = scale * np.array([[direction[0], -direction[1]], [direction[1], direction[0]]])
    if rng.random() < 0.5:
        turn = turn @ np.diag([-1.0, 1.0])
    matrix = np.column_stack([turn, target - turn @ source])
    border = cv2.BORDER_REPLICATE if rng.random() < 0.5 else cv2.BORDER_CONSTANT
    crop = cv2.warpAffine(patch, matrix, (SIDE, SIDE), borderMode=border)
    return np.asarray(crop, np.uint8), answer.astype(np.float32)


def _beside(
    source: NDArray[np.float64], scale: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], float]:
    """Look nearer, at a part of the face or at what is beside it."""
    zoom = rng.uniform(2.2, 5.0)
    way = rng.uniform(0, 2 * np.pi)
    far = rng.uniform(0, 0.45) * _PATCH
    return source + far * np.array([np.cos(way), np.sin(way)]), scale * zoom
