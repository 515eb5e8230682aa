"""``GuidedEnrollment``: good and different pictures of one person, taken while a camera watches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

from facekeep.engine import FaceEngine
from facekeep.pipeline.enrollment_rules import choose_main_face
from facekeep.pipeline.quality import POLICIES, explain, reason_words, review
from facekeep.types import Face, Quality
from facekeep.video.tracker import Tracker

if TYPE_CHECKING:
    from facekeep.video.camera import Frame

__all__ = ["Guidance", "GuidedEnrollment", "Shot", "View"]

View = Literal["straight", "left", "right"]

_WANTED: Final[Sequence[View]] = ("straight", "left", "right", "straight")
_VIEWS: Final[dict[View, tuple[float, float]]] = {
    "straight": (-12, 12),
    "left": (15, 40),
    "right": (-40, -15),
}
"""Yaw in degrees, left and right as the person has them: above 0 the nose points to their left."""
_TURN: Final[dict[View, str]] = {
    "straight": "look straight into the camera",
    "left": "turn your head a little to your left",
    "right": "turn your head a little to your right",
}
_POLICY: Final = replace(POLICIES["strict"], max_yaw=45, max_pitch=25)
_TURNED: Final = 60.0  # degrees of roll that a camera has rather than a head
_LOOK: Final = 0.08  # seconds between two frames that are looked at
_STEADY: Final = 3  # frames of a track before one is taken
_APART: Final = 0.6  # seconds between two that are taken
_OTHER: Final = 3.0  # seconds in which only somebody else is seen, until it begins anew


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """A picture that was taken.

    Attributes:
        image: uint8 ``(H, W, 3)`` RGB.
        face: The person's face in it, with its embedding and crop.
        view: Where the person looked, left and right being theirs.
    """

    image: NDArray[np.uint8]
    face: Face
    view: View


@dataclass(frozen=True, slots=True)
class Guidance:
    """What a frame gave.

    Attributes:
        advice: What the person should do, in a few words; of a frame that was taken, which it is.
        taken: Whether the frame was taken.
    """

    advice: str
    taken: bool = False


class GuidedEnrollment:
    """Takes pictures of one person: from the front, twice, and turned to either side.

    A frame is taken if it shows one face, large, sharp and light enough, that was there for some
    frames, looks where it should, and is the same person as on the frames that were taken before.
    If somebody else alone stands there for some time it begins anew with them.

    Args:
        engine: Finds and embeds faces.

    Attributes:
        shots: What was taken so far.
    """

    def __init__(self, engine: FaceEngine) -> None:
        self.shots: list[Shot] = []
        self._engine = engine
        self._bound = engine.threshold().cosine
        self._tracker = Tracker()
        self._looked = self._taken_at = -np.inf
        self._others_since: float | None = None

    @property
    def wanted(self) -> list[View]:
        """The views that are still wanted, the next one first."""
        left = list(_WANTED)
        for shot in self.shots:
            left.remove(shot.view)
        return left

    def add(self, frame: Frame) -> Guidance | None:
        """Look at a frame; returns what to do, or None where it came too soon after the last."""
        position = frame.position
        if 0 <= position - self._looked < _LOOK or not self.wanted:
            return None
        self._looked = position
        faces = self._engine.find(frame.image)
        tracks = self._tracker.update(faces, position)
        main = choose_main_face(faces, frame.image.shape, POLICIES["strict"])
        if not faces or main is None:
            seen = "several people are seen: only one, please"
            return Guidance(seen if faces else "no face is seen: come before the camera")
        early = tracks[main].hits < _STEADY or position - self._taken_at < _APART
        fault = self._find_fault(faces[main].quality) or ("hold still" if early else None)
        return Guidance(fault) if fault else self._take(frame, faces[main])

    def _find_fault(self, quality: Quality | None) -> str | None:
        """Say what the person should do before a picture can be taken."""
        if quality is None:
            return "hold still"
        if abs(quality.roll) > _TURNED:
            return "the head is turned over: if the camera hangs so, set rotate"
        if reasons := review(quality, _POLICY):
            return explain(reasons[0], quality, _POLICY).partition(":")[0]
        return None if self._view(quality.yaw) else _TURN[self.wanted[0]]

    def _view(self, yaw: float) -> View | None:
        """Return the view of a face, if one like it is still wanted."""
        found = (view for view, (low, high) in _VIEWS.items() if low <= yaw <= high)
        return next((view for view in found if view in self.wanted), None)

    def _take(self, frame: Frame, face: Face) -> Guidance:
        (face,) = self._engine.embed([face])
        view = self._view(face.quality.yaw) if face.quality else None
        if not face.usable or face.embedding is None or view is None:
            return Guidance(f"the face is not usable: {reason_words(face.reasons)}")
        if self.shots and not self._agrees(face.embedding):
            return self._see_other(frame.position)
        self._others_since = None
        self._taken_at = frame.position
        self.shots.append(Shot(frame.image, face, view))
        return Guidance(f"picture {len(self.shots)} of {len(_WANTED)}: {view}", taken=True)

    def _agrees(self, embedding: NDArray[np.float32]) -> bool:
        rows = (each.face.embedding for each in self.shots)
        own = np.stack([row for row in rows if row is not None])
        return float((own @ embedding).mean()) >= self._bound

    def _see_other(self, position: float) -> Guidance:
        if self._others_since is None:
            self._others_since = position
        if position - self._others_since >= _OTHER:
            self.shots, self._others_since = [], None
            return Guidance("this is somebody else: it begins anew")
        return Guidance("this is not the person of the pictures before")
