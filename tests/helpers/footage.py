"""Footage for cameras, trackers and visits, drawn from photos of people, with the truth beside it.

    people = portrait_people()
    footage = draw_scene("cross", people)
    truth = write_footage(tmp_path / "cross.mp4", footage)

Heads are cut out of photos with soft edges and move over a background: people enter, walk, cross,
turn, stop, leave and return. A head changes from one photo of its person to the next, blended over
some frames. The same people and seed give the same pixels. Only NumPy, Pillow and PyAV are needed;
faces in photos are found by facekeep's detector.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Pixels = NDArray[np.uint8]

SIZE = (640, 480)
FPS = 25
_HEAD = 160  # pixels: the width of a face in a head, at most
_SHOWN = 0.6  # of a face's box inside the picture: from here on the person is there
_STAMP = (16, 16)  # pixels: side of a block, and how many of them


# People: photos, and the heads cut out of them.


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """A head with soft edges.

    Attributes:
        pixels: uint8 ``(h, w, 4)`` RGBA.
        box: float64 ``(4,)``, the face in it: ``x1, y1, x2, y2``.
    """

    pixels: Pixels
    box: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """Somebody in the footage.

    Attributes:
        name: Whose photos these are.
        known: Whether the person is to be enrolled; a stranger's name in the truth is empty.
        photos: What to enroll the person by; not shown.
        heads: What is shown.
    """

    name: str
    known: bool
    photos: tuple[Pixels, ...]
    heads: tuple[Head, ...]


def cut_head(photo: Pixels, box: Sequence[float]) -> Head:
    """Cut the head around a face out of a photo, as far as the photo reaches.

    Args:
        photo: uint8 ``(H, W, 3)`` RGB.
        box: The face, ``x1, y1, x2, y2``.
    """
    x1, y1, x2, y2 = box
    width, height = x2 - x1, y2 - y1
    left, top = max(0, int(x1 - 0.6 * width)), max(0, int(y1 - 0.5 * height))
    right = min(photo.shape[1], math.ceil(x2 + 0.6 * width))
    bottom = min(photo.shape[0], math.ceil(y2 + 0.6 * height))
    shrink = min(1.0, _HEAD / width)
    shape = round((right - left) * shrink), round((bottom - top) * shrink)
    part = Image.fromarray(photo).resize(
        shape, Image.Resampling.LANCZOS, box=(left, top, right, bottom), reducing_gap=3
    )
    inside = (np.array([x1, y1, x2, y2]) - [left, top, left, top]) * shrink
    alpha = _soft_mask(shape, inside)
    return Head(np.dstack([np.asarray(part), alpha]), inside)


def _soft_mask(shape: tuple[int, int], box: NDArray[np.float64]) -> Pixels:
    """An ellipse around the head that fades out, also towards the borders of the photo."""
    width, height = box[2] - box[0], box[3] - box[1]
    x, y = np.arange(shape[0]) + 0.5, np.arange(shape[1]) + 0.5
    across = (x - (box[0] + box[2]) / 2) / (1.02 * width)
    down = (y - (box[1] + box[3]) / 2) / (1.0 * height)
    reach = np.hypot(across[None, :], down[:, None])
    mask = np.clip((1 - reach) / 0.12, 0, 1)
    for place, length, axis in ((x, shape[0], 1), (y, shape[1], 0)):
        border = np.clip(np.minimum(place, length - place) / (0.06 * width), 0, 1)
        mask = mask * np.expand_dims(border, 1 - axis)
    alpha: Pixels = np.rint(255 * mask * mask * (3 - 2 * mask)).astype(np.uint8)
    return alpha


def find_heads(photos: Sequence[Pixels]) -> list[Head]:
    """Cut out of each photo the head nearest to its center.

    Photos without a face are left out, and those in which another face would be cut out too.
    """
    from facekeep import Detector, RuntimeOptions

    heads = []
    with Detector(options=RuntimeOptions(threads=1)) as detector:
        for photo in photos:
            center = np.array(photo.shape[1::-1]) / 2
            boxes = [face.bbox.astype(np.float64) for face in detector.find(photo)]
            boxes.sort(key=lambda box: float(np.hypot(*((box[:2] + box[2:]) / 2 - center))))
            if boxes and not any(_is_near(boxes[0], other) for other in boxes[1:]):
                heads.append(cut_head(photo, boxes[0].tolist()))
    return heads


def _is_near(face: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """Tell whether another face would be seen beside this one when its head is cut out."""
    away = np.abs((face[:2] + face[2:]) / 2 - (other[:2] + other[2:]) / 2)
    reach = 1.1 * (face[2:] - face[:2]) + (other[2:] - other[:2]) / 2
    return bool((away < reach).all())


def portrait_people(known: Sequence[str] = ("Grace Hopper", "Eileen Collins")) -> list[Person]:
    """The two people whose portraits are in the public domain, each shown in three versions."""
    from facekeep.samples import load_portraits

    people = []
    for name, photo in load_portraits().items():
        (head,) = find_heads([photo])
        heads = (head, _narrowed(head, 0.92), _lit(head, 0.8))
        people.append(Person(name, name in known, (photo,), heads))
    return people


def _narrowed(head: Head, share: float) -> Head:
    """Narrow a head as if it turned aside a little."""
    height, width = head.pixels.shape[:2]
    narrow = round(width * share)
    pixels = np.asarray(Image.fromarray(head.pixels).resize((narrow, height)))
    return Head(pixels, head.box * [narrow / width, 1, narrow / width, 1])


def _lit(head: Head, gain: float) -> Head:
    pixels = head.pixels.copy()
    pixels[..., :3] = np.rint(pixels[..., :3] * gain)
    return Head(pixels, head.box)


def lfw_people(
    shared: Path, known: int = 20, strangers: int = 20, *, seed: int = 0, enroll: int = 3
) -> list[Person]:
    """People of LFW, for tests only: the known ones have at least ``enroll`` + 3 photos.

    Args:
        shared: The folder with ``data``.
        known: How many people are to be enrolled.
        strangers: How many others there are; those with several photos come first.
        seed: Decides who.
        enroll: How many photos of a known person are for enrollment.
    """
    root = shared / "data" / "lfw" / "images"
    rng = np.random.default_rng(seed)
    folders = sorted(folder for folder in root.iterdir() if folder.is_dir())
    folders = [folders[place] for place in rng.permutation(len(folders))]
    counts = {folder: len(list(folder.glob("*.jpg"))) for folder in folders}
    chosen = [folder for folder in folders if counts[folder] >= enroll + 3][:known]
    others = [folder for folder in folders if folder not in chosen]
    others.sort(key=lambda folder: -min(counts[folder], 3))
    people = []
    for folder in [*chosen, *others[:strangers]]:
        photos = [_read(path.read_bytes()) for path in sorted(folder.glob("*.jpg"))[: enroll + 5]]
        first = enroll if folder in chosen else 0
        heads = find_heads(photos[first:])
        name = folder.name.replace("_", " ")
        people.append(Person(name, folder in chosen, tuple(photos[:first]), tuple(heads)))
    return [person for person in people if person.heads]


def video_people(
    shared: Path, known: int = 20, strangers: int = 20, *, seed: int = 0
) -> list[Person]:
    """People of ``data/landmarks``, several frames of one video each: real motion of heads.

    Every other frame of a known person is for enrollment.
    """
    frames: dict[str, list[tuple[Pixels, Sequence[float]]]] = {}
    with tarfile.open(shared / "data" / "landmarks" / "faces68.tar") as archive:
        files = {
            member.name: stream.read()
            for member in archive
            if (stream := archive.extractfile(member))
        }
    for name in sorted(files):
        if name.endswith(".json"):
            note = json.loads(files[name])
            x, y = np.array(note["points68"]).T
            box = (x.min(), y.min() - 0.25 * (y.max() - y.min()), x.max(), y.max())
            picture = _read(files[name.removesuffix(".json") + ".webp"])
            frames.setdefault(note["person"], []).append((picture, box))
    names = [name for name in sorted(frames) if len(frames[name]) >= 6]
    names = [names[place] for place in np.random.default_rng(seed).permutation(len(names))]
    people = []
    for place, name in enumerate(names[: known + strangers]):
        here = frames[name]
        shown = here[1::2] if place < known else here
        photos = tuple(photo for photo, _ in here[::2]) if place < known else ()
        heads = tuple(cut_head(photo, box) for photo, box in shown)
        people.append(Person(name, place < known, photos, heads))
    return people


def _read(content: bytes) -> Pixels:
    with Image.open(io.BytesIO(content)) as picture:
        return np.array(picture.convert("RGB"))


# Scenes: who is where at what time.


class Point(NamedTuple):
    """Where a face is at a time: its center and width in pixels, its turn in degrees."""

    time: float
    x: float
    y: float
    width: float
    angle: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Walk:
    """One person's way through the picture.

    Attributes:
        person: Who.
        path: Where at what time; between these straight on.
        front: Who is drawn in front; of equal ones the larger face.
        change: Seconds between changes from one photo to the next.
        blend: Seconds that a change takes.
        sway: Whether the head moves with the steps while the person walks.
    """

    person: Person
    path: tuple[Point, ...]
    front: float = 0.0
    change: float = 1.6
    blend: float = 0.4
    sway: bool = True

    def at(self, time: float) -> Point | None:
        """Where the face is; None before the first point and after the last one."""
        if not self.path[0].time <= time <= self.path[-1].time:
            return None
        times = [point.time for point in self.path]
        columns = list(zip(*self.path, strict=True))[1:]
        x, y, width, angle = (float(np.interp(time, times, column)) for column in columns)
        if self.sway and self._walks(time):
            y += 0.03 * width * math.sin(11 * time)
            angle += 3 * math.sin(5.5 * time)
        return Point(time, x, y, width, angle)

    def _walks(self, time: float) -> bool:
        pairs = zip(self.path, self.path[1:], strict=False)
        return any(a.time <= time <= b.time and a[1:4] != b[1:4] for a, b in pairs)


class Visit(NamedTuple):
    """A row of the truth: seconds from the first frame; a stranger has no name."""

    start: float
    end: float
    name: str


class Box(NamedTuple):
    """A face in a frame: of which visit (from 0), where, and what share of it is to be seen."""

    time: float
    visit: int
    box: tuple[float, float, float, float]
    visible: float


@dataclass(frozen=True, eq=False)
class Footage:
    """Pictures of a camera before which people walk.

    Attributes:
        seconds: How long it is.
        walks: Who walks where.
        background: uint8 ``(H, W, 3)`` RGB, which also gives the size.
        fps: Frames a second.
        light: Pairs of a time and a gain of the exposure; between these straight on.
        blur: Sigma of a blur over the whole picture, pixels.
        noise: Standard deviation of the sensor's noise, gray levels.
        seed: Of the noise.
    """

    seconds: float
    walks: tuple[Walk, ...]
    background: Pixels
    fps: int = FPS
    light: tuple[tuple[float, float], ...] = ((0.0, 1.0),)
    blur: float = 0.0
    noise: float = 0.0
    seed: int = 0

    @property
    def frames(self) -> int:
        """How many frames there are."""
        return round(self.seconds * self.fps)

    def frame(self, number: int) -> Pixels:
        """Draw a frame, from 0: uint8 ``(H, W, 3)`` RGB."""
        time = number / self.fps
        picture = Image.fromarray(self.background)
        for walk, point in self._order(time):
            _paste(picture, walk, point)
        if self.blur:
            picture = picture.filter(ImageFilter.GaussianBlur(self.blur))
        times, gains = zip(*self.light, strict=True)
        gain = float(np.interp(time, times, gains))
        if gain != 1:
            picture = picture.point([min(round(level * gain), 255) for level in range(256)] * 3)
        pixels = np.asarray(picture)
        return self._add_noise(pixels, number) if self.noise else pixels

    def boxes(self, number: int) -> list[Box]:
        """Say where each face is in a frame, from 0; faces outside the picture are left out."""
        time = number / self.fps
        height, width = self.background.shape[:2]
        found: list[Box] = []
        nearer: list[tuple[float, float, float, float]] = []
        for walk, point in reversed(self._order(time)):
            box = _face_box(walk, point)
            inside = _common(box, (0, 0, width, height)) / _area(box)
            if inside > 0:
                hidden = max(
                    (_common(box, _wide(other)) / _area(box) for other in nearer), default=0
                )
                visible = round(inside * (1 - hidden), 3)
                found.append(Box(time, self.walks.index(walk), box, visible))
            nearer.append(box)
        return found[::-1]

    def truth(self) -> list[Visit]:
        """List the visits: from the first to the last frame with most of the face in the picture.

        A person hidden by another is still there.
        """
        height, width = self.background.shape[:2]
        visits = []
        for walk in self.walks:
            first, last = (round(walk.path[place].time * self.fps) for place in (0, -1))
            there = []
            for number in range(max(first, 0), min(last + 1, self.frames)):
                point = walk.at(number / self.fps)
                box = point and _face_box(walk, point)
                if box and _common(box, (0, 0, width, height)) >= _SHOWN * _area(box):
                    there.append(number / self.fps)
            name = walk.person.name if walk.person.known else ""
            visits.append(Visit(there[0], there[-1], name) if there else Visit(-1, -1, name))
        return visits

    def __iter__(self) -> Iterator[Pixels]:
        return map(self.frame, range(self.frames))

    def _order(self, time: float) -> list[tuple[Walk, Point]]:
        """Who is there, the farthest first."""
        starts, ends = self._spans
        places = np.flatnonzero((starts <= time) & (time <= ends)).tolist()
        there = [(self.walks[place], self.walks[place].at(time)) for place in places]
        pairs = [(walk, point) for walk, point in there if point is not None]
        return sorted(pairs, key=lambda pair: (pair[0].front, pair[1].width))

    @cached_property
    def _spans(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        ends = [[walk.path[place].time for walk in self.walks] for place in (0, -1)]
        return np.array(ends[0]), np.array(ends[1])

    @cached_property
    def _grain(self) -> list[NDArray[np.int16]]:
        rng, shape = np.random.default_rng(self.seed), self.background.shape
        return [np.rint(rng.normal(0, self.noise, shape)).astype(np.int16) for _ in range(4)]

    def _add_noise(self, picture: Pixels, number: int) -> Pixels:
        grain = np.roll(self._grain[number % 4], 37 * number % picture.shape[1], axis=1)
        noisy: Pixels = np.clip(picture + grain, 0, 255).astype(np.uint8)
        return noisy


def _paste(picture: Image.Image, walk: Walk, point: Point) -> None:
    """Draw a head into a picture, between two photos while it changes."""
    heads, since = walk.person.heads, point.time - walk.path[0].time
    step, into = divmod(since, walk.change)
    place = sum(map(ord, walk.person.name)) + int(step)  # visits begin with different photos
    reach = round(1.2 * point.width), round(1.5 * point.width)
    corner = int(point.x) - reach[0], int(point.y) - reach[1]
    middle = point.x - corner[0], point.y - corner[1]
    patch = _turn_head(heads[place % len(heads)], point, reach, middle)
    share = (into - (walk.change - walk.blend)) / walk.blend
    if share > 0 and len(heads) > 1:
        following = _turn_head(heads[(place + 1) % len(heads)], point, reach, middle)
        patch = Image.blend(patch, following, share)
    picture.paste(patch, corner, patch)


def _turn_head(
    head: Head, point: Point, reach: tuple[int, int], middle: tuple[float, float]
) -> Image.Image:
    """Scale, turn and move a head: the face lies in the middle of a picture of twice the reach."""
    factor = point.width / (head.box[2] - head.box[0])
    turn = math.radians(point.angle)
    cosine, sine = math.cos(turn) / factor, math.sin(turn) / factor
    x, y = (head.box[:2] + head.box[2:]) / 2
    numbers = (
        cosine,
        sine,
        x - cosine * middle[0] - sine * middle[1],
        -sine,
        cosine,
        y + sine * middle[0] - cosine * middle[1],
    )
    size = 2 * reach[0], 2 * reach[1]
    return Image.fromarray(head.pixels).transform(
        size, Image.Transform.AFFINE, numbers, Image.Resampling.BILINEAR
    )


def _face_box(walk: Walk, point: Point) -> tuple[float, float, float, float]:
    """The upright box of a face; its height is that of the person's first head."""
    sides = walk.person.heads[0].box
    height = point.width * float((sides[3] - sides[1]) / (sides[2] - sides[0]))
    x, y = point.x, point.y
    return x - point.width / 2, y - height / 2, x + point.width / 2, y + height / 2


