"""Detectors on trial: mosaics, matching, average precision, landmark errors, and the whole."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from facekeep.errors import InputError
from facekeep.lab.datasets.annotated import AnnotatedPhotos, open_annotated
from facekeep.lab.evaluate.detection import ComparedDetector, Mosaic, MosaicSet, compare_detectors
from facekeep.lab.evaluate.detection.metrics import (
    AnnotatedFaces,
    Boxes,
    match_boxes,
    measure_average_precision,
    measure_landmark_errors,
)
from facekeep.lab.evaluate.detection.report import list_detection_tables
from facekeep.types import Face

RED, GREEN = (250, 10, 10), (10, 250, 10)


def photo(folder: Path, name: str, boxes: list[list[int]], person: str | None = None) -> None:
    """A gray photo with a red block at each face box, a green spot where its nose is."""
    pixels = np.full((240, 320, 3), 128, np.uint8)
    faces = []
    for x1, y1, x2, y2 in boxes:
        pixels[y1 : y2 + 1, x1 : x2 + 1] = RED
        x, y = (x1 + x2) / 2, (y1 + y2) / 2
        w = (x2 - x1) / 4
        pixels[int(y) - 3 : int(y) + 4, int(x) - 3 : int(x) + 4] = GREEN
        points = [[x - w, y - w], [x + w, y - w], [x, y], [x - w, y + w], [x + w, y + w]]
        faces.append({"landmarks": points, "bbox": [x1, y1, x2, y2]})
    Image.fromarray(pixels).save(folder / f"{name}.png")
    whole = {"faces": faces} | ({"person": person} if person else {})
    (folder / f"{name}.json").write_text(json.dumps(whole))


@pytest.fixture
def annotated(tmp_path: Path) -> AnnotatedPhotos:
    """Twelve people with a photo each of one face, 60 to 126 pixels, not all in the middle."""
    for number in range(12):
        side, left, top = 60 + 6 * number, 20 + 10 * number, 30 + 4 * number
        box = [left, top, left + side, top + side + 20]
        photo(tmp_path, f"{number:02d}", [box], f"person {number:02d}")
    return open_annotated(tmp_path)


def color_at(image: NDArray[np.uint8], x: float, y: float) -> NDArray[np.int64]:
    return image[round(y), round(x)].astype(int)


def test_each_face_is_shown_once_at_every_size_it_has(annotated: AnnotatedPhotos):
    mosaics = MosaicSet(annotated, [20, 40, 100])
    assert mosaics.people == mosaics.faces == 12
    shown: dict[int, list[int]] = {20: [], 40: [], 100: []}
    for mosaic in mosaics:
        assert max(mosaic.image.shape) <= 640
        assert mosaic.counts.all()
        shown[mosaic.size] += mosaic.person.tolist()
        sides = (mosaic.boxes[:, 2:] - mosaic.boxes[:, :2]).min(axis=1)
        np.testing.assert_allclose(sides, mosaic.size, rtol=0.06)
    assert sorted(shown[20]) == sorted(shown[40]) == list(range(12))
    assert sorted(shown[100]) == [7, 8, 9, 10, 11], "never enlarged"


def test_annotations_move_with_the_pixels(annotated: AnnotatedPhotos):
    for mosaic in MosaicSet(annotated, [30, 60], seed=4):
        for box, points in zip(mosaic.boxes, mosaic.landmarks, strict=True):
            nose = points[2]
            assert color_at(mosaic.image, *nose)[1] > 120, "the spot is green"
            for x, y in ((box[0] + 2, box[1] + 2), (box[2] - 2, box[3] - 2)):
                assert color_at(mosaic.image, x, y)[0] > 200
                assert color_at(mosaic.image, x, y)[1] < 60
            np.testing.assert_allclose((box[:2] + box[2:]) / 2, nose, atol=0.01)
        centers = (mosaic.boxes[:, :2] + mosaic.boxes[:, 2:]) / 2
        np.testing.assert_array_equal(mosaic.person_at(centers), mosaic.person)


def test_the_middle_of_a_face_lies_where_its_pixels_say(annotated: AnnotatedPhotos):
    (mosaic,) = MosaicSet(annotated, [20])
    red = (mosaic.image[..., 0] > 200) & (mosaic.image[..., 1:] < 60).all(axis=2)
    off = []
    for box in mosaic.boxes:
        x1, y1 = np.floor(box[:2]).astype(int) - 3
        x2, y2 = np.ceil(box[2:]).astype(int) + 4
        y, x = np.nonzero(red[max(y1, 0) : y2, max(x1, 0) : x2])
        middle = (x.mean() + max(x1, 0), y.mean() + max(y1, 0))
        off.append((box[:2] + box[2:]) / 2 - middle)
    # Scaled about the centers of pixels instead of their corners, they would be off by 0.35.
    np.testing.assert_allclose(np.mean(off, axis=0), 0, atol=0.15)


def test_the_seed_alone_decides(annotated: AnnotatedPhotos):
    def pixels(**options: int | bool) -> list[bytes]:
        return [each.image.tobytes() for each in MosaicSet(annotated, [40], **options)]

    assert pixels(seed=1) == pixels(seed=1) != pixels(seed=2)
    assert pixels(seed=1, hard=True) == pixels(seed=1, hard=True) != pixels(seed=1)


def test_neighbors_may_be_found_and_need_not(tmp_path: Path):
    photo(tmp_path, "two", [[60, 60, 100, 100], [110, 60, 140, 90]])
    mosaics = MosaicSet(open_annotated(tmp_path), [20])
    (mosaic,) = mosaics
    assert mosaics.people == 1
    assert mosaics.faces == 2
    assert sorted(mosaic.counts.tolist()) == [False, True, True], (
        "the cut about the smaller face is tighter"
    )
    found = match_boxes(mosaic, [face(box, 0.9) for box in mosaic.boxes])
    assert found.hit.tolist() == [True, True], "boxes of neighbors are left out"
    assert len(found.person) == 2


@pytest.mark.parametrize("sizes", [[], [3], [257], [20, 1000]])
def test_sizes_out_of_range_are_refused(annotated: AnnotatedPhotos, sizes: list[int]):
    with pytest.raises(InputError, match="sizes of faces must be from 4 to 256"):
        MosaicSet(annotated, sizes)


def test_faces_that_are_all_too_small_are_an_error(annotated: AnnotatedPhotos):
    with pytest.raises(InputError, match="no annotated face is 200 pixels in size"):
        MosaicSet(annotated, [200])


def face(box: NDArray[np.floating] | list[float], score: float) -> Face:
    points = np.zeros((5, 2), np.float32)
    return Face(np.asarray(box, np.float32), points, score)


def make_mosaic(boxes: list[list[float]], counts: list[bool] | None = None) -> Mosaic:
    count = len(boxes)
    return Mosaic(
        np.zeros((100, 200, 3), np.uint8),
        20,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.zeros((count, 5, 2), np.float32),
        np.array(counts or [True] * count, np.bool_),
        np.arange(count),
        np.array([[7, -1]]),
    )


def test_the_higher_score_takes_the_face_and_the_other_box_is_false():
    mosaic = make_mosaic([[10, 10, 30, 30], [50, 10, 70, 30]])
    boxes = [[50, 12, 70, 30], [12, 10, 32, 30], [10, 10, 30, 30], [50, 60, 70, 80]]
    found = match_boxes(
        mosaic, [face(b, s) for b, s in zip(boxes, (0.5, 0.9, 0.8, 0.95), strict=True)]
    )
    assert found.score.tolist() == [0.95, 0.9, 0.8, 0.5]
    assert found.hit.tolist() == [False, True, False, True]
    assert found.found_at.tolist() == [0.9, 0.5]
    assert found.box.tolist() == [1, 0]
    assert found.owner.tolist() == [7, 0, 7, 1], "a false box is that of the cell it lies in"


def test_half_of_the_union_is_enough_and_less_is_not():
    mosaic = make_mosaic([[0, 0, 30, 10]])
    assert match_boxes(mosaic, [face([10, 0, 40, 10], 0.9)]).hit.tolist() == [True]  # 20 of 40
    missed = match_boxes(mosaic, [face([11, 0, 41, 10], 0.9)])
    assert missed.hit.tolist() == [False]
    assert np.isnan(missed.found_at).all()


def test_nothing_found_and_nothing_there():
    assert len(match_boxes(make_mosaic([[0, 0, 9, 9]]), []).score) == 0
    found = match_boxes(make_mosaic([]), [face([120, 0, 130, 9], 0.9)])
    assert (found.hit.tolist(), found.owner.tolist()) == ([False], [-1])


def test_landmark_errors_are_told_in_distances_of_the_eyes():
    truth = np.array([[[0, 0], [20, 0], [10, 10], [5, 20], [15, 20]]] * 2, np.float32)
    found = truth + np.array([[[3, 4]], [[0, 0]]])
    found[1, 2] += [0, 10]
    np.testing.assert_allclose(measure_landmark_errors(found, truth), [0.25, 0.1])
    assert np.isnan(measure_landmark_errors(found, np.zeros((2, 5, 2)))).all()


def table_of(scores: list[float], hits: list[bool], there: int) -> tuple[Boxes, AnnotatedFaces]:
    nothing = np.full(there, np.nan)
    zeros = np.zeros(len(scores), np.intp)
    boxes = Boxes(np.array(scores, np.float64), np.array(hits, np.bool_), zeros, zeros)
    faces = np.zeros(there, np.intp)
    return boxes, AnnotatedFaces(faces, faces, nothing, nothing, nothing)


def test_average_precision_by_hand():
    boxes, faces = table_of([0.9, 0.8, 0.7, 0.6], [True, False, True, False], 4)
    # A quarter of the faces at precision 1, another at 2/3, the others never.
    assert measure_average_precision(boxes, faces) == pytest.approx(0.25 + 0.25 * 2 / 3)
    assert measure_average_precision(*table_of([], [], 3)) == 0
    assert measure_average_precision(*table_of([0.5], [False], 0)) is None


@given(st.lists(st.tuples(st.integers(0, 10_000), st.booleans()), max_size=30), st.integers(0, 5))
@settings(max_examples=60)
def test_average_precision_is_the_best_precision_at_each_recall(
    rows: list[tuple[int, bool]], missed: int
):
    rows = sorted(dict(rows).items(), reverse=True)
    hits = [hit for _, hit in rows]
    there = sum(hits) + missed
    boxes, faces = table_of([score / 10_000 for score, _ in rows], hits, there)
    if not there:
        assert measure_average_precision(boxes, faces) is None
        return
    points = [(sum(hits[: k + 1]), sum(hits[: k + 1]) / (k + 1)) for k in range(len(hits))]
    best = [max((p for h, p in points if h >= wanted), default=0) for wanted in range(1, there + 1)]
    assert measure_average_precision(boxes, faces) == pytest.approx(sum(best) / there)


def test_people_who_are_drawn_twice_count_twice():
    size = np.zeros(3, np.intp)
    boxes = Boxes(
        np.array([0.9, 0.8, 0.7]), np.array([True, False, True]), np.array([0, 1, 1]), size
    )
    nothing = np.full(2, np.nan)
    faces = AnnotatedFaces(np.array([0, 1]), size[:2], nothing, nothing, nothing)
    assert measure_average_precision(boxes, faces, np.array([2.0, 0.0])) == 1
    # Three faces: one at precision 1, two at 3/5.
    assert measure_average_precision(boxes, faces, np.array([1.0, 2.0])) == pytest.approx(
        (1 + 2 * 0.6) / 3
    )
    assert measure_average_precision(boxes, faces, np.zeros(2)) is None


class Oracle:
    """Knows the mosaics, and finds what it is told to."""

    def __init__(self, mosaics: MosaicSet, *, off: float = 0.0, misses: int = 0, false: int = 0):
        self._known = {each.image.tobytes(): each for each in mosaics}
        self._off, self._misses, self._false = off, misses, false

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        mosaic = self._known.get(image.tobytes())
        if mosaic is None:
            return [face([0, 0, 9, 9], 0.8)]
        eyes = np.linalg.norm(mosaic.landmarks[:, 1] - mosaic.landmarks[:, 0], axis=1)
        points = mosaic.landmarks + self._off * eyes[:, None, None] * [1, 0]
        found = [
            Face(box, each.astype(np.float32), 0.9)
            for box, each in zip(mosaic.boxes, points, strict=True)
        ][self._misses :]
        return found + [face([0, 0, 3, 3], 0.95) for _ in range(self._false)]


def refine(image: NDArray[np.uint8], faces: list[Face]) -> list[Face]:
    """Move everything a pixel down."""
    return [each.replace(landmarks=each.landmarks + np.float32([0, 1])) for each in faces]


@pytest.mark.slow
def test_a_trial_tells_detectors_apart(annotated: AnnotatedPhotos):
    mosaics = MosaicSet(annotated, [20, 40])
    perfect, worse = Oracle(mosaics), Oracle(mosaics, off=0.1, misses=1, false=2)
    steps: list[int] = []
    results = compare_detectors(
        mosaics,
        [
            ComparedDetector("perfect", perfect.detect, refine),
            ComparedDetector("worse", worse.detect),
        ],
        data="made",
        scenes=iter([np.zeros((50, 50, 3), np.uint8)] * 2),
        progress=lambda: steps.append(1),
    )
    assert len(steps) == len(mosaics) + 2
    one, other = (result.document() for result in results)
    assert (one["model"], one["data"], one["people"], one["photos"]) == ("perfect", "made", 12, 12)
    assert one["all"]["ap"] == one["all"]["recall"] == 1
    assert one["all"]["ap_low"] is None, "without any error there is no interval"
    assert one["all"]["landmarks"]["mean"] == pytest.approx(0, abs=1e-6)
    assert one["sizes"]["20"]["refined"]["mean"] == pytest.approx(0.1, rel=0.1), "of 10 pixels"
    assert one["scores"]["0.9"] == {"recall": 1, "false_per_canvas": 0, "boxes_per_scene": 0}
    assert one["scores"]["0.7"]["boxes_per_scene"] == 1
    assert one["time_ratio"] == 1
    lost = len(mosaics)
    assert other["all"]["recall"] == pytest.approx(1 - lost / 24)
    assert other["all"]["ap_low"] < other["all"]["ap"] <= other["all"]["ap_high"] <= 1
    assert other["scores"]["0.9"]["false_per_canvas"] == 2
    assert other["all"]["landmarks"]["mean"] == pytest.approx(0.1)
    assert other["all"]["landmarks"]["faces"] == one["all"]["landmarks"]["faces"] == 24 - lost
    assert other["all"]["refined"] is None
    found, landmarks, scores, times = list_detection_tables(results)
    assert [row[:2] for row in found.rows][:3] == [
        ["perfect", "all"],
        ["perfect", "20 px"],
        ["perfect", "40 px"],
    ]
    assert len(landmarks.rows) == 3 * 3, "nothing refines the worse detector's"
    assert scores.headers[-1] == "boxes a photo without annotations"
    assert times.rows[0] == ["perfect", "1.00"]


def test_a_size_that_no_face_has_is_in_no_table(annotated: AnnotatedPhotos):
    mosaics = MosaicSet(annotated, [20, 200])
    (result,) = compare_detectors(
        mosaics, [ComparedDetector("perfect", Oracle(mosaics).detect)], data="made"
    )
    assert result.document()["sizes"]["200"] == {
        "faces": 0,
        "ap": None,
        "ap_low": None,
        "ap_high": None,
        "recall": None,
        "landmarks": None,
        "refined": None,
    }
    assert "scenes" not in result.document()
    assert [row[1] for row in next(list_detection_tables([result])).rows] == ["all", "20 px"]
