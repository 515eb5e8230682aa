"""Rough crops: wherever a face goes, its landmarks go too."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from litert_kit import face_mesh
from numpy.typing import NDArray

from facekeep.errors import InputError
from facekeep.lab.datasets.annotated import open_annotated
from facekeep.lab.datasets.augment import Augment
from facekeep.lab.nn.refiner import SIDE
from facekeep.lab.train.refiner.faces import (
    CHANGES,
    FacePatches,
    center_pose,
    cut_out,
    cut_taught,
    make_batch,
    measure_eye_distance,
)
from facekeep.lab.train.refiner.teacher import MeshTeacher
from facekeep.pipeline.image import save_image
from facekeep.pipeline.refine import MIRRORED, upright_landmarks

MARKS = np.array([[40, 50], [70, 55], [54, 70], [42, 88], [66, 90]])


def quiet(what, images):
    return nullcontext(lambda done: None)


def write_marks(folder: Path) -> Path:
    """Five photos with the same landmarks, of which each shows one as a white blot on black."""
    faces = [{"landmarks": MARKS.tolist(), "bbox": [0, 0, 100, 100]}]
    for number, (x, y) in enumerate(MARKS):
        image = np.zeros((140, 120, 3), np.uint8)
        image[y - 2 : y + 3, x - 2 : x + 3] = 255
        save_image(folder / f"{number}.png", image)
        (folder / f"{number}.json").write_text(json.dumps({"faces": faces}))
    return folder


def blot(crop: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Where the blot lies, by its center of mass."""
    rows, columns = np.indices(crop.shape[:2])
    light = crop[..., 0].astype(float)
    return np.array([(columns * light).sum(), (rows * light).sum()]) / light.sum()


@pytest.fixture(scope="module")
def marks(tmp_path_factory: pytest.TempPathFactory) -> FacePatches:
    photos = open_annotated(write_marks(tmp_path_factory.mktemp("marks")))
    return cut_out(photos, lift=0.0, watch=quiet)


def test_landmarks_lie_where_they_did(marks: FacePatches):
    for number, patch in enumerate(marks.patches):
        np.testing.assert_allclose(blot(patch), marks.landmarks[number, number], atol=0.5)


def test_landmarks_go_with_rough_crops_and_mirror_images(marks: FacePatches):
    places = np.arange(200) % 5
    crops, landmarks = make_batch(
        marks, places, np.random.default_rng(0), Augment.none(), covered=0
    )
    mirrored = 0
    for place, crop, points in zip(places, crops, landmarks * SIDE, strict=True):
        here, there = (np.abs(blot(crop) - points[each]).max() for each in (place, MIRRORED[place]))
        assert min(here, there) < 0.7
        assert points[0, 0] < points[1, 0]
        mirrored += there < here
    assert 0.35 * 160 < mirrored < 0.65 * 160  # the tip of the nose is one of five, on either side


def test_crops_are_rough(marks: FacePatches):
    places = np.zeros(300, int)
    _, landmarks = make_batch(marks, places, np.random.default_rng(0), Augment.none())
    centers, eyes = landmarks.mean(axis=1), landmarks[:, 1] - landmarks[:, 0]
    assert 0.02 < centers[:, 1].std() < 0.06
    assert 0.07 < np.log(np.linalg.norm(eyes, axis=1)).std() < 0.13
    assert 7 < np.degrees(np.arctan2(eyes[:, 1], eyes[:, 0])).std() < 13


