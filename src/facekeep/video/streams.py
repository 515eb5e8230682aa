"""What is read from a source: pictures, as PyAV decodes them or as files of a folder hold them."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import os
import re
import select
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.files import open_regular, why
from facekeep._internal.listing import list_images
from facekeep.errors import CameraError, DependencyError, FacekeepError
from facekeep.pipeline.image import load_image
from facekeep.video.sources import Source

__all__ = ["Opener", "Picture", "interrupt_openings", "load_pyav", "read_pictures"]

_log = logging.getLogger(__name__)

Opener = Callable[..., Any]
"""Opens a container as ``av.open`` does: ``opener(address, format=..., options=...)``."""

_FPS = 25.0  # of pictures that do not say when they were taken
_UNSTAMPED = (
    "mjpeg",
    "mpjpeg",
    "jpeg_pipe",
    "png_pipe",
    "h264",
    "hevc",
    "rawvideo",
)  # no times in them
_NO_VIDEO = ("tty",)  # FFmpeg draws texts as pictures
_LONGEST_BURST = 2.0  # seconds in which packets of a live source may come without a wait
_WAITED = 0.008  # seconds: a packet that took longer was not waiting in a buffer
_POLL = 0.2  # seconds after which a pipe is asked whether anybody still reads it
_OLDEST, _NEWEST = 60.0, 2.0  # seconds that a camera's clock may differ from this machine's
_LEAST_BYTES = 16_000_000  # that a server may send before a picture is whole
_ATTACHED_PICTURE = 0x400  # FFmpeg's AV_DISPOSITION_ATTACHED_PIC: the cover of a song
_DISORDER, _LONGEST_GAP = 1.0, 86400.0  # seconds; beyond them the time stamps began anew
_YEARS = range(1990, 2200)  # what a file may say about when it was taken


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a source, not yet converted.

    Attributes:
        convert: Returns it as RGB, height x width x 3, uint8, turned upright.
        position: Seconds since the first one, by the source's own time stamps; None: it has none,
            or is live.
        taken: When it was taken, in seconds since 1970, by the source's clock; None: it says not.
        stale: Whether it waited in a buffer while a live source was opened.
    """

    convert: Callable[[], NDArray[np.uint8]]
    position: float | None = None
    taken: float | None = None
    stale: bool = False


def load_pyav() -> Opener:
    """Return what opens containers.

    Raises:
        DependencyError: PyAV is not installed.
    """
    try:
        import av
    except ModuleNotFoundError as error:
        raise DependencyError(
            "PyAV, which reads cameras and videos, is not installed;"
            " install it with: pip install 'facekeep[video]'"
        ) from error
    opener: Opener = av.open
    return opener


def interrupt_openings() -> None:
    """Have PyAV end each opening that still waits; for the end of the process only.

    While it waits PyAV calls into Python ten times a second, to compare its clock with the
    time-out. Once Python has ended, that call would crash.
    """
    core = sys.modules.get("av.container.core")
    if core is not None and hasattr(core, "time"):
        core.time = SimpleNamespace(monotonic=lambda: math.inf)  # type: ignore[attr-defined]


