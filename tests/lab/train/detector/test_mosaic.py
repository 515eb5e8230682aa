"""Canvases show the faces where they say they are."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from facekeep.lab.train.detector.labels import FaceLabels, Known, LabeledPhotos, overlap
from facekeep.lab.train.detector.mosaic import MosaicComposer, _crop, _show

# Five dots that no mirror image maps onto themselves, in the manner of a face.
POINTS = np.array([[[60, 60], [100, 62], [78, 84], [66, 108], [96, 104]]], np.float32)
BOX = np.array([[45, 40, 115, 130]], np.float32)


def faces(box: NDArray[np.float32] = BOX, known: int = Known.ANNOTATED) -> FaceLabels:
    return FaceLabels(box, POINTS[: len(box)], np.full(len(box), known))


def dotted(place: int) -> NDArray[np.uint8]:
    """A face whose landmarks are dots, red on the left and green on the right, the nose blue."""
    photo = np.full((160, 160, 3), 40, np.uint8)
    for (x, y), color in zip(POINTS[0].astype(int), (0, 1, 2, 0, 1), strict=True):
        photo[y - 4 : y + 5, x - 4 : x + 5, color] = 255
    return photo


@pytest.mark.parametrize("seed", range(12))
def test_landmarks_move_with_the_photo(seed: int):
    tile = np.zeros((160, 200, 3), np.uint8)
    shown = _show(LabeledPhotos(dotted, (0,), (faces(),)), tile, np.random.default_rng(seed))
    mirrored = None
    for points in shown.landmarks:
        for place, (x, y) in enumerate(np.round(points).astype(int)):
            if not (0 <= x < 200 and 0 <= y < 160):
                continue
            colors = tile[y, x].astype(int)
            if place == 2:
                assert colors.argmax() == 2
                continue
            swapped = colors.argmax() != place % 3  # a mirror swaps left with right
            assert mirrored in (None, swapped)
            mirrored = swapped
            assert colors.max() > 120
    assert len(shown) == 0 or mirrored is not None or shown.known[0] == Known.UNSURE


def test_both_mirrored_and_plain_photos_come_up():
    eyes = []
    for seed in range(20):
        tile = np.zeros((160, 160, 3), np.uint8)
        shown = _show(LabeledPhotos(dotted, (0,), (faces(),)), tile, np.random.default_rng(seed))
        (x, y) = np.round(shown.landmarks[0, 0]).astype(int)
        if 0 <= x < 160 and 0 <= y < 160:
            eyes.append(int(tile[y, x].argmax()))
    assert set(eyes) == {0, 1}


def test_a_mirror_twice_is_none():
    once = faces().mirror(160)
    assert once.landmarks[0, 0, 0] == 159 - POINTS[0, 1, 0], "the left eye is the other one now"
    np.testing.assert_array_equal(once.mirror(160).landmarks, POINTS)
    np.testing.assert_array_equal(once.mirror(160).boxes, BOX)


def test_cut_and_tiny_faces_are_not_asked_for():
    boxes = np.array(
        [[10, 10, 50, 60], [-30, 10, 10, 60], [20, 20, 26, 27], [-90, 0, -50, 40]], np.float32
    )
    found = _crop(
        FaceLabels(boxes, np.zeros((4, 5, 2), np.float32), np.zeros(4, np.int64)), (100, 100)
    )
    assert found.known.tolist() == [Known.ANNOTATED, Known.UNSURE, Known.UNSURE]
    assert found.boxes[1].tolist() == [0, 10, 10, 60]


def test_a_mosaic_is_a_function_of_the_generators_state():
    photo_folder = LabeledPhotos(dotted, (0,), (faces(),))
    composer = MosaicComposer([photo_folder], [1.0], None, 128)
    (one, its), (two, same) = (composer.compose(np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(its.landmarks, same.landmarks)
    other, _ = composer.compose(np.random.default_rng(6))
    assert (one != other).any()
    assert one.shape == (128, 128, 3)


def test_albums_can_be_parted_by_what_they_show():
    nobody, unsure = FaceLabels.join([]), faces(known=Known.UNSURE)
    photo_folder = LabeledPhotos(dotted, (0, 1, 2), (faces(), nobody, unsure))
    assert photo_folder.without_faces().places == (1,)
    assert photo_folder.with_faces().places == (0,)


def test_overlap_of_boxes():
    boxes = np.array([[0, 0, 10, 10]], np.float32)
    others = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30]], np.float32)
    np.testing.assert_allclose(overlap(boxes, others), [[1, 1 / 3, 0]], atol=1e-6)
