"""``evaluate live``: the events of a video compared with who was to be seen in it, and when.

A *visit* is a row of the truth. Every ``arrived`` is put to one visit: where boxes are known, to
the one that its track shows; else to one of that time, first of the same name. A visit of somebody
enrolled is named rightly or wrongly, unknown, unusable or missed; a stranger who gets a name is a
false name, as is any other wrong one.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from facekeep._internal.boxes import overlap, to_box
from facekeep.events.visits import expected_false_names
from facekeep.lab.datasets.visits_table import TrueBox, TrueVisit
from facekeep.lab.evaluate.metrics import bound_share
from facekeep.video.camera import Camera
from facekeep.video.live import LiveOptions, LiveSession

if TYPE_CHECKING:
    from facekeep.engine import FaceEngine
    from facekeep.events.event import Event
    from facekeep.types import Observation
    from facekeep.video.camera import Frame

__all__ = [
    "Arrival",
    "LiveResult",
    "TrackCounts",
    "TrackFollower",
    "compare_visits",
    "evaluate_live",
    "read_arrivals",
]

Outcome = Literal["named", "wrong", "unknown", "unusable", "missed"]
OUTCOMES: Final[tuple[Outcome, ...]] = ("named", "wrong", "unknown", "unusable", "missed")

START: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""The time that the first frame is given, so that the events tell seconds of the video."""

_IOU = 0.3
_VISIBLE = 0.5  # of a face, from where on a track may cover it
_EARLY, _LATE = 0.5, 3.0  # seconds around a visit in which an event without a box may belong to it


@dataclass(frozen=True, slots=True)
class Arrival:
    """A visit as the events tell it.

    Attributes:
        time: When ``arrived`` was given, in seconds from the first frame.
        first: When the person was first seen.
        last: When they were last seen.
        name: Who; None for somebody unknown.
        usable: Whether the faces could be recognized.
        track: The number of the track that arrived.
        similarity: Cosine to the best candidate.
    """

    time: float
    first: float
    last: float
    name: str | None
    usable: bool
    track: int | None
    similarity: float | None


def read_arrivals(
    events: Iterable[Event], seconds: float, start: datetime = START
) -> list[Arrival]:
    """Join each ``arrived`` with its ``left``.

    Args:
        events: The events of one camera, in their order.
        seconds: How long the video is: the end of visits without ``left``.
        start: When its first frame was taken.
    """
    arrivals: list[Arrival] = []
    there: dict[str | int | None, int] = {}
    for event in events:
        if event.event == "camera":
            continue
        time = (event.time - start).total_seconds()
        key = event.track if event.name is None else event.name
        if event.event == "arrived":
            there[key] = len(arrivals)
            arrivals.append(
                Arrival(
                    time,
                    time,
                    seconds,
                    event.name,
                    event.usable is not False,
                    event.track,
                    event.similarity,
                )
            )
        elif key in there:
            place = there.pop(key)
            first = min(time - (event.duration or 0.0), arrivals[place].time)
            arrivals[place] = replace(arrivals[place], first=first, last=time)
    return arrivals


# Tracks, where the boxes of the truth are known.


@dataclass(frozen=True, slots=True)
class TrackCounts:
    """How tracks follow people.

    Attributes:
        faces: Faces in the frames that are to be seen for the most part.
        found: How many of them a track covered.
        identity_switches: How often the track of a visit became another one (CLEAR MOT).
        mixed: How many tracks covered more than one person.
    """

    faces: int
    found: int
    identity_switches: int
    mixed: int


Owners = Mapping[int, Sequence[tuple[float, int]]]
"""By the number of a track: when it covered which visit."""