def read_pictures(
    source: Source,
    opener: Opener | None,
    max_pixels: int,
    timeout: float,
    stopping: Callable[[], bool],
) -> Generator[Picture | None, None, None]:
    """Open a source and yield its pictures; the first ``next`` opens it.

    None stands for data of which no picture comes yet, such as that before the first key frame.

    Args:
        source: What to read.
        opener: Opens what FFmpeg reads; a folder needs none.
        max_pixels: Larger pictures are refused.
        timeout: Seconds in which a live source must be open.
        stopping: Tells whether nobody wants pictures any more.

    Raises:
        CameraError: It cannot be opened or read; the message does not name the source.
    """
    if opener is None:
        yield from _read_folder(source, max_pixels)
        return
    try:
        with contextlib.ExitStack() as stack:
            messages = _silence(stack)
            # None for reading: PyAV would compare its clock, by a call into Python, at each step.
            limits = (timeout, None) if source.live else None
            address = _open_address(source, stack, stopping)
            options = dict(source.options) | {"max_pixels": str(max_pixels)}
            if source.kind == "http":
                most = max(max_pixels, _LEAST_BYTES)
                fetch = partial(opener, timeout=limits)
                address = _Download(cast(str, address), options, fetch, stack, stopping, most)
            if not isinstance(address, str):
                options["protocol_whitelist"] = "none"  # a playlist must not open other files
            container = opener(address, format=source.format, options=options, timeout=limits)
            stack.callback(container.close)
            for picture in _decode(container, source, max_pixels):
                messages.clear()
                if picture is not None and isinstance(address, _Download):
                    address.came = 0
                yield picture
    except FacekeepError:
        raise
    except MemoryError:
        raise CameraError("there is not enough memory for its pictures") from None
    except Exception as error:  # noqa: BLE001 - PyAV's own texts hold the password
        text = _explain(error, source.live)
        piped = source.kind == "pipe" and type(error).__name__ == "InvalidDataError"
        more = "; pipe Motion JPEG, MPEG-TS or Matroska, which are read from front to back"
        raise CameraError(text + more * piped) from None


def _silence(stack: contextlib.ExitStack) -> list[Any]:
    """Keep FFmpeg's messages of this thread from Python's logs: they hold addresses."""
    logs = sys.modules.get("av.logging")
    messages: list[Any] = stack.enter_context(logs.Capture()) if logs is not None else []
    return messages


def _open_address(
    source: Source, stack: contextlib.ExitStack, stopping: Callable[[], bool]
) -> str | BinaryIO | _Download:
    address = source.address
    if source.kind == "file":
        try:
            return stack.enter_context(open_regular(cast(str, address)))
        except (OSError, ValueError) as error:
            raise CameraError(f"it cannot be opened: {why(error)}") from None
    if source.kind != "pipe":
        return address
    if address == "-" and sys.stdin is None:
        raise CameraError("standard input is closed; pipe a video into it")
    if address == "-":
        handle = sys.stdin.fileno()
    elif isinstance(address, str):
        handle = os.open(address, os.O_RDONLY | os.O_NONBLOCK)
        stack.callback(os.close, handle)
    elif isinstance(address, io.BufferedReader) and not address.seekable():
        handle = address.fileno()
    else:
        return address
    return cast(BinaryIO, _Pipe(handle, stopping))


class _Pipe:
    """A pipe that is read until nobody wants pictures.

    Python's own reader would be locked meanwhile, and crash Python when that ends.
    """

    def __init__(self, handle: int, stopping: Callable[[], bool]) -> None:
        self._handle = handle
        self._stopping = stopping

    def read(self, size: int) -> bytes:
        while not self._stopping():
            if select.select([self._handle], [], [], _POLL)[0]:
                with contextlib.suppress(BlockingIOError):
                    return os.read(self._handle, size)
        return b""


class _Download:
    """What a server sends, as FFmpeg fetches it, until nobody wants pictures.

    So a playlist in it opens nothing, it leads to no other server, and the memory for a picture
    without an end is bounded.

    Attributes:
        came: Bytes since the last picture.
    """

    def __init__(
        self,
        address: str,
        options: Mapping[str, str],
        opener: Opener,
        stack: contextlib.ExitStack,
        stopping: Callable[[], bool],
        most: int,
    ) -> None:
        raw = {"max_redirects": "0", "raw_packet_size": "32768"}
        container = opener(address, format="data", options=dict(options) | raw)
        stack.callback(container.close)
        self._packets = container.demux()
        self._stopping = stopping
        self._most = most
        self._rest = b""
        self._begun = False
        self.came = 0

    def read(self, size: int) -> bytes:
        while not (self._rest or self._stopping()):
            packet = next(self._packets, None)
            if packet is None:
                return b""
            self._rest = bytes(packet)
            self.came += len(self._rest)
            if self.came > self._most:
                raise CameraError(f"it sent more than {self._most} bytes without a picture")
            if not self._begun:  # line breaks may stand before the first part
                self._rest = self._rest.lstrip(b"\r\n")
                self._begun = bool(self._rest)
        part, self._rest = self._rest[:size], self._rest[size:]
        return part


