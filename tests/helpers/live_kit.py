"""Cameras that play made scenes: portraits that move over a background, with the truth beside."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from facekeep.pipeline.warp import resize

Pixels = NDArray[np.uint8]
START = datetime(2026, 1, 31, 12, tzinfo=UTC)
HEIGHT, WIDTH = 480, 640


@dataclass(frozen=True, slots=True, eq=False)
class MadeFrame:
    """As ``facekeep.Frame``."""

    image: Pixels
    time: datetime
    position: float
    number: int
    camera: str
    clock: str
    received: float


class MadeCamera:
    """A scripted camera: frames from a list or an iterator, each when it is asked for.

    Args:
        images: The pictures; None: no frame now, as of a slow or dead source.
        fps: How many of them a second show.
        name: The camera's name.
        live: Whether it says that it is a live source.
        error: What it says when it ends.
        at: Called with the number of each frame before it is given.
    """

    def __init__(
        self,
        images: Iterable[Pixels | None],
        *,
        fps: float = 25.0,
        name: str = "door",
        live: bool = False,
        error: str | None = None,
        at: Callable[[int], None] | None = None,
    ) -> None:
        self.name = self.source = name
        self.live = live
        self.state = "connecting"
        self.error: str | None = None
        self.frames = self.dropped = 0
        self.reads = 0
        self.threads: set[int] = set()
        self.closed = False
        self._images = iter(images)
        self._fps, self._error, self._at = fps, error, at

    def start(self) -> None:
        pass

    def read(self, timeout: float | None = None) -> MadeFrame | None:
        self.reads += 1
        self.threads.add(threading.get_ident())
        image = next(self._images, "end") if not self.closed else "end"
        if isinstance(image, str):
            self.state, self.error = "ended", self._error
            return None
        if image is None:
            time.sleep(min(timeout or 0.0, 0.001))
            return None
        self.state = "live"
        self.frames += 1
        if self._at is not None:
            self._at(self.frames)
        position = (self.frames - 1) / self._fps
        moment = START + timedelta(seconds=position)
        now = time.monotonic()
        return MadeFrame(image, moment, position, self.frames, self.name, "source", now)

    def close(self) -> None:
        self.closed = True
        self.state = "ended"


def background(seed: int = 0) -> Pixels:
    """A wall with a little noise, the same for the same seed."""
    rng = np.random.default_rng(seed)
    wall = np.linspace(70, 130, WIDTH)[None, :, None] + rng.normal(0, 2, (HEIGHT, WIDTH, 3))
    return np.clip(wall, 0, 255).astype(np.uint8)


def heads(hopper: Pixels, collins: Pixels, side: int = 200) -> dict[str, Pixels]:
    """The two portraits cut to the head, as squares."""
    return {
        "Grace Hopper": resize(np.ascontiguousarray(hopper[0:440, 40:480]), side, side),
        "Eileen Collins": resize(np.ascontiguousarray(collins[0:260, 90:350]), side, side),
    }


def paste(image: Pixels, head: Pixels, x: float, y: float) -> None:
    """Put a head into an image with its center at x, y; what lies outside is cut off."""
    side = len(head)
    left, top = round(x - side / 2), round(y - side / 2)
    x1, y1, x2, y2 = max(left, 0), max(top, 0), min(left + side, WIDTH), min(top + side, HEIGHT)
    if x1 < x2 and y1 < y2:
        image[y1:y2, x1:x2] = head[y1 - top : y2 - top, x1 - left : x2 - left]


def scene(
    seconds: float, where: Callable[[float], Sequence[tuple[Pixels, float, float]]], fps: float = 25
) -> Iterator[Pixels]:
    """Yield frames with heads at places, those named later in front of the others."""
    walls = [background(seed) for seed in range(4)]
    for number in range(round(seconds * fps)):
        image = walls[number % len(walls)].copy()
        for head, x, y in where(number / fps):
            paste(image, head, x, y)
        yield image
