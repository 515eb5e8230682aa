"""``Tracker``: which faces of one camera's frames are the same person's, by where they are.

Greedy intersection over union with constant velocity. Where positions cannot tell whose face it is,
because the track was lost for a while or its box touched another one, the track says so
(``Track.doubtful``), and whoever has embeddings must check.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.boxes import Box, area, intersection, overlap, to_box
from facekeep.types import Face

__all__ = ["Track", "Tracker"]

# How much of the newly measured velocity counts; the rest is the old one.
_NEW = 0.6
# Nothing is extrapolated for longer than this, in seconds: who is out of sight may stop or turn.
_LONGEST = 0.5
# Without overlap a face may continue a track whose center is so near, in sides of the box, one more
# for each second since it was seen, up to the maximum; but not if it is so much larger or smaller.
_REACH = 0.8
_MOST_REACH = 2.0
_GROWTH = 1.8
# Two boxes touch where they share so much of the smaller one.
_TOUCH = 0.1
# Who was out of sight for longer, in seconds, may be somebody else.
_GAP = 0.3


@dataclass(slots=True, eq=False)
class Track:
    """The faces of one person on one camera, from first seen until out of sight.

    Attributes:
        number: From 1 on each camera, never given twice.
        face: As it was last seen, in pixels of the frame.
        bbox: float32 ``(4,)``, where the face is expected: as seen, or moved on by ``predict``.
        first: When it was first seen, in seconds.
        last: When it was last seen.
        hits: In how many frames it was seen.
        crossed: Its box touches that of another track.
        doubtful: It was lost and found, has crossed another one, or jumped: somebody else may have
            taken its place. Who has checked that sets it to False.
    """

    number: int
    face: Face
    bbox: NDArray[np.float32]
    first: float
    last: float
    hits: int = 1
    crossed: bool = False
    doubtful: bool = False
    # Of the center, in pixels per second.
    velocity: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2), repr=False)

    def move(self, face: Face, position: float) -> None:
        """Go on with a face that was seen."""
        elapsed = position - self.last
        if elapsed > 0:
            moved = np.subtract(_center(to_box(face.bbox)), _center(to_box(self.face.bbox)))
            step = moved / elapsed
            self.velocity = (
                step if self.hits == 1 else self.velocity + _NEW * (step - self.velocity)
            )
        self.face, self.bbox, self.last, self.hits = face, face.bbox, position, self.hits + 1

    def predict(self, position: float) -> None:
        """Set ``bbox`` to where the face is expected."""
        elapsed = min(max(position - self.last, 0.0), _LONGEST)
        self.bbox = self.face.bbox + np.tile(self.velocity * elapsed, 2).astype(np.float32)


class Tracker:
    """The tracks of one camera.

    Args:
        max_lost: For how many seconds a track without a face is kept, to be found again.
        min_iou: How much a face must overlap the expected box to be the same, as intersection over
            union.

    Attributes:
        tracks: The tracks that were seen in the last frame, and those that are lost.
        lost: Tracks that the last frame did not show, but that may be found again.
        ended: Tracks that were given up with the last frame.
    """

    def __init__(self, *, max_lost: float = 2.0, min_iou: float = 0.3) -> None:
        self.max_lost = max_lost
        self.min_iou = min_iou
        self.tracks: list[Track] = []
        self.lost: list[Track] = []
        self.ended: list[Track] = []
        self._count = 0

    def update(self, faces: Sequence[Face], position: float) -> list[Track]:
        """Continue the tracks with the faces of a frame, or begin new ones.

        Args:
            faces: The faces that were found, in pixels of the frame.
            position: When the frame was taken, in seconds; it never goes back.

        Returns:
            A track for each face, in their order.
        """
        self.predict(position)
        found: dict[int, Track] = {}
        for place, track, near in self._pairs(faces, position):
            if place not in found and track not in found.values():
                gone = track in self.lost and position - track.last > _GAP
                track.doubtful |= gone or not near
                track.move(faces[place], position)
                found[place] = track
        seen = [found.get(n) or self.begin(face, position) for n, face in enumerate(faces)]
        missing = [track for track in self.tracks if track not in seen]
        self.ended = [track for track in missing if position - track.last > self.max_lost]
        self.lost = [track for track in missing if track not in self.ended]
        self.tracks = seen + self.lost
        self._mark_crossings()
        return seen

    def predict(self, position: float) -> list[Track]:
        """Move the boxes of all tracks that are not lost to where they are expected."""
        for track in self.tracks:
            track.predict(position)
        return [track for track in self.tracks if track not in self.lost]

    def begin(self, face: Face, position: float) -> Track:
        """Return a new track, which is not among ``tracks`` yet."""
        self._count += 1
        return Track(self._count, face, face.bbox, position, position)

    def replace(self, track: Track) -> Track:
        """Begin a new track where this one is, which is lost there: it is somebody else."""
        new = self.begin(track.face, track.last)
        new.velocity = track.velocity
        self.tracks = [new if each is track else each for each in self.tracks] + [track]
        self.lost.append(track)
        return new

    def exchange(self, one: Track, other: Track) -> None:
        """Let two tracks exchange places: each is where the other one was thought to be."""
        for name in ("face", "bbox", "last", "velocity"):
            first, second = getattr(one, name), getattr(other, name)
            setattr(one, name, second)
            setattr(other, name, first)
        swap = {id(one): other, id(other): one}
        self.tracks = [swap.get(id(each), each) for each in self.tracks]
        self.lost = [swap.get(id(each), each) for each in self.lost]

    def end(self) -> list[Track]:
        """Give up all tracks, as where the picture changed its size, and return them."""
        self.ended, self.tracks, self.lost = self.tracks, [], []
        return self.ended

    def _pairs(self, faces: Sequence[Face], position: float) -> list[tuple[int, Track, bool]]:
        """List what may belong together, the likeliest first, and whether the boxes overlap."""
        pairs: list[tuple[float, int, Track, bool]] = []
        expected = [(track, to_box(track.bbox)) for track in self.tracks]
        for place, face in enumerate(faces):
            box = to_box(face.bbox)
            for track, other in expected:
                if (shared := overlap(box, other)) >= self.min_iou:
                    pairs.append((shared, place, track, True))
                elif (away := _distance(box, other, position - track.last)) is not None:
                    pairs.append((-away, place, track, False))
        pairs.sort(key=lambda pair: -pair[0])
        return [(place, track, near) for _, place, track, near in pairs]

    def _mark_crossings(self) -> None:
        boxes = [(number, to_box(track.bbox)) for number, track in enumerate(self.tracks)]
        touching = {
            number
            for (one, box), (two, other) in combinations(boxes, 2)
            if (shared := intersection(box, other))
            and shared > _TOUCH * min(area(box), area(other))
            for number in (one, two)
        }
        for number, track in enumerate(self.tracks):
            track.doubtful |= track.crossed and number not in touching
            track.crossed = number in touching


def _center(box: Box) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _distance(box: Box, expected: Box, elapsed: float) -> float | None:
    """Return how far a box is from where a track is expected, in sides; None if too far."""
    sides, side = math.sqrt(area(box)), math.sqrt(area(expected))
    if not (0 < sides < side * _GROWTH and side < sides * _GROWTH):
        return None
    away = math.dist(_center(box), _center(expected)) / side
    return away if away <= min(_REACH + max(elapsed, 0.0), _MOST_REACH) else None
