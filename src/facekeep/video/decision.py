"""What the faces of a track tell of who it is: a few good ones, pooled, and one comparison.

Comparing every frame and keeping the best similarity would give strangers as many chances to get a
name as a track has frames. So the best faces by quality, never by similarity, are pooled and
compared once; again only on clearly better evidence, and a bounded number of times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from facekeep.pipeline.decide import once_each
from facekeep.types import Decision, Face

__all__ = ["TrackEvidence", "share_names"]

Row = NDArray[np.float32]

# So many faces are enough to decide by, so many are kept at most, and after so many seconds fewer
# are enough.
_ENOUGH = 3
_POOL = 5
_PATIENCE = 1.0
# A track without a usable face for so many seconds is unusable.
_UNUSABLE = 2.0
# Seconds between two faces of one track, unless the later one is clearly better.
_SPACING = 0.08
_BETTER = 1.2
# How often a track is decided at most, and by how much the sum of the qualities must have grown.
_MOST_DECISIONS = 3
_STRONGER = 1.5
# Seconds between two looks at a track: while it is not decided; while it touches another one; while
# it is unknown, in its first seconds; and then, to see that nobody else has taken the place.
_LOOK_UNDECIDED = 0.08
_LOOK_CROSSED = 0.24
_LOOK_UNKNOWN = 0.5
_EARLY = 5.0
_LOOK_DECIDED = 2.0
# Seconds after which the gallery is asked again whether the person is still, or by now, in it.
_REFRESH = 1.0
# So many faces in a row that are not the track's person end it: one may be a bad picture.
_MISTAKES = 2


@dataclass(slots=True, eq=False)
class TrackEvidence:
    """The best faces of a track, and the decision on them.

    Attributes:
        first: When the track began, in seconds.
        faces: Embedded, usable faces, the best first.
        decision: Who it is; None before the first decision.
        decisions: How often it was compared with the gallery by new evidence.
        sightings: In how many frames it was seen since it was settled.
        reasons: Why the latest face that was looked at is unusable; empty where it is not.
        verified: When a face was last found to be the track's person.
    """

    first: float
    faces: tuple[Face, ...] = ()
    decision: Decision | None = None
    decisions: int = 0
    sightings: int = 0
    reasons: tuple[str, ...] = ()
    verified: float = -1e9
    _began: float = 0.0
    _looked: float = -1e9
    _added: float = -1e9
    _asked: float = -1e9
    _mistakes: int = 0
    _strength: float = 0.0
    _decided_on: Row | None = None
    _person: str | None = None
    _taken: frozenset[str] = frozenset()

    # Faces

    def wants_look(self, position: float, *, doubtful: bool, crossed: bool) -> bool:
        """Tell whether this frame's face should be measured, as evidence or as a check."""
        early = self._person is None and position - self._began < _EARLY
        if not self.settled(position) or doubtful:
            wait = _LOOK_UNDECIDED
        elif crossed:
            wait = _LOOK_CROSSED
        elif early:
            wait = _LOOK_UNKNOWN
        else:
            wait = _LOOK_DECIDED
        return position - self._looked >= wait - 1e-3

    def wants_embedding(self, face: Face, position: float, *, doubtful: bool) -> bool:
        """Tell whether a face that was looked at is good enough, and would tell something new."""
        self._looked = position
        self.reasons = face.reasons
        if not face.usable:
            return False
        return doubtful or self.settled(position) or self._improves(face, position)

    def _improves(self, face: Face, position: float) -> bool:
        quality = _quality(face)
        best = _quality(self.faces[0]) if self.faces else 0.0
        if position - self._added < _SPACING - 1e-3 and quality < _BETTER * best:
            return False
        return len(self.faces) < _POOL or quality > _quality(self.faces[-1])

    def add(self, face: Face, position: float) -> None:
        """Take a face that is the track's person, where it is among the best."""
        self._mistakes, self.verified = 0, position
        if not self._improves(face, position):
            return
        if not self.faces:
            self._began = position
        self._added = position
        kept = sorted([*self.faces, face], key=_quality, reverse=True)[:_POOL]
        self.faces = tuple(kept)

    def similarity(self, faces: Sequence[Face]) -> float:
        """Return the cosine between the pool and other embedded faces, pooled as well."""
        return float(_pool(self.faces) @ _pool(faces))

    def mistake(self) -> bool:
        """Count a face that is not the track's person; tell whether the track is somebody else."""
        self._mistakes += 1
        return self._mistakes >= _MISTAKES

    # Decision

    @property
    def name(self) -> str | None:
        """The person's name, where the track has one."""
        match = self.decision.match if self.decision else None
        return match.name if match else None

    @property
    def person_id(self) -> str | None:
        """The person's UUID, where the track has a name."""
        match = self.decision.match if self.decision else None
        return match.person_id if match else None

    @property
    def usable(self) -> bool:
        """Whether any face shows enough to be recognized."""
        return bool(self.faces)

    def settled(self, position: float) -> bool:
        """Tell whether the decision is known: a person, or unknown or unusable after some time."""
        if self.decision is None:
            return False
        waited = position - self._began >= _PATIENCE or len(self.faces) >= _POOL
        return self.name is not None or not self.faces or waited

    def due(self, position: float) -> bool:
        """Tell whether there is enough new evidence for a decision, or none for long enough."""
        if not self.faces:
            return self.decision is None and position - self.first >= _UNUSABLE
        if self.decisions == 0:
            return len(self.faces) >= _ENOUGH or position - self._began >= _PATIENCE
        strength = sum(map(_quality, self.faces))
        undecided = self._person is None and self.decisions < _MOST_DECISIONS
        return undecided and strength >= _STRONGER * self._strength

    def refreshes(self, position: float) -> bool:
        """Tell whether the gallery should be asked again, as it may have changed."""
        return self._decided_on is not None and position - self._asked >= _REFRESH

    def rows_to_compare(self, position: float) -> Row:
        """Return what to compare now: new evidence, or the same as before where there is none."""
        if self._decided_on is None or self.due(position):
            self.decisions += 1
            self._strength = sum(map(_quality, self.faces))
            self._decided_on = _rows(self.faces)
        self._asked = position
        return self._decided_on

    def decide(self, decision: Decision) -> None:
        """Take what the gallery says. A name that the track had, or lost, is never exchanged."""
        match = decision.match
        if match is not None:
            if match.person_id in self._taken or self._person not in (None, match.person_id):
                decision = replace(decision, match=None)
            else:
                self._person = match.person_id
        self.decision = decision

    def lose_name(self, decision: Decision) -> None:
        """Take a decision by which another track is the person, from now on."""
        if self._person is not None:
            self._taken |= {self._person}
        self.decision = decision


def share_names(tracks: Sequence[TrackEvidence]) -> None:
    """Let nobody be two tracks of one camera at one moment: only the most similar keeps the name.

    Args:
        tracks: What is known of the tracks that one frame shows.
    """
    decided = [(each, each.decision) for each in tracks if each.decision is not None]
    shared = once_each([decision for _, decision in decided])
    for (each, old), new in zip(decided, shared, strict=True):
        if new is not old:
            each.lose_name(new)


def _rows(faces: Sequence[Face]) -> Row:
    """Return the embeddings of faces, ``(k, d)``."""
    return np.stack([face.embedding for face in faces if face.embedding is not None])


def _pool(faces: Sequence[Face]) -> Row:
    mean = _rows(faces).mean(axis=0)
    return np.asarray(mean / np.linalg.norm(mean), np.float32)


def _quality(face: Face) -> float:
    return face.quality.overall if face.quality else 0.0