def test_the_same_chance_gives_the_same_batch(marks: FacePatches):
    places = np.zeros(3, int)
    one, two, other = (make_batch(marks, places, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert all(np.array_equal(*pair) for pair in zip(one, two, strict=True))
    assert not np.array_equal(one[0], other[0])


def test_changes_touch_pixels_only(marks: FacePatches):
    places = np.zeros(40, int)
    plain, changed = (
        make_batch(marks, places, np.random.default_rng(0), each)
        for each in (Augment.none(), CHANGES)
    )
    assert not np.array_equal(plain[0], changed[0])
    assert plain[1].shape == changed[1].shape == (40, 5, 2)
    assert changed[0].dtype == np.uint8


def test_a_cover_is_a_piece_of_another_face_and_moves_nothing(marks: FacePatches):
    patches = np.repeat(np.array([0, 255], np.uint8), 128 * 128 * 3).reshape(2, 128, 128, 3)
    faces = FacePatches(patches, marks.landmarks[:2])
    crops, landmarks = make_batch(
        faces, np.zeros(60, int), np.random.default_rng(0), Augment.none(), covered=1
    )
    hidden = (crops == 255).all(axis=3).mean(axis=(1, 2))
    assert set(np.unique(crops)) == {0, 255}
    assert 0 < hidden.max() < 0.25
    assert 15 < (hidden > 0).sum() < 45  # every other time it is the same face
    assert np.abs(landmarks.mean(axis=0)[:, 0] - upright_landmarks(SIDE)[:, 0] / SIDE).max() < 0.05


def hills(number: int) -> FacePatches:
    """A flat face but for a nose 20 pixels high, on which there is a blot."""
    patch = np.zeros((128, 128, 3), np.uint8)
    patch[62:67, 62:67] = 255
    relief = np.zeros((32, 32), np.float32)
    relief[13:19, 13:19] = 20
    points = center_pose(128, 0.6).astype(np.float32)
    points[2] = 64
    return FacePatches(*(np.repeat(each[None], number, 0) for each in (patch, points, relief)))


def test_a_nose_goes_farther_than_the_eyes_as_a_face_turns():
    crops, landmarks = make_batch(
        hills(200), np.arange(200), np.random.default_rng(0), Augment.none(), covered=0
    )
    off = [np.abs(blot(c) - p[2]).max() for c, p in zip(crops, landmarks * SIDE, strict=True)]
    assert np.mean(off) < 0.7
    across = landmarks[:, 1] - landmarks[:, 0]
    across /= np.linalg.norm(across, axis=1)[:, None]
    middle = (landmarks[:, 0] + landmarks[:, 1]) / 2
    aside = ((landmarks[:, 2] - middle) * across).sum(axis=1)
    flat = FacePatches(hills(200).patches, hills(200).landmarks)
    _, still = make_batch(flat, np.arange(200), np.random.default_rng(0), Augment.none())
    eyes = measure_eye_distance(still).mean()
    assert 0.1 < aside.std() / eyes < 0.3
    assert abs(aside.mean()) / eyes < 0.05


def test_a_teacher_places_the_landmarks_of_faces_that_are_found(
    tmp_path: Path, hopper: NDArray[np.uint8]
):
    save_image(tmp_path / "face.png", hopper)
    save_image(tmp_path / "black.png", np.zeros_like(hopper))
    points = np.array([[72.6, 73.2], [118.4, 73.2], [95.5, 100.5], [75.3, 122.7], [115.7, 122.7]])
    network = tmp_path.with_suffix(".tflite")
    network.write_bytes(face_mesh(points, depth=-10.0))
    with MeshTeacher(network) as teacher:
        faces, lifted = (
            cut_taught(tmp_path, teacher, lift=lift, threads=1, watch=quiet) for lift in (0.0, 0.1)
        )
        (tmp_path / "face.png").unlink()
        with pytest.raises(InputError, match="sees no face"):
            cut_taught(tmp_path, teacher, lift=0.0, threads=1, watch=quiet)
    assert len(faces) == 1
    np.testing.assert_allclose(faces.landmarks[0], center_pose(128, 0.6), atol=4)
    by = 0.1 * measure_eye_distance(faces.landmarks[0])
    np.testing.assert_allclose(faces.landmarks - lifted.landmarks, [[[0, by]] * 5], atol=1e-4)
    assert faces.reliefs is not None
    assert faces.reliefs.shape == (1, 32, 32)
    (x, y), *_ = (center_pose(128, 0.6) / 4).astype(int)
    assert faces.reliefs[0, 17, 15] > faces.reliefs[0, y, x]


def test_landmarks_are_taught_higher(tmp_path: Path, marks: FacePatches):
    photos = open_annotated(write_marks(tmp_path))
    lifted = cut_out(photos, lift=0.1, watch=quiet).landmarks[0]
    by = 0.1 * measure_eye_distance(marks.landmarks[0])
    np.testing.assert_allclose(marks.landmarks[0] - lifted, [[0, by]] * 5, atol=1e-4)


def test_photos_without_faces_are_refused(tmp_path: Path):
    write_marks(tmp_path)
    for number in range(5):
        (tmp_path / f"{number}.json").write_text('{"faces": []}')
    with pytest.raises(InputError, match="no annotated faces"):
        cut_out(open_annotated(tmp_path), lift=0.0, watch=quiet)
