from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import facekeep.pipeline.detect as module
from facekeep.errors import InputError, ModelError, ModelNotFound
from facekeep.models import FileEntry, ModelEntry
from facekeep.pipeline.detect import SMALLEST_FACE, Detector, _resized, _suppress
from facekeep.pipeline.image import load_image
from facekeep.pipeline.refine import Refiner
from facekeep.runtime import RuntimeOptions
from facekeep.types import Face

MIRROR = [1, 0, 2, 4, 3]


@pytest.fixture(scope="module")
def detector():
    with Detector() as opened:
        yield opened


@pytest.fixture(scope="module")
def head(collins, detector):
    """A head with a little around it, whose face is 100 pixels wide."""
    (face,) = detector.detect(collins)
    x1, y1, x2, y2 = face.bbox.round().astype(int)
    cut = collins[y1 - 30 : y2 + 25, x1 - 40 : x2 + 40]
    return scaled(cut, 100 / (x2 - x1))


def scaled(image, factor):
    height, width = (max(round(side * factor), 1) for side in image.shape[:2])
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return cv2.resize(np.asarray(image), (width, height), interpolation=method)


def scene(width, height, head, faces):
    """A gray scene with faces: each a width in pixels and the place of the head's center."""
    image = np.full((height, width, 3), 110, np.uint8)
    for size, x, y in faces:
        put = scaled(head, size / 100)
        top, left = int(y) - put.shape[0] // 2, int(x) - put.shape[1] // 2
        assert top >= 0
        assert left >= 0
        image[top : top + put.shape[0], left : left + put.shape[1]] = put
    return image


def mirrored(face: Face, width: int) -> Face:
    x1, y1, x2, y2 = face.bbox
    landmarks = face.landmarks[MIRROR] * [-1, 1] + [width - 1, 0]
    box = np.array([width - 1 - x2, y1, width - 1 - x1, y2], np.float32)
    return face.replace(bbox=box, landmarks=landmarks.astype(np.float32))


def eye_distance(face: Face) -> float:
    return float(np.linalg.norm(face.landmarks[0] - face.landmarks[1]))


def width_of(face: Face) -> float:
    return float(face.bbox[2] - face.bbox[0])


# Any size of image


@pytest.mark.parametrize("min_face", [None, SMALLEST_FACE, 200])
@pytest.mark.parametrize(
    "shape",
    [
        (1, 1),
        (1, 2),
        (1, 1000),
        (1000, 1),
        (31, 33),
        (32, 32),
        (449, 3),
        (20, 20_000),
        (20_000, 20),
    ],
)
def test_no_size_of_image_is_an_obstacle(shape, min_face):
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    with Detector(min_face=min_face) as detector:
        assert detector.detect(noise) == []


@pytest.mark.slow
@settings(max_examples=30)
@given(st.integers(1, 700), st.integers(1, 700), st.integers(0, 255))
def test_an_image_without_a_face_gives_an_empty_list(width, height, gray):
    with Detector(options=RuntimeOptions(threads=1)) as detector:
        assert detector.detect(np.full((height, width, 3), gray, np.uint8)) == []


@pytest.mark.parametrize("factor", [0.3, 0.5, 0.8, 1.25, 2, 4.1, 8])
@pytest.mark.parametrize("photo", ["hopper", "collins"])
def test_boxes_are_in_pixels_of_the_image_itself(detector, request, photo, factor):
    image = request.getfixturevalue(photo)
    (face,) = detector.detect(image)
    (other,) = detector.detect(scaled(image, factor))
    height = face.bbox[3] - face.bbox[1]
    np.testing.assert_allclose(other.bbox / factor, face.bbox, atol=0.07 * height)
    # The landmarks of single looks vary that much; see the tests of the second look.
    np.testing.assert_allclose(other.landmarks / factor, face.landmarks, atol=0.1 * height)


def test_stretched_images_are_measured_in_both_directions(detector, head):
    """The working image is rounded to whole pixels, 57 of 57.5, so x and y differ in scale."""
    image = np.full((20_000, 898, 3), 110, np.uint8)
    put = scaled(head, 4)
    image[16_000 : 16_000 + put.shape[0], 80 : 80 + put.shape[1]] = put
    with Detector(min_face=250) as other:
        (face,) = other.detect(image)
    (alone,) = detector.detect(put)
    np.testing.assert_allclose(face.bbox - [80, 16_000, 80, 16_000], alone.bbox, atol=0.1 * 400)


