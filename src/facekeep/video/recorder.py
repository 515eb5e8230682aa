"""``Recorder``: what cameras see, with boxes and names, in a folder of bounded size."""

from __future__ import annotations

import errno
import logging
import os
import queue
import re
import stat
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from facekeep._internal.closing import Closing
from facekeep._internal.drafts import abandoned
from facekeep._internal.files import one_line, printable, private_folder, why
from facekeep.draw import annotate
from facekeep.errors import InputError
from facekeep.types import Observation

if TYPE_CHECKING:
    from facekeep.video.camera import Frame

__all__ = ["Recorder"]

_log = logging.getLogger(__name__)
_NAME: Final = re.compile(r"[\w-]+-(\d{8}T\d{6}\.\d{3}Z)\.mkv")
_WAITING: Final = 8  # frames that may wait for the writer
_SEGMENTS: Final = 8  # so many files at least share the size
_MILLISECOND: Final = Fraction(1, 1000)
_PAUSE: Final = 10.0  # seconds without recording after an error


class Recorder(Closing):
    """Records frames in Matroska files, a new one each minute; the oldest make room for new ones.

    A thread of its own draws and writes; a frame that comes while it is behind is left out, so that
    nobody waits for the disk. A file has a hidden name until it is whole. What a killed process
    left behind is kept, as far as it can be played, when the folder is used again.

    Args:
        folder: Where to; made for its owner only, if it is not there.
        max_bytes: The size of all recordings together.
        seconds: The length of a file.

    Attributes:
        dropped: Frames that were left out.

    Raises:
        InputError: The folder cannot be used, or another process records in it.
    """

    def __init__(
        self, folder: Path, *, max_bytes: int = 2_000_000_000, seconds: float = 60.0
    ) -> None:
        self.dropped = 0
        self._folder, self._max_bytes, self._seconds = folder, max_bytes, seconds
        self._lock = _lock_folder(folder)
        self._segments: dict[str, _Segment] = {}
        self._broken_until = 0.0
        _keep_playable(folder)
        self._make_room()
        self._queue: queue.Queue[tuple[Frame, Sequence[Observation]] | None] = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._work, name="facekeep-recorder", daemon=True)
        self._thread.start()

    def add(self, frame: Frame, observations: Sequence[Observation], *, wait: bool = False) -> None:
        """Record a frame, as far as the writer is not behind, or else ``wait`` for the writer."""
        try:
            self._queue.put((frame, observations), block=wait)
        except queue.Full:
            self.dropped += 1

    def close(self) -> None:
        """Write what waits, and finish the files."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        self._lock.close()

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            if time.monotonic() < self._broken_until:
                self.dropped += 1
                continue
            try:
                self._write(*item)
            except Exception as error:  # noqa: BLE001 - whatever the codec or the disk raises
                _log.warning("recording pauses for %.0f s: %s", _PAUSE, _explain(error))
                self._broken_until = time.monotonic() + _PAUSE
                self._finish(item[0].camera)
        for camera in list(self._segments):
            self._finish(camera)

    def _write(self, frame: Frame, observations: Sequence[Observation]) -> None:
        segment = self._segments.get(frame.camera)
        if segment is not None and not segment.takes(frame, self._seconds):
            self._finish(frame.camera)
            segment = None
        if segment is None:
            segment = self._segments[frame.camera] = _Segment(self._folder, frame)
        segment.add(annotate(frame.image, [each.face for each in observations]), frame.position)
        if segment.size > self._max_bytes // _SEGMENTS:
            self._finish(frame.camera)

    def _finish(self, camera: str) -> None:
        segment = self._segments.pop(camera, None)
        if segment is not None:
            try:
                segment.finish()
            except Exception as error:  # noqa: BLE001 - the codec and the disk again
                _log.warning("a recording is not whole: %s", _explain(error))
                segment.discard()
        with suppress(OSError):
            self._make_room()

    def _make_room(self) -> None:
        """Delete the oldest recordings until one more file of each camera finds room."""
        found = [(_NAME.fullmatch(path.name), path) for path in self._folder.iterdir()]
        kept = sorted((name[1], path) for name, path in found if name and not path.is_symlink())
        sizes = [path.stat().st_size for _, path in kept]
        room = self._max_bytes - len(self._segments) * self._max_bytes // _SEGMENTS
        for (_, path), size in zip(kept, list(sizes), strict=True):
            if sum(sizes) <= room - self._max_bytes // _SEGMENTS:
                break
            with suppress(OSError):
                path.unlink()
            sizes.remove(size)


class _Segment:
    """A file that is being written."""

    def __init__(self, folder: Path, frame: Frame) -> None:
        import av

        stamp = frame.time.strftime("%Y%m%dT%H%M%S.") + f"{frame.time.microsecond // 1000:03}Z"
        camera = re.sub(r"[^\w-]", "_", frame.camera)
        self.path = folder / f"{camera}-{stamp}.mkv"
        self.draft = folder / f".{self.path.name}.part"
        self._file = _open_locked(self.draft)
        self._shape = frame.image.shape
        self._start = self._last = frame.position
        self._pts = -1
        options = {"cluster_time_limit": "1000", "flush_packets": "1"}
        self._container = av.open(self._file, "w", format="matroska", options=options)
        height, width = self._shape[0] // 2 * 2, self._shape[1] // 2 * 2
        self._stream: Any = self._container.add_stream(
            "libx264" if "libx264" in av.codecs_available else "mpeg4",
            rate=25,
            options={"preset": "ultrafast", "crf": "26", "tune": "zerolatency", "g": "50"},
        )
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        self._stream.thread_count = 1
        self._stream.codec_context.time_base = _MILLISECOND

    @property
    def size(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    def takes(self, frame: Frame, seconds: float) -> bool:
        """Whether the frame goes on with this file: same size, later, and not too long."""
        later = self._last < frame.position < self._start + seconds
        return bool(later and frame.image.shape == self._shape)

    def add(self, image: Any, position: float) -> None:
        import av

        height, width = self._stream.height, self._stream.width
        frame = av.VideoFrame.from_ndarray(image[:height, :width].copy(), format="rgb24")
        self._last = position
        self._pts = max(self._pts + 1, round((position - self._start) * 1000))
        frame.pts, frame.time_base = self._pts, _MILLISECOND
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Write the end, and give the file its name."""
        self._container.mux(self._stream.encode(None))
        self._container.close()
        self._file.flush()
        self.draft.rename(self.path)
        self._file.close()

    def discard(self) -> None:
        with suppress(OSError):
            self.draft.unlink()
        with suppress(Exception):
            self._file.close()


