"""Cameras that play made scenes: portraits that move over a background, with the truth beside."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np
from memory_store import MemoryStore
from numpy.typing import NDArray

from facekeep import Face, FaceEngine, NewTemplate, Observation, Space
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

    def read(
        self, timeout: float | None = None, wanted: Callable[[float], bool] | None = None
    ) -> MadeFrame | None:
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
        if wanted is not None and not wanted(position):
            return None
        moment = START + timedelta(seconds=position)
        now = time.monotonic()
        return MadeFrame(image, moment, position, self.frames, self.name, "source", now)

    def close(self) -> None:
        self.closed = True
        self.state = "ended"


def background(seed: int = 0) -> Pixels:
    """A wall with a little noise, the same for the same seed."""
    return _wall(seed).copy()


@cache
def _wall(seed: int) -> Pixels:
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


# People as squares of one color each: a detector that reads from the first row of pixels where they
# are, and an embedder that tells them by their colors.

COLORS = np.array(
    [[200, 60, 60], [60, 180, 60], [70, 80, 210], [190, 180, 50], [170, 60, 190], [60, 180, 190]],
    np.float32,
)
NAMES = ("Ada", "Ben", "Cleo", "Dan", "Eve", "Finn")
_SHAPE = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32)
SIDE = 80


def squares(people: Sequence[tuple[int, float, float]], seed: int = 0) -> Pixels:
    """Draw people as squares, the later ones in front, and note where those in front are."""
    rng = np.random.default_rng(seed)
    image = background(seed % 4)
    texture = rng.normal(0, 25, (SIDE, SIDE, 1))
    visible = []
    for place, (person, x, y) in enumerate(people):
        paste(image, np.clip(COLORS[person] + texture, 0, 255).astype(np.uint8), x, y)
        hidden = any(
            abs(x - a) < SIDE * 0.6 and abs(y - b) < SIDE for _, a, b in people[place + 1 :]
        )
        if not hidden and 0 <= x < WIDTH:
            visible.append((x, y))
    image[0, 0] = len(visible)
    for place, center in enumerate(visible):
        for axis, value in enumerate(center):
            image[0, 1 + 2 * place + axis] = (round(value) >> 8, round(value) & 255, 0)
    return image


class SquareDetector:
    """Finds the squares."""

    def find(self, image: Pixels) -> list[Face]:
        faces = []
        for place in range(int(image[0, 0, 0])):
            codes = image[0, 1 + 2 * place : 3 + 2 * place, :2].astype(int)
            corner = (codes[:, 0] * 256 + codes[:, 1]).astype(np.float32) - SIDE / 2
            box = np.concatenate([corner, corner + SIDE]).astype(np.float32)
            faces.append(Face(box, corner + _SHAPE * SIDE, 0.9))
        return faces


class SquareEmbedder:
    """Tells people by their colors, with noise as real embeddings have it."""

    name = "squares"
    space = "squares-1"
    size = 112
    width = 64
    thresholds = ((1e-2, 0.35), (1e-3, 0.42), (1e-4, 0.48), (1e-5, 0.55))
    comparisons = 1_000_000

    def __init__(self) -> None:
        self.faces = 0
        self.runs = 0

    def embed(self, crops: Pixels) -> NDArray[np.float32]:
        self.faces += len(crops)
        self.runs += 1
        rows = np.zeros((len(crops), self.width), np.float32)
        for row, crop in zip(rows, crops, strict=True):
            color = crop[40:72, 40:72].reshape(-1, 3).mean(axis=0)
            person = int(np.linalg.norm(COLORS - color, axis=1).argmin())
            noise = np.random.default_rng(int(crop.sum())).normal(0, 0.06, self.width)
            row[:] = noise
            row[person] += 1.0
            row[:] = row / np.linalg.norm(row)
        return rows


def square_engine(enrolled: Sequence[int] = (0, 1)) -> FaceEngine:
    """An engine for squares with a gallery in memory; people by their places in ``NAMES``."""
    embedder = SquareEmbedder()
    store = MemoryStore(Space(embedder.space, embedder.name, embedder.width))
    for person in enrolled:
        vector = np.zeros(embedder.width, np.float32)
        vector[person] = 1.0
        store.enroll(NAMES[person], [NewTemplate(vector)])
    return FaceEngine(store, detector=SquareDetector(), embedder=embedder, any_quality=True)


def played(
    seconds: float, where: Callable[[float], Sequence[tuple[int, float, float]]], fps: float = 25
) -> Iterator[Pixels]:
    """Yield frames of people as squares at places that depend on the time."""
    for number in range(round(seconds * fps)):
        yield squares(where(number / fps), number)


def switches(
    seen: Iterable[Observation], where: Callable[[float], Sequence[tuple[int, float, float]]]
) -> int:
    """Count how often the person of a track changed, by the truth: whose place a face is nearest.

    Only where the session says that it knows who the track is.
    """
    owner: dict[int, int] = {}
    count = 0
    for each in seen:
        if each.face.decision is None:
            continue
        moment = (each.time - START).total_seconds()
        x, y = (each.face.bbox[:2] + each.face.bbox[2:]) / 2
        person = min(reversed(where(moment)), key=lambda p: abs(p[1] - x) + abs(p[2] - y))[0]
        count += owner.setdefault(each.track, person) != person
        owner[each.track] = person
    return count