@pytest.mark.parametrize("size", [250, 500, 700, 3000])
@pytest.mark.parametrize("margin", [-0.06, 0.0, 0.15])
def test_a_face_that_fills_the_frame_is_found_once(detector, collins, size, margin):
    (face,) = detector.detect(collins)
    grow = margin * face.size
    x1, y1, x2, y2 = (face.bbox + np.array([-1, -1, 1, 1]) * grow).round().astype(int)
    close = scaled(collins[y1:y2, x1:x2], size / (x2 - x1))
    (found,) = detector.detect(close)
    assert width_of(found) > 0.6 * size
    center = (found.bbox[:2] + found.bbox[2:]) / 2
    np.testing.assert_allclose(center, [side / 2 for side in close.shape[1::-1]], atol=0.15 * size)


def test_a_small_face_needs_no_more_than_the_stated_size(detector, head):
    image = scene(640, 480, head, [(1.25 * SMALLEST_FACE, 300, 200)])
    (face,) = detector.detect(image)
    assert width_of(face) == pytest.approx(1.25 * SMALLEST_FACE, rel=0.25)


@pytest.mark.slow
def test_min_face_finds_what_the_working_size_hides(detector, head):
    image = scene(2500, 1500, head, [(30, 400, 300), (36, 2200, 1300), (300, 1200, 700)])
    assert len(detector.detect(image)) == 1
    with Detector(min_face=22) as careful:
        assert len(careful.detect(image)) == 3
    image = scene(200, 150, head, [(12, 100, 70)])
    with Detector(min_face=10) as careful:
        assert len(careful.detect(image)) == 1


class Recorder:
    """Stands before a session and notes the sizes of what the network is shown."""

    def __init__(self, session):
        self.session, self.shapes = session, []

    def run(self, feeds):
        (tensor,) = feeds.values()
        self.shapes.append(tensor.shape)
        return self.session.run(feeds)

    def close(self):
        self.session.close()


@pytest.mark.parametrize(
    ("options", "shape", "seen"),
    [
        ({}, (480, 640), [(480, 640), (64, 96)]),
        ({}, (3000, 4000), [(480, 640), (64, 96)]),
        ({}, (250, 250), [(256, 256)]),
        ({"longest_side": 320}, (3000, 4000), [(256, 320), (32, 64)]),
        ({"min_face": 20}, (480, 640), [(480, 640), (64, 96)]),
        ({"min_face": 40}, (960, 1280), [(480, 640), (64, 96)]),
        ({"min_face": 10}, (100, 200), [(224, 416), (32, 64)]),
        ({"min_face": 1000}, (3000, 4000), [(64, 96)]),
    ],
)
def test_the_working_size_follows_from_the_options(options, shape, seen):
    with Detector(**options) as detector:
        detector._session = recorder = Recorder(detector._session)
        detector.detect(np.zeros((*shape, 3), np.uint8))
    assert recorder.shapes == [(1, 3, *size) for size in seen]


def test_faces_below_min_face_are_left_out(head):
    image = scene(900, 600, head, [(40, 100, 100), (90, 300, 300), (180, 650, 300)])
    for min_face, count in [(20, 3), (60, 2), (130, 1), (250, 0)]:
        with Detector(min_face=min_face) as detector:
            faces = detector.detect(image)
        assert len(faces) == count
        assert all(face.size >= min_face for face in faces)


def test_the_largest_come_first_and_max_faces_keeps_them(detector, head):
    sizes = [60, 140, 35, 100]
    places = [(100, 100), (300, 300), (520, 80), (520, 330)]
    image = scene(640, 480, head, [(s, *p) for s, p in zip(sizes, places, strict=True)])
    found = [face.size for face in detector.detect(image)]
    assert found == sorted(found, reverse=True)
    np.testing.assert_allclose(found, sorted(sizes, reverse=True), rtol=0.15)
    for most in (1, 2, 3, 4, 100):
        with Detector(max_faces=most) as few:
            assert [face.size for face in few.detect(image)] == found[:most]


