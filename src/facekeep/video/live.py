"""``LiveSession``: many cameras, one engine, and the events of what they see."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from facekeep._internal.arguments import require_count
from facekeep._internal.closing import Closing
from facekeep.engine import FaceEngine
from facekeep.errors import CameraError, InputError, PersonNotFound
from facekeep.events.event import Event
from facekeep.events.visits import Presence, TrackSighting, Visits
from facekeep.pipeline.image import encode_jpeg
from facekeep.types import Observation
from facekeep.video.recognizer import TrackRecognizer
from facekeep.video.scene import Exposure, Polygon, Scene
from facekeep.video.tracker import Track

if TYPE_CHECKING:
    from facekeep.events.event_log import EventLog
    from facekeep.video.camera import Camera, Frame

_log = logging.getLogger(__name__)

__all__ = ["CameraStatus", "LiveOptions", "LiveSession"]

# Seconds between two looks for faces: while somebody is not decided or confirmed yet, while there
# are only people who are, and while there is nobody.
_UNSETTLED = 0.08
_SETTLED = 0.24
_EMPTY = 0.2
# A still scene is looked at after so many seconds all the same.
_STILL = 1.0
# The share of its time that the engine may be busy before all looks become rarer, up to so many
# times, and below which they become more frequent again; judged after so many seconds.
_BUSY, _IDLE = 0.8, 0.5
_RAREST = 8.0
_JUDGED = 1.0
# A live camera without a frame for so many seconds sees nobody.
_SILENT = 1.0
# Seconds to wait for a frame of one camera while no camera has one, and of the only one.
_WAIT = 0.005
_ALONE = 0.1


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """How cameras are watched.

    Attributes:
        detect_every: Look for faces in every n-th frame; None: as often as the tracks need and the
            load allows.
        confirm: Frames in which somebody must be seen, and decided, before a visit begins.
        absence: Seconds after the last of them until the visit has ended.
        cooldown: Seconds after a visit in which the same person gives no new event.
        unknown: Give events of unknown people and unusable faces.
        crops: Put the best face of a visit into its first event.
        region: Polygons in which faces are wanted: lists of points (x, y) in shares of the width
            and height of the picture; none: everywhere.
        mask: Polygons in which they are not wanted.
        motion: Look less often while nothing moves.

    Raises:
        InputError: ``detect_every`` is below 1.
    """

    detect_every: int | None = None
    confirm: int = 3
    absence: float = 3.0
    cooldown: float = 10.0
    unknown: bool = True
    crops: bool = False
    region: Sequence[Polygon] = ()
    mask: Sequence[Polygon] = ()
    motion: bool = True

    def __post_init__(self) -> None:
        if self.detect_every is not None:
            require_count("detect_every", self.detect_every)


class CameraStatus(NamedTuple):
    """What a camera does.

    Attributes:
        name: The camera's name.
        state: ``connecting``, ``live``, ``lost`` or ``ended``.
        error: Why it was lost last, or None.
        fps: Frames a second that were taken from it.
        frames: How many were taken.
        dropped: How many were replaced by newer ones.
        looks: In how many of them faces were looked for.
        latency: Seconds from a frame's arrival until it was worked through, of frames in which
            faces were looked for: the median and the 95th percentile; None before the first.
        exposure: ``day``, ``night`` or ``dark``; None before the first frame.
        faces: How many faces the last look found.
        present: The visits that are going on.
    """

    name: str
    state: str
    error: str | None
    fps: float
    frames: int
    dropped: int
    looks: int
    latency: tuple[float, float] | None
    exposure: Exposure | None
    faces: int
    present: tuple[Presence, ...]


@dataclass(slots=True, eq=False)
class _WatchedCamera:
    """One camera, with its tracks, its visits, and when it is looked at next."""

    camera: Camera
    options: LiveOptions
    recognizer: TrackRecognizer
    visits: Visits
    state: str = "connecting"
    frame: Frame | None = None
    frames: int = 0
    looks: int = 0
    skipped: int = 0
    stretch: float = 1.0
    warned: bool = False
    position: float = 0.0
    looked: float = -1e9
    checked: float = -1e9
    times: deque[float] = field(default_factory=lambda: deque(maxlen=128))
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=512))

    def wants(self, position: float) -> bool:
        """Take note of a frame that came, and tell whether its picture should be seen."""
        self.position = position
        self.frames += 1
        self.skipped += 1
        self.times.append(time.monotonic())
        if self.options.detect_every is not None:
            return self.skipped >= self.options.detect_every
        recognizer = self.recognizer
        unsettled = recognizer.unsettled(position, self.options.confirm)
        wait = _UNSETTLED if unsettled else _SETTLED if recognizer.seen else _EMPTY
        # Time stamps are not exact: what is nearly due is due.
        due = position - self.checked >= self.stretch * wait - 0.01
        self.checked = position if due else self.checked
        return due

    def is_due(self, frame: Frame) -> bool:
        """Tell whether faces are to be looked for in a frame that is seen."""
        every = self.options.detect_every
        unsettled = self.recognizer.unsettled(frame.position, self.options.confirm)
        return every is not None or unsettled or self._moves(frame)

    def stay(self, frame: Frame) -> list[Event]:
        """Go on with who is there in a frame that is not looked at because nothing moved."""
        return self._visit(frame) if self.recognizer.seen else []

    def _forget_erased(self) -> list[Event]:
        """End the visits of people who are not in the gallery any more."""
        withdrawn, self.recognizer.withdrawn = self.recognizer.withdrawn, set()
        gone = [each for each in withdrawn if _find_name(self.recognizer.engine, each) is None]
        return [event for each in gone for event in self.visits.forget(each)]

    def _visit(self, frame: Frame) -> list[Event]:
        position = frame.position
        sightings = [self._sighting(track, position) for track in self.recognizer.seen]
        return self.visits.update(sightings, position, frame.time, frame.clock)

    def _moves(self, frame: Frame) -> bool:
        """Tell whether anything moved since the last look, or it was long ago."""
        if not self.options.motion:
            return True
        still = frame.position - self.looked < _STILL
        return not still or self.recognizer.scene.moves(frame.image)

    def look(self, frame: Frame) -> tuple[list[Observation], list[Event]]:
        """Look for faces in a frame."""
        self.looked, self.skipped, self.looks = frame.position, 0, self.looks + 1
        self.recognizer.scene.look(frame.image)
        tracks = self.recognizer.look(frame.image, frame.position)
        self._say_turned()
        events = self._forget_erased() + self._visit(frame)
        return [self._observation(track, frame) for track in tracks], events

    def _say_turned(self) -> None:
        """Say once where the camera seems to hang upside down or sideways."""
        if self.warned or not (turned := self.recognizer.turned):
            return
        self.warned = True
        rotate = (self.camera.rotate + 360 - turned) % 360
        _log.warning(
            "camera %s seems to be turned, so that nobody is recognized: its faces are turned by %d"
            " degrees; set rotate to %d",
            *(self.camera.name, turned, rotate),
        )

    def silence(self, now: float) -> list[Event]:
        """See nobody while a live camera gives no frames."""
        frame = self.frame
        if frame is None or not self.camera.live or now - self.times[-1] < _SILENT:
            return []
        position = self.position + now - self.times[-1]
        if position - self.checked < _SILENT:
            return []
        self.checked = position
        self.recognizer.skip(position)
        moment = frame.time + timedelta(seconds=position - frame.position)
        return self.visits.update([], position, moment, frame.clock)

    def end(self) -> list[Event]:
        """End the visits: no more frames will come."""
        self.recognizer.forget()
        return self.visits.end()

    def change(self, *, frame: bool) -> list[Event]:
        """Return an event where the camera's state has changed; it ends after its last frame."""
        state = "live" if frame else self.camera.state
        if state == self.state:
            return []
        self.state = state
        if self.frame is None or self.camera.live:
            return [Event("camera", self.camera.name, datetime.now(UTC), state=state)]
        moment, clock = self.frame.time, self.frame.clock
        return [Event("camera", self.camera.name, moment, state=state, clock=clock)]

    def _sighting(self, track: Track, position: float) -> TrackSighting:
        evidence = self.recognizer.evidence(track)
        decision = self.recognizer.decision(track)
        settled = decision is not None and evidence.settled(position)
        if decision is None or not settled:
            return TrackSighting(track.number, usable=evidence.usable or evidence.decision is None)
        match, best = decision.match, decision.match or next(iter(decision.candidates), None)
        crop = evidence.faces[0].crop if evidence.faces else track.face.crop
        wanted = self.options.crops and crop is not None
        return TrackSighting(
            track.number,
            match.name if match else None,
            match.person_id if match else None,
            decided=True,
            usable=evidence.usable,
            similarity=best.similarity if best else None,
            threshold=best.threshold if best else None,
            fmr=decision.threshold.fmr,
            crop=(lambda: encode_jpeg(crop)) if wanted and crop is not None else None,
        )

    def _observation(self, track: Track, frame: Frame) -> Observation:
        evidence = self.recognizer.evidence(track)
        face = track.face.replace(decision=self.recognizer.decision(track))
        if face.quality is None and not evidence.faces:
            face = face.replace(reasons=evidence.reasons)
        return Observation(face, track.number, self.camera.name, frame.time)

    def predict(self, frame: Frame) -> list[Observation]:
        """Return the known faces where they are expected in a frame that is not looked at."""
        self.recognizer.tracker.predict(frame.position)
        seen = [self._observation(track, frame) for track in self.recognizer.seen]
        return [
            replace(each, face=each.face.replace(bbox=track.bbox))
            for each, track in zip(seen, self.recognizer.seen, strict=True)
        ]

    def status(self) -> CameraStatus:
        """Return what the camera does."""
        times, late = tuple(self.times), tuple(self.latencies)
        span = times[-1] - times[0] if len(times) > 1 else 0.0
        return CameraStatus(
            name=self.camera.name,
            state=self.camera.state,
            error=self.camera.error,
            fps=(len(times) - 1) / span if span > 0 else 0.0,
            frames=self.frames,
            dropped=self.camera.dropped,
            looks=self.looks,
            latency=(float(np.median(late)), float(np.quantile(late, 0.95))) if late else None,
            exposure=self.recognizer.scene.exposure,
            faces=len(self.recognizer.seen),
            present=tuple(self.visits.present()),
        )