class TrackFollower:
    """Notes in each frame which track covers which visit."""

    def __init__(self, boxes: Sequence[TrueBox]) -> None:
        self._times = np.array(sorted({box.time for box in boxes}))
        self._boxes: dict[float, list[TrueBox]] = defaultdict(list)
        for box in boxes:
            if box.visible >= _VISIBLE:
                self._boxes[box.time].append(box)
        self.owners: dict[int, list[tuple[float, int]]] = defaultdict(list)
        self.faces = self.found = 0

    def __call__(self, frame: Frame, observations: Sequence[Observation]) -> None:
        """Take a frame; faces that are hidden for the most part belong to no track."""
        truth = self._at(frame.position)
        pairs = sorted(
            (
                (shared, place, which)
                for place, box in enumerate(truth)
                for which, each in enumerate(observations)
                if (shared := overlap(to_box(each.face.bbox), box.bbox)) >= _IOU
            ),
            reverse=True,
        )
        places: set[int] = set()
        taken: set[int] = set()
        for _, place, which in pairs:
            if place not in places and which not in taken:
                places.add(place)
                taken.add(which)
                self.owners[observations[which].track].append((frame.position, truth[place].visit))
        self.faces += len(truth)
        self.found += len(places)

    def count(self, people: Sequence[object]) -> TrackCounts:
        """Count identity switches and mixed tracks, given who each visit is of."""
        visits: dict[int, list[tuple[float, int]]] = defaultdict(list)
        mixed = 0
        for track, covered in self.owners.items():
            mixed += len({people[visit] for _, visit in covered}) > 1
            for time, visit in covered:
                visits[visit].append((time, track))
        switches = 0
        for numbers in visits.values():
            switches += sum(one[1] != other[1] for one, other in pairwise(sorted(numbers)))
        return TrackCounts(self.faces, self.found, switches, mixed)

    def _at(self, position: float) -> list[TrueBox]:
        if not len(self._times):
            return []
        nearest = float(self._times[np.abs(self._times - position).argmin()])
        return self._boxes.get(nearest, []) if abs(nearest - position) < 0.01 else []


# Visits.


@dataclass(slots=True)
class _Seen:
    """What became of one visit of the truth."""

    truth: TrueVisit
    known: bool
    arrivals: list[Arrival] = field(default_factory=list)
    merged: bool = False

    @property
    def outcome(self) -> Outcome:
        if any(self.is_wrong(arrival) for arrival in self.arrivals):
            return "wrong"
        if self.merged or any(arrival.name is not None for arrival in self.arrivals):
            return "named"
        if not self.arrivals:
            return "missed"
        return "unknown" if any(arrival.usable for arrival in self.arrivals) else "unusable"

    def is_wrong(self, arrival: Arrival) -> bool:
        return arrival.name is not None and (not self.known or arrival.name != self.truth.name)

    @property
    def delay(self) -> float | None:
        """Seconds from the first frame to the right name."""
        times = [each.time for each in self.arrivals if each.name is not None]
        return None if self.outcome != "named" or not times else min(times) - self.truth.start

    @property
    def split(self) -> bool:
        """Whether the visit was announced more than once as the same."""
        return any(count > 1 for count in Counter(each.name for each in self.arrivals).values())

    @property
    def renamed(self) -> bool:
        """Whether it was unknown before it got its right name."""
        names = {each.name for each in self.arrivals}
        return self.outcome == "named" and None in names and len(names) > 1


