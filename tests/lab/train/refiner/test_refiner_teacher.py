"""The teacher: it looks twice, at both sides, and brings back what it sees."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from litert_kit import face_mesh, means
from numpy.typing import NDArray

from facekeep.errors import InputError, ModelCorrupt, ModelError, ModelNotFound
from facekeep.lab.train.refiner.teacher import MeshTeacher

POSE = np.array([[72.6, 73.2], [118.4, 73.2], [95.5, 100.5], [75.3, 122.7], [115.7, 122.7]])
PHOTO = np.full((300, 300, 3), 200, np.uint8)
TURN = 0.5 * np.array([[0.8, -0.6], [0.6, 0.8]])
"""What turns the pose by 37 degrees and halves it."""


def write(path: Path, landmarks: NDArray[np.float64] = POSE, depth: float = 0.0) -> Path:
    path.write_bytes(face_mesh(landmarks, depth=depth))
    return path


def place(points: NDArray[np.float64]) -> NDArray[np.float64]:
    return points @ TURN.T + [90, 40]


def test_what_it_sees_is_brought_back_to_the_photo(tmp_path: Path):
    path = write(tmp_path / "mesh.tflite", depth=-8.0)
    with MeshTeacher(path) as teacher:
        found = teacher.find(PHOTO, place(POSE))
    assert found is not None
    np.testing.assert_allclose(found.landmarks, place(POSE), atol=1e-3)
    np.testing.assert_allclose(found.surface[0, :2], place(POSE.mean(axis=0)), atol=0.2)
    assert found.surface.shape == (2 * 468, 3)
    np.testing.assert_allclose(found.surface[[0, 1], 2], [-4, 0], atol=1e-6)


def test_it_looks_twice_and_in_the_mirror(tmp_path: Path):
    path = write(tmp_path / "mesh.tflite", POSE + np.array([7, 2]))
    with MeshTeacher(path) as teacher:
        found = teacher.find(PHOTO, place(POSE))
    assert found is not None
    np.testing.assert_allclose(found.landmarks, place(POSE + np.array([0, 4])), atol=1e-3)


def test_where_it_sees_no_face_there_is_none(tmp_path: Path):
    with MeshTeacher(write(tmp_path / "mesh.tflite")) as teacher:
        assert teacher.find(np.zeros_like(PHOTO), place(POSE)) is None
        assert teacher.find(PHOTO, np.full((5, 2), 50.0)) is None


def test_it_is_found_in_a_wheel(tmp_path: Path):
    wheel = tmp_path / "mediapipe-0.10.21.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("mediapipe/__init__.py", "")
        archive.writestr("mediapipe/modules/face_landmark/face_landmark.tflite", face_mesh(POSE))
    with MeshTeacher(wheel) as teacher:
        assert teacher.find(PHOTO, place(POSE)) is not None


def test_a_network_with_a_zip_at_its_end_is_no_wheel(tmp_path: Path):
    path = write(tmp_path / "mesh.tflite")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels.txt", "")
    with MeshTeacher(path) as teacher:
        assert teacher.find(PHOTO, place(POSE)) is not None


def test_what_is_no_teacher_is_refused(tmp_path: Path):
    with pytest.raises(ModelNotFound, match="no model file"):
        MeshTeacher(tmp_path / "none.tflite")
    other = tmp_path / "other.whl"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("other/face.tflite", b"")
    with pytest.raises(InputError, match="give a wheel of mediapipe"):
        MeshTeacher(other)
    (tmp_path / "torn.tflite").write_bytes(b"no network")
    with pytest.raises(ModelCorrupt):
        MeshTeacher(tmp_path / "torn.tflite")
    (tmp_path / "small.tflite").write_bytes(means())
    with pytest.raises(ModelError, match="is not MediaPipe's face landmark network"):
        MeshTeacher(tmp_path / "small.tflite")
    (tmp_path / "alike.tflite").write_bytes(means(1, 192))
    with (
        MeshTeacher(tmp_path / "alike.tflite") as teacher,
        pytest.raises(ModelError, match="no face mesh"),
    ):
        teacher.find(PHOTO, place(POSE))
