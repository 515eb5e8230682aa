"""``Tracker``: which faces of one camera's frames are the same person's, by where they are.

Greedy intersection over union with constant velocity. Where positions cannot tell whose face it is,
because the track was lost for a while or its box touched another one, the track says so
(``Track.doubtful``), and whoever has embeddings must check.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

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
    # Of the center, and of the logarithm of the sides, in pixels and 1 per second.
    velocity: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2), repr=False)

    def move(self, face: Face, position: float) -> None:
        """Go on with a face that was seen."""
        elapsed = position - self.last
        if elapsed > 0:
            step = (_center(face.bbox) - _center(self.face.bbox)) / elapsed
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

    def _pairs(self, faces: Sequence[Face], position: float) -> Iterable[tuple[int, Track, bool]]:
        """List what may belong together, the likeliest first, and whether the boxes overlap."""
        pairs = []
        for place, face in enumerate(faces):
            for track in self.tracks:
                overlap = _overlap(face.bbox, track.bbox)
                if overlap >= self.min_iou:
                    pairs.append((overlap, place, track, True))
                elif (away := _distance(face.bbox, track, position)) is not None:
                    pairs.append((-away, place, track, False))
        pairs.sort(key=lambda pair: -pair[0])
        return [(place, track, near) for _, place, track, near in pairs]

    def _mark_crossings(self) -> None:
        touching = {
            id(track)
            for pair in combinations(self.tracks, 2)
            if _shared(pair[0].bbox, pair[1].bbox) > _TOUCH
            for track in pair
        }
        for track in self.tracks:
            track.doubtful |= track.crossed and id(track) not in touching
            track.crossed = id(track) in touching


def _center(bbox: NDArray[np.float32]) -> NDArray[np.float64]:
    return (bbox[:2].astype(float) + bbox[2:]) / 2


def _sides(bbox: NDArray[np.float32]) -> float:
    """Return the mean side: the square root of the area."""
    width, height = (bbox[2:] - bbox[:2]).tolist()
    return math.sqrt(max(width, 0.0) * max(height, 0.0))


def _intersection(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    corner = np.maximum(one[:2], other[:2])
    width, height = (np.minimum(one[2:], other[2:]) - corner).tolist()
    return float(max(width, 0.0) * max(height, 0.0))


def _overlap(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return the intersection over the union of two boxes."""
    both = _intersection(one, other)
    union = _sides(one) ** 2 + _sides(other) ** 2 - both
    return both / union if union > 0 else 0.0


def _shared(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return how much of the smaller box the other one covers."""
    smaller = min(_sides(one), _sides(other)) ** 2
    return _intersection(one, other) / smaller if smaller > 0 else 0.0


def _distance(bbox: NDArray[np.float32], track: Track, position: float) -> float | None:
    """Return how far a box is from where a track is expected, in sides; None if too far."""
    sides, expected = _sides(bbox), _sides(track.bbox)
    if not (0 < sides < expected * _GROWTH and expected < sides * _GROWTH):
        return None
    away = math.dist(_center(bbox).tolist(), _center(track.bbox).tolist()) / expected
    reach = min(_REACH + max(position - track.last, 0.0), _MOST_REACH)
    return away if away <= reach else None