def _decode(container: Any, source: Source, max_pixels: int) -> Iterator[Picture | None]:
    stream = _choose_stream(container, max_pixels)
    form = container.format.name
    unstamped = source.kind == "pipe" and form in _UNSTAMPED and "framerate" not in source.options
    clock = _Clock(container, stream, source.live or unstamped)
    opened = kept_up = time.monotonic()
    fresh = not source.live
    packets = container.demux(stream)
    empty = True
    while True:
        asked = time.monotonic()
        packet = next(packets, None)
        if packet is None:
            break
        now = time.monotonic()
        waited = now - asked > _WAITED
        kept_up = now if waited else kept_up
        fresh = fresh or waited or now - opened > _LONGEST_BURST
        if source.live and packet.is_keyframe:  # where decoding is too slow, only key frames are
            late = now - kept_up > _LONGEST_BURST
            stream.codec_context.skip_frame = "NONKEY" if late else "DEFAULT"
        for frame in _decode_packet(packet):
            if frame.width * frame.height > max_pixels:
                raise CameraError(_too_large(frame, max_pixels))
            position, taken = clock.read(frame)
            empty = False
            yield Picture(partial(_convert, frame), position, taken, stale=not fresh)
        if empty:
            yield None
    if empty:
        raise CameraError("none of its pictures can be decoded")


def _choose_stream(container: Any, max_pixels: int) -> Any:
    """Choose the first stream of moving pictures, and have it decoded by one thread."""
    moving = [
        stream
        for stream in container.streams.video
        if not int(getattr(stream, "disposition", 0)) & _ATTACHED_PICTURE
    ]
    if not moving or container.format.name in _NO_VIDEO:
        raise CameraError("it has no video")
    stream = moving[0]
    context = stream.codec_context
    if context is None:
        raise CameraError("its video is coded in a way that cannot be decoded here")
    if context.width * context.height > max_pixels:
        raise CameraError(_too_large(context, max_pixels))
    context.thread_count = 1
    context.options = {"max_pixels": str(max_pixels)}
    return stream


def _decode_packet(packet: Any) -> list[Any]:
    """Decode a packet; a damaged one has no pictures, and whether others come the time tells."""
    try:
        return list(packet.decode())
    except (ValueError, OSError) as error:
        if type(error).__name__ in _DAMAGED:
            return []
        raise


def _too_large(picture: Any, max_pixels: int) -> str:
    return (
        f"its pictures of {picture.width} x {picture.height} have more than {max_pixels} pixels;"
        " choose a stream of lower resolution"
    )


def _convert(frame: Any) -> NDArray[np.uint8]:
    """Convert a decoded frame into an upright RGB array."""
    rgb: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(rgb, turns)) if turns else rgb


class _Clock:
    """What the time stamps of a stream say."""

    def __init__(self, container: Any, stream: Any, live: bool) -> None:
        self._container = container
        self._live = live
        rate = stream.average_rate
        self._step = 1 / float(rate) if rate else 1 / _FPS
        self._created = None if live else _creation_time(container.metadata)
        self._origin = 0.0
        self._last: float | None = None

    def read(self, frame: Any) -> tuple[float | None, float | None]:
        """Return a frame's position and when it was taken, as ``Picture`` has them."""
        known = frame.pts is not None and frame.time_base
        stamp = float(frame.pts * frame.time_base) if known else None
        if self._live:
            return None, self._sender_time(stamp)
        position = self._position(stamp)
        return position, None if self._created is None else self._created + position

    def _position(self, stamp: float | None) -> float:
        """Return seconds since the first frame, which never run back."""
        last = self._last
        after = 0.0 if last is None else last + self._step
        if stamp is None:
            position = after
        elif last is None or not -_DISORDER <= stamp - self._origin - last <= _LONGEST_GAP:
            self._origin = stamp - after
            position = after
        else:
            position = max(last, stamp - self._origin)
        self._last = position
        return position

    def _sender_time(self, stamp: float | None) -> float | None:
        """Return when a camera says it took a frame, where its clock agrees with ours."""
        start = getattr(self._container, "start_time_realtime", None)
        if not start or stamp is None:
            return None
        taken = start / 1e6 + stamp
        return taken if -_NEWEST <= time.time() - taken <= _OLDEST else None