def test_shrinking_in_one_direction_only_does_not_alias():
    stripes = np.zeros((4100, 1, 3), np.uint8)
    stripes[::2] = 255
    thin = _resized(stripes, 1, 500)
    assert thin.shape == (500, 1, 3)
    assert np.abs(thin.astype(int) - 127).max() < 30


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(480, 640), (481, 640), (482, 641), (1500, 2000), (7, 9)])
@pytest.mark.parametrize("part", [0.5, 0.25, 0.16, 0.03])
def test_shrinking_keeps_the_place_and_the_gray(shape, part):
    y, x = np.mgrid[: shape[0], : shape[1]]
    ramp = np.stack([x * 255 / shape[1], y * 255 / shape[0], x * 0 + 99], -1).round()
    height, width = (max(round(side * part), 1) for side in shape)
    small = _resized(ramp.astype(np.uint8), width, height)
    assert small.shape == (height, width, 3)
    for axis, length, full in ((0, width, shape[1]), (1, height, shape[0])):
        expected = ((np.arange(length) + 0.5) * full / length - 0.5) * 255 / full
        found = small[..., axis].mean(axis=axis)
        # Averages of rounded pixels, and an eighth of a pixel for steps that are no whole ratio.
        np.testing.assert_allclose(found, expected, atol=1.5 + 255 / length / 8)


# What a face is


def test_faces_are_of_the_documented_types(detector, collins):
    (face,) = detector.detect(collins)
    assert (face.bbox.shape, face.bbox.dtype) == ((4,), np.float32)
    assert (face.landmarks.shape, face.landmarks.dtype) == ((5, 2), np.float32)
    assert type(face.score) is float
    assert 0.7 <= face.score <= 1
    assert face.quality is face.embedding is face.decision is None


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("photo", ["hopper", "collins"])
def test_landmarks_come_in_the_documented_order(detector, request, photo, mirror):
    image = request.getfixturevalue(photo)
    (face,) = detector.detect(image[:, ::-1] if mirror else image)
    left_eye, right_eye, nose, left_mouth, right_mouth = face.landmarks
    x1, y1, x2, y2 = face.bbox
    assert x1 < left_eye[0] < nose[0] < right_eye[0] < x2
    assert x1 < left_mouth[0] < right_mouth[0] < x2
    assert y1 < max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1]) < y2
    if mirror:
        (straight,) = detector.detect(image)
        found = mirrored(face, image.shape[1]).landmarks
        apart = np.abs(found - straight.landmarks).max()
        assert apart < 0.1 * eye_distance(straight)


def test_colors_matter_to_the_network_as_the_catalog_says(detector, collins):
    """Blue faces are less of a face; were the channels swapped on the way, red ones would be."""
    straight = detector._run(collins[None, :480], 0.1).scores.max()
    swapped = detector._run(collins[None, :480, :, ::-1], 0.1).scores.max()
    assert straight > swapped


def test_views_and_read_only_arrays_are_images_too(detector, collins):
    view = collins[:, ::-1][10:400:1, 20:]
    for one, other in zip(detector.detect(view), detector.detect(view.copy()), strict=True):
        np.testing.assert_array_equal(one.bbox, other.bbox)
    assert not collins.flags.writeable


# Non-maximum suppression