def _area(box: Sequence[float]) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def _common(one: Sequence[float], other: Sequence[float]) -> float:
    return _area([*map(max, one[:2], other[:2]), *map(min, one[2:], other[2:])])


def _wide(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """What a head covers, which is more than its face."""
    side = 0.25 * (box[2] - box[0])
    return box[0] - side, box[1] - side, box[2] + side, box[3] + side


def plain_background(seed: int = 0, size: tuple[int, int] = SIZE) -> Pixels:
    """A wall in two colors with some large soft shapes; uint8 ``(H, W, 3)``."""
    rng = np.random.default_rng(seed)
    small = rng.integers(70, 170, (4, 5, 1), np.uint8) + rng.integers(0, 40, (4, 5, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize(size, Image.Resampling.BICUBIC))


def scene_background(shared: Path, number: int = 0, size: tuple[int, int] = SIZE) -> Pixels:
    """One of the photos without annotations in ``data/scenes``, cut and scaled to the size."""
    with tarfile.open(shared / "data" / "scenes" / "scenes.tar") as archive:
        names = sorted(name for name in archive.getnames() if name.startswith("i"))
        stream = archive.extractfile(names[number % len(names)])
        assert stream is not None
        photo = Image.fromarray(_read(stream.read()))
    scale = max(size[0] / photo.width, size[1] / photo.height)
    side = size[0] / scale, size[1] / scale
    left, top = (photo.width - side[0]) / 2, (photo.height - side[1]) / 2
    box = (left, top, left + side[0], top + side[1])
    return np.asarray(photo.resize(size, Image.Resampling.BICUBIC, box=box))


def cross_picture(
    person: Person, start: float, seconds: float, *, y: float = 220, width: float = 100, **more: Any
) -> Walk:
    """Walk from the left to the right; with ``back=True`` from the right to the left."""
    edge = 1.3 * width
    ends = [-edge, SIZE[0] + edge]
    if more.pop("back", False):
        ends.reverse()
    path = Point(start, ends[0], y, width), Point(start + seconds, ends[1], y, width)
    return Walk(person, path, **more)


def stay(
    person: Person,
    start: float,
    seconds: float,
    *,
    x: float = 320,
    y: float = 220,
    width: float = 100,
    **more: Any,
) -> Walk:
    """Come in from the nearer side, stand still, and leave on the same side."""
    out = -1.3 * width if x < SIZE[0] / 2 else SIZE[0] + 1.3 * width
    way = min(2.0, seconds / 3)
    end = start + seconds
    path = (
        Point(start, out, y, width),
        Point(start + way, x, y, width),
        Point(end - way, x, y, width),
        Point(end, out, y, width),
    )
    return Walk(person, path, **more)


def _still(people: Sequence[Person]) -> Footage:
    """Somebody stands for long without any motion; only the sensor's noise is left."""
    walks = (stay(people[0], 1, 18, change=1e9, sway=False),)
    return Footage(24, walks, plain_background(), noise=1.5)


def _turn(people: Sequence[Person]) -> Footage:
    turns = [(1, 0), (4, 0), (5, 35), (6, 0), (7, -35), (8, 0), (9, 0)]
    path = tuple(Point(time, 320, 230, 110, angle) for time, angle in turns)
    path = (Point(0.2, -150, 230, 110), *path, Point(10.5, 800, 230, 110))
    return Footage(12, (Walk(people[0], path, change=1.2),), plain_background())


def _approach(people: Sequence[Person]) -> Footage:
    near = Point(1, 250, 200, 42), Point(6, 330, 230, 170), Point(7, 330, 230, 170)
    return Footage(10, (Walk(people[0], (*near, Point(8.5, 900, 230, 170))),), plain_background())


def _group(people: Sequence[Person]) -> Footage:
    places = [(110, 150), (320, 200), (530, 150), (210, 350), (430, 350)]
    walks = [
        stay(person, 1 + 0.7 * number, 9, x=x, y=y, width=90)
        for number, (person, (x, y)) in enumerate(zip(people, places, strict=False))
    ]
    return Footage(15, tuple(walks), plain_background())


def _cross(people: Sequence[Person]) -> Footage:
    first, second = people[0], people[1 % len(people)]
    walks = (
        cross_picture(first, 1, 6, y=215, width=100, front=1),
        cross_picture(second, 1, 6, y=225, width=92, back=True),
        cross_picture(first, 22, 6, y=215, width=90, back=True),  # visits of their own
        cross_picture(second, 22, 6, y=230, width=108),
    )
    return Footage(29, walks, plain_background())


def _return(people: Sequence[Person]) -> Footage:
    walks = (
        cross_picture(people[0], 1, 4),  # a visit
        cross_picture(people[0], 6.5, 4, back=True),  # back before it is over
        cross_picture(people[0], 32, 4),  # long after: another one
    )
    return Footage(40, walks, plain_background())


def _walk(people: Sequence[Person], **changes: Any) -> Footage:
    return Footage(9, (cross_picture(people[0], 1, 6, width=110),), plain_background(), **changes)


SCENES: Mapping[str, Callable[[Sequence[Person]], Footage]] = {
    "walk": _walk,
    "cross": _cross,
    "turn": _turn,
    "approach": _approach,
    "return": _return,
    "group": _group,
    "still": _still,
    "empty": lambda people: Footage(8, (), plain_background(), noise=1.5),
    "blur": lambda people: _walk(people, blur=3.0),
    "dark": lambda people: _walk(people, light=((0, 0.12),), noise=3.0),
    "noise": lambda people: _walk(people, noise=14.0),
    "exposure": lambda people: _walk(people, light=((0, 1), (3, 1), (3.4, 1.9), (5, 0.45))),
}
"""Each takes one person at least, and shows the first ones."""


def draw_scene(name: str, people: Sequence[Person]) -> Footage:
    """Return a scene by its name in ``SCENES``."""
    return SCENES[name](people)


def draw_visits(
    people: Sequence[Person],
    seconds: float,
    *,
    seed: int = 0,
    every: float = 4.0,
    fps: int = FPS,
    backgrounds: Sequence[Pixels] = (),
    harm: bool = True,
) -> Footage:
    """Let people come and go at random: walk, stand, approach, cross each other, come back.

    Args:
        people: Who may come, in random order; nobody comes twice before all have come, or within
            20 seconds, so that each time is a visit of its own.
        seconds: How long; the last ones leave before the end.
        seed: Decides who comes when, and how.
        every: Seconds between visits, on average; empty stretches come in between.
        fps: Frames a second.
        backgrounds: One of them is chosen; a plain one without any.
        harm: Whether the light changes and the sensor is noisy.
    """
    rng = np.random.default_rng(seed)
    walks: list[Walk] = []
    queue: list[Person] = []
    time = 1.0
    while time < seconds - 12:
        if not queue:
            queue = [people[place] for place in rng.permutation(len(people))]
        person = queue.pop()
        last = [walk.path[-1].time for walk in walks[-20:] if walk.person is person]
        time = max([time, *(end + 20 for end in last)])
        walks.append(_random_walk(rng, person, time))
        gap = rng.exponential(every)
        time += gap + (12.0 if rng.random() < 0.04 else 0.0)
    light = [(0.0, 1.0)]
    while harm and light[-1][0] < seconds:
        light.append((light[-1][0] + rng.uniform(3, 15), rng.uniform(0.5, 1.4)))
    background = backgrounds[int(rng.integers(len(backgrounds)))] if backgrounds else None
    return Footage(
        seconds,
        tuple(walks),
        plain_background(seed) if background is None else background,
        fps,
        tuple(light),
        noise=3.0 if harm else 0.0,
        seed=seed,
    )


def _random_walk(rng: np.random.Generator, person: Person, time: float) -> Walk:
    width, y = rng.uniform(65, 150), rng.uniform(150, 300)
    kind = rng.random()
    change = rng.uniform(1.0, 3.0)
    if kind < 0.5:
        back = bool(rng.random() < 0.5)
        seconds = rng.uniform(3, 8)
        return cross_picture(person, time, seconds, y=y, width=width, back=back, change=change)
    if kind < 0.8:
        x, seconds = rng.uniform(120, 520), rng.uniform(5, 11)
        return stay(person, time, seconds, x=x, y=y, width=width, change=change)
    x, away = rng.uniform(150, 490), rng.uniform(40, 60)
    path = (
        Point(time, -100 if x < 320 else 740, y, away),
        Point(time + 2, x, y, away),
        Point(time + 6, x, y, width),
        Point(time + 8, -1.3 * width if x > 320 else 640 + 1.3 * width, y, width),
    )
    return Walk(person, path, change=change)


# Files.


def write_footage(path: Path, footage: Footage, *, codec: str = "h264", quality: int = 20) -> Path:
    """Write the video, ``STEM.csv`` with the visits, and ``STEM.boxes.csv`` with all boxes.

    Args:
        path: ``.mp4`` or ``.mkv``.
        footage: What to write.
        codec: ``h264`` or ``mjpeg``.
        quality: CRF of H.264; MJPEG is always written at a good one.

    Returns:
        The table of the visits: ``start,end,name``.
    """
    write_video(path, footage, footage.fps, codec=codec, quality=quality)
    return write_truth(path, footage)


def write_video(
    path: Path,
    frames: Iterator[Pixels] | Footage,
    fps: int,
    *,
    codec: str = "h264",
    quality: int = 20,
) -> None:
    """Encode RGB frames of one size; always to the same bytes."""
    import av

    options = {"preset": "ultrafast", "crf": str(quality), "tune": "zerolatency", "threads": "1"}
    options["g"] = str(2 * fps)  # a key frame each two seconds, as cameras have
    name, layout = ("libx264", "yuv420p") if codec == "h264" else ("mjpeg", "yuvj420p")
    with av.open(os.fspath(path), "w") as container:
        stream: Any = None
        for number, picture in enumerate(frames):
            if stream is None:
                stream = container.add_stream(name, rate=fps, options=options)
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = layout
                stream.codec_context.time_base = Fraction(1, fps)
                if codec != "h264":
                    stream.options = {"qmin": "3", "qmax": "3"}
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(stream.encode(frame))
        if stream is not None:
            container.mux(stream.encode(None))


def write_truth(path: Path, footage: Footage) -> Path:
    """Write the two tables of the truth beside a video; return that of the visits.

    Visits in which the face never is in the picture are left out of both.
    """
    visits = footage.truth()
    kept = [place for place, visit in enumerate(visits) if visit.start >= 0]
    table = path.with_suffix(".csv")
    with table.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["start", "end", "name"])
        for place in kept:
            start, end, name = visits[place]
            writer.writerow([f"{start:.3f}", f"{end:.3f}", name])
    with path.with_suffix(".boxes.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["time", "visit", "x1", "y1", "x2", "y2", "visible"])
        for number in range(footage.frames):
            for time, visit, box, visible in footage.boxes(number):
                if visit in kept:
                    sides = [f"{side:.1f}" for side in box]
                    writer.writerow([f"{time:.3f}", kept.index(visit) + 1, *sides, visible])
    return table


# The time inside the picture: black and white blocks that survive encoding.


def stamp(picture: Pixels, number: int) -> Pixels:
    """Write a number below 65,536 into the top of a picture, as 16 black or white blocks."""
    side, count = _STAMP
    marked = picture.copy()
    for bit in range(count):
        marked[:side, bit * side : (bit + 1) * side] = 255 * (number >> bit & 1)
    return marked


def read_stamp(picture: Pixels) -> int:
    """Read the number that ``stamp`` wrote."""
    side, count = _STAMP
    middles = [picture[4 : side - 4, bit * side + 4 : (bit + 1) * side - 4] for bit in range(count)]
    return sum(1 << bit for bit, middle in enumerate(middles) if middle.mean() > 127)
