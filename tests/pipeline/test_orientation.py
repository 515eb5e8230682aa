"""Turned faces: found whichever way the photo is turned, with landmarks where they belong."""

from __future__ import annotations

import cv2
import numpy as np
import onnx
import pytest
from msgspec import structs
from onnx import TensorProto, helper, numpy_helper

from facekeep import FaceEngine
from facekeep.errors import InputError, ModelError, ModelNotFound
from facekeep.models import default_model, entry
from facekeep.models.importing import add_model
from facekeep.pipeline.detect import Detector
from facekeep.pipeline.orientation import Orienter, Seen, moved_back
from facekeep.pipeline.refine import upright_landmarks
from facekeep.types import Face

QUARTERS = [1, 2, 3]


@pytest.fixture(scope="module")
def detector():
    with Detector() as opened:
        yield opened


@pytest.fixture(scope="module")
def orienter():
    with Orienter() as opened:
        yield opened


def quarter(image, quarters):
    return np.ascontiguousarray(np.rot90(image, quarters))


def eye_distance(face):
    return float(np.linalg.norm(face.landmarks[1] - face.landmarks[0]))


def face_at(landmarks, box=(0, 0, 64, 64)):
    return Face(np.array(box, np.float32), np.array(landmarks, np.float32), 0.9)