def _open_locked(path: Path) -> BinaryIO:
    """Open a file that is ours alone, and empty it; a link is never followed."""
    import fcntl

    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    file = os.fdopen(os.open(path, flags, 0o600), "w+b")
    try:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, f"{path.name} is no regular file")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.truncate(0)
    except BaseException:
        file.close()
        raise
    return file


def _lock_folder(folder: Path) -> BinaryIO:
    try:
        private_folder(folder)
        return _open_locked(folder / ".lock")
    except BlockingIOError as error:
        raise InputError(
            f"another process records in {printable(folder)}: name another folder"
        ) from error
    except OSError as error:
        raise InputError(f"cannot record in {printable(folder)}: {why(error)}") from error


def _keep_playable(folder: Path) -> None:
    """Give what a killed process left its name, or delete it where it cannot be played."""
    import av

    for draft in folder.glob(".*.mkv.part"):
        with suppress(OSError), abandoned(draft) as left:
            if not left or not draft.is_file():  # to open a pipe would wait for ever
                continue
            try:
                with av.open(str(draft), format="matroska") as container:
                    next(container.decode(video=0))
            except (av.error.FFmpegError, StopIteration, IndexError):
                draft.unlink()
            else:
                draft.rename(folder / draft.name.removeprefix(".").removesuffix(".part"))


def _explain(error: Exception) -> str:
    return why(error) if isinstance(error, OSError) else one_line(error)