def _find_name(engine: FaceEngine, person_id: str) -> str | None:
    """Return the name of somebody of the gallery by UUID; None where they were erased."""
    try:
        return engine.gallery.person(person_id).name
    except PersonNotFound:
        return None


class _Step(NamedTuple):
    """What one frame, or the lack of one, gave."""

    observations: list[Observation]
    events: list[Event]


class LiveSession(Closing):
    """Watch cameras with one engine: who is there, and the events of who came and left.

    Each camera reads in a thread of its own; the engine runs in the thread that asks for
    ``observations`` or ``events``. The cameras take turns, each with its newest frame, so that a
    fast, slow or dead one takes no time from the others. All times are those of the frames: a file
    gives the same events at any speed.

    A track, which is what one camera sees of one person, is decided once: its best faces by
    quality are pooled and compared with the gallery, again only on clearly better evidence. Faces
    are expected to be upright; ``Camera`` turns pictures that say so, or as its
    ``rotate`` says. Where most faces are turned alike, a warning is logged once.

    Args:
        engine: The engine, with a gallery; it stays open.
        cameras: The cameras; ``close`` closes them.
        options: How they are watched; or how each one is, by its name.
        log: Where events are kept before they are given out.
        on_frame: Called in the same thread with each frame and the faces in it; between two looks
            these are where they are expected.

    Raises:
        InputError: There is no camera, two have one name, or an option is out of range.
    """

    def __init__(
        self,
        engine: FaceEngine,
        cameras: Sequence[Camera],
        options: LiveOptions | Mapping[str, LiveOptions] = LiveOptions(),
        *,
        log: EventLog | None = None,
        on_frame: Callable[[Frame, list[Observation]], None] | None = None,
    ) -> None:
        names = [camera.name for camera in cameras]
        if not names or len(set(names)) < len(names):
            raise InputError("give at least one camera, and each a name of its own")
        self._engine = engine
        self._log = log
        self._on_frame = on_frame
        self._watches = [
            self._watch(each, options if isinstance(options, LiveOptions) else options[each.name])
            for each in cameras
        ]
        # Held while a frame is worked through; what is called there may ask for the status.
        self._lock = threading.RLock()
        self._stopping = False
        self._running = False
        self._turns = 0
        self._busy = 0.0
        self._judged = time.monotonic()

    def _watch(self, camera: Camera, options: LiveOptions) -> _WatchedCamera:
        scene = Scene(options.region, options.mask)
        recognizer = TrackRecognizer(self._engine, scene)
        visits = Visits(
            camera.name,
            confirm=options.confirm,
            absence=options.absence,
            cooldown=options.cooldown,
            unknown=options.unknown,
        )
        return _WatchedCamera(camera, options, recognizer, visits)

    def observations(self) -> Iterator[Observation]:
        """Yield each face of each frame in which faces were looked for, until all cameras ended.

        ``Face.decision`` says who it is once its track is decided. Events are logged meanwhile.

        Raises:
            CameraError: All cameras have ended, one of them by an error.
            GalleryNotFound: Nobody was ever enrolled.
            InputError: The session runs already.
        """
        for step in self._run():
            yield from step.observations

    def events(self) -> Iterator[Event]:
        """Yield who came and left, and changes of the cameras' states, until all cameras ended.

        With a log, events are in it, with their numbers, before they are given; while the disk is
        full they wait in memory. At the end, and after ``stop``, everybody who is there leaves.

        Raises:
            CameraError: All cameras have ended, one of them by an error.
            GalleryNotFound: Nobody was ever enrolled.
            InputError: The session runs already.
        """
        for step in self._run():
            yield from step.events

    def status(self) -> tuple[CameraStatus, ...]:
        """Return what each camera does; any thread may ask."""
        with self._lock:
            return tuple(watch.status() for watch in self._watches)

    def stop(self) -> None:
        """End within a second; for other threads and handlers of signals."""
        self._stopping = True

    def close(self) -> None:
        """Stop, and close the cameras."""
        self.stop()
        for watch in self._watches:
            watch.camera.close()

    # The loop

    def _run(self) -> Iterator[_Step]:
        if self._running:
            raise InputError("the session runs already: ask it once, for events or observations")
        self._running = True
        try:
            # Nobody enrolled, or a rate that cannot be promised, is an error before cameras start.
            self._engine.threshold(people=self._engine.gallery.count())
            for watch in self._watches:
                watch.camera.start()
            while not self._stopping and self._active():
                yield from self._turn()
            yield self._end()
        finally:
            # Where the caller went away, or the engine failed: nothing may be lost.
            self._end()
            self._running = False
        self._raise_failure()

    def _active(self) -> list[_WatchedCamera]:
        return [watch for watch in self._watches if watch.state != "ended"]

    def _turn(self) -> Iterator[_Step]:
        """Let each camera give its newest frame."""
        idle = True
        for watch in self._active():
            frames = watch.frames
            yield self._read(watch, 0)
            idle = idle and watch.frames == frames
            if self._stopping:
                return
        if idle and (active := self._active()):
            # Each in turn is waited for; the others wait no longer than that.
            self._turns += 1
            watch = active[self._turns % len(active)]
            yield self._read(watch, _WAIT if active[1:] else _ALONE)
        self._judge_load()

    def _read(self, watch: _WatchedCamera, timeout: float) -> _Step:
        """Handle the next frame of a camera, or that there is none."""
        if self._on_frame is None:
            frame = watch.camera.read(timeout, watch.wants)
            wanted = frame is not None
        else:
            frame = watch.camera.read(timeout)
            wanted = frame is not None and watch.wants(frame.position)
        with self._lock:
            watch.frame = frame or watch.frame
            events = watch.change(frame=frame is not None)
            if frame is None:
                now = time.monotonic()
                events = (watch.end() if watch.state == "ended" else watch.silence(now)) + events
                return _Step([], self._keep(events))
            return self._handle(watch, frame, events, wanted=wanted)

    def _handle(
        self, watch: _WatchedCamera, frame: Frame, events: list[Event], *, wanted: bool
    ) -> _Step:
        began = time.monotonic()
        if wanted and watch.is_due(frame):
            observations, found = watch.look(frame)
            step = _Step(observations, self._keep(events + found))
            watch.latencies.append(time.monotonic() - frame.received)
        else:
            observations = [] if self._on_frame is None else watch.predict(frame)
            step = _Step([], self._keep(events + (watch.stay(frame) if wanted else [])))
        self._busy += time.monotonic() - began
        if self._on_frame is not None:
            self._on_frame(frame, observations)
        return step

    def _judge_load(self) -> None:
        """Look less often where the engine has more to do than time."""
        now = time.monotonic()
        if now - self._judged < _JUDGED:
            return
        share = self._busy / (now - self._judged)
        for watch in self._watches:
            if watch.camera.live and share > _BUSY:
                watch.stretch = min(watch.stretch * 1.3, _RAREST)
            elif share < _IDLE:
                watch.stretch = max(watch.stretch / 1.15, 1.0)
        self._busy, self._judged = 0.0, now

    def _end(self) -> _Step:
        with self._lock:
            events = [event for watch in self._watches for event in watch.end()]
            return _Step([], self._keep(events))

    def _keep(self, events: list[Event]) -> list[Event]:
        """Log events, without the names of people who were erased meanwhile.

        Returns:
            The events that are in the log now: where the disk was full, those of before, too.
        """
        events = [self._without_erased(event) for event in events]
        return events if self._log is None else self._log.keep(events)

    def _without_erased(self, event: Event) -> Event:
        if event.person_id is None or _find_name(self._engine, event.person_id) is not None:
            return event
        return event.without_person()

    def _raise_failure(self) -> None:
        for watch in self._watches:
            if not self._stopping and watch.camera.error is not None:
                raise CameraError(f"camera {watch.camera.name}: {watch.camera.error}")