def _creation_time(metadata: dict[str, str]) -> float | None:
    """Return when a file says it was taken, in seconds since 1970."""
    text = metadata.get("com.apple.quicktime.creationdate") or metadata.get("creation_time")
    try:
        time_of_file = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    if time_of_file.year not in _YEARS:
        return None
    if time_of_file.tzinfo is None:
        time_of_file = time_of_file.replace(tzinfo=UTC)
    return time_of_file.timestamp()


def _read_folder(source: Source, max_pixels: int) -> Iterator[Picture]:
    """Yield the pictures of a folder in the natural order of their names, 25 a second."""
    folder = Path(cast(str, source.address))
    try:
        paths = sorted(list_images(folder, recursive=False), key=_natural_key)
    except FacekeepError as error:
        raise CameraError("the folder cannot be read") from error
    if not paths:
        raise CameraError("the folder holds no pictures")
    for number, path in enumerate(paths):
        try:
            image = load_image(path, max_pixels=max_pixels)
        except FacekeepError as error:
            _log.warning("left out a picture: %s", error)
            continue
        yield Picture(partial(np.asarray, image), number / _FPS)


def _natural_key(path: Path) -> list[tuple[int, str]]:
    """Sort img2 before img10."""
    parts = re.split(r"([0-9]+)", path.name.casefold())
    return [(int(part), part) if part.isdecimal() else (-1, part) for part in parts]


def _explain(error: Exception, live: bool) -> str:
    """Say why a source cannot be read, in own words: FFmpeg's hold the address."""
    for kind in type(error).__mro__:
        if kind.__name__ in _REASONS and (live or kind.__name__ not in _DAMAGED):
            return _REASONS[kind.__name__]
    what = "it cannot be read" if live else "this is no video, or it is damaged"
    return f"{what} ({type(error).__name__})"


_DAMAGED = ("InvalidDataError", "ArgumentError", "UndefinedError", "UnknownError", "OSError")
_REASONS = {
    "HTTPUnauthorizedError": "it wants a user and password, and those of the address are not right",
    "HTTPForbiddenError": "this user may not see it; check the user and the password",
    "HTTPNotFoundError": "the server has no stream at this path; check the address",
    "HTTPClientError": "the server refuses; check the address, and that there is video",
    "HTTPServerError": "the server reports a fault of its own; look at the camera",
    "ConnectionRefusedError": "nobody answers there; check that it is on, its host and its port",
    "ConnectionError": "the connection broke; check the network and the camera",
    "BrokenPipeError": "the connection broke; check the network and the camera",
    "TimeoutError": "it does not answer; check that it is on, and the network",
    "ExitError": "it does not answer; check that it is on, and the network",
    "EOFError": "it ended before a picture came",
    "InvalidDataError": "what it sends is no video that can be read",
    "FileNotFoundError": "there is no such device or file; check its name",
    "PermissionError": "permission denied; check who may use it",
    "BlockingIOError": "another program uses it; end that first",
    "DemuxerNotFoundError": "PyAV does not know this kind of source on this system",
    "ProtocolNotFoundError": "PyAV does not know this kind of address on this system",
    "OSError": "it cannot be reached or read, or it redirects, which is not followed; check the"
    " address and the network",
}
