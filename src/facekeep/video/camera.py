"""``Camera``: the newest frame of a live source, each frame of a file, and the source's state."""

from __future__ import annotations

import atexit
import contextlib
import logging
import math
import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.arguments import require_count
from facekeep._internal.closing import Closing
from facekeep._internal.fork import Forking, keep_forever, watch
from facekeep.errors import CameraError, FacekeepError, InputError
from facekeep.video.sources import Transport, parse_source
from facekeep.video.streams import Opener, Picture, interrupt_openings, load_pyav, read_pictures

__all__ = ["Camera", "CameraState", "Frame"]

_log = logging.getLogger(__name__)

CameraState = Literal["connecting", "live", "lost", "ended"]

_MAX_PIXELS = 36_000_000  # 8K is 33 million
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0  # seconds before the next attempt
_LONGEST_GAP = 60.0  # seconds that a source which sends data may take to its first key frame
_SILENT = "it does not answer; check that it is on, and the network"
_STEADY = 10.0  # seconds after which a connection counts as a good one
_MOST_STUCK = 2  # readers that hang in the system or a server; no more are begun meanwhile
_PATIENCE = 0.4  # seconds that the end waits for a thread that hangs


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of a camera.

    Attributes:
        image: RGB, (H, W, 3), uint8, turned upright.
        time: When it was taken, in UTC.
        position: Seconds, by which durations are computed: since the first frame of a file, or of
            a monotonic clock for a live source. It never runs back.
        number: The frame's number in its source, from 1; frames that were dropped count.
        camera: The camera's name.
        clock: Where ``time`` comes from: the ``source``'s time stamps, or this ``system``.
        received: ``time.monotonic()`` when it came from the source.
    """

    image: NDArray[np.uint8]
    time: datetime
    position: float
    number: int
    camera: str
    clock: Literal["source", "system"]
    received: float


@dataclass(frozen=True, slots=True)
class _Taken:
    """A picture in the slot, with when it came."""

    picture: Picture
    position: float
    number: int
    received: float
    date: float
    clock: Literal["source", "system"]


class _Reader:
    """One connection: a thread that puts pictures into its camera's slot."""

    def __init__(self, camera: Camera) -> None:
        self.begun = time.monotonic()
        self.heard = self.begun  # when data came last, before the first picture
        self.last: float | None = None
        self.done = False
        self.error: str | None = None
        self.thread = threading.Thread(
            target=camera._read, args=(self,), daemon=True, name=f"facekeep camera {camera.name}"
        )