def rotated(image, degrees):
    """Turn an image clockwise without losing its corners; also return what moves its points."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), -degrees, 1)
    side = int(np.hypot(height, width)) + 1
    matrix[:, 2] += (side - np.array([width, height])) / 2
    return cv2.warpAffine(image, matrix, (side, side)), matrix


@pytest.mark.parametrize("quarters", [0, *QUARTERS])
def test_points_come_back_from_a_turned_image(quarters):
    image = np.zeros((30, 50, 3), np.uint8)
    marks = np.array([[4, 5], [40, 6], [20, 11], [8, 25], [31, 28]])
    for number, (x, y) in enumerate(marks, 1):
        image[y, x] = number
    there = np.rot90(image, quarters)[..., 0]
    found = [np.argwhere(there == number)[0][::-1] for number in range(1, 6)]
    low, high = np.min(found, axis=0), np.max(found, axis=0)
    face = moved_back(face_at(found, [*low, *high]), quarters, image.shape)
    np.testing.assert_array_equal(face.landmarks, marks)
    np.testing.assert_array_equal(face.bbox, [4, 5, 40, 28])


@pytest.mark.parametrize(
    ("degrees", "quarters"), [(0, 0), (40, 0), (50, 1), (95, 1), (180, 2), (-90, 3), (-100, 3)]
)
def test_the_turn_in_the_image_is_told_in_quarters(degrees, quarters):
    angle = np.radians(degrees)
    assert Seen(face_at(upright_landmarks(64)), np.cos(angle), np.sin(angle)).quarters == quarters


def test_a_seen_face_is_turned_back_by_its_landmarks():
    upright = face_at(upright_landmarks(64), [12, 16, 52, 60])
    for degrees in (-150, -60, 30, 90, 180):
        angle = np.radians(degrees)
        seen = Seen(upright, np.cos(angle), np.sin(angle))
        x, y = np.subtract(*seen.righted().landmarks[[1, 0]])
        np.testing.assert_allclose(np.degrees(np.arctan2(y, x)), degrees, atol=0.1)
        np.testing.assert_allclose(
            np.linalg.norm(seen.righted().landmarks - [32, 38], axis=1),
            np.linalg.norm(upright.landmarks - [32, 38], axis=1),
            rtol=1e-5,
        )
    assert Seen(upright, -0.9, 0.2).tilted
    for right, down in ((1, 0.2), (-0.2, 0.3)):  # nearly upright, not sure
        assert not Seen(upright, right, down).tilted


def test_a_tilted_face_stands_upright_in_its_patch():
    face = face_at(upright_landmarks(64) + 100, [110, 110, 150, 160])
    matrix = Seen(face, np.cos(0.7), np.sin(0.7)).upright_matrix(80, 256)
    np.testing.assert_allclose(matrix[:, :2] @ [130, 135] + matrix[:, 2], [127.5, 127.5])
    eyes = matrix[:, :2] @ [np.cos(0.7), np.sin(0.7)]
    np.testing.assert_allclose(eyes, [80 / 50, 0], atol=1e-6)


@pytest.mark.parametrize("photo", ["hopper", "collins"])
def test_the_orienter_tells_the_angle(detector, orienter, request, photo):
    image = request.getfixturevalue(photo)
    (face, *_) = detector.detect(image)
    for degrees in range(-180, 180, 60):
        angle = np.radians(degrees)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        center = (face.bbox[:2] + face.bbox[2:]) / 2
        wrong = face.replace(landmarks=(face.landmarks - center) @ turn + center)
        (seen,) = orienter.look(image, [wrong])
        seen_angle = np.degrees(np.arctan2(seen.down, seen.right))
        assert abs((seen_angle + degrees + 180) % 360 - 180) < 30
        assert seen.upright == (abs(degrees) <= 60)


@pytest.mark.parametrize("quarters", QUARTERS)
@pytest.mark.parametrize("photo", ["hopper", "collins"])
@pytest.mark.parametrize("side", [250, 512, 1100])
def test_a_turned_photo_shows_the_same_face(detector, request, photo, quarters, side):
    image = request.getfixturevalue(photo)
    image = cv2.resize(image, None, fx=side / max(image.shape), fy=side / max(image.shape))
    upright = detector.find(image)
    turned = detector.find(quarter(image, quarters))
    back = [moved_back(face, quarters, image.shape) for face in turned]
    assert len(back) == len(upright) == 1
    off = np.linalg.norm(back[0].landmarks - upright[0].landmarks, axis=1)
    assert off.mean() < 0.02 * eye_distance(upright[0]) + 1
    assert turned[0].score > 0.8


@pytest.mark.parametrize("quarters", QUARTERS)
def test_small_faces_of_a_turned_photo_are_found(detector, collins, quarters):
    image = np.full((480, 640, 3), 90, np.uint8)
    image[180:280, 300:400] = cv2.resize(collins[:400, :400], (100, 100))
    (upright,) = detector.find(image)
    assert upright.size < 50
    (turned,) = detector.find(quarter(image, quarters))
    back = moved_back(turned, quarters, image.shape)
    off = np.linalg.norm(back.landmarks - upright.landmarks, axis=1).mean()
    assert off < 0.05 * eye_distance(upright)


@pytest.mark.parametrize("degrees", [30, 45, 60, 120, 150, 210, 240, 300, 330])
def test_a_photo_turned_by_any_angle_has_its_landmarks_right(detector, collins, degrees):
    (upright,) = detector.find(collins)
    image, matrix = rotated(collins, degrees)
    there = upright.landmarks @ matrix[:, :2].T + matrix[:, 2]
    (face,) = detector.find(image)
    off = np.linalg.norm(face.landmarks - there, axis=1).mean()
    assert off < 0.12 * eye_distance(upright)


def test_faces_in_different_turns_are_all_found(detector, hopper, collins):
    tiles, expected = [], []
    for place, photo in enumerate((collins, hopper, collins, hopper)):
        tile = photo[:400, :400]
        (face,) = detector.find(tile)
        tiles.append(quarter(tile, place))
        matrix = np.array([[0, 1], [-1, 0]])  # of one quarter turn, counterclockwise
        points = face.landmarks
        for _ in range(place):
            points = points @ matrix.T + [0, 399]
        expected.append(points + np.array([400 * (place % 2), 400 * (place // 2)]))
    sheet = np.vstack([np.hstack(tiles[:2]), np.hstack(tiles[2:])])
    faces = detector.find(sheet)
    assert len(faces) == 4
    for points in expected:
        off = [np.linalg.norm(face.landmarks - points, axis=1).mean() for face in faces]
        assert min(off) < 0.05 * np.linalg.norm(points[1] - points[0])


def test_upright_photos_are_as_before(hopper, collins):
    with Detector(orienter="none") as plain, Detector() as whole:
        for image in (hopper, collins):
            before, after = plain.find(image), whole.find(image)
            assert len(before) == len(after) == 1
            np.testing.assert_allclose(after[0].landmarks, before[0].landmarks, atol=1e-3)
            np.testing.assert_array_equal(after[0].bbox, before[0].bbox)
            assert [model.name for model in whole.models][1:] == [
                default_model("refine"),
                default_model("orient"),
            ]
            assert len(plain.models) == 2


def test_without_an_orienter_every_face_counts_as_upright(hopper):
    with Detector(orienter="none") as plain:
        turned = quarter(hopper, 2)
        found, expected = plain.find(turned), plain.refine(turned, plain.detect(turned))
    for face, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(face.landmarks, other.landmarks)


def test_nothing_is_found_where_there_is_nothing(detector):
    rng = np.random.default_rng(0)
    for image in (
        np.zeros((200, 300, 3), np.uint8),
        rng.integers(0, 256, (300, 200, 3), np.uint8),
        np.full((1, 1, 3), 120, np.uint8),
    ):
        assert detector.find(image) == []


def test_limits_count_turned_faces_too(hopper, collins):
    large, small = collins[:300, :300], cv2.resize(hopper[:400, :400], (200, 200))
    sheet = np.zeros((300, 500, 3), np.uint8)
    sheet[:, :300], sheet[:200, 300:] = large, quarter(small, 2)
    with Detector(max_faces=1) as one, Detector() as every:
        both = every.find(sheet)
        assert [face.size for face in one.find(sheet)] == [both[0].size]
        assert len(both) == 2
    with Detector(min_face=both[1].size + 5) as choosy:
        assert all(face.size >= both[1].size + 5 for face in choosy.find(sheet))


@pytest.mark.slow
@pytest.mark.parametrize("quarters", QUARTERS)
def test_turned_photos_are_recognized(tmp_path, hopper, collins, quarters):
    with FaceEngine(tmp_path / "people.db", threads=1) as engine:
        engine.enroll("Grace Hopper", hopper)
        (face,) = engine.identify(quarter(hopper, quarters))
        (stranger,) = engine.identify(quarter(collins, quarters))
        assert face.name == "Grace Hopper"
        assert face.similarity is not None
        assert face.similarity > 0.9
        assert stranger.name is None
        assert engine.enroll("Eileen Collins", quarter(collins, quarters)).enrolled == 1
        (face,) = engine.identify(collins)
        assert face.name == "Eileen Collins"


def test_the_orienter_is_part_of_the_recipe():
    with FaceEngine() as one, FaceEngine(orienter="none") as other:
        assert one.fingerprint != other.fingerprint


def test_faces_that_cannot_be_turned_upright_count_as_upright(orienter, hopper):
    for landmarks in (np.full((5, 2), 7), np.full((5, 2), np.nan)):
        (seen,) = orienter.look(hopper, [face_at(landmarks)])
        assert seen.upright
        assert not seen.tilted
    assert orienter.look(hopper, []) == []


def constant_network(answer):
    """A network that gives the same answer for each crop."""
    nodes = [
        helper.make_node("ReduceMax", ["crop", "axes"], ["most"], keepdims=0),
        helper.make_node("Reshape", ["most", "shape"], ["each"]),
        helper.make_node("Mul", ["each", "zero"], ["nought"]),
        helper.make_node("Add", ["nought", "value"], ["direction"]),
    ]
    constants = {
        "shape": np.array([-1, 1], np.int64),
        "axes": np.array([1, 2, 3], np.int64),
        "zero": np.zeros(1, np.float32),
        "value": np.array(answer, np.float32)[None],
    }
    graph = helper.make_graph(
        nodes,
        "constant",
        [helper.make_tensor_value_info("crop", TensorProto.FLOAT, ["n", 3, 64, 64])],
        [helper.make_tensor_value_info("direction", TensorProto.FLOAT, ["n", len(answer)])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def added(answer, name):
    known = structs.replace(entry(default_model("orient")), name=name, files=())
    return add_model(constant_network(answer), known)


def test_an_answer_that_is_none_is_told(hopper):
    for name, answer in (("long", [1, 0, 0]), ("odd", [np.nan, 1])):
        with (
            Orienter(added(answer, name)) as broken,
            pytest.raises(ModelError, match=f"{name} gave no directions"),
        ):
            broken.look(hopper, [face_at(upright_landmarks(64))])


@pytest.mark.parametrize("answer", [(-1, 0), (0, 1), (0, 0), (0.3, -0.3)])
def test_an_upright_face_is_never_lost(hopper, answer):
    """Whatever the orienter says: the face of an upright photo stays one of those found."""
    with Detector(orienter="none") as plain:
        (before,) = plain.find(hopper)
    with Detector(orienter=added(answer, "wrong")) as mistaken:
        faces = mistaken.find(hopper)
    assert any(np.array_equal(face.bbox, before.bbox) for face in faces)


@pytest.mark.parametrize("quarters", QUARTERS)
@pytest.mark.parametrize("photo", ["hopper", "collins"])
def test_a_turned_photo_is_found_though_the_orienter_is_never_sure(request, photo, quarters):
    image = request.getfixturevalue(photo)
    with Detector(orienter=added((0, 0), "unsure")) as unsure:
        upright = unsure.find(image)[0]
        turned = [
            moved_back(face, quarters, image.shape)
            for face in unsure.find(quarter(image, quarters))
        ]
    off = [np.linalg.norm(face.landmarks - upright.landmarks, axis=1).mean() for face in turned]
    assert min(off) < 0.05 * eye_distance(upright)


def test_only_orienters_orient(hopper):
    with pytest.raises(ModelError, match="sface is a model to embed, not to orient"):
        Orienter("sface")
    with pytest.raises(ModelNotFound, match="nobody"):
        Detector(orienter="nobody")
    orienter = Orienter()
    orienter.close()
    with pytest.raises(InputError, match="closed"):
        orienter.look(hopper, [face_at(upright_landmarks(64))])