@pytest.mark.parametrize(
    ("boxes", "scores", "overlap", "keep"),
    [
        ([], [], 0.3, []),
        ([(0, 0, 10, 10)], [0.7], 0.3, [0]),
        ([(0, 0, 10, 10)] * 3, [0.7, 0.9, 0.8], 0.3, [1]),
        ([(0, 0, 10, 10)] * 3, [0.8, 0.8, 0.8], 0.3, [0]),  # a tie: the first stays
        ([(0, 0, 10, 10), (10, 0, 20, 10)], [0.7, 0.9], 0.0, [1, 0]),  # touching
        ([(0, 0, 10, 10), (20, 20, 30, 30)], [0.7, 0.9], 0.3, [1, 0]),  # apart
        ([(0, 0, 10, 10), (2, 2, 8, 8)], [0.9, 0.7], 0.3, [0]),  # nested: 36 of 100
        ([(0, 0, 10, 10), (2, 2, 8, 8)], [0.7, 0.9], 0.3, [1]),
        ([(0, 0, 10, 10), (3, 3, 7, 7)], [0.9, 0.7], 0.3, [0, 1]),  # nested: 16 of 100
        ([(0, 0, 10, 10), (3, 3, 7, 7)], [0.9, 0.7], 0.15, [0]),
        ([(0, 0, 10, 10), (5, 0, 15, 10)], [0.9, 0.7], 0.34, [0, 1]),  # a third
        ([(0, 0, 10, 10), (5, 0, 15, 10)], [0.9, 0.7], 0.33, [0]),
        ([(0, 0, 10, 10), (0, 0, 10, 10)], [0.9, 0.7], 1.0, [0, 1]),
        # A chain: the middle goes for the first, so the last stays.
        ([(0, 0, 10, 10), (4, 0, 14, 10), (8, 0, 18, 10)], [0.9, 0.8, 0.7], 0.3, [0, 2]),
        ([(-5, -5, 5, 5), (-4, -4, 6, 6)], [0.7, 0.8], 0.3, [1]),  # beyond the border
    ],
)
def test_suppression(boxes, scores, overlap, keep):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    assert _suppress(boxes, np.array(scores, np.float32), overlap).tolist() == keep


def test_overlap_one_keeps_what_zero_drops(collins):
    with Detector(overlap=1) as everything, Detector(overlap=0) as strict:
        assert len(everything.detect(collins)) > len(strict.detect(collins)) == 1


def test_a_higher_score_finds_fewer(collins):
    counts = []
    for score in (0.05, 0.6, 0.99):
        with Detector(score=score, overlap=1) as detector:
            faces = detector.detect(collins)
        assert all(face.score >= score for face in faces)
        counts.append(len(faces))
    assert counts[0] > counts[1] > counts[2] == 0


# Tiles


@pytest.mark.slow
def test_every_face_of_a_huge_picture_is_found_once(head):
    """Working scale 0.8: cuts at 1,792 x n and 1,792 x n + 256 working pixels."""
    cuts = [each / 0.8 for each in (1792, 2048, 3584, 3840)]
    random = np.random.default_rng(1)
    places = [(x, y) for x in (*cuts, 300, 5700) for y in (*cuts[:2], 300, 1300, 3600)]
    faces = [
        (random.uniform(30, 110), x + random.uniform(-45, 45), y + random.uniform(-45, 45))
        for x, y in places
    ]
    faces += [(700, 1300, 1800), (420, 3700, 800), (260, 3500, 1900), (900, 1250, 3050)]
    image = scene(6000, 4000, head, faces)
    with Detector(min_face=20) as detector:
        found = detector.detect(image)
    assert len(found) == len(faces)
    centers = np.array([(face.bbox[:2] + face.bbox[2:]) / 2 for face in found])
    for size, x, y in faces:
        near = np.abs(centers - [x, y]).max(axis=1) < 0.25 * size + 3
        assert near.sum() == 1
        assert width_of(found[near.argmax()]) == pytest.approx(size, rel=0.25)


@pytest.mark.slow
@pytest.mark.parametrize("size", [24, 45, 64, 90, 128, 170, 300])
def test_a_face_that_slides_over_a_cut_stays_one_face(monkeypatch, head, size):
    """Small tiles, so that the cuts at 256 and 512 can be crossed in small pictures."""
    monkeypatch.setattr(module, "_TILE", 512)
    with Detector(min_face=16) as detector:
        for step in range(12):
            x = 256 + 256 * (step % 2) + (step - 6) * size / 8
            for place in ((x, 350), (x, x)):
                left, top = (max(each, 1.1 * size + 2) for each in place)
                faces = detector.detect(scene(1200, 1000, head, [(size, left, top)]))
                assert len(faces) == 1, (left, top)


def test_a_panorama_is_looked_through_and_at_again(head):
    near, far = (scene(width, 400, head, [(90, width - 300, 200)]) for width in (1_000, 40_000))
    with Detector(min_face=40) as detector:
        (here,), (there,) = (detector.refine(each, detector.detect(each)) for each in (near, far))
    assert np.abs(there.landmarks - here.landmarks - [39_000, 0]).max() < 2


