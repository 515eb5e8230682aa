"""``Event``: one thing that happened before a camera, as programs and people get it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from facekeep.types import round_number

__all__ = ["Event", "EventKind", "format_utc"]

EventKind = Literal["arrived", "left", "camera"]


@dataclass(frozen=True, slots=True)
class Event:
    """Somebody arrived or left, or the state of a camera changed.

    Attributes:
        event: What happened.
        camera: The camera's name.
        time: When, in UTC.
        id: A UUID that stays the same however often the event is delivered.
        sequence: Its number in the event log, which counts from 1 without gaps; 0 before that.
        track: The number of the track on its camera; None for the state of a camera.
        name: The person; None for somebody unknown, for an unusable face and for cameras.
        person_id: The person's UUID in the gallery, by which the event is found when the person is
            erased; not part of the JSON.
        usable: Whether the faces of the track show enough to be recognized; None for cameras.
        similarity: Cosine to the best candidate, matched or not; None where nothing was compared.
        threshold: The cosine that decided.
        fmr: The false-match rate that it stands for.
        duration: Seconds from the first to the last frame of the visit, where it ended.
        state: The camera's new state: ``connecting``, ``live``, ``lost`` or ``ended``.
        clock: Where the time comes from: the ``source``'s own time stamps, or this ``system``.
        crop: The best face of the visit as a JPEG file, where crops were asked for; not part of
            the JSON of lists.
    """

    event: EventKind
    camera: str
    time: datetime
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    sequence: int = 0
    track: int | None = None
    name: str | None = None
    person_id: str | None = None
    usable: bool | None = None
    similarity: float | None = None
    threshold: float | None = None
    fmr: float | None = None
    duration: float | None = None
    state: str | None = None
    clock: Literal["source", "system"] = "system"
    crop: bytes | None = field(default=None, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the event for JSON, without the crop; keys that do not apply are null."""
        return {
            "event": self.event,
            "id": self.id,
            "sequence": self.sequence,
            "time": format_utc(self.time),
            "camera": self.camera,
            "track": self.track,
            "name": self.name,
            "usable": self.usable,
            "similarity": _rounded(self.similarity),
            "threshold": _rounded(self.threshold),
            "fmr": _rounded(self.fmr),
            "duration": _rounded(self.duration),
            "state": self.state,
            "clock": self.clock,
        }

    def without_person(self) -> Event:
        """Return what is left of the event once the person was erased."""
        return replace(self, name=None, person_id=None, crop=None, similarity=None)


def format_utc(time: datetime) -> str:
    """Write a time in UTC with milliseconds, such as ``2026-01-31T12:00:00.000Z``."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _rounded(value: float | None) -> float | None:
    return None if value is None else round_number(value)
