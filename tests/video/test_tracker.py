"""Tracks by position: lost and found, crossings, jumps, and what is bounded."""

from __future__ import annotations

import numpy as np
import pytest

from facekeep import Face, Tracker


def face(x: float, y: float = 100.0, side: float = 50.0) -> Face:
    box = np.array([x - side / 2, y - side / 2, x + side / 2, y + side / 2], np.float32)
    return Face(box, np.zeros((5, 2), np.float32), 0.9)


def numbers(tracker: Tracker, position: float, *faces: Face) -> list[int]:
    return [track.number for track in tracker.update(faces, position)]


def test_each_face_gets_a_track_in_its_order() -> None:
    tracker = Tracker()
    assert numbers(tracker, 0.0, face(100), face(300)) == [1, 2]
    assert numbers(tracker, 0.1, face(302), face(104)) == [2, 1]
    assert numbers(tracker, 0.2, face(500), face(306), face(108)) == [3, 2, 1]


@pytest.mark.parametrize("step", [0.04, 0.08, 0.25])
def test_somebody_who_walks_stays_one_track_at_any_frame_interval(step: float) -> None:
    tracker = Tracker()
    positions = np.arange(0, 3, step)
    found = {numbers(tracker, at, face(100 + 120 * at))[0] for at in positions}
    assert found == {1}


def test_irregular_intervals_and_missed_detections_do_not_end_a_track() -> None:
    tracker = Tracker()
    rng = np.random.default_rng(0)
    at, found = 0.0, set()
    for _ in range(100):
        at += float(rng.uniform(0.02, 0.2))
        faces = [face(100 + 60 * at)] if rng.uniform() > 0.2 else []
        found.update(numbers(tracker, at, *faces))
    assert found == {1}


def test_velocity_tells_two_who_pass_each_other_apart() -> None:
    tracker = Tracker()
    for at in np.arange(0, 2.6, 0.08):
        left, right = face(100 + 150 * at), face(400 - 150 * at, 120)
        assert numbers(tracker, at, left, right) == [1, 2], at


def test_boxes_that_touch_are_crossed_and_doubtful_when_they_part() -> None:
    tracker = Tracker()
    tracker.update([face(110), face(180)], 0.0)
    assert not any(track.crossed or track.doubtful for track in tracker.tracks)
    tracker.update([face(125), face(165)], 0.5)
    touching = tracker.tracks
    assert all(track.crossed and not track.doubtful for track in touching)
    tracker.update([face(110), face(180)], 0.9)
    assert all(track.doubtful and not track.crossed for track in touching)


def test_a_lost_track_is_found_again_and_is_doubtful() -> None:
    tracker = Tracker(max_lost=2.0)
    tracker.update([face(100)], 0.0)
    tracker.update([], 0.1)
    assert [track.number for track in tracker.lost] == [1]
    (track,) = tracker.update([face(105)], 1.0)
    assert track.number == 1
    assert track.doubtful
    assert tracker.lost == []


def test_one_missed_detection_is_no_reason_for_doubt() -> None:
    tracker = Tracker()
    tracker.update([face(100)], 0.0)
    tracker.update([], 0.08)
    (track,) = tracker.update([face(102)], 0.16)
    assert track.number == 1
    assert not track.doubtful


def test_a_track_ends_after_max_lost_and_its_number_is_not_given_again() -> None:
    tracker = Tracker(max_lost=1.0)
    (track,) = tracker.update([face(100)], 0.0)
    tracker.update([], 0.5)
    assert tracker.ended == []
    tracker.update([], 1.1)
    assert tracker.ended == [track]
    assert tracker.tracks == tracker.lost == []
    assert numbers(tracker, 1.2, face(100)) == [2]
    assert tracker.ended == []


def test_a_jump_is_followed_with_doubt_but_a_leap_is_somebody_new() -> None:
    tracker = Tracker()
    tracker.update([face(100)], 0.0)
    (jumped,) = tracker.update([face(140)], 0.5)
    assert (jumped.number, jumped.doubtful) == (1, True)
    assert numbers(tracker, 0.6, face(500)) == [2]


def test_a_face_of_another_size_is_somebody_else() -> None:
    tracker = Tracker()
    tracker.update([face(100, side=50)], 0.0)
    assert numbers(tracker, 0.1, face(100, side=120)) == [2]


def test_predict_moves_boxes_on_and_stops_for_who_is_out_of_sight() -> None:
    tracker = Tracker()
    tracker.update([face(100)], 0.0)
    tracker.update([face(110)], 0.1)
    (track,) = tracker.predict(0.2)
    assert track.bbox[0] == pytest.approx(95, abs=0.5)
    assert track.face.bbox[0] == pytest.approx(85)
    tracker.predict(10.0)
    assert track.bbox[0] == pytest.approx(85 + 50, abs=1)


def test_exchange_and_replace() -> None:
    tracker = Tracker()
    one, other = tracker.update([face(100), face(300)], 0.0)
    tracker.update([face(300)], 0.1)
    assert tracker.lost == [one]
    tracker.exchange(one, other)
    assert tracker.lost == [other]
    assert one.face.bbox[0] == pytest.approx(275)
    new = tracker.replace(one)
    assert new.number == 3
    assert set(tracker.lost) == {one, other}
    assert numbers(tracker, 0.2, face(300)) == [3]


def test_what_it_keeps_is_bounded_by_who_was_there_lately() -> None:
    tracker = Tracker(max_lost=1.0)
    rng = np.random.default_rng(1)
    for at in np.arange(0, 200, 0.1):
        tracker.update([face(*rng.uniform(0, 2000, 2)) for _ in range(3)], float(at))
        assert len(tracker.tracks) <= 3 * 12


def test_degenerate_boxes_are_no_error() -> None:
    tracker = Tracker()
    empty = Face(np.full(4, 50, np.float32), np.zeros((5, 2), np.float32), 0.9)
    assert numbers(tracker, 0.0, empty, face(50)) == [1, 2]
    assert len(numbers(tracker, 0.1, empty, face(50))) == 2
    tracker.end()
    assert tracker.tracks == []