@pytest.mark.slow
def test_memory_stays_that_of_a_tile():
    """In one piece the network would take some 2,000 MiB for this picture."""
    program = """
import resource, numpy as np
from facekeep.pipeline.detect import Detector
image = np.full((6000, 8000, 3), 90, np.uint8)
detector = Detector(min_face=16)
detector.detect(image[:100, :100])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
detector.detect(image)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 700


# Threads


@pytest.mark.slow
def test_threads_share_one_detector(detector, hopper, collins):
    photos = [(hopper, collins)[i % 2][i : 500 - i, i : 505 - i] for i in range(40)]

    def look(image):
        faces = detector.refine(image, detector.detect(image))
        return [(face.bbox.tolist(), face.landmarks.tolist(), face.score) for face in faces]

    serial = [look(image) for image in photos]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(look, photos)) == serial
    assert all(serial)


# The second look


def test_refining_is_the_refiners_work(detector, hopper):
    faces = detector.detect(hopper)
    (here,) = detector.refine(hopper, faces)
    with Refiner() as refiner:
        (there,) = refiner.refine(hopper, faces)
    np.testing.assert_array_equal(here.landmarks, there.landmarks)
    assert np.abs(here.landmarks - faces[0].landmarks).max() > 0


def test_refining_can_be_left_out(hopper):
    with Detector() as refining, Detector(refiner="none") as plain:
        faces = plain.detect(hopper)
        assert plain.refine(hopper, faces) == faces
        names = [[model.name for model in each.models] for each in (refining, plain)]
    assert names == [
        ["yunet", "facekeep-refiner", "facekeep-orienter"],
        ["yunet", "facekeep-orienter"],
    ]


# Wrong use


@pytest.mark.parametrize(
    "image",
    [
        None,
        "photo.jpg",
        [[1, 2, 3]],
        np.zeros((10, 10), np.uint8),
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((3, 10, 10), np.uint8),
        np.zeros((1, 10, 10, 3), np.uint8),
        np.zeros((10, 10, 3), np.float32),
        np.full((10, 10, 3), np.nan),
        np.zeros((10, 10, 3), np.uint16),
        np.zeros((0, 10, 3), np.uint8),
    ],
)
def test_what_is_no_image_is_refused(detector, image):
    for attempt in (detector.detect, lambda each: detector.refine(each, [])):
        with pytest.raises(InputError) as caught:
            attempt(image)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"score": -0.1},
        {"score": 1.1},
        {"score": float("nan")},
        {"score": "0.5"},
        {"score": None},
        {"overlap": -0.1},
        {"overlap": 2},
        {"min_face": 7},
        {"min_face": 1e9},
        {"min_face": "20"},
        {"max_faces": 0},
        {"max_faces": -1},
        {"max_faces": 2.5},
        {"max_faces": "all"},
        {"longest_side": 31},
        {"longest_side": 1e6},
    ],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(InputError, match=next(iter(options))) as caught:
        Detector(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", [np.float32(0.5), np.int64(1), 1])
def test_numbers_of_numpy_are_numbers(number):
    Detector(score=number).close()


def test_after_close_it_is_refused(collins):
    detector = Detector()
    faces = detector.detect(collins)
    detector.close()
    detector.close()
    for attempt in (lambda: detector.detect(collins), lambda: detector.refine(collins, faces)):
        with pytest.raises(InputError, match="closed"):
            attempt()
    with Detector() as other:
        pass
    with pytest.raises(InputError, match="closed"):
        other.detect(collins)


def test_only_detectors_detect():
    with pytest.raises(ModelError, match="not to detect"):
        Detector("sface")
    with pytest.raises(ModelNotFound, match="no model is called"):
        Detector("no-such-model")
    with pytest.raises(ModelError, match="not to refine"):
        Detector(refiner="sface")
    with pytest.raises(ModelError, match="no known kind"):
        Detector(an_entry("other.onnx", b"", None, architecture="onnx"))


# Against OpenCV's own detector and the weights as they were before they were rounded


def an_entry(name, content, folder, architecture="yunet") -> ModelEntry:
    file = FileEntry(name, hashlib.sha256(content).hexdigest(), len(content))
    terms = {"summary": "", "weights_license": "MIT", "training_data": ""}
    fed = {"color": "bgr", "mean": (0.0,) * 3, "scale": (1.0,) * 3}
    return ModelEntry(
        name="reference",
        task="detect",
        architecture=architecture,
        files=(file,),
        folder=folder,
        **terms,
        **fed,
    )


def real_photos(shared):
    """Photos of people and of LFW, laid on the 640 x 640 that the reference network takes."""
    with tarfile.open(shared / "scenes" / "scenes.tar") as tar:
        names = sorted(name for name in tar.getnames() if name.startswith("p"))[:30]
        sources = [tar.extractfile(name).read() for name in names]
    sources += sorted((shared / "lfw" / "images").glob("*/*_0001.jpg"))[::130]
    for source in sources:
        image = load_image(source)[:640, :640]
        picture = np.zeros((640, 640, 3), np.uint8)
        picture[: image.shape[0], : image.shape[1]] = image
        yield picture


def one_look(monkeypatch, **options) -> Detector:
    """A detector that looks once, at full size, as OpenCV does."""
    monkeypatch.setattr(module, "_LARGEST_FACE", 640)
    return Detector(**options)


def opencv_faces(path, images):
    network = cv2.FaceDetectorYN.create(str(path), "", (640, 640), 0.7, 0.3, 5000)
    for image in images:
        _, rows = network.detect(np.ascontiguousarray(image[..., ::-1]))
        yield np.empty((0, 15), np.float32) if rows is None else rows


def differences(faces, rows):
    """For each face, how far the corners of the nearest of OpenCV's boxes are, and the points."""
    boxes = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1)
    for face in faces:
        apart = np.abs(boxes - face.bbox).max(axis=1)
        nearest = apart.argmin()
        points = rows[nearest, 4:14].reshape(5, 2)
        yield apart[nearest], np.abs(points - face.landmarks).max()


