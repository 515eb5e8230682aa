"""Visits: one event when somebody arrives, one when they left, at any speed of the source."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from facekeep.errors import InputError
from facekeep.events.event import Event
from facekeep.events.visits import TrackSighting, Visits, expected_false_names

START = datetime(2026, 1, 31, 12, tzinfo=UTC)
ADA = TrackSighting(1, "Ada", "id-ada", decided=True, similarity=0.7, threshold=0.4, fmr=1e-4)
UNKNOWN = TrackSighting(1, decided=True, similarity=0.2, threshold=0.4, fmr=1e-4)
UNSETTLED = TrackSighting(1)


class Film:
    """Frames given to visits, with the position and kind of each event that came of them."""

    def __init__(self, **options: object) -> None:
        self.visits = Visits("door", **options)  # type: ignore[arg-type]
        self.events: list[Event] = []
        self.told: list[tuple[float, str, str | None]] = []

    def show(self, first: float, last: float, *sightings: TrackSighting, step: float = 0.5) -> Film:
        position = first
        while position <= last + 1e-9:
            self._take(self.visits.update(sightings, position, at(position), "source"), position)
            position = round(position + step, 6)
        return self

    def end(self) -> Film:
        self._take(self.visits.end(), -1)
        return self

    def _take(self, events: list[Event], position: float) -> None:
        self.events += events
        self.told += [(position, each.event, each.name) for each in events]


def at(position: float) -> datetime:
    return START + timedelta(seconds=position)


def test_a_visit_gives_one_event_at_each_end() -> None:
    film = Film().show(0, 5, ADA).show(5.5, 20)
    assert film.told == [(1, "arrived", "Ada"), (8.5, "left", "Ada")]
    arrived, left = film.events
    assert (arrived.camera, arrived.time, arrived.track) == ("door", at(1), 1)
    assert (arrived.person_id, arrived.similarity, arrived.threshold) == ("id-ada", 0.7, 0.4)
    assert (arrived.fmr, arrived.usable, arrived.duration) == (1e-4, True, None)
    assert (left.time, left.duration, left.clock) == (at(5), 5, "source")
    assert arrived.id != left.id


@pytest.mark.parametrize(("frames", "events"), [(2, []), (3, ["arrived", "left"])])
def test_too_few_frames_are_no_visit(frames: int, events: list[str]) -> None:
    film = Film().show(0, (frames - 1) / 2, ADA).show(5, 20)
    assert [each.event for each in film.events] == events


def test_frames_before_the_decision_do_not_confirm_but_belong_to_the_visit() -> None:
    film = Film().show(0, 2, UNSETTLED).show(2.5, 4, ADA).end()
    assert film.told == [(3.5, "arrived", "Ada"), (-1, "left", "Ada")]
    assert film.events[-1].duration == 4


@pytest.mark.parametrize(
    ("back", "told"),
    [
        # Away for less than the absence: the same visit.
        (4.5, [(1, "arrived"), (13, "left")]),
        # Back while it cools down, which is until 2 + 3 + 10, and away again before that.
        (6, [(1, "arrived"), (5.5, "left")]),
        # Still there when it is over: arrived then.
        (14, [(1, "arrived"), (5.5, "left"), (15, "arrived"), (22.5, "left")]),
        # Back after it.
        (20, [(1, "arrived"), (5.5, "left"), (21, "arrived"), (28.5, "left")]),
    ],
)
def test_absence_and_cooldown(back: float, told: list[tuple[float, str]]) -> None:
    film = Film().show(0, 2, ADA).show(2.5, back - 0.5)
    film.show(back, back + 5, replace(ADA, track=2)).show(back + 5.5, 60)
    assert [(position, event) for position, event, _ in film.told] == told


def test_a_long_silence_of_the_source_ends_visits_as_frames_would() -> None:
    film = Film().show(0, 2, ADA).show(60, 62, ADA)
    assert film.told == [(1, "arrived", "Ada"), (60, "left", "Ada"), (61, "arrived", "Ada")]
    assert film.events[1].duration == 2


def test_the_speed_of_the_source_does_not_change_the_visits() -> None:
    slow, fast = (Film().show(0, 6, ADA, step=step).show(6.1, 20) for step in (0.5, 0.04))
    assert [each.event for each in slow.events] == [each.event for each in fast.events]
    assert slow.events[-1].duration == pytest.approx(fast.events[-1].duration, abs=1e-6)


def test_a_visit_spans_tracks_of_the_person() -> None:
    film = Film().show(0, 2, ADA).show(2.5, 4, replace(ADA, track=2))
    film.show(4.5, 6, replace(ADA, track=2), replace(ADA, track=3)).end()
    assert film.told == [(1, "arrived", "Ada"), (-1, "left", "Ada")]
    assert film.events[-1].duration == 6


def test_each_track_of_somebody_unknown_is_a_visitor() -> None:
    film = Film().show(0, 2, UNKNOWN, replace(UNKNOWN, track=2)).end()
    assert film.told == [(1, "arrived", None)] * 2 + [(-1, "left", None)] * 2
    assert [each.track for each in film.events] == [1, 2, 1, 2]
    assert film.events[0].similarity == 0.2


def test_who_is_first_unknown_and_then_named_leaves_as_one_and_arrives_as_the_other() -> None:
    film = Film().show(0, 2, UNKNOWN).show(2.5, 5, ADA).end()
    assert film.told == [
        (1, "arrived", None),
        (2.5, "left", None),
        (3.5, "arrived", "Ada"),
        (-1, "left", "Ada"),
    ]
    assert film.events[1].duration == 2


def test_who_is_named_before_the_unknown_visit_began_gives_no_unknown_event() -> None:
    assert Film().show(0, 0.5, UNKNOWN).show(1, 5, ADA).told == [(2, "arrived", "Ada")]


@pytest.mark.parametrize("other", [UNKNOWN, replace(ADA, name="Bob", person_id="id-bob")])
def test_a_track_keeps_its_name(other: TrackSighting) -> None:
    film = Film().show(0, 2, ADA).show(2.5, 9, other).end()
    assert film.told == [(1, "arrived", "Ada"), (-1, "left", "Ada")]
    assert film.events[-1].duration == 9


def test_without_unknown_only_people_give_events() -> None:
    unusable = replace(UNKNOWN, track=2, usable=False)
    film = Film(unknown=False).show(0, 2, UNKNOWN, unusable).show(2.5, 5, ADA).end()
    assert film.told == [(3.5, "arrived", "Ada"), (-1, "left", "Ada")]


def test_an_unusable_face_is_told_as_such() -> None:
    film = Film().show(0, 2, TrackSighting(1, decided=True, usable=False)).end()
    assert [(each.event, each.usable, each.name) for each in film.events] == [
        ("arrived", False, None),
        ("left", False, None),
    ]


def test_who_is_erased_leaves_without_a_name_and_is_somebody_unknown_from_then_on() -> None:
    film = Film().show(0, 5, ADA)
    (left,) = film.visits.forget("id-ada")
    assert (left.event, left.name, left.person_id, left.duration) == ("left", None, None, 5)
    assert film.visits.present() == []
    assert film.visits.forget("id-ada") == []
    film.show(5.5, 10, UNKNOWN)
    assert film.told[1:] == [(6.5, "arrived", None)]


def test_a_source_that_begins_anew_ends_the_visits() -> None:
    film = Film().show(50, 52, ADA).show(0, 2, ADA)
    assert film.told == [(51, "arrived", "Ada"), (0, "left", "Ada"), (1, "arrived", "Ada")]


def test_frames_a_little_out_of_order_change_nothing() -> None:
    film = Film()
    for position in (0.0, 0.08, 0.04, 0.12):
        film.show(position, position, ADA)
    assert [each.event for each in film.events] == ["arrived"]
    assert film.end().events[-1].duration == pytest.approx(0.12)


def test_crops_are_made_for_events_only() -> None:
    asked = []

    def crop() -> bytes:
        asked.append(1)
        return b"jpeg"

    film = Film().show(0, 9, replace(ADA, crop=crop)).end()
    assert [each.crop for each in film.events] == [b"jpeg", None]
    assert asked == [1]


def test_present_names_those_whose_visit_was_told() -> None:
    film = Film().show(0, 0.5, ADA)
    assert film.visits.present() == []
    film.show(1, 4, ADA)
    (presence,) = film.visits.present()
    assert (presence.name, presence.since, presence.duration) == ("Ada", at(1), 4)
    film.show(4.5, 9)
    assert film.visits.present() == []


@pytest.mark.parametrize(
    "options",
    [
        {"confirm": 0},
        {"confirm": 1.5},
        {"absence": 0},
        {"absence": -1.0},
        {"absence": float("inf")},
        {"cooldown": float("nan")},
    ],
)
def test_options_out_of_range(options: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        Visits("door", **options)  # type: ignore[arg-type]


def test_expected_false_names() -> None:
    assert expected_false_names(1e-4, 0, 1000) == 0
    assert expected_false_names(1e-4, 1, 1000) == pytest.approx(0.1)
    assert expected_false_names(1e-4, 1000, 50) == pytest.approx(50 * (1 - (1 - 1e-4) ** 1000))
    for fmr, people, visits in ((1.0, 1, 1), (-0.1, 1, 1), (0.1, -1, 1), (0.1, 1, float("nan"))):
        with pytest.raises(InputError):
            expected_false_names(fmr, people, visits)


def test_a_visit_lasts_as_long_as_it_is_certain_who_is_there() -> None:
    """A track that may be somebody else by now does not make the visit longer."""
    film = Film().show(0, 5, ADA).show(5.5, 7, TrackSighting(ADA.track)).show(7.5, 12)
    (left,) = [each for each in film.events if each.event == "left"]
    assert left.duration == pytest.approx(5)
