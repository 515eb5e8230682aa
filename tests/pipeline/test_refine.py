"""Refined landmarks: which faces they are of, how steady they are, and what cannot be refined."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from onnx import TensorProto, helper, numpy_helper

from facekeep.errors import InputError, ModelError, ModelNotFound
from facekeep.lab.datasets.annotated import open_annotated, split_by_person
from facekeep.models import default_model, entry
from facekeep.models.importing import add_model
from facekeep.pipeline.align import similarity_transform
from facekeep.pipeline.detect import Detector
from facekeep.pipeline.refine import MIRRORED, Refiner, upright_landmarks
from facekeep.types import Face


@pytest.fixture(scope="module")
def refiner():
    with Refiner() as opened:
        yield opened


@pytest.fixture(scope="module")
def detector():
    with Detector() as opened:
        yield opened


def eye_distance(landmarks):
    return float(np.linalg.norm(landmarks[1] - landmarks[0]))


def scaled(image, factor):
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return cv2.resize(np.asarray(image), None, fx=factor, fy=factor, interpolation=method)


def mirrored(face, width):
    x1, y1, x2, y2 = face.bbox
    landmarks = face.landmarks[MIRRORED] * [-1, 1] + [width - 1, 0]
    box = np.array([width - 1 - x2, y1, width - 1 - x1, y2], np.float32)
    return face.replace(bbox=box, landmarks=landmarks.astype(np.float32))


def face_at(landmarks):
    return Face(np.array([0, 0, 9, 9], np.float32), np.array(landmarks, np.float32), 0.9)


def moved(face, rng, share):
    """The face with landmarks that are off by about this share of the distance of the eyes."""
    off = rng.normal(0, share * eye_distance(face.landmarks), (5, 2))
    return face.replace(landmarks=(face.landmarks + off).astype(np.float32))


@pytest.mark.parametrize("size", [32, 64, 112])
def test_the_pose_is_its_own_mirror_image(size):
    points = upright_landmarks(size)
    np.testing.assert_allclose(points[MIRRORED] * [-1, 1] + [size - 1, 0], points)


def test_order_boxes_and_scores_stay(refiner, detector, hopper, collins):
    image = np.concatenate([hopper[:500, :500], collins[:500, :500]], axis=1)
    faces = detector.detect(image)
    assert len(faces) == 2
    for given_faces in (faces, faces[::-1]):
        refined = refiner.refine(image, given_faces)
        for before, after in zip(given_faces, refined, strict=True):
            np.testing.assert_array_equal(after.bbox, before.bbox)
            assert after.score == before.score
            assert after.landmarks.dtype == np.float32
            apart = np.abs(after.landmarks - before.landmarks).max()
            assert 0 < apart < 0.3 * eye_distance(before.landmarks)
    assert refiner.refine(image, []) == []


def test_a_crowd_is_refined_as_its_members_are(refiner, detector, hopper):
    (face,) = detector.detect(hopper)
    rng = np.random.default_rng(0)
    crowd = [moved(face, rng, 0.05) for _ in range(70)]
    for place, together in enumerate(refiner.refine(hopper, crowd)):
        (alone,) = refiner.refine(hopper, [crowd[place]])
        np.testing.assert_allclose(together.landmarks, alone.landmarks, atol=1e-2)


@pytest.mark.parametrize("photo", ["hopper", "collins"])
def test_landmarks_depend_less_on_the_size_of_the_photo(refiner, detector, request, photo):
    image = request.getfixturevalue(photo)
    raw, refined = [], []
    for factor in (0.5, 0.6, 0.75, 0.9, 1, 1.2, 1.5, 1.75, 2):
        other = scaled(image, factor)
        (face,) = detector.detect(other)
        raw.append(face.landmarks / factor)
        refined.append(refiner.refine(other, [face])[0].landmarks / factor)
    spread, better = (np.std(each, axis=0).mean() for each in (raw, refined))
    assert better < 0.7 * spread


@pytest.mark.parametrize("photo", ["hopper", "collins"])
def test_wrong_landmarks_are_mended(refiner, detector, request, photo):
    image = request.getfixturevalue(photo)
    (face,) = refiner.refine(image, detector.detect(image))
    rng = np.random.default_rng(0)
    wrong = [moved(face, rng, 0.12) for _ in range(30)]
    mended = refiner.refine(image, wrong)
    before, after = (
        np.mean([np.linalg.norm(each.landmarks - face.landmarks, axis=1) for each in faces])
        for faces in (wrong, mended)
    )
    assert after < 0.4 * before


@pytest.mark.parametrize("photo", ["hopper", "collins"])
@pytest.mark.parametrize("factor", [0.35, 1, 3])
def test_a_mirrored_photo_has_mirrored_landmarks(refiner, detector, request, photo, factor):
    image = scaled(request.getfixturevalue(photo), factor)
    (face,) = detector.detect(image)
    (straight,) = refiner.refine(image, [face])
    width = image.shape[1]
    (other,) = refiner.refine(image[:, ::-1], [mirrored(face, width)])
    difference = mirrored(other, width).landmarks - straight.landmarks
    assert np.abs(difference).max() < 0.01 * eye_distance(face.landmarks)


@pytest.mark.parametrize("angle", [-170, -90, -30, 45, 120])
def test_a_turned_photo_has_turned_landmarks(refiner, detector, hopper, angle):
    (face,) = detector.detect(hopper)
    (straight,) = refiner.refine(hopper, [face])
    middle = tuple(map(float, face.landmarks.mean(axis=0)))
    matrix = cv2.getRotationMatrix2D(middle, angle, 1)
    turned = cv2.warpAffine(hopper, matrix, hopper.shape[1::-1])
    there = face.landmarks @ matrix[:, :2].T + matrix[:, 2]
    (found,) = refiner.refine(turned, [face.replace(landmarks=there.astype(np.float32))])
    expected = straight.landmarks @ matrix[:, :2].T + matrix[:, 2]
    assert np.abs(found.landmarks - expected).max() < 0.03 * eye_distance(face.landmarks)


@pytest.mark.parametrize(
    "corner", [(0, 0), (0.5, 0), (0.5, 0.4), (-0.2, -0.2)], ids=["all", "half", "quarter", "less"]
)
def test_faces_at_the_border_are_guessed_near_by(refiner, detector, collins, corner):
    (face,) = detector.detect(collins)
    x, y = (face.bbox[:2] + np.array(corner) * face.size).astype(int)
    part = collins[y : y + 200, x : x + 120]
    there = face.replace(bbox=face.bbox - [x, y, x, y], landmarks=face.landmarks - [x, y])
    (refined,) = refiner.refine(part, [there])
    apart = np.abs(refined.landmarks - there.landmarks).max()
    assert apart < 0.6 * eye_distance(there.landmarks)


@pytest.mark.parametrize(
    "landmarks",
    [
        np.full((5, 2), 7),
        np.full((5, 2), np.nan),
        np.full((5, 2), np.inf),
        upright_landmarks(64) * 1e6,
        np.zeros((5, 2)),
    ],
)
def test_what_cannot_be_turned_upright_stays(refiner, hopper, landmarks):
    good = face_at(upright_landmarks(64) + 100)
    odd = face_at(landmarks)
    first, second, third = refiner.refine(hopper, [odd, good, odd])
    assert first is odd
    assert third is odd
    assert second is not good


@settings(max_examples=60, derandomize=True, database=None)
@given(st.lists(st.tuples(*[st.floats(-1e5, 1e5, width=32)] * 2), min_size=5, max_size=5))
def test_any_landmarks_give_finite_ones(refiner, points):
    image = np.full((60, 90, 3), 120, np.uint8)
    (face,) = refiner.refine(image, [face_at(points)])
    assert np.isfinite(face.landmarks).all()
    assert face.landmarks.shape == (5, 2)


def test_threads_share_one_refiner(refiner, detector, hopper, collins):
    photos = [(image, detector.detect(image)) for image in (hopper, collins)] * 10

    def look(photo):
        return [face.landmarks.tolist() for face in refiner.refine(*photo)]

    serial = [look(photo) for photo in photos]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(look, photos)) == serial


@pytest.mark.parametrize("image", [None, "photo.jpg", np.zeros((9, 9), np.uint8)])
def test_what_is_no_image_is_refused(refiner, image):
    with pytest.raises(InputError, match="image"):
        refiner.refine(image, [])


def test_after_close_it_is_refused(hopper):
    refiner = Refiner()
    refiner.close()
    refiner.close()
    with pytest.raises(InputError, match="closed"):
        refiner.refine(hopper, [face_at(upright_landmarks(64))])


def test_only_refiners_refine():
    with pytest.raises(ModelError, match="sface is a model to embed, not to refine"):
        Refiner("sface")
    with pytest.raises(ModelNotFound, match="nobody"):
        Refiner("nobody")
    with pytest.raises(ModelError, match="is a model to refine, not to detect"):
        Detector(default_model("refine"))


def constant_network(landmarks):
    """A network that gives the same landmarks, in sides of the crop, for each crop."""
    shape = numpy_helper.from_array(np.array([-1, 1, 1], np.int64), "shape")
    value = numpy_helper.from_array(np.array(landmarks, np.float32)[None], "value")
    axes = numpy_helper.from_array(np.array([1, 2, 3], np.int64), "axes")
    nodes = [
        helper.make_node("ReduceMax", ["crop", "axes"], ["most"], keepdims=0),
        helper.make_node("Reshape", ["most", "shape"], ["each"]),
        helper.make_node("Mul", ["each", "zero"], ["nought"]),
        helper.make_node("Add", ["nought", "value"], ["landmarks"]),
    ]
    zero = numpy_helper.from_array(np.zeros(1, np.float32), "zero")
    graph = helper.make_graph(
        nodes,
        "constant",
        [helper.make_tensor_value_info("crop", TensorProto.FLOAT, ["n", 3, 64, 64])],
        [helper.make_tensor_value_info("landmarks", TensorProto.FLOAT, ["n", len(landmarks), 2])],
        [shape, value, axes, zero],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def refiner_of(landmarks, name):
    known = structs.replace(entry(default_model("refine")), name=name, files=())
    return Refiner(add_model(constant_network(landmarks), known))


def test_answers_come_back_from_the_crop(hopper):
    """A network that sees every landmark in its pose confirms what it was given."""
    rng = np.random.default_rng(0)
    with refiner_of(upright_landmarks(64) / 64, "posed") as refiner:
        for _ in range(5):
            turn = similarity_transform(
                upright_landmarks(64), upright_landmarks(64) * rng.uniform(1, 3) + rng.normal(0, 9)
            )
            there = upright_landmarks(64) @ turn[:, :2].T + turn[:, 2]
            (face,) = refiner.refine(hopper, [face_at(there)])
            np.testing.assert_allclose(face.landmarks, there, atol=1e-3)


def test_an_answer_that_is_none_is_told(hopper):
    for name, answer in (("short", np.zeros((4, 2))), ("odd", np.full((5, 2), np.nan))):
        with (
            refiner_of(answer, name) as refiner,
            pytest.raises(ModelError, match=f"{name} gave no landmarks"),
        ):
            refiner.refine(hopper, [face_at(upright_landmarks(64))])


@pytest.mark.slow
@pytest.mark.shared
def test_people_it_never_saw(shared: Path, refiner, detector):
    """The figures of the model card, on every fifth photo."""
    photos = split_by_person(
        open_annotated(shared / "landmarks" / "faces68.tar"), holdout=70, seed=0
    )[1]
    errors = []
    for place in range(0, len(photos), 5):
        image, truth = photos.image(place), photos.landmarks(place)[0]
        around = [
            face
            for face in detector.detect(image)
            if (face.bbox[:2] < truth[2]).all() and (face.bbox[2:] > truth[2]).all()
        ]
        for face in around[:1]:
            found = (face, *refiner.refine(image, [face]))
            errors.append(
                [
                    np.linalg.norm(each.landmarks - truth, axis=1).mean() / eye_distance(truth)
                    for each in found
                ]
            )
    raw, refined = np.mean(errors, axis=0)
    assert len(errors) > 130
    assert raw > 0.12
    assert refined < 0.08
