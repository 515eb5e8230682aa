"""The footage that tests and benchmarks are made of: what it shows is what its truth says."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import av
import numpy as np
import pytest
from footage import (
    SCENES,
    SIZE,
    Footage,
    Person,
    cross_picture,
    draw_scene,
    draw_visits,
    plain_background,
    portrait_people,
    read_stamp,
    stamp,
    write_footage,
)

from facekeep import Detector, RuntimeOptions


@pytest.fixture(scope="module")
def people(ready_models: None) -> list[Person]:
    return portrait_people()


def test_the_same_seed_gives_the_same_pixels(people: list[Person]) -> None:
    one, again, other = (draw_visits(people, 40, seed=seed) for seed in (3, 3, 4))
    assert one.truth() == again.truth() != other.truth()
    np.testing.assert_array_equal(one.frame(100), again.frame(100))


def test_faces_are_where_the_truth_says(people: list[Person]) -> None:
    footage = draw_scene("cross", people)
    with Detector(options=RuntimeOptions(threads=1)) as detector:
        for number in (65, 600):
            truth = [box for box in footage.boxes(number) if box.visible > 0.9]
            found = detector.find(footage.frame(number))
            assert len(found) == len(truth) == 2
            for box in truth:
                middle = np.add(box.box[:2], box.box[2:]) / 2
                away = [np.hypot(*((f.bbox[:2] + f.bbox[2:]) / 2 - middle)) for f in found]
                assert min(away) < 0.15 * (box.box[2] - box.box[0])


def test_a_hidden_face_is_not_visible_but_still_a_visit(people: list[Person]) -> None:
    footage = draw_scene("cross", people)
    middle = footage.boxes(round(4 * footage.fps))
    assert sorted(box.visible > 0.5 for box in middle) == [False, True]
    visits = footage.truth()
    assert [visit.name for visit in visits] == [people[0].name, people[1].name] * 2
    assert all(3 < visit.end - visit.start < 6 for visit in visits)


def test_strangers_have_no_name(ready_models: None) -> None:
    people = portrait_people(known=["Grace Hopper"])
    names = {visit.name for visit in draw_scene("cross", people).truth()}
    assert names == {"Grace Hopper", ""}


def test_visits_of_a_person_are_apart(people: list[Person]) -> None:
    visits = sorted(draw_visits(people, 300, every=2).truth())
    for name in {visit.name for visit in visits}:
        own = [visit for visit in visits if visit.name == name]
        assert len(own) > 3
        assert all(b.start - a.end > 15 for a, b in itertools.pairwise(own))


@pytest.mark.parametrize("name", sorted(SCENES))
def test_scenes_draw(name: str, people: list[Person]) -> None:
    footage = draw_scene(name, people)
    picture = footage.frame(footage.frames // 2)
    assert picture.shape == (SIZE[1], SIZE[0], 3)
    assert picture.dtype == np.uint8


@pytest.mark.parametrize(("codec", "suffix"), [("h264", ".mp4"), ("mjpeg", ".mkv")])
def test_files_hold_what_was_drawn(
    tmp_path: Path, people: list[Person], codec: str, suffix: str
) -> None:
    footage = Footage(1.2, (cross_picture(people[0], 0, 1),), plain_background())
    table = write_footage(tmp_path / f"walk{suffix}", footage, codec=codec)
    with av.open(str(tmp_path / f"walk{suffix}")) as video:
        frames = list(video.decode(video=0))
    assert [frame.time for frame in frames] == pytest.approx(np.arange(30) / 25, abs=0.002)
    drawn, read = footage.frame(12), frames[12].to_ndarray(format="rgb24")
    assert np.abs(drawn.astype(int) - read).mean() < 5
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["name"] for row in rows] == [people[0].name]
    boxes = list(csv.DictReader((tmp_path / "walk.boxes.csv").read_text().splitlines()))
    assert {row["visit"] for row in boxes} == {"1"}


def test_a_stamp_is_read_back() -> None:
    picture = plain_background()
    numbers = [0, 1, 40_961, 65_535]
    assert [read_stamp(stamp(picture, number)) for number in numbers] == numbers