def _share(count: int, total: int) -> dict[str, Any]:
    """Give a count, its share, and the share's 95 % interval; null where there is nothing."""
    low, high = bound_share(count, total) or (None, None)
    return {"count": count, "share": count / total if total else None, "low": low, "high": high}


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LiveResult:
    """How events agree with the truth.

    Attributes:
        seen: What became of each visit.
        astray: Arrivals that belong to no visit.
        seconds: How long the video is.
        people: People in the gallery.
        fmr: The false-match rate of one comparison.
        threshold: The cosine at that rate.
        tracks: How tracks follow people; None without boxes.
        not_enrolled: Names of the truth that are not in the gallery; they count as strangers.
        facts: What else the JSON tells: video, model, settings, ...
    """

    seen: Sequence[_Seen]
    astray: Sequence[Arrival]
    seconds: float
    people: int
    fmr: float
    threshold: float | None = None
    tracks: TrackCounts | None = None
    not_enrolled: Sequence[str] = ()
    facts: Mapping[str, object] = field(default_factory=dict)

    def outcomes(self, *, known: bool) -> dict[Outcome, int]:
        """Count what became of the visits of enrolled people, or of strangers."""
        counts = Counter(each.outcome for each in self.seen if each.known == known)
        return {name: counts[name] for name in OUTCOMES}

    @property
    def false_names(self) -> int:
        """How many arrivals had a wrong name."""
        wrong = sum(each.is_wrong(one) for each in self.seen for one in each.arrivals)
        return wrong + sum(one.name is not None for one in self.astray)

    @property
    def expected(self) -> float:
        """How many of the visits get a wrong name by the stated rate."""
        known = sum(each.known for each in self.seen)
        strangers = len(self.seen) - known
        others = max(self.people - 1, 0)
        return expected_false_names(self.fmr, self.people, strangers) + expected_false_names(
            self.fmr, others, known
        )

    def document(self) -> dict[str, Any]:
        """Give the result in the stable form that ``docs/json.md`` describes."""
        delays = [each.delay for each in self.seen if each.delay is not None]
        tracks = self.tracks
        return {
            "protocol": "live",
            **self.facts,
            "seconds": self.seconds,
            "people": self.people,
            "fmr": self.fmr,
            "threshold": self.threshold,
            "visits": len(self.seen),
            "known": self._count(known=True),
            "strangers": self._count(known=False),
            "false_names": self._false_names(),
            "split": sum(each.split for each in self.seen),
            "merged": sum(each.merged for each in self.seen),
            "renamed": sum(each.renamed for each in self.seen),
            "astray": len(self.astray),
            "time_to_name": {
                "count": len(delays),
                "p50": float(np.quantile(delays, 0.5)) if delays else None,
                "p95": float(np.quantile(delays, 0.95)) if delays else None,
            },
            "tracks": tracks and asdict(tracks),
            "not_enrolled": list(self.not_enrolled),
            "mistakes": list(self.mistakes()),
        }

    def _count(self, *, known: bool) -> dict[str, Any]:
        counts = self.outcomes(known=known)
        total = sum(counts.values())
        shares: dict[str, Any] = {name: _share(count, total) for name, count in counts.items()}
        if not known:
            del shares["named"]  # there is no right name
        return {"visits": total, **shares}

    def _false_names(self) -> dict[str, Any]:
        """Count false names a visit and an hour, beside what the rate promises."""
        visits, hours = len(self.seen), self.seconds / 3600
        share = _share(min(self.false_names, visits), visits)

        def hourly(value: float | None) -> float | None:
            return None if value is None or not hours else value * visits / hours

        return {
            **share,
            "count": self.false_names,
            "expected": self.expected,
            "expected_share": self.expected / visits if visits else None,
            "per_hour": self.false_names / hours if hours else None,
            "per_hour_low": hourly(share["low"]),
            "per_hour_high": hourly(share["high"]),
            "expected_per_hour": self.expected / hours if hours else None,
        }

    def mistakes(self) -> Iterable[dict[str, Any]]:
        """List what went wrong, in the order of time, to look at it in the video."""
        found = []
        for each in self.seen:
            place = {"start": each.truth.start, "end": each.truth.end, "expected": each.truth.name}
            wrong = [one for one in each.arrivals if each.is_wrong(one)]
            found += [_mistake("wrong name", place, one) for one in wrong]
            if each.known and each.outcome in ("unknown", "unusable", "missed"):
                one = each.arrivals[0] if each.arrivals else None
                found.append(_mistake(each.outcome, place, one))
            if each.split:
                found.append(_mistake("split", place, each.arrivals[-1]))
        nowhere = {"start": None, "end": None, "expected": None}
        found += [_mistake("astray", nowhere, one) for one in self.astray]
        return sorted(found, key=lambda one: one["time"])


def _mistake(kind: str, place: Mapping[str, Any], arrival: Arrival | None) -> dict[str, Any]:
    return {
        "kind": kind,
        "time": place["start"] if arrival is None else arrival.time,
        **place,
        "name": arrival and arrival.name,
        "similarity": arrival and arrival.similarity,
        "track": arrival and arrival.track,
    }


def compare_visits(
    arrivals: Sequence[Arrival],
    truth: Sequence[TrueVisit],
    enrolled: Iterable[str],
    *,
    owners: Owners | None = None,
    cooldown: float = 10.0,
    absence: float = 3.0,
) -> tuple[list[_Seen], list[Arrival]]:
    """Put arrivals to the visits of the truth.

    Args:
        arrivals: What the events tell.
        truth: Who was there.
        enrolled: The names in the gallery.
        owners: Which visits each track covered, where boxes are known.
        cooldown: Seconds after somebody left in which they give no new event.
        absence: Seconds after which somebody who is not seen has left.

    Returns:
        What became of each visit, and the arrivals that belong to none.
    """
    names = set(enrolled)
    seen = [_Seen(visit, visit.name in names) for visit in truth]
    astray: list[Arrival] = []
    if owners is not None:
        for arrival in arrivals:
            place = _find_owner(arrival, owners)
            (astray if place is None else seen[place].arrivals).append(arrival)
    else:
        # Right names first: what is left can only be put to a visit by its time.
        for arrival in arrivals:
            if not _put(arrival, [each for each in seen if _is_right(each, arrival)]):
                astray.append(arrival)
        astray = [arrival for arrival in astray if not _put(arrival, seen)]
    quiet = absence + cooldown
    for each in seen:
        each.merged = not each.arrivals and any(
            each.known
            and one.name == each.truth.name
            and one.first <= each.truth.end
            and each.truth.start <= one.last + quiet
            for one in arrivals
        )
    return seen, astray


