"""Sessions over made scenes with known truth: who is named, what it costs, what goes wrong."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from live_kit import (
    NAMES,
    START,
    MadeCamera,
    SquareEmbedder,
    background,
    heads,
    played,
    scene,
    square_engine,
    squares,
    switches,
)
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from facekeep import (
    CameraError,
    Event,
    EventLog,
    FaceEngine,
    GalleryNotFound,
    InputError,
    LiveOptions,
    LiveSession,
    ModelError,
    NewTemplate,
    Observation,
    StorageFull,
)

Where = Callable[[float], Sequence[tuple[int, float, float]]]
Pixels = NDArray[np.uint8]


def watch(
    where: Where, seconds: float, *, enrolled: Sequence[int] = (0, 1), fps: float = 25
) -> tuple[list[Observation], FaceEngine]:
    engine = square_engine(enrolled)
    camera = MadeCamera(played(seconds, where, fps), fps=fps)
    return list(LiveSession(engine, [camera]).observations()), engine


def wrong_names(seen: Sequence[Observation], where: Where) -> list[float]:
    """When a face had the name of somebody else, by the truth."""
    wrong = []
    for each in seen:
        moment = (each.time - START).total_seconds()
        x, y = (each.face.bbox[:2] + each.face.bbox[2:]) / 2
        who = min(reversed(where(moment)), key=lambda p: abs(p[1] - x) + abs(p[2] - y))[0]
        if each.face.name not in (None, NAMES[who]):
            wrong.append(moment)
    return wrong


def names(seen: Sequence[Observation]) -> dict[int, set[str | None]]:
    """The names that each track had."""
    found: dict[int, set[str | None]] = {}
    for each in seen:
        if each.face.decision is not None:
            found.setdefault(each.track, set()).add(each.face.name)
    return found


def crossing(t: float) -> list[tuple[int, float, float]]:
    return [(0, 80 + 100 * t, 240), (1, 560 - 100 * t, 240)]


def turning_back(t: float) -> list[tuple[int, float, float]]:
    away = 100 * min(t, 5 - t)
    return [(0, 80 + away, 240), (1, 560 - away, 240)]


def occlusion(t: float) -> list[tuple[int, float, float]]:
    return [(0, 320, 240), (1, 320 + (t - 3) * 250, 240)]


def crowd(t: float) -> list[tuple[int, float, float]]:
    return [
        (p, 320 + 200 * float(np.sin(t * (0.8 + 0.15 * p) + p)), 200 + 25 * p) for p in range(4)
    ]


@pytest.mark.parametrize("fps", [5, 12.5, 25])
@pytest.mark.parametrize("where", [crossing, turning_back, occlusion, crowd])
def test_people_who_cross_keep_their_names_and_nobody_gets_anothers(
    where: Where, fps: float
) -> None:
    seen, _ = watch(where, 5.9, fps=fps)
    assert all(len(found) == 1 for found in names(seen).values())
    last = {each.track: each.face.name for each in seen}
    assert {"Ada", "Ben"} <= set(last.values())
    assert wrong_names(seen, where) == []
    assert switches(seen, where) == 0


def test_strangers_stay_unknown_also_when_they_cross() -> None:
    seen, _ = watch(crossing, 5, enrolled=(4, 5))
    assert names(seen) == {1: {None}, 2: {None}}
    assert switches(seen, crossing) == 0


def test_who_leaves_and_returns_to_the_same_place_at_once_is_the_same_track() -> None:
    seen, _ = watch(lambda t: [] if 2 < t < 3.2 else [(0, 160, 240)], 6)
    assert {each.track for each in seen} == {1}
    assert names(seen) == {1: {"Ada"}}


def test_who_returns_later_is_a_new_track_of_the_same_person() -> None:
    seen, _ = watch(lambda t: [] if 2 < t < 5 else [(0, 160, 240)], 8)
    assert names(seen) == {1: {"Ada"}, 2: {"Ada"}}


def test_who_takes_a_seat_that_was_free_for_a_moment_never_gets_the_others_name() -> None:
    def where(t: float) -> list[tuple[int, float, float]]:
        return [(0, 160, 240)] if t < 2 else [] if t < 3 else [(1, 160, 240)]

    seen, _ = watch(where, 7)
    after = [each for each in seen if (each.time - START).total_seconds() >= 3]
    assert {each.face.name for each in after} == {None, "Ben"}
    assert after[-1].face.name == "Ben"
    assert after[-1].track != seen[0].track


@pytest.mark.parametrize("sitting", [0, 2])
def test_who_replaces_another_without_a_gap_is_noticed(sitting: int) -> None:
    def where(t: float) -> list[tuple[int, float, float]]:
        return [(sitting if t < 4 else 1, 320, 240)]

    seen, _ = watch(where, 9)
    assert all(len(found) == 1 for found in names(seen).values())
    assert seen[-1].face.name == "Ben"
    # A decided track is looked at every two seconds; until then it keeps its name.
    assert all(4 <= moment < 6.3 for moment in wrong_names(seen, where))


def test_two_tracks_at_one_moment_are_two_people() -> None:
    twins = [(0, 160, 240), (0, 480, 240)]
    seen, _ = watch(lambda t: twins, 4)
    moments: dict[object, list[str | None]] = {}
    for each in seen:
        moments.setdefault(each.time, []).append(each.face.name)
    assert all(found.count("Ada") <= 1 for found in moments.values())
    assert moments[seen[-1].time].count("Ada") == 1


def test_embedding_is_rare_once_all_are_decided() -> None:
    engine = square_engine()
    people = [(0, 160, 240), (1, 480, 240)]
    camera = MadeCamera(
        squares([(p, x + 2 * (n % 5), y) for p, x, y in people], n) for n in range(25 * 20)
    )
    session = LiveSession(engine, [camera])
    for _ in session.observations():
        pass
    embedder = engine._analyzer._embedder.get()
    assert isinstance(embedder, SquareEmbedder)
    # Three faces each, and one each every two seconds to see that they are the same.
    assert embedder.faces <= 2 * (3 + 20 / 2 + 1)
    assert session.status()[0].looks <= 20 * 5 + 10


def test_looks_follow_the_frames_number_where_that_is_asked_for() -> None:
    session = LiveSession(
        square_engine(), [MadeCamera(played(4, lambda t: []))], LiveOptions(detect_every=10)
    )
    assert list(session.observations()) == []
    assert session.status()[0].looks == 10


# Motion, region, mask


def still(seconds: float, people: Sequence[tuple[int, float, float]] = ()) -> MadeCamera:
    images = [squares(people, 0)] * round(seconds * 25)
    return MadeCamera(images)


@pytest.mark.parametrize(("motion", "least", "most"), [(True, 10, 14), (False, 45, 60)])
def test_a_still_scene_is_looked_at_once_a_second(motion: bool, least: int, most: int) -> None:
    session = LiveSession(square_engine(), [still(10)], LiveOptions(motion=motion))
    assert list(session.observations()) == []
    assert least <= session.status()[0].looks <= most


def test_a_still_scene_with_undecided_people_is_looked_at_until_they_are_decided() -> None:
    session = LiveSession(square_engine(), [still(1, [(0, 320, 240)])])
    assert [each.face.name for each in session.observations()][-1] == "Ada"


def test_who_does_not_move_stays_until_they_go() -> None:
    images = [squares([(0, 320, 240)], 0)] * 250 + [squares([], 0)] * 150
    events = list(LiveSession(square_engine(), [MadeCamera(images)]).events())
    (left,) = [each for each in events if each.event == "left"]
    assert left.duration == pytest.approx(10, abs=0.3)
    assert len([each for each in events if each.event == "arrived"]) == 1


def test_a_region_and_a_mask_decide_who_is_seen(hopper: Pixels, collins: Pixels) -> None:
    head = heads(hopper, collins)
    people = [(head["Grace Hopper"], 160.0, 240.0), (head["Eileen Collins"], 480.0, 240.0)]
    half = [(0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)]
    other = [(1 - x, y) for x, y in half]

    def centers(options: LiveOptions) -> set[bool]:
        with FaceEngine("people.db") as engine:
            engine._gallery = square_engine().gallery
            engine._gallery._people.clear()
            camera = MadeCamera(scene(0.5, lambda t: people))
            seen = list(LiveSession(engine, [camera], options).observations())
            return {bool(each.face.bbox[[0, 2]].mean() < 320) for each in seen}

    assert centers(LiveOptions()) == {True, False}
    assert centers(LiveOptions(region=[half])) == {True}
    assert centers(LiveOptions(region=[other])) == {False}
    assert centers(LiveOptions(mask=[half])) == {False}
    assert centers(LiveOptions(mask=[half, other])) == set()


# Events


def kinds(events: Sequence[Event]) -> list[tuple[str, str | None]]:
    return [(each.event, each.name or each.state) for each in events]


def test_a_file_gives_one_arrival_and_one_leaving_a_visit_in_order() -> None:
    camera = MadeCamera(played(8, lambda t: [(0, 160, 240)] if 1 <= t < 4 else []))
    events = list(LiveSession(square_engine(), [camera]).events())
    assert kinds(events) == [
        ("camera", "live"),
        ("arrived", "Ada"),
        ("left", "Ada"),
        ("camera", "ended"),
    ]
    arrived, left = events[1:3]
    assert arrived.usable
    assert arrived.fmr == pytest.approx(1e-4)
    assert arrived.similarity > arrived.threshold
    assert 1 <= (arrived.time - START).total_seconds() <= 1.8
    assert left.duration == pytest.approx(2.9, abs=0.4)
    assert all(each.clock == "source" for each in events)


def test_the_speed_of_reading_changes_nothing() -> None:
    def run(*, slowly: bool) -> list[tuple[object, ...]]:
        images = played(5, crossing)
        frames = (yes for image in images for yes in (None, image)) if slowly else images
        events = LiveSession(square_engine(), [MadeCamera(frames)]).events()
        return [(e.event, e.time, e.track, e.name, e.similarity, e.duration) for e in events]

    assert run(slowly=True) == run(slowly=False)


def test_with_a_log_events_are_in_it_and_numbered(tmp_path: Path) -> None:
    with EventLog.open(tmp_path / "events.db") as log:
        camera = MadeCamera(played(4, lambda t: [(0, 160, 240)]))
        events = list(LiveSession(square_engine(), [camera], log=log).events())
        assert [each.sequence for each in events] == list(range(1, len(events) + 1))
        assert list(log.events()) == events


def test_a_full_disk_does_not_end_the_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EventLog.open(tmp_path / "events.db") as log:
        real, full = log.append, [True]

        def append(event: Event) -> Event:
            if full[0]:
                raise StorageFull("there is no room")
            return real(event)

        def free(number: int) -> None:
            full[0] = number < 100

        monkeypatch.setattr(log, "append", append)
        camera = MadeCamera(played(5, lambda t: [(0, 160, 240)]), at=free)
        events = list(LiveSession(square_engine(), [camera], log=log).events())
        assert kinds(events) == [
            ("camera", "live"),
            ("arrived", "Ada"),
            ("left", "Ada"),
            ("camera", "ended"),
        ]
        assert list(log.events()) == events


def test_what_is_not_read_on_is_logged_all_the_same(tmp_path: Path) -> None:
    with EventLog.open(tmp_path / "events.db") as log:
        camera = MadeCamera(played(20, lambda t: [(0, 160, 240)]))
        events = LiveSession(square_engine(), [camera], log=log).events()
        while next(events).event != "arrived":
            pass
        events.close()
        assert kinds(list(log.events()))[-1] == ("left", "Ada")


def test_crops_are_given_only_where_asked_for() -> None:
    for crops in (True, False):
        camera = MadeCamera(played(3, lambda t: [(0, 160, 240)]))
        session = LiveSession(square_engine(), [camera], LiveOptions(crops=crops))
        (arrived,) = [each for each in session.events() if each.event == "arrived"]
        assert (arrived.crop is not None and arrived.crop[:2] == b"\xff\xd8") is crops


def test_each_frame_is_shown_with_the_faces_where_they_are() -> None:
    shown: list[tuple[int, list[float]]] = []
    camera = MadeCamera(played(4, lambda t: [(0, 100 + 100 * t, 240)]))
    session = LiveSession(
        square_engine(),
        [camera],
        on_frame=lambda frame, seen: shown.append(
            (frame.number, [float(each.face.bbox[[0, 2]].mean()) for each in seen])
        ),
    )
    for _ in session.observations():
        pass
    assert [number for number, _ in shown] == list(range(1, 101))
    # The position of the last look, and constant velocity from there.
    for number, centers in shown[25:]:
        assert centers == [pytest.approx(100 + 100 * (number - 1) / 25, abs=6)]


# Many cameras


def test_a_fast_a_slow_and_a_dead_camera_take_turns() -> None:
    def walker(t: float) -> list[tuple[int, float, float]]:
        return [(0, 100 + 40 * t, 240)]

    def nothing() -> Iterator[None]:
        while not fast.state == slow.state == "ended":
            yield None
        session.stop()
        yield None

    order: list[str] = []
    fast = MadeCamera(played(8, walker), name="fast", at=lambda n: order.append("fast"))
    images = (each for image in played(2, walker) for each in (None, None, None, image))
    slow = MadeCamera(images, name="slow", at=lambda n: order.append("slow"))
    dead = MadeCamera(nothing(), name="dead", live=True)
    session = LiveSession(square_engine(), [fast, slow, dead])
    seen = Counter(each.camera for each in session.observations())
    session.close()
    assert (fast.frames, slow.frames, dead.frames) == (200, 50, 0)
    # Each turn asks every camera once: the slow one has a frame in each fourth turn.
    together = order[: order.index("slow") * 50]
    assert 3 <= together.count("fast") / together.count("slow") <= 5
    assert seen["fast"] > 10 < seen["slow"]
    assert dead.reads >= 200
    assert dead.closed


def test_the_engine_runs_in_the_callers_thread_and_cameras_are_only_asked() -> None:
    cameras = [MadeCamera(played(1, crossing), name=name) for name in ("a", "b")]
    for _ in LiveSession(square_engine(), cameras).observations():
        pass
    assert cameras[0].threads == cameras[1].threads == {threading.get_ident()}


def test_tracks_of_cameras_are_apart() -> None:
    cameras = [MadeCamera(played(2, lambda t: [(0, 160, 240)]), name=name) for name in "ab"]
    seen = list(LiveSession(square_engine(), cameras).observations())
    assert {(each.camera, each.track, each.face.name) for each in seen[-4:]} == {
        ("a", 1, "Ada"),
        ("b", 1, "Ada"),
    }


def test_who_stood_before_a_camera_that_went_silent_has_left() -> None:
    images: list[Pixels | None] = list(played(2, lambda t: [(0, 160, 240)]))
    camera = MadeCamera([*images, *[None] * 100_000], live=True)
    session = LiveSession(square_engine(), [camera], LiveOptions(absence=0.5))
    events = []
    for each in session.events():
        events.append(each)
        if each.event == "left":
            session.stop()
    assert kinds(events) == [("camera", "live"), ("arrived", "Ada"), ("left", "Ada")]


# What goes wrong


def test_a_stranger_is_unknown_and_an_unusable_face_is_unusable(
    tmp_path: Path, hopper: Pixels, collins: Pixels
) -> None:
    head = heads(hopper, collins)
    blurred = np.asarray(Image.fromarray(head["Grace Hopper"]).filter(ImageFilter.GaussianBlur(5)))
    people = [
        (head["Grace Hopper"], 120.0, 140.0),
        (head["Eileen Collins"], 500.0, 140.0),
        (blurred, 320.0, 360.0),
    ]
    with FaceEngine(tmp_path / "people.db") as engine:
        engine.enroll("Grace Hopper", hopper)
        # Found by the detector all the same, so that the quality has to tell.
        camera = MadeCamera(scene(3, lambda t: people))
        session = LiveSession(engine, [camera])
        events = [each for each in session.events() if each.event == "arrived"]
    assert {(each.name, each.usable) for each in events} >= {("Grace Hopper", True), (None, True)}
    assert [each.name for each in events if not each.usable] == [None]
    assert [each.name for each in events if each.name is not None] == ["Grace Hopper"]


def test_unusable_faces_are_told_after_two_seconds_and_compared_with_nobody() -> None:
    engine = square_engine()

    class Unusable(FaceEngine):
        def describe(self, image, faces):  # type: ignore[no-untyped-def]
            return [each.replace(reasons=("too_dark",)) for each in super().describe(image, faces)]

    engine.__class__ = Unusable
    camera = MadeCamera(played(5, lambda t: [(0, 160, 240)]))
    session = LiveSession(engine, [camera])
    arrived = [each for each in session.events() if each.event == "arrived"]
    assert [(each.name, each.usable, each.similarity) for each in arrived] == [(None, False, None)]
    assert 2 <= (arrived[0].time - START).total_seconds() < 2.6
    assert engine._analyzer._embedder.get().faces == 0  # type: ignore[attr-defined]


def test_who_is_enrolled_or_erased_meanwhile_is_noticed() -> None:
    engine = square_engine((0,))
    vector = np.zeros(64, np.float32)
    vector[2] = 1

    def change(number: int) -> None:
        if number == 75:
            engine.gallery.enroll("Cleo", [NewTemplate(vector)])
        if number == 150:
            engine.gallery.remove("Ada")

    people = [(0, 160, 240), (2, 480, 240)]
    camera = MadeCamera(played(10, lambda t: people), at=change)
    seen: dict[int, list[tuple[float, str | None]]] = {1: [], 2: []}
    for each in LiveSession(engine, [camera]).observations():
        moment = (each.time - START).total_seconds()
        seen[each.track].append((moment, each.face.name))
    assert {name for moment, name in seen[1] if 0.5 < moment < 6} == {"Ada"}
    assert {name for moment, name in seen[1] if moment > 7.3} == {None}
    assert {name for moment, name in seen[2] if moment < 3} == {None}
    assert {name for moment, name in seen[2] if moment > 4.3} == {"Cleo"}


def test_events_do_not_give_the_name_of_who_was_erased_meanwhile() -> None:
    engine = square_engine((0,))

    def change(number: int) -> None:
        if number == 100:
            engine.gallery.remove("Ada")

    camera = MadeCamera(played(8, lambda t: [(0, 160, 240)]), at=change)
    events = list(LiveSession(engine, [camera]).events())
    visits = [(each.event, each.name) for each in events if each.event != "camera"]
    # The visit ends when the change is noticed, and somebody unknown is there.
    assert visits == [("arrived", "Ada"), ("left", None), ("arrived", None), ("left", None)]
    assert all(each.person_id is None for each in events if each.name is None)


def test_errors_of_the_engine_come_out_and_nothing_is_lost(tmp_path: Path) -> None:
    engine = square_engine()
    detector = engine._analyzer._detector.get()
    images = list(played(3, lambda t: [(0, 160, 240)]))

    def fail(number: int) -> None:
        if number == 50:
            detector.find = lambda image: "no list"  # type: ignore[method-assign,assignment]

    with EventLog.open(tmp_path / "events.db") as log:
        session = LiveSession(engine, [MadeCamera(images, at=fail)], log=log)
        with pytest.raises(ModelError, match="not a list"):
            list(session.events())
        assert kinds(list(log.events())) == [
            ("camera", "live"),
            ("arrived", "Ada"),
            ("left", "Ada"),
        ]


def take(running: Iterator[Event], events: list[Event]) -> None:
    for each in running:
        events.append(each)


def test_a_camera_that_was_given_up_is_an_error_after_the_others_are_done() -> None:
    good = MadeCamera(played(2, lambda t: [(0, 160, 240)]), name="good")
    bad = MadeCamera([], name="bad", error="it does not answer")
    events: list[Event] = []
    running = LiveSession(square_engine(), [good, bad]).events()
    with pytest.raises(CameraError, match="bad: it does not answer"):
        take(running, events)
    assert ("left", "Ada") in kinds(events)
    assert {each.camera for each in events if each.state == "ended"} == {"good", "bad"}


def test_without_a_gallery_nothing_starts() -> None:
    camera = MadeCamera(played(1, crossing))
    with pytest.raises(GalleryNotFound):
        list(LiveSession(FaceEngine(), [camera]).events())
    assert camera.reads == 0


def test_with_a_rate_that_cannot_be_promised_nothing_starts(tmp_path: Path, hopper: Pixels) -> None:
    with FaceEngine(tmp_path / "people.db") as engine:
        engine.enroll("Grace Hopper", hopper)
    camera = MadeCamera(played(1, crossing))
    with (
        FaceEngine(tmp_path / "people.db", fmr=1e-9) as engine,
        pytest.raises(InputError, match="cannot be promised"),
    ):
        list(LiveSession(engine, [camera]).events())
    assert camera.reads == 0


def test_a_session_runs_once_at_a_time_and_names_cameras_apart() -> None:
    session = LiveSession(square_engine(), [MadeCamera(played(1, crossing))])
    running = session.events()
    next(running)
    with pytest.raises(InputError, match="runs already"):
        next(session.observations())
    with pytest.raises(InputError, match="name of its own"):
        LiveSession(square_engine(), [MadeCamera([]), MadeCamera([])])
    with pytest.raises(InputError, match="at least one"):
        LiveSession(square_engine(), [])


def test_stop_from_another_thread_ends_at_once_and_everybody_leaves() -> None:
    frames = (squares([(0, 160 + n % 3, 240)], n % 4) for n in iter(int, 1))
    camera = MadeCamera(frames)
    session = LiveSession(square_engine(), [camera])
    events: list[Event] = []
    arrived = threading.Event()

    def run() -> None:
        for each in session.events():
            events.append(each)
            if each.event == "arrived":
                arrived.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert arrived.wait(30)
    session.stop()
    thread.join(30)
    assert not thread.is_alive()
    assert kinds(events)[-1] == ("left", "Ada")
    read = camera.reads
    time.sleep(0.05)
    assert camera.reads == read


def test_other_threads_may_ask_for_the_status_all_the_time() -> None:
    session = LiveSession(square_engine(), [MadeCamera(played(10, crowd))])
    done = threading.Event()
    failures: list[BaseException] = []

    def ask() -> None:
        try:
            while not done.is_set():
                session.status()
        except BaseException as error:  # noqa: BLE001 - the test says what it was
            failures.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    for _ in session.events():
        session.status()
    done.set()
    thread.join()
    assert failures == []


def test_what_a_session_keeps_is_bounded() -> None:
    rng = np.random.default_rng(0)
    places = rng.uniform(50, 400, (200, 2))

    def where(t: float) -> list[tuple[int, float, float]]:
        x, y = places[int(t * 2)]
        return [(int(t * 2) % 6, float(x), float(y))]

    session = LiveSession(square_engine(), [MadeCamera(played(60, where))])
    recognizer = session._watches[0].recognizer
    most = 0
    for _ in session.observations():
        most = max(most, len(recognizer._evidence), len(recognizer.tracker.tracks))
    assert most <= 12
    assert recognizer._evidence == {}


def test_a_change_of_resolution_ends_the_tracks() -> None:
    images = list(played(2, lambda t: [(0, 160, 240)]))
    small = [np.ascontiguousarray(image[:400, :500]) for image in images]
    seen = list(LiveSession(square_engine(), [MadeCamera([*images, *small])]).observations())
    assert names(seen) == {1: {"Ada"}, 2: {"Ada"}}


def test_status_says_what_cameras_do() -> None:
    camera = MadeCamera(played(3, lambda t: [(0, 160, 240), (3, 480, 240)]))
    session = LiveSession(square_engine(), [camera])
    for _ in session.observations():
        pass
    (door,) = session.status()
    assert (door.name, door.state, door.frames, door.exposure) == ("door", "ended", 75, "day")
    assert door.latency is not None
    assert door.fps > 0
    assert background().mean() / 255 > 0.2
