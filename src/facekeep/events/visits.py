"""``Visits``: who is before a camera, as one event when they arrive and one when they left."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from facekeep._internal.arguments import require_count
from facekeep.errors import InputError
from facekeep.events.event import Event

__all__ = ["Presence", "TrackSighting", "Visits", "expected_false_names"]

_Clock = Literal["source", "system"]
_Key = tuple[str, str | int]

_RESTART = 1.0
"""Seconds that a position may fall back, as frames out of order do, before it is a new start."""


@dataclass(frozen=True, slots=True)
class TrackSighting:
    """A track in one frame, with what is known about it so far.

    Attributes:
        track: The number of the track on its camera.
        name: The person; None for somebody unknown and for an unusable face.
        person_id: The person's UUID.
        decided: Whether it is settled who this is: a person, unknown, or unusable.
        usable: Whether the faces show enough to be recognized.
        similarity: Cosine to the best candidate; None where nothing was compared.
        threshold: The cosine that decided.
        fmr: The false-match rate that it stands for.
        crop: Gives the best face as a JPEG file; called only for an event. None: without.
    """

    track: int
    name: str | None = None
    person_id: str | None = None
    decided: bool = False
    usable: bool = True
    similarity: float | None = None
    threshold: float | None = None
    fmr: float | None = None
    crop: Callable[[], bytes | None] | None = None


@dataclass(frozen=True, slots=True)
class Presence:
    """Somebody who is before the camera now.

    Attributes:
        name: The person; None for somebody unknown and for an unusable face.
        usable: Whether the faces show enough to be recognized.
        track: The number of the latest track.
        since: When the visit's event was.
        duration: Seconds from the first to the latest frame.
    """

    name: str | None
    usable: bool
    track: int
    since: datetime
    duration: float


@dataclass(slots=True)
class _Track:
    """When a track was seen, and whose visit it belongs to."""

    first: float
    last: float
    key: _Key | None = None


@dataclass(slots=True)
class _Visit:
    """Somebody who is there, with or without the event that says so."""

    latest: TrackSighting
    first: float
    last: float
    last_time: datetime
    clock: _Clock
    frames: int = 0
    since: datetime | None = None


class Visits:
    """The visits before one camera.

    A visit begins with ``arrived`` after some frames in which it was settled who somebody is, and
    ends with ``left`` when they were not seen for a while; the time of ``left`` is that of the last
    frame in which they were seen. A person's visit may span several tracks; somebody unknown is a
    new visitor with each track. Once a track has a person it keeps them. A track that was unknown
    and is then found to be a person ends one visit and begins another.
    """

    def __init__(
        self,
        camera: str,
        *,
        confirm: int = 3,
        absence: float = 3.0,
        cooldown: float = 10.0,
        unknown: bool = True,
    ) -> None:
        """Begin with nobody there.

        Args:
            camera: The camera's name.
            confirm: Frames in which somebody must be seen and settled.
            absence: Seconds without a frame after which somebody has left.
            cooldown: Seconds after that in which the same person gives no new event. Who is still
                there when they are over gives it then.
            unknown: Whether unknown and unusable faces give events.

        Raises:
            InputError: A number is out of range.
        """
        require_count("confirm", confirm)
        if absence == 0:
            raise InputError("absence must be more than 0 seconds: somebody is missed in no frame")
        _require_seconds("absence", absence)
        _require_seconds("cooldown", cooldown)
        self.camera = camera
        self._confirm = confirm
        self._absence = absence
        self._cooldown = cooldown
        self._unknown = unknown
        self._reset()

    def _reset(self) -> None:
        self._position = -math.inf
        self._tracks: dict[int, _Track] = {}
        self._visits: dict[_Key, _Visit] = {}
        self._quiet_until: dict[_Key, float] = {}

    def update(
        self, sightings: Sequence[TrackSighting], position: float, time: datetime, clock: _Clock
    ) -> list[Event]:
        """Take what one frame shows; call it for each frame, those without faces too.

        Args:
            sightings: The tracks in the frame.
            position: Seconds, by which durations are measured. Where it falls back the source began
                anew: who was there has left.
            time: When the frame was taken, in UTC.
            clock: Where that time comes from.

        Returns:
            The events, those of who left first.
        """
        events = self.end() if position < self._position - _RESTART else []
        position = self._position = max(position, self._position)
        events += self._end_absent(position)
        seen: dict[_Key, TrackSighting] = {}
        for sighting in sightings:
            events += self._see(sighting, position, time, clock, seen)
        for key, sighting in seen.items():
            visit = self._visits[key]
            visit.frames += 1
            if self._arrives(key, visit, position):
                visit.since = time
                crop = None if sighting.crop is None else sighting.crop()
                events.append(self._event("arrived", visit, time, clock, crop))
        return events

    def end(self) -> list[Event]:
        """Return ``left`` for everybody who is there, and begin anew: the source has ended."""
        events = [self._left(each) for each in _by_time(self._visits.values()) if each.since]
        self._reset()
        return events

    def forget(self, person_id: str) -> list[Event]:
        """End the visit of somebody who was erased from the gallery: their tracks are nobody's.

        Args:
            person_id: The person's UUID.

        Returns:
            ``left`` without the name, where there was a visit.
        """
        key = "person", person_id
        for track in self._tracks.values():
            track.key = None if track.key == key else track.key
        self._quiet_until.pop(key, None)
        if key in self._visits:
            visit = self._visits[key]
            visit.latest = replace(visit.latest, name=None, person_id=None, crop=None)
        return self._leave(key)

    def present(self) -> list[Presence]:
        """Return who is there: those whose ``arrived`` was given and ``left`` was not."""
        return [
            Presence(
                each.latest.name,
                each.latest.usable,
                each.latest.track,
                each.since,
                each.last - each.first,
            )
            for each in self._visits.values()
            if each.since
        ]

    def _end_absent(self, position: float) -> list[Event]:
        """End the visits of those who were not seen for long enough."""
        gone = {
            key: visit
            for key, visit in self._visits.items()
            if position - visit.last > self._absence
        }
        for key, visit in gone.items():
            del self._visits[key]
            if visit.since and visit.latest.name is not None:
                self._quiet_until[key] = visit.last + self._absence + self._cooldown
        self._quiet_until = {k: end for k, end in self._quiet_until.items() if end > position}
        self._tracks = {
            number: track
            for number, track in self._tracks.items()
            if position - track.last <= self._absence
        }
        return [self._left(each) for each in _by_time(gone.values()) if each.since]

    def _see(
        self,
        sighting: TrackSighting,
        position: float,
        time: datetime,
        clock: _Clock,
        seen: dict[_Key, TrackSighting],
    ) -> list[Event]:
        """Put a track of the frame to its visit; return ``left`` of who it turns out not to be."""
        track = self._tracks.setdefault(sighting.track, _Track(position, position))
        track.last = position
        events: list[Event] = []
        key = track.key
        if sighting.decided and (key is None or key[0] == "track"):
            key = _key_of(sighting)
            if track.key not in (None, key):
                events = self._leave(track.key)
            track.key = key
        if key is None:
            return events
        visit = self._visits.get(key)
        if visit is None:
            visit = self._visits[key] = _Visit(sighting, track.first, position, time, clock)
        if sighting.decided:  # else it may be somebody else
            visit.last, visit.last_time, visit.clock = position, time, clock
        if sighting.decided and _key_of(sighting) == key:
            visit.latest = sighting
            seen[key] = sighting
        return events

    def _leave(self, key: _Key | None) -> list[Event]:
        visit = self._visits.pop(key, None) if key is not None else None
        return [self._left(visit)] if visit is not None and visit.since else []

    def _arrives(self, key: _Key, visit: _Visit, position: float) -> bool:
        return (
            visit.since is None
            and visit.frames >= self._confirm
            and position >= self._quiet_until.get(key, position)
            and (self._unknown or visit.latest.name is not None)
        )

    def _left(self, visit: _Visit) -> Event:
        return self._event(
            "left", visit, visit.last_time, visit.clock, None, visit.last - visit.first
        )

    def _event(
        self,
        kind: Literal["arrived", "left"],
        visit: _Visit,
        time: datetime,
        clock: _Clock,
        crop: bytes | None,
        duration: float | None = None,
    ) -> Event:
        latest = visit.latest
        return Event(
            kind,
            self.camera,
            time,
            track=latest.track,
            name=latest.name,
            person_id=latest.person_id,
            usable=latest.usable,
            similarity=latest.similarity,
            threshold=latest.threshold,
            fmr=latest.fmr,
            duration=duration,
            clock=clock,
            crop=crop,
        )


def expected_false_names(fmr: float, people: int, visits: float) -> float:
    """Return how many visits of strangers would be given a name, as many as there are ``visits``.

    Each visit is one decision, and each person of the gallery one chance to err: the share is
    1 - (1 - FMR)^N.

    Args:
        fmr: The false-match rate of one comparison, 0 to 1.
        people: People in the gallery, N.
        visits: Visits of people who are not in the gallery, such as those of a day.

    Raises:
        InputError: A number is out of range.
    """
    if not 0 <= fmr < 1:
        raise InputError(f"fmr lies between 0 and 1, such as 1e-4; got {fmr!r}")
    require_count("people", people, 0)
    if not (visits >= 0 and math.isfinite(visits)):
        raise InputError(f"visits must be 0 or more; got {visits!r}")
    return visits * -math.expm1(people * math.log1p(-fmr))


def _key_of(sighting: TrackSighting) -> _Key:
    if sighting.name is None:
        return "track", sighting.track
    return "person", sighting.person_id or sighting.name


def _by_time(visits: Iterable[_Visit]) -> list[_Visit]:
    return sorted(visits, key=lambda each: (each.last, each.latest.track))


def _require_seconds(name: str, value: float) -> None:
    if not (value >= 0 and math.isfinite(value)):
        raise InputError(f"{name} must be 0 seconds or more; got {value!r}")