class Camera(Closing, Forking):
    """A camera, a video file, a folder of pictures or a stream of them.

    A live source (RTSP, HTTP, a device) is read by a thread of its own from ``start`` on, and only
    its newest frame is kept; frames that nobody read in time are counted in ``dropped``. It is
    connected again, for ever or until ``give_up``, whenever it ends or no frame comes in time. Of
    a file, a folder or a pipe each frame is given, one after the other.

    Args:
        source: An address (``rtsp://``, ``rtsps://``, ``http://``, ``https://``), a camera of this
            machine (``0``, ``/dev/video0``), a file, a folder of pictures, ``-`` for standard
            input, ``-:rgb24:640x480@25`` for raw frames from there, a named pipe, or an open
            binary file, which is not closed.
        name: What it is called; by default its host, device or file.
        transport: How RTSP carries its packets.
        connect_timeout: Seconds in which a live source must be open and, from then on, give its
            first frame.
        read_timeout: Seconds in which a live source must give the next frame.
        give_up: Seconds without a frame after which a live source counts as ended; None: never.
        realtime: Play a file or folder at its own speed, as a live source that ends.
        rotate: Degrees, clockwise, by which its pictures are turned after what the source itself
            says: 0, 90, 180 or 270; for a camera that is mounted upside down or sideways.
        start: When the first frame of a file was taken; by default what the file says, else now.
        max_pixels: Larger pictures are refused.
        on_state: Called with the camera whenever its state changed, from one of its threads.
        opener: Opens the container in place of ``av.open``, with the same arguments.

    Attributes:
        name: What it is called.
        source: The source as people may see it: without passwords and tokens.
        rotate: Degrees, clockwise, by which its pictures are turned.
        live: Whether only the newest frame is kept.
        state: ``connecting`` until the first frame, ``live``, ``lost`` until frames come again, and
            ``ended``.
        frames: How many frames came.
        dropped: How many of them nobody read.
        error: Why it was lost or ended last; None where nothing is wrong.

    Raises:
        InputError: An argument cannot be used, or the source is of no known form.
        CameraError: There is no such file or folder.
    """

    def __init__(  # noqa: PLR0913 - each is a setting of its own
        self,
        source: str | os.PathLike[str] | BinaryIO,
        *,
        name: str | None = None,
        transport: Transport = "tcp",
        connect_timeout: float = 10.0,
        read_timeout: float = 5.0,
        give_up: float | None = None,
        realtime: bool = False,
        rotate: int = 0,
        start: datetime | None = None,
        max_pixels: int = _MAX_PIXELS,
        on_state: Callable[[Camera], None] | None = None,
        opener: Opener | None = None,
    ) -> None:
        _check(connect_timeout=connect_timeout, read_timeout=read_timeout, give_up=give_up)
        require_count("max_pixels", max_pixels)
        if rotate not in (0, 90, 180, 270):
            raise InputError(f"rotate must be 0, 90, 180 or 270 degrees; got {rotate!r}")
        if transport not in ("tcp", "udp"):
            raise InputError(f"transport is tcp or udp; got {transport!r}")
        if start is not None and start.tzinfo is None:
            raise InputError("start needs a time zone, such as datetime.now(UTC)")
        self._source = parse_source(source, transport, max(connect_timeout, read_timeout))
        self.name = name or self._source.name
        self.source = self._source.text
        self.live = self._source.live or realtime
        self.state: CameraState = "connecting"
        self.frames = 0
        self.dropped = 0
        self.error: str | None = None
        self._connect_timeout, self._read_timeout = connect_timeout, read_timeout
        self._give_up = give_up
        self._start = start
        self.rotate = rotate
        self._base: float | None = None
        self._max_pixels = max_pixels
        self._on_state = on_state
        self._opener = opener
        self._make_locks()
        self._slot: _Taken | None = None
        self._stopping = False
        self._failed = False
        self._supervisor: threading.Thread | None = None
        self._reader: _Reader | None = None
        self._stuck: list[_Reader] = []
        watch(self)

    def __repr__(self) -> str:
        return f"Camera({self.source!r}, name={self.name!r}, state={self.state!r})"

    def start(self) -> None:
        """Begin to read; doing it twice does no harm.

        Raises:
            DependencyError: PyAV is not installed.
        """
        with self._lock:
            if self._supervisor is not None or self.state == "ended":
                return
            if self._opener is None and self._source.kind != "folder":
                self._opener = load_pyav()
            self._supervisor = threading.Thread(
                target=self._supervise, daemon=True, name=f"facekeep camera {self.name}"
            )
            self._supervisor.start()
        _started.add(self)

    def read(
        self, timeout: float | None = None, wanted: Callable[[float], bool] | None = None
    ) -> Frame | None:
        """Return the newest frame that was not read yet; start if that was not done.

        Args:
            timeout: Seconds to wait for it; None: until there is one, or the source has ended.
            wanted: Asked with the position of each frame; where it says no, the frame is passed
                over, which saves its conversion to RGB.

        Returns:
            The frame; None where none came, or the source has ended, which ``state`` tells.

        Raises:
            DependencyError: PyAV is not installed.
        """
        self.start()
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if until is None else max(until - time.monotonic(), 0.0)
            with self._lock:
                self._arrived.wait_for(lambda: self._slot or self.state == "ended", left)
                taken, self._slot = self._slot, None
                if taken is None:
                    return None
                if not self._source.live:
                    self._changed.notify_all()
            if wanted is not None and not wanted(taken.position):
                continue
            with contextlib.suppress(ValueError, OSError, MemoryError):  # a damaged frame
                return self._convert(taken)
            with self._lock:
                self.dropped += 1

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames, as ``read`` gives them, until the source ends.

        Raises:
            CameraError: The source cannot be read, or was given up.
            DependencyError: PyAV is not installed.
        """
        while (frame := self.read()) is not None:
            yield frame
        if self._failed:
            raise CameraError(f"{self.source}: {self.error}")

    def close(self) -> None:
        """End within a second, whatever the source does."""
        threads = self._stop()
        until = time.monotonic() + _PATIENCE
        for thread in threads:
            thread.join(max(until - time.monotonic(), 0.0))
        _started.discard(self)
        self._set_state("ended")

    def _stop(self) -> list[threading.Thread]:
        """Ask all threads to end, and return them."""
        with self._lock:
            self._stopping = True
            self._slot = None
            readers = [each.thread for each in (self._reader, *self._stuck) if each]
            self._arrived.notify_all()
            self._changed.notify_all()
        threads = (self._supervisor, *readers)
        return [each for each in threads if each and each is not threading.current_thread()]

    def before_fork(self) -> None:
        """Let no thread of the camera hold its lock while the process forks."""
        self._lock.acquire()

    def after_fork(self, *, child: bool) -> None:
        """Go on in the parent; in the child, where no thread reads, the camera has ended."""
        if not child:
            self._lock.release()
            return
        keep_forever((self._slot, self._reader, self._stuck))
        self._slot, self._reader, self._supervisor = None, None, None
        self._make_locks()
        self._stopping = self._failed = True
        self.state, self.error = "ended", "the process was forked; open the camera again"

    def _make_locks(self) -> None:
        self._lock = threading.RLock()  # a signal's handler may close what its thread reads
        self._arrived = threading.Condition(self._lock)  # a frame is there, or the end
        self._changed = threading.Condition(self._lock)  # a reader ended, a frame was taken

    def _convert(self, taken: _Taken) -> Frame:
        image = taken.picture.convert()
        if self.rotate:
            image = np.ascontiguousarray(np.rot90(image, -self.rotate // 90))
        return Frame(
            image,
            datetime.fromtimestamp(taken.date, UTC),
            taken.position,
            taken.number,
            self.name,
            taken.clock,
            taken.received,
        )

    def _supervise(self) -> None:
        """Connect, watch, and connect again."""
        alive = time.monotonic()
        attempt = 0
        while (reader := self._connect(alive)) is not None:
            error = self._watch(reader, alive)
            if not self._source.live:
                self._finish(error)
                return
            alive = reader.last or alive
            attempt = 0 if alive - reader.begun > _STEADY else attempt + 1
            self._set_state("lost", error or "the stream ended")
            self._pause(alive, min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** min(attempt - 1, 20)))

    def _connect(self, alive: float) -> _Reader | None:
        """Begin another connection; None where nobody wants one any more."""
        with self._lock:
            if self._stopping:
                return None
            if time.monotonic() < self._last_moment(alive):
                self.dropped += self._slot is not None
                self._slot = None  # what nobody read before the loss is old
                reader = self._reader = _Reader(self)
                reader.thread.start()
                return reader
        self._finish(self.error)
        return None

    def _last_moment(self, alive: float) -> float:
        """Return when the source is given up unless a frame comes."""
        lasts = self._give_up is not None and self._source.live
        return alive + (self._give_up or 0.0) if lasts else math.inf

    def _watch(self, reader: _Reader, alive: float) -> str | None:
        """Wait until a connection has ended, or gives no frames; return why."""
        with self._lock:
            while not (reader.done or self._stopping):
                now = time.monotonic()
                left = self._deadline(reader, alive) - now
                if left <= 0:
                    self._reader = None
                    self._stuck.append(reader)
                    if reader.last is None:
                        return (self.error if now >= self._last_moment(alive) else None) or _SILENT
                    return f"no frame came for {now - reader.last:.1f} s"
                self._changed.wait(None if left == math.inf else left)
        silent = reader.last is None and time.monotonic() - reader.begun >= self._connect_timeout
        return _SILENT if silent and self._source.live else reader.error

    def _deadline(self, reader: _Reader, alive: float) -> float:
        if not self._source.live:
            return math.inf
        opening = reader.begun + self._connect_timeout + self._read_timeout
        first = max(opening, min(reader.heard + self._read_timeout, opening + _LONGEST_GAP))
        after = first if reader.last is None else reader.last + self._read_timeout
        return min(after, self._last_moment(reader.last or alive))

    def _pause(self, alive: float, wait: float) -> None:
        """Wait before the next connection: back-off with jitter, and no more that hang."""
        until = time.monotonic() + wait * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        last = self._last_moment(alive)
        with self._lock:
            while not self._stopping and (now := time.monotonic()) < last:
                self._stuck = [each for each in self._stuck if not each.done]
                if now >= until and len(self._stuck) < _MOST_STUCK:
                    return
                left = last - now if now >= until else min(until, last) - now
                self._changed.wait(None if left == math.inf else left)

    def _finish(self, error: str | None) -> None:
        """End for good, after the last frame of a file was read."""
        with self._lock:
            if not self._source.live:
                self._changed.wait_for(lambda: self._stopping or self._slot is None)
            self._failed = error is not None
        self._set_state("ended", error)

    def _read(self, reader: _Reader) -> None:
        """Read one connection to its end; what the reader's thread does."""
        pictures = read_pictures(
            self._source,
            self._opener,
            self._max_pixels,
            self._connect_timeout,
            lambda: self._is_unwanted(reader),
        )
        error = None
        try:
            with contextlib.closing(pictures):
                for picture in pictures:
                    if picture is None:
                        reader.heard = time.monotonic()
                    if self._is_unwanted(reader) or (picture and not self._put(reader, picture)):
                        break
                    del picture
        except FacekeepError as failure:
            error = str(failure)
        finally:
            with self._lock:
                reader.done, reader.error = True, error
                self._changed.notify_all()

    def _put(self, reader: _Reader, picture: Picture) -> bool:
        """Put a picture into the slot; tell whether more are wanted."""
        with self._lock:
            if not self._wait_for_turn(reader, picture):
                return False
            now = time.monotonic()
            if reader.last is None:
                self._changed.notify_all()  # from now on each frame has less time
            reader.last = now
            self.frames += 1
            if picture.stale:
                self.dropped += 1
                return True
            self.dropped += self._slot is not None
            position = now if picture.position is None else picture.position
            self._slot = _Taken(picture, position, self.frames, now, *self._date(picture))
            changed = self._change_state("live")
            self._arrived.notify_all()
        if changed:
            self._announce()
        return True

    def _wait_for_turn(self, reader: _Reader, picture: Picture) -> bool:
        """Wait until a picture of a file is due or may be read; tell whether it is wanted."""
        if not self.live:
            self._changed.wait_for(lambda: self._is_unwanted(reader) or self._slot is None)
        elif not self._source.live:
            due = reader.begun + (picture.position or 0.0) - time.monotonic()
            self._changed.wait_for(lambda: self._is_unwanted(reader), max(due, 0.0))
        return not self._is_unwanted(reader)

    def _is_unwanted(self, reader: _Reader) -> bool:
        return self._stopping or self._reader is not reader

    def _date(self, picture: Picture) -> tuple[float, Literal["source", "system"]]:
        """Return when a picture was taken, in seconds since 1970, and by which clock."""
        if self._start is not None and picture.position is not None:
            return self._start.timestamp() + picture.position, "source"
        if picture.taken is not None:
            return picture.taken, "source"
        if picture.position is None:
            return time.time(), "system"
        if self._base is None:
            self._base = time.time()
        return self._base + picture.position, "system"

    def _set_state(self, state: CameraState, error: str | None = None) -> None:
        with self._lock:
            changed = self._change_state(state, error)
            self._arrived.notify_all()
        if changed:
            self._announce()

    def _change_state(self, state: CameraState, error: str | None = None) -> bool:
        """Set the state, except after the end; tell whether it is another one."""
        before = self.state
        if before == "ended" or (self._stopping and state != "ended"):
            return False
        self.state, self.error = state, error
        return state != before

    def _announce(self) -> None:
        """Say that the state is another one, without the lock."""
        if self.state == "lost":
            _log.warning("camera %s is lost: %s: %s", self.name, self.source, self.error)
        else:
            _log.info("camera %s is %s", self.name, self.state)
        if self._on_state is not None:
            try:
                self._on_state(self)
            except Exception:  # noqa: BLE001 - a fault of the caller's code must not end the camera
                _log.exception("on_state of the camera %s failed", self.name)


_started: weakref.WeakSet[Camera] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """End the threads of all cameras before Python ends under them."""
    threads = [thread for camera in list(_started) for thread in camera._stop()]
    interrupt_openings()
    until = time.monotonic() + _PATIENCE
    for thread in threads:
        thread.join(max(until - time.monotonic(), 0.0))


def _check(**seconds: float | None) -> None:
    """Refuse what is no number of seconds above zero; None may stand for ``give_up`` only."""
    for name, value in seconds.items():
        if value is None and name == "give_up":
            continue
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 < value < math.inf:  # type: ignore[operator]
            raise InputError(f"{name} must be a number of seconds above 0; got {value!r}")
