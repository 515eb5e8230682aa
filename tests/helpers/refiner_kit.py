"""Annotated photos to train a refiner on: two portraits, turned and scaled, of made-up people."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from facekeep.pipeline.detect import Detector
from facekeep.pipeline.image import save_image
from facekeep.types import Face

PEOPLE = 6


def write_photos(folder: Path, portraits: list[NDArray[np.uint8]]) -> Path:
    """Write three photos each of six people, annotated as the detector sees them."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    with Detector() as detector:
        found = [(image, detector.detect(image)[0]) for image in portraits]
    for person in range(PEOPLE):
        for photo in range(3):
            image, face = found[person % len(found)]
            write_photo(folder / f"{person}-{photo}", image, face, f"person {person}", rng)
    return folder


def write_photo(
    path: Path, image: NDArray[np.uint8], face: Face, person: str, rng: np.random.Generator
) -> None:
    """Write a photo of 128 pixels around a face, and what is known about it."""
    center = tuple(face.landmarks.mean(axis=0).tolist())
    eyes = float(np.linalg.norm(face.landmarks[1] - face.landmarks[0]))
    matrix = cv2.getRotationMatrix2D(center, rng.uniform(-20, 20), rng.uniform(25, 45) / eyes)
    matrix[:, 2] += 64 - np.array(center)
    points = face.landmarks @ matrix[:, :2].T + matrix[:, 2]
    save_image(path.with_suffix(".png"), cv2.warpAffine(image, matrix, (128, 128)))
    low, high = points.min(axis=0) - 15, points.max(axis=0) + 15
    faces = [{"landmarks": points.tolist(), "bbox": [*low.tolist(), *high.tolist()]}]
    path.with_suffix(".json").write_text(json.dumps({"faces": faces, "person": person}))
