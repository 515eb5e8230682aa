"""Active liveness: the person is asked to move, and must move as only a head in space can.

Which moves, in which order and how many is drawn anew each time, so that no recording fits. Each
move begins and ends looking straight ahead, and has a deadline. The track must not break, the
person must stay the same, and the pictures must come from a camera as they happen (`stream`).
No network is needed but those that find and embed faces. docs/liveness.md says what it stops.

Left and right are the person's own: who turns left shows the camera more of the right cheek, and in
a picture that is not mirrored the nose goes to the right.
"""

from __future__ import annotations

import math
import secrets
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.boxes import overlap, to_box
from facekeep.errors import InputError
from facekeep.liveness.evidence import LivenessResult, Verdict, describe_evidence, weightiest
from facekeep.liveness.head_motion import nose_parallax, nose_shift
from facekeep.liveness.stream import StreamCheck
from facekeep.pipeline.image import check_image
from facekeep.types import Face, Observation

__all__ = ["PROMPTS", "ActiveLiveness", "Challenge", "draw_challenges"]

Challenge = Literal["left", "right", "up", "closer"]
"""A move: the head turned to the person's own left or right, or up, or the face closer."""

PROMPTS: Final = {
    "straight": "look straight ahead",
    "left": "turn your head to your left",
    "right": "turn your head to your right",
    "up": "look up",
    "closer": "come closer",
}
"""What the person is asked to do, in English."""

_FEWEST, _MOST = 2, 4  # challenges

# Bounds, chosen by benchmarks/liveness_turns.py on one half of its people.
TURN: Final = 0.16
"""How far the nose must leave the plane of eyes and mouth, in distances of the eyes."""
UP: Final = 0.18
"""The same for a face that looks up."""
CLOSER: Final = 1.25
"""How many times as large a face that comes closer must become."""

_TILTED: Final = 1.5  # turns that only seem so: the shift of the nose, in bounds of the turn
_AHEAD: Final = 0.5  # how far a face may be turned that looks straight ahead, in bounds of a turn
_FRONTAL: Final = 0.3  # how far the nose may be from the middle at the start, in distances of eyes
_SMOOTHED: Final = 3  # frames whose landmarks are averaged
_HOLD: Final = 3  # frames in a row that a move must last
_BASE: Final = 5  # frames that show how the face looks straight ahead
_OTHER: Final = 3  # frames in a row that show somebody else
_DIFFERENT: Final = 0.15  # cosine below which a turned face is somebody else's
_GAP: Final = 0.5  # seconds without the face, after which the track is broken
_OVERLAP: Final = 0.2  # of two boxes in a row, intersection over union, at the least
_POOR: Final = 0.5  # share of frames that show too little, from which on nobody can tell


def draw_challenges() -> tuple[Challenge, ...]:
    """Draw two to four different challenges in random order, one of them a turn to a side.

    Only a turn proves depth: a picture can come closer too.
    """
    chance = secrets.SystemRandom()
    while True:
        drawn = chance.sample(get_args(Challenge), chance.randint(_FEWEST, _MOST))
        if {"left", "right"} & set(drawn):
            return tuple(drawn)


