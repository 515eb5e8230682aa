"""From samples to embeddings: every way to a crop, failures counted, nothing left behind."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import numpy as np
import pytest

from facekeep.errors import ImageError, InputError, ModelError
from facekeep.lab.datasets.test_sets import PairSet, Samples, make_file_samples
from facekeep.lab.evaluate.crops import choose_central_face, make_cropper
from facekeep.lab.evaluate.extract import (
    Embeddings,
    Failure,
    describe_reasons,
    extract,
    require_some,
)
from facekeep.pipeline.align import align
from facekeep.pipeline.detect import Detector
from facekeep.pipeline.embed import Embedder
from facekeep.runtime import RuntimeOptions
from facekeep.types import Face


class Means:
    """Embeds a crop as the mean of each channel."""

    width = 3

    def __init__(self, size: int = 8, gain: float = 1.0) -> None:
        self.size = size
        self.gain = gain
        self.most = 0

    def features(self, crops):
        assert crops.shape[1:] == (self.size, self.size, 3)
        assert crops.dtype == np.uint8
        self.most = max(self.most, len(crops))
        return (crops.mean(axis=(1, 2)) * self.gain).astype(np.float32)

    def embed(self, crops):
        rows = self.features(crops)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def colors(count: int) -> np.ndarray:
    return np.random.default_rng(3).integers(1, 256, (count, 3), np.uint8)


def crops_of(values, size: int = 8) -> Samples:
    """Plain aligned crops; a value of 0 is an image that cannot be read."""

    def load(place: int) -> np.ndarray:
        if not values[place].any():
            raise ImageError(f"{place}: is empty")
        return np.full((size, size, 3), values[place], np.uint8)

    return Samples(tuple(str(i) for i in range(len(values))), load, aligned=True)


def workers() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("facekeep-extract")]


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_rows_stand_at_the_places_of_their_samples(threads):
    values = colors(50)
    values[[4, 17, 49]] = 0
    made = extract(crops_of(values), Means(), threads=threads)
    assert made.rows.dtype == np.float32
    assert made.found.dtype == np.bool_
    assert np.flatnonzero(~made.found).tolist() == [4, 17, 49]
    assert not made.rows[~made.found].any()
    expected = values / np.maximum(np.linalg.norm(values.astype(float), axis=1), 1)[:, None]
    assert made.rows == pytest.approx(expected, abs=1e-6)
    assert made.failures == tuple(Failure(str(i), "is empty") for i in (4, 17, 49))
    assert made.norms is None
    assert workers() == []


def test_norms_are_the_lengths_of_the_networks_own_rows():
    values = colors(20)
    values[3] = 0
    made = extract(crops_of(values), Means(gain=0.5), norms=True)
    lengths = np.linalg.norm(values.astype(float), axis=1) / 2
    assert made.norms is not None
    assert made.norms.dtype == np.float32
    assert made.norms == pytest.approx(lengths, rel=1e-5)
    plain = extract(crops_of(values), Means(gain=0.5))
    assert made.rows == pytest.approx(plain.rows, abs=1e-6)


def test_a_row_without_direction_is_the_networks_fault():
    with pytest.raises(ModelError, match="without direction"):
        extract(crops_of(colors(3)), Means(gain=0.0), norms=True)


def test_no_samples_give_no_rows():
    made = extract(crops_of(colors(0)), Means(), norms=True)
    assert made.rows.shape == (0, 3)
    assert made.failures == ()


def test_nothing_but_failures():
    made = extract(crops_of(np.zeros((3, 3), np.uint8)), Means(), norms=True)
    assert len(made.failures) == 3
    assert not made.found.any()
    assert made.norms is not None
    assert made.norms.tolist() == [0, 0, 0]


def test_progress_goes_from_none_to_all():
    seen = []
    extract(crops_of(colors(30)), Means(), progress=lambda done, count: seen.append((done, count)))
    assert seen[0] == (0, 30)
    assert seen[-1] == (30, 30)
    assert seen == sorted(seen)


def test_few_images_are_ahead_of_those_done():
    values, lock = colors(400), threading.Lock()
    loaded, ahead = [], []
    inner = crops_of(values)

    def load(place: int) -> np.ndarray:
        with lock:
            loaded.append(place)
        return inner.load(place)

    embedder = Means()
    extract(
        dataclasses.replace(inner, load=load),
        embedder,
        threads=2,
        progress=lambda done, _: ahead.append(len(loaded) - done),
    )
    assert sorted(loaded) == list(range(400))
    assert max(ahead) <= 48
    assert embedder.most <= 8


def test_other_errors_end_the_run_and_its_threads():
    def load(place: int) -> np.ndarray:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        extract(dataclasses.replace(crops_of(colors(99)), load=load), Means(), threads=3)
    assert workers() == []


def test_an_interrupt_ends_the_run_and_its_threads():
    seen = []

    def interrupt(done: int, count: int) -> None:
        seen.append(done)
        if done >= 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        extract(crops_of(colors(999)), Means(), threads=2, progress=interrupt)
    assert caught.traceback  # what the traceback holds on to must not keep the threads alive
    assert workers() == []
    assert seen[-1] < 100


# The three ways to a crop


def test_aligned_crops_are_brought_to_the_size():
    shown = np.zeros((16, 16, 3), np.uint8)
    shown[:, 8:] = 200
    for size in (8, 32):
        crop = make_cropper(Samples(("a",), lambda _: shown, aligned=True), size, None, None)(0)
        assert crop.shape == (size, size, 3)
        assert crop[:, : size // 2 - 2].max() == 0
        assert crop[:, size // 2 + 2 :].min() == 200


def test_a_crop_that_is_not_square_is_a_failure():
    samples = Samples(("a",), lambda _: np.zeros((9, 8, 3), np.uint8), aligned=True)
    made = extract(samples, Means())
    assert made.failures == (Failure("a", "an aligned crop must be square, not 8 x 9 pixels"),)


def test_a_detector_checks_that_aligned_crops_hold_a_face_in_its_place(hopper):
    with Detector(options=RuntimeOptions(threads=1)) as detector:
        (face,) = detector.detect(hopper)
        good = align(hopper, face.landmarks)
        shifted = align(hopper, face.landmarks + np.array([40, 0]))
        noise = np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)
        samples = Samples(
            ("good", "shifted", "noise"), [good, shifted, noise].__getitem__, None, True
        )
        made = extract(samples, Means(112), detector)
        assert made.found.tolist() == [True, False, False]
        reason = "no face was found where an aligned crop has it"
        assert made.failures == (Failure("shifted", reason), Failure("noise", reason))
        assert (make_cropper(samples, 112, detector, None)(0) == good).all()
    assert extract(samples, Means(112)).found.all(), "without a detector they are taken as they are"


def test_published_landmarks_are_aligned_by(hopper):
    points = np.array([[250, 150], [330, 150], [290, 200], [260, 240], [320, 240]], np.float32)
    samples = Samples(("a", "b"), lambda _: hopper, np.stack([points, np.zeros((5, 2), "f4")]))
    crop = make_cropper(samples, 64, None, None)
    assert (crop(0) == align(hopper, points, 64)).all()
    made = extract(samples, Means(64))
    assert made.found.tolist() == [True, False]
    assert made.failures[0].name == "b"
    assert "landmarks lie all in one place" in made.failures[0].reason


def test_faces_that_have_to_be_looked_for_need_a_detector(hopper):
    with pytest.raises(InputError, match="give a detector"):
        make_cropper(Samples(("a",), lambda _: hopper), 112, None, None)


def box(x1: float, y1: float, x2: float, y2: float) -> Face:
    return Face(np.array([x1, y1, x2, y2], np.float32), np.zeros((5, 2), np.float32), 0.9)


def test_the_main_face_is_large_and_central():
    central, larger_beside = box(40, 40, 60, 60), box(0, 0, 24, 24)
    assert choose_central_face([larger_beside, central], (50, 50)) is central
    assert choose_central_face([larger_beside, central], (12, 12)) is larger_beside
    much_larger = box(20, 20, 90, 90)
    assert choose_central_face([central, much_larger], (50, 50)) is much_larger
    slightly_off = box(35, 35, 59, 59)  # area 576 - 2 * 18 against 400
    assert choose_central_face([central, slightly_off], (50, 50)) is slightly_off


@pytest.fixture
def photos(tmp_path: Path, hopper_path, collins_path) -> Samples:
    """Two portraits, a picture without a face, a damaged one and a missing one."""
    from PIL import Image

    empty, damaged = tmp_path / "empty.png", tmp_path / "damaged.jpg"
    Image.new("RGB", (200, 200), "gray").save(empty)
    damaged.write_bytes(hopper_path.read_bytes()[:5000])
    paths = [hopper_path, empty, collins_path, damaged, tmp_path / "missing.jpg"]
    return make_file_samples(["h", "empty", "c", "damaged", "missing"], paths)


@pytest.mark.slow
def test_from_photos_to_scores(photos, hopper):
    with (
        Detector(options=RuntimeOptions(threads=1)) as detector,
        Embedder(options=RuntimeOptions(threads=1)) as embedder,
    ):
        made = extract(photos, embedder, detector, threads=2)
        alone = extract(photos, embedder, threads=1)
        (face,) = detector.refine(hopper, detector.detect(hopper)[:1])
        (row,) = embedder.embed(align(hopper, face.landmarks, embedder.size)[None])
    assert made.found.tolist() == [True, False, True, False, False]
    assert (made.rows == alone.rows).all()
    assert made.rows[0] == pytest.approx(row, abs=1e-5)
    assert made.rows[0] @ made.rows[2] < 0.3
    reasons = {failure.name: failure.reason for failure in made.failures}
    assert list(reasons) == ["empty", "damaged", "missing"]
    assert reasons["empty"] == "no face was found"
    assert reasons["damaged"].startswith("is cut short")
    assert reasons["missing"].startswith("cannot be read: no such file")


@pytest.mark.slow
def test_norms_with_flip_are_of_the_sum(photos):
    samples = dataclasses.replace(photos, names=photos.names[:1])
    with (
        Embedder(options=RuntimeOptions(threads=1), flip=True) as embedder,
        Detector(options=RuntimeOptions(threads=1)) as detector,
    ):
        crop = make_cropper(samples, embedder.size, detector, None)(0)[None]
        made = extract(samples, embedder, detector, norms=True)
        pair = embedder.features(np.concatenate([crop, crop[:, :, ::-1]]))
    with Embedder(options=RuntimeOptions(threads=1)) as plain:
        added = plain.features(crop) + plain.features(np.ascontiguousarray(crop[:, :, ::-1]))
    assert made.norms is not None
    assert made.norms[0] == pytest.approx(np.linalg.norm(added), rel=1e-4)
    assert made.rows[0] * made.norms[0] == pytest.approx(added[0], abs=1e-3)
    assert pair[0] == pytest.approx(pair[1], abs=1e-3)  # crop and mirror image are added alike


# The sets check themselves


def test_samples_and_pairs_that_do_not_fit_are_refused():
    samples = crops_of(colors(2))
    places = np.array([0, 1])
    with pytest.raises(InputError, match=r"landmarks must have the shape \(2, 5, 2\)"):
        dataclasses.replace(samples, landmarks=np.zeros((1, 5, 2), np.float32))
    with pytest.raises(InputError, match="mated must have the shape"):
        PairSet("x", samples, places, places, np.array([True]))
    with pytest.raises(InputError, match="right must hold places from 0 to 1"):
        PairSet("x", samples, places, places + 1, np.array([True, False]))
    with pytest.raises(InputError, match="person must have the shape"):
        PairSet("x", samples, places, places, places == 1, person=np.array(["a"]))


def test_why_images_failed_is_told_by_its_frequency():
    reasons = ["no face found"] * 3 + ["box of 12 px", "box of 9 px", "damaged", "lost"]
    failures = [Failure(f"{place}.jpg", reason) for place, reason in enumerate(reasons)]
    described = "3 x no face found; 2 x box of 12 px; 1 x damaged; 1 x something else"
    assert describe_reasons(failures) == described
    rows = np.zeros((7, 4), np.float32)
    nothing = Embeddings(rows, np.zeros(7, np.bool_), None, tuple(failures))
    with pytest.raises(ImageError, match="none of 7 images gave an embedding: 3 x no face found"):
        require_some(nothing)
    found = np.arange(7) == 2
    require_some(Embeddings(rows, found, None, tuple(failures[:6])))
    require_some(Embeddings(rows[:0], found[:0], None, ()))