REFERENCE = "face_detection_yunet_2023mar.onnx"


@pytest.mark.slow
@pytest.mark.shared
def test_the_same_weights_give_what_opencv_gives(shared, monkeypatch):
    path = shared / "weights" / REFERENCE
    images = list(real_photos(shared))
    assert len(images) >= 40
    found = 0
    with one_look(monkeypatch, model=an_entry(REFERENCE, path.read_bytes(), path.parent)) as own:
        for image, rows in zip(images, opencv_faces(path, images), strict=True):
            faces = own.detect(image)
            assert len(faces) == len(rows)
            assert all(max(each) < 0.01 for each in differences(faces, rows))
            found += len(faces)
    assert found >= 60


@pytest.mark.slow
@pytest.mark.shared
def test_the_default_weights_are_within_a_pixel_of_the_unrounded_ones(shared, monkeypatch):
    images = list(real_photos(shared))
    apart, miscounted = [], 0
    with one_look(monkeypatch) as own:
        reference = opencv_faces(shared / "weights" / REFERENCE, images)
        for image, rows in zip(images, reference, strict=True):
            faces = own.detect(image)
            miscounted += len(faces) != len(rows)
            apart += [box for box, _ in differences(faces, rows)] if len(rows) else []
    assert miscounted <= 0.05 * len(images)
    assert np.median(apart) < 0.5
    # The rest: another of several overlapping boxes of nearly equal score is the best.
    assert np.mean(np.array(apart) <= 1) > 0.93


def test_the_number_of_threads_changes_nothing_but_the_time(hopper):
    frame = scaled(hopper, 1.8)[:1080]
    frame = np.pad(frame, ((0, 1080 - len(frame)), (0, 1920 - frame.shape[1]), (0, 0)))
    with Detector(options=RuntimeOptions(threads=2)) as two:
        with Detector(options=RuntimeOptions(threads=1)) as one:
            for ours, theirs in zip(two._pyramid(frame), one._pyramid(frame), strict=True):
                np.testing.assert_array_equal(ours, theirs)
        assert two.find(frame)
        two.close()
        assert two._workers._pool is None