class ActiveLiveness:
    """Watches one person answer challenges, frame by frame.

    Args:
        same_person: The cosine at and above which two faces are one person's, by the threshold of
            the embedder.
        challenges: What is asked, in this order; None draws (see `draw_challenges`). Give your own
            only for recorded footage: whoever knows them can prepare a recording.
        deadline: Seconds to answer each prompt.

    Attributes:
        challenges: What is asked.
        result: The judgment, once there is one; None before.

    Raises:
        InputError: There is no such challenge, none is a turn to a side, or the deadline is no
            positive number.
    """

    def __init__(
        self,
        *,
        same_person: float,
        challenges: Sequence[Challenge] | None = None,
        deadline: float = 6.0,
    ) -> None:
        self.challenges = draw_challenges() if challenges is None else tuple(challenges)
        _check(self.challenges, deadline)
        self.result: LivenessResult | None = None
        self._same_person, self._deadline = same_person, deadline
        self._stream = StreamCheck()
        self._done = 0
        self._moving = False  # whether the move of a challenge is asked for, or looking straight
        self._since: float | None = None  # when the present prompt was given
        self._frames: list[tuple[str, ...]] = []  # why each frame since then shows too little
        self._base: _Base | None = None
        self._gathered: list[_Sighting] = []
        self._recent: deque[_Sighting] = deque(maxlen=_SMOOTHED)
        self._last: tuple[float, NDArray[np.float32], int | None] | None = None
        self._position = -math.inf
        self._held = _Counts()

    @property
    def prompt(self) -> str:
        """What the person is asked to do now: a key of `PROMPTS`; ``straight`` at the end too."""
        return self.challenges[self._done] if self._moving else "straight"

    @property
    def progress(self) -> float:
        """How much of it is done, 0 to 1."""
        steps = 2 * len(self.challenges) + 1
        done = 2 * self._done + (self._base is not None) + self._turned_back
        return 1.0 if self.result is not None and self.result.live else done / steps

    @property
    def _turned_back(self) -> bool:
        """Whether the move is done, and what is left is to look straight ahead again."""
        return self._base is not None and not self._moving and self._done < len(self.challenges)

    def update(
        self, face: Face | Observation | None, image: NDArray[np.uint8], position: float
    ) -> LivenessResult | None:
        """Take the next frame.

        Args:
            face: The person's face in it, embedded (``Face.embedding``); an observation also tells
                its track. None where no face was found.
            image: The whole frame, uint8 ``(H, W, 3)`` RGB, not mirrored.
            position: When it was taken, in seconds; frames come in their order.

        Returns:
            The judgment, once there is one; it never changes again.

        Raises:
            InputError: The image is not such an array.
        """
        if self.result is not None:
            return self.result
        track = face.track if isinstance(face, Observation) else None
        seen = face.face if isinstance(face, Observation) else face
        image = check_image(image)
        trouble = self._stream.update(image, position)
        if trouble is not None:
            return self._end("not live", trouble)
        late, self._position = position - self._position > _GAP, position
        if self._since is None:
            self._since = position
        if self._base is not None and late:
            return self._end("cannot tell", "too_few_frames")
        if self._is_broken(seen, track, position):
            if self._base is not None:
                return self._end("not live", "track_broken")
            self._gathered, self._last = [], None  # nothing is proven yet: begin anew
        if seen is not None:
            self._last = (position, seen.bbox, track)
        poor = describe_evidence(image, seen)
        self._frames.append(poor)
        if seen is not None and not poor:
            self._judge(_Sighting.of(seen), position)
        if self.result is None and position - self._since > self._deadline:
            self._give_up()
        return self.result

    def end(self) -> LivenessResult:
        """Say what can be said when no more frames come: without a judgment, ``cannot tell``."""
        if self.result is not None:
            return self.result
        poor = [reason for reasons in self._frames for reason in reasons]
        return self._end("cannot tell", *weightiest(poor), "ended_early")

    def _end(self, verdict: Verdict, *reasons: str) -> LivenessResult:
        self.result = LivenessResult(verdict, reasons)
        return self.result

    def _give_up(self) -> None:
        """Judge a prompt that was not answered in time."""
        poor = [reasons for reasons in self._frames if reasons]
        if len(poor) > _POOR * len(self._frames):
            self._end("cannot tell", *weightiest([each for reasons in poor for each in reasons]))
        elif self._base is None:
            self._end("cannot tell", "not_straight")
        else:
            self._end("not live", "no_response")

    def _is_broken(self, face: Face | None, track: int | None, position: float) -> bool:
        if self._last is None:
            return False
        when, box, before = self._last
        if face is None:
            return position - when > _GAP
        return track != before or overlap(to_box(face.bbox), to_box(box)) < _OVERLAP

    def _next_prompt(self, position: float, *, moving: bool) -> None:
        self._moving, self._since, self._frames = moving, position, []
        self._gathered, self._held = [], _Counts()

    def _judge(self, sighting: _Sighting, position: float) -> None:
        """Judge a frame that shows enough."""
        self._recent.append(sighting)
        base = self._base
        if base is None:
            self._gather_base(sighting, position)
            return
        if self._is_other(base, sighting):
            self._end("not live", "another_person")
            return
        points = np.mean([each.points for each in self._recent], axis=0)
        height = float(np.mean([each.height for each in self._recent]))
        try:
            parallax = nose_parallax(base.points, points)
        except InputError:
            return  # landmarks in one line: they show nothing
        shift = nose_shift(base.points, points)
        motion = _Motion(parallax, shift, height / base.height)
        if self._moving:
            self._judge_move(motion, position)
        else:
            self._judge_straight(base, motion, sighting, position)

    def _gather_base(self, sighting: _Sighting, position: float) -> None:
        """Learn how the face looks straight ahead, from frames in a row that show it so."""
        if sighting.embedding is None or not _is_frontal(sighting.points):
            self._gathered = []
            return
        self._gathered.append(sighting)
        if len(self._gathered) >= _BASE:
            base = _Base.of(self._gathered[-_BASE:])
            if base.agrees(self._same_person):
                self._base = base
                self._next_prompt(position, moving=True)

    def _judge_move(self, motion: _Motion, position: float) -> None:
        challenge = self.challenges[self._done]
        if self._held.lasts("done", motion.answers(challenge)):
            self._next_prompt(position, moving=False)
        elif self._held.lasts("wrong", motion.contradicts(challenge)):
            self._end("not live", "wrong_move")
        elif self._held.lasts("flat", motion.seems_turned):
            self._end("not live", "flat")

    def _judge_straight(
        self, base: _Base, motion: _Motion, sighting: _Sighting, position: float
    ) -> None:
        """Wait until the person looks straight ahead again, and see that it is the same one."""
        if not motion.ahead or sighting.embedding is None:
            self._gathered = []
            return
        self._gathered.append(sighting)
        if len(self._gathered) < _HOLD:
            return
        if base.similarity(self._gathered) < self._same_person:
            self._end("not live", "another_person")
            return
        self._done += 1
        if self._done == len(self.challenges):
            self._end("live")
        else:
            self._next_prompt(position, moving=True)

    def _is_other(self, base: _Base, sighting: _Sighting) -> bool:
        """Whether frames in a row show somebody else, turned faces allowed for."""
        if sighting.embedding is None:
            return False
        return self._held.lasts("other", base.similarity([sighting]) < _DIFFERENT, _OTHER)