def _is_right(seen: _Seen, arrival: Arrival) -> bool:
    return seen.known and arrival.name == seen.truth.name


def _find_owner(arrival: Arrival, owners: Owners) -> int | None:
    """Return the visit that the track covered most until it arrived, or else ever."""
    covered = owners.get(arrival.track if arrival.track is not None else -1, ())
    before = [visit for time, visit in covered if time <= arrival.time + 0.01]
    counts = Counter(before or [visit for _, visit in covered])
    return counts.most_common(1)[0][0] if counts else None


def _put(arrival: Arrival, seen: Sequence[_Seen]) -> bool:
    """Put an arrival to a visit of its time: one that is going on, is no other's and is likely."""
    time = arrival.time

    def rank(each: _Seen) -> tuple[bool, bool, bool, float]:
        start, end = each.truth.start, each.truth.end
        there = start <= time <= end
        likely = each.known == (arrival.name is not None and _is_right(each, arrival))
        return not there, bool(each.arrivals), not likely, abs(time - start)

    near = [each for each in seen if each.truth.start - _EARLY <= time <= each.truth.end + _LATE]
    if not near:
        return False
    min(near, key=rank).arrivals.append(arrival)
    return True


def evaluate_live(
    engine: FaceEngine,
    video: str | os.PathLike[str],
    truth: Sequence[TrueVisit],
    boxes: Sequence[TrueBox] | None = None,
    options: LiveOptions | None = None,
    *,
    progress: Callable[[], object] | None = None,
) -> LiveResult:
    """Watch a video as ``facekeep live`` does, and compare the events with the truth.

    Args:
        engine: With a gallery.
        video: A file, or a folder of pictures; every frame is taken, whatever the time it needs.
        truth: Who is to be seen when.
        boxes: Where the faces are; None: tracks are not judged.
        options: How cameras are watched; None: as by default.
        progress: Called for each frame.

    Raises:
        CameraError: The video cannot be read.
        GalleryNotFound: Nobody was ever enrolled.
    """
    options = options or LiveOptions()
    follower = None if boxes is None else TrackFollower(boxes)
    last = 0.0

    def note(frame: Frame, observations: list[Observation]) -> None:
        nonlocal last
        last = max(last, frame.position)
        if follower is not None:
            follower(frame, observations)
        if progress is not None:
            progress()

    with (
        Camera(video, start=START) as camera,
        LiveSession(engine, [camera], options, on_frame=note) as session,
    ):
        events = list(session.events())
        frames = camera.frames
    seconds = last * frames / (frames - 1) if frames > 1 else last
    names = [person.name for person in engine.gallery.people()]
    seen, astray = compare_visits(
        read_arrivals(events, seconds),
        truth,
        names,
        owners=None if follower is None else follower.owners,
        cooldown=options.cooldown,
        absence=options.absence,
    )
    limit = engine.threshold(people=len(names))
    return LiveResult(
        seen=seen,
        astray=astray,
        seconds=seconds,
        people=len(names),
        fmr=limit.fmr,
        threshold=limit.cosine,
        tracks=follower.count(_who(truth)) if follower else None,
        not_enrolled=sorted({each.name for each in truth if each.name} - set(names)),
        facts={
            "video": os.fspath(video),
            "model": engine.model.name,
            "frames": frames,
            "settings": {
                "confirm": options.confirm,
                "absence": options.absence,
                "cooldown": options.cooldown,
                "detect_every": options.detect_every,
            },
        },
    )


def _who(truth: Sequence[TrueVisit]) -> list[object]:
    """Return who each visit is of; each stranger is somebody else."""
    return [place if visit.name is None else visit.name for place, visit in enumerate(truth)]
