"""Events compared with the truth: by hand-made events, and by watching made footage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from footage import Person, draw_scene, portrait_people, write_footage

from facekeep import Face, FaceEngine
from facekeep.events.event import Event
from facekeep.lab.datasets.visits_table import (
    TrueBox,
    TrueVisit,
    read_boxes_table,
    read_visits_table,
)
from facekeep.lab.evaluate.live import (
    START,
    LiveResult,
    TrackFollower,
    compare_visits,
    evaluate_live,
    read_arrivals,
)
from facekeep.types import Observation
from facekeep.video.camera import Frame
from facekeep.video.live import LiveOptions

ENROLLED = [f"Person {number}" for number in range(9)] + ["Ada", "Bo"]


def arrived(time: float, name: str | None, track: int = 1, *, usable: bool = True) -> Event:
    when = START + timedelta(seconds=time)
    return Event("arrived", "door", when, track=track, name=name, usable=usable, similarity=0.5)


def left(time: float, name: str | None, duration: float, track: int = 1) -> Event:
    when = START + timedelta(seconds=time)
    return Event("left", "door", when, track=track, name=name, usable=True, duration=duration)


def result(
    events: Sequence[Event],
    truth: Sequence[TrueVisit],
    owners: dict[int, list[tuple[float, int]]] | None = None,
) -> LiveResult:
    seen, astray = compare_visits(read_arrivals(events, 3600), truth, ENROLLED, owners=owners)
    return LiveResult(seen=seen, astray=astray, seconds=3600, people=11, fmr=1e-3)


def counts(figures: dict[str, Any], group: str) -> dict[str, int]:
    return {key: each["count"] for key, each in figures[group].items() if key != "visits"}


def test_arrivals_are_joined_with_what_left() -> None:
    camera = Event("camera", "door", START, state="live")
    events = [
        camera,
        arrived(1.4, "Ada", 1),
        arrived(2.0, None, 2),
        left(5.0, None, 4.0, 2),
        left(7.0, "Ada", 6.0, 3),  # by a later track of hers
        arrived(9.0, None, 4),
    ]
    one, two, three = read_arrivals(events, 60)
    assert (one.time, one.first, one.last, one.track) == (1.4, 1.0, 7.0, 1)
    assert (two.first, two.last, two.name) == (1.0, 5.0, None)
    assert (three.time, three.last) == (9.0, 60)


def test_each_visit_counts_once() -> None:
    truth = [
        TrueVisit(10, 20, "Ada"),
        TrueVisit(40, 50, "Ada"),
        TrueVisit(70, 80, "Bo"),
        TrueVisit(100, 110, "Bo"),
        TrueVisit(130, 140, "Bo"),
        TrueVisit(200, 210, None),
        TrueVisit(230, 240, None),
        TrueVisit(260, 270, "Zoe"),
        TrueVisit(300, 310, None),
    ]
    events = [
        arrived(11, "Ada"),
        left(20, "Ada", 10),
        arrived(41, "Bo"),
        left(50, "Bo", 9),
        arrived(71, None),
        left(80, None, 9),
        arrived(102, None, usable=False),
        left(110, None, 9),
        arrived(201, None),
        left(210, None, 9),
        arrived(232, "Ada"),
        left(240, "Ada", 9),
        arrived(262, None),
        left(270, None, 9),
        arrived(500, "Bo"),
        left(501, "Bo", 1),
        arrived(600, None),
    ]
    figures = result(events, truth).document()
    named = {"named": 1, "wrong": 1, "unknown": 1, "unusable": 1, "missed": 1}
    assert counts(figures, "known") == named
    assert counts(figures, "strangers") == {"wrong": 1, "unknown": 2, "unusable": 0, "missed": 1}
    assert figures["astray"] == 2
    assert figures["false_names"]["count"] == 3  # Bo for Ada, Ada for a stranger, Bo for nobody
    assert figures["false_names"]["per_hour"] == 3
    assert [one["kind"] for one in figures["mistakes"]] == [
        "wrong name",
        "unknown",
        "unusable",
        "missed",
        "wrong name",
        "astray",
        "astray",
    ]


def test_the_promise_is_one_decision_a_visit() -> None:
    truth = [TrueVisit(20 * n, 20 * n + 5, None if n % 4 else "Ada") for n in range(100)]
    names = result([], truth).document()["false_names"]
    strangers, known = 1 - 0.999**11, 1 - 0.999**10
    assert names["expected"] == pytest.approx(75 * strangers + 25 * known)
    assert names["expected_per_hour"] == names["expected"]
    assert names["low"] == 0
    assert names["high"] == pytest.approx(0.0362, abs=1e-4)  # Clopper-Pearson, 0 of 100


def test_split_renamed_and_late() -> None:
    truth = [TrueVisit(10, 30, "Ada"), TrueVisit(50, 70, "Bo"), TrueVisit(90, 99, None)]
    events = [
        arrived(11, None, 1),
        left(12, None, 2, 1),
        arrived(12.5, "Ada", 1),
        left(30, "Ada", 20),
        arrived(51, "Bo", 2),
        left(52, "Bo", 2, 2),
        arrived(65, "Bo", 3),
        left(70, "Bo", 5, 3),
        arrived(91, None, 4),
        left(94, None, 3, 4),
        arrived(95, None, 5),
    ]
    figures = result(events, truth).document()
    assert counts(figures, "known")["named"] == 2
    assert (figures["split"], figures["renamed"], figures["merged"]) == (2, 1, 0)
    assert figures["time_to_name"] == {"count": 2, "p50": 1.75, "p95": pytest.approx(2.425)}


def test_a_return_within_the_cooldown_is_merged() -> None:
    truth = [TrueVisit(10, 20, "Ada"), TrueVisit(25, 30, "Ada"), TrueVisit(60, 65, "Ada")]
    events = [arrived(11, "Ada"), left(20, "Ada", 10)]
    figures = result(events, truth).document()
    assert counts(figures, "known") == {
        "named": 2,
        "wrong": 0,
        "unknown": 0,
        "unusable": 0,
        "missed": 1,
    }
    assert figures["merged"] == 1
    assert figures["time_to_name"]["count"] == 1


def test_without_boxes_names_go_to_their_own_visits_first() -> None:
    truth = [TrueVisit(10, 20, None), TrueVisit(11, 20, "Ada"), TrueVisit(12, 20, "Bo")]
    events = [arrived(13, "Bo", 1), arrived(13, "Ada", 2), arrived(14, None, 3)]
    figures = result(events, truth).document()
    assert counts(figures, "known")["named"] == 2
    assert counts(figures, "strangers")["unknown"] == 1
    assert figures["mistakes"] == []


def test_boxes_say_whose_name_was_wrong() -> None:
    truth = [TrueVisit(10, 20, "Ada"), TrueVisit(10, 20, "Bo")]
    events = [arrived(11, "Bo", 1), arrived(12, "Ada", 2), arrived(13, "Ada", 7)]
    owners = {1: [(10.0, 0), (10.5, 0), (11.5, 1)], 2: [(10.0, 1)]}
    figures = result(events, truth, owners).document()
    assert counts(figures, "known")["wrong"] == 2
    assert figures["astray"] == 1


def test_tracks_are_followed_through_the_frames() -> None:
    boxes = [
        TrueBox(time, visit, (x, 0.0, x + 50, 60.0), visible)
        for time in (0.0, 0.04, 0.08, 0.12)
        for visit, x, visible in ((0, 0.0, 1.0), (1, 100.0, 1.0), (2, 200.0, 0.2))
    ]
    follower = TrackFollower(boxes)
    tracks = [(1, 2, 9), (1, 2, 9), (2, 1, 9), (2, None, 9)]
    for number, numbers in enumerate(tracks):
        seen = [
            observation(track, 100.0 * place + 4)
            for place, track in enumerate(numbers)
            if track is not None
        ]
        follower(frame(0.04 * number), seen)
    found = follower.count(["Ada", "Bo", None])
    assert (found.faces, found.found) == (8, 7)  # the hidden one does not count
    assert (found.identity_switches, found.mixed) == (2, 2)
    assert found == follower.count(["Ada", "Bo", None])
    assert follower.count(["Ada", "Ada", None]).mixed == 0


def observation(track: int, x: float) -> Observation:
    box = np.array([x, 0, x + 50, 60], np.float32)
    face = Face(box, np.zeros((5, 2), np.float32), 0.9)
    return Observation(face, track, "door", START)


def frame(position: float) -> Frame:
    image = np.zeros((4, 4, 3), np.uint8)
    return Frame(image, START, position, 1, "door", "source", 0.0)


@pytest.fixture(scope="module")
def people(ready_models: None) -> list[Person]:
    return portrait_people()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, people: list[Person]) -> Any:
    with FaceEngine(tmp_path_factory.mktemp("gallery") / "people.db", threads=1) as engine:
        engine.enroll(people[0].name, list(people[0].photos))
        yield engine


@pytest.mark.slow
def test_two_who_cross_keep_their_names(
    tmp_path: Path, engine: FaceEngine, people: list[Person]
) -> None:
    """One is enrolled and walks in front and behind; the other one must never get the name."""
    video = tmp_path / "cross.mp4"
    truth = read_visits_table(write_footage(video, draw_scene("cross", people)))
    boxes = read_boxes_table(tmp_path / "cross.boxes.csv", len(truth))
    frames: list[None] = []
    found = evaluate_live(
        engine, video, truth, boxes, progress=lambda: frames.append(None)
    ).document()
    assert found["frames"] == len(frames) == 29 * 25
    assert found["seconds"] == pytest.approx(29, abs=0.1)
    assert found["not_enrolled"] == [people[1].name]
    assert counts(found, "known")["named"] == 2
    assert counts(found, "strangers")["unknown"] == 2
    assert found["false_names"]["count"] == 0
    assert 0 < found["time_to_name"]["p95"] < 3
    assert found["tracks"]["found"] > 0.8 * found["tracks"]["faces"]


def test_who_is_not_confirmed_was_never_there(
    tmp_path: Path, engine: FaceEngine, people: list[Person]
) -> None:
    video = tmp_path / "walk.mp4"
    whole = draw_scene("walk", people)
    truth = read_visits_table(write_footage(video, replace(whole, seconds=4)))
    found = evaluate_live(engine, video, truth, None, LiveOptions(confirm=1000)).document()
    assert counts(found, "known")["missed"] == 1
    assert found["tracks"] is None