class _Counts:
    """How many frames in a row something was so."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def lasts(self, what: str, now: bool, frames: int = _HOLD) -> bool:
        self._counts[what] = self._counts.get(what, 0) + 1 if now else 0
        return self._counts[what] >= frames


@dataclass(frozen=True, slots=True)
class _Sighting:
    """A face as it is compared.

    Attributes:
        points: Its landmarks, moved and rolled, and scaled to a distance of the eyes of 1.
        height: From the eyes to the mouth, in pixels.
        embedding: Of unit length; None where it was not embedded.
    """

    points: NDArray[np.float64]
    height: float
    embedding: NDArray[np.float32] | None

    @classmethod
    def of(cls, face: Face) -> _Sighting:
        points = face.landmarks.astype(np.float64)
        eyes = complex(*(points[1] - points[0]))
        placed = ((points - points[:2].mean(axis=0)) @ [1, 1j]) / eyes
        height = np.hypot(*(points[3:].mean(axis=0) - points[:2].mean(axis=0)))
        return cls(np.column_stack([placed.real, placed.imag]), float(height), face.embedding)


@dataclass(frozen=True, slots=True)
class _Base:
    """How a person looks straight ahead: landmarks, height and embedding, on average."""

    points: NDArray[np.float64]
    height: float
    embeddings: NDArray[np.float32]

    @classmethod
    def of(cls, sightings: Sequence[_Sighting]) -> _Base:
        return cls(
            np.mean([each.points for each in sightings], axis=0),
            float(np.mean([each.height for each in sightings])),
            np.stack([each.embedding for each in sightings if each.embedding is not None]),
        )

    def agrees(self, threshold: float) -> bool:
        """Whether all of it is one person's."""
        return bool((self.embeddings @ _unit(self.embeddings.mean(axis=0)) >= threshold).all())

    def similarity(self, sightings: Sequence[_Sighting]) -> float:
        """Return the cosine between two means."""
        rows = [each.embedding for each in sightings if each.embedding is not None]
        return float(_unit(self.embeddings.mean(axis=0)) @ _unit(np.mean(rows, axis=0)))


@dataclass(frozen=True, slots=True)
class _Motion:
    """How a face moved since it looked straight ahead; see `head_motion`."""

    parallax: NDArray[np.float64]
    shift: NDArray[np.float64]
    growth: float

    @property
    def ahead(self) -> bool:
        """Whether it looks straight ahead."""
        return bool(
            abs(self.parallax[0]) < _AHEAD * TURN
            and abs(self.shift[0]) < TURN
            and abs(self.parallax[1]) < UP
        )

    @property
    def seems_turned(self) -> bool:
        """Whether it seems turned, but the nose never left the plane: a tilted picture."""
        return bool(abs(self.shift[0]) >= _TILTED * TURN and abs(self.parallax[0]) < _AHEAD * TURN)

    def answers(self, challenge: Challenge) -> bool:
        """Whether it is the move that was asked for."""
        along, across = self.parallax
        return bool(
            {
                "left": along >= TURN,
                "right": along <= -TURN,
                "up": across <= -UP and abs(along) < -across,
                "closer": self.growth >= CLOSER and abs(along) < TURN,
            }[challenge]
        )

    def contradicts(self, challenge: Challenge) -> bool:
        """Whether it is surely another move than the one that was asked for."""
        along = float(self.parallax[0])
        wrong = {"left": -along, "right": along}.get(challenge, abs(along))
        return wrong >= TURN


def _unit(row: NDArray[np.floating]) -> NDArray[np.floating]:
    return row / max(float(np.linalg.norm(row)), 1e-9)


def _is_frontal(points: NDArray[np.float64]) -> bool:
    """Whether the nose is near the middle between eyes and mouth corners."""
    return bool(abs(points[2, 0] - points[[0, 1, 3, 4], 0].mean()) < _FRONTAL)


def _check(challenges: Sequence[str], deadline: float) -> None:
    unknown = [each for each in challenges if each not in get_args(Challenge)]
    if unknown:
        known = ", ".join(get_args(Challenge))
        raise InputError(f"there is no challenge {unknown[0]!r}; there are {known}")
    if not {"left", "right"} & set(challenges):
        raise InputError("one challenge must be left or right: only a turn proves a real head")
    if not 0 < deadline < math.inf:
        raise InputError(f"the deadline must be a number of seconds above 0, not {deadline}")
