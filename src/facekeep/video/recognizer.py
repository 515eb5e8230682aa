"""``TrackRecognizer``: from the pictures of one camera to tracks and who they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from facekeep.engine import FaceEngine
from facekeep.pipeline.decide import lowest_fmr
from facekeep.types import Decision, Face
from facekeep.video.decision import TrackEvidence, share_names
from facekeep.video.scene import Scene
from facekeep.video.tracker import Track, Tracker

__all__ = ["TrackRecognizer"]

# The false-match rate at which a face is taken for the person of the track that it continues, and
# for that of another track, whose name it would inherit.
_SAME = 1e-3
_OTHER = 1e-4
# Of so many faces, at least, this share must be turned alike for the camera to seem turned.
_TURNED_FACES, _TURNED_SHARE = 8, 2 / 3


@dataclass(slots=True, eq=False)
class TrackRecognizer:
    """Find, track, embed and decide, as seldom as the tracks allow.

    Attributes:
        engine: The engine, of which only the public steps are used.
        scene: Which faces are wanted.
        tracker: The tracks.
        withdrawn: The UUIDs of people whose names were withdrawn, because the gallery has changed;
            who has seen to it empties the set.
    """

    engine: FaceEngine
    scene: Scene
    tracker: Tracker = field(default_factory=Tracker)
    withdrawn: set[str] = field(default_factory=set)
    _evidence: dict[int, TrackEvidence] = field(default_factory=dict)
    _shape: tuple[int, ...] = ()
    _quarters: Counter[int] = field(default_factory=Counter)

    @property
    def seen(self) -> list[Track]:
        """The tracks that the latest picture shows."""
        return [track for track in self.tracker.tracks if track not in self.tracker.lost]

    @property
    def turned(self) -> int:
        """By how many degrees, clockwise, the faces that were looked at are turned; mostly 0."""
        (quarters, count), *_ = self._quarters.most_common(1) or [(0, 0)]
        clear = count >= max(_TURNED_FACES, _TURNED_SHARE * self._quarters.total())
        return 90 * quarters if clear else 0

    def evidence(self, track: Track) -> TrackEvidence:
        """Return what is known of a track."""
        return self._evidence[track.number]

    def decision(self, track: Track) -> Decision | None:
        """Return who a track is; None before it is decided, and while it may be somebody else.

        While its box touches another one, it is known only in frames in which it was checked.
        """
        evidence = self._evidence[track.number]
        uncertain = track.doubtful or (track.crossed and evidence.verified < track.last)
        return None if uncertain else evidence.decision

    def unsettled(self, position: float, confirm: int) -> bool:
        """Tell whether any track in the picture needs frequent looks."""
        return any(
            track.doubtful
            or track.crossed
            or not evidence.settled(position)
            or evidence.sightings < confirm
            for track in self.seen
            for evidence in (self._evidence[track.number],)
        )

    def look(self, image: NDArray[np.uint8], position: float) -> list[Track]:
        """Look for faces, go on with the tracks, and decide what is due.

        Args:
            image: uint8 ``(H, W, 3)`` RGB.
            position: When it was taken, in seconds.

        Returns:
            The tracks in the picture, each with its face in pixels of the picture.
        """
        height, width = image.shape[:2]
        if self._shape != (height, width):
            self.forget()
            self._shape = height, width
        rows, columns = self.scene.part(height, width)
        part = np.ascontiguousarray(image[rows, columns])
        corner = np.array([columns.start, rows.start], np.float32)
        located = [_moved(face, corner) for face in self.engine.locate(part)]
        self.tracker.update(self.scene.keep(located, height, width), position)
        self._forget_ended()
        for track in self.seen:
            self._evidence.setdefault(track.number, TrackEvidence(position))
        self._gather(part, corner, position)
        self._decide(position)
        for track in self.seen:
            evidence = self._evidence[track.number]
            evidence.sightings += bool(self.decision(track)) and evidence.settled(position)
        return self.seen

    def skip(self, position: float) -> None:
        """Go on without a picture: nothing is seen."""
        self.tracker.update([], position)
        self._forget_ended()

    def forget(self) -> None:
        """End all tracks."""
        self.tracker.end()
        self._evidence.clear()

    def _forget_ended(self) -> None:
        for track in self.tracker.ended:
            self._evidence.pop(track.number, None)

    # Evidence

    def _gather(
        self, part: NDArray[np.uint8], corner: NDArray[np.float32], position: float
    ) -> None:
        """Measure and embed the faces of tracks that need evidence or a check."""
        wanted = [
            track
            for track in self.seen
            if self.evidence(track).wants_look(
                position, doubtful=track.doubtful, crossed=track.crossed
            )
        ]
        if not wanted:
            return
        described = self.engine.describe(part, [_moved(each.face, -corner) for each in wanted])
        good = []
        for track, face in zip(wanted, described, strict=True):
            track.face = _moved(face, corner)
            if face.quality is not None:
                self._quarters[round(face.quality.roll / 90) % 4] += 1
            if self.evidence(track).wants_embedding(face, position, doubtful=track.doubtful):
                good.append(track)
        embedded = self.engine.embed([track.face for track in good])
        for track, face in zip(good, embedded, strict=True):
            track.face = face
            self.evidence(track).reasons = face.reasons
        # A track may take the place of another one, so that each face is taken as it is found.
        for track in good:
            if track.face.usable and track.face.embedding is not None:
                self._take(track, position)

    def _take(self, track: Track, position: float) -> None:
        """Add a face to its track, or find out whose it is."""
        evidence = self.evidence(track)
        if not evidence.faces or self._are_same(evidence, (track.face,), _SAME):
            track.doubtful = False
            evidence.add(track.face, position)
            return
        track.doubtful = True
        if evidence.mistake() and not self._resume(track, (track.face,)):
            new = self.tracker.replace(track)
            self._evidence[new.number] = TrackEvidence(position)
            self._evidence[new.number].add(new.face, position)

    def _resume(self, track: Track, faces: Sequence[Face]) -> bool:
        """Give the place of a track to a lost or doubtful one whose person these faces show.

        Returns:
            Whether there is one.
        """
        for other in self.tracker.tracks:
            known = self._evidence.get(other.number)
            free = other is not track and (other in self.tracker.lost or other.doubtful)
            if free and known and known.faces and self._are_same(known, faces, _OTHER):
                self.tracker.exchange(track, other)
                other.doubtful = False
                return True
        return False

    def _are_same(self, evidence: TrackEvidence, faces: Sequence[Face], rate: float) -> bool:
        """Compare the faces of a track with others, pool with pool, at a false-match rate."""
        rate = max(rate, lowest_fmr(self.engine.model))
        sizes = {"templates": len(evidence.faces), "faces": len(faces)}
        return evidence.similarity(faces) >= self.engine.threshold(rate, **sizes).cosine

    # Decisions

    def _decide(self, position: float) -> None:
        """Decide the tracks in the picture that are due, and ask again for the others."""
        for track in self.seen:
            evidence = self.evidence(track)
            if evidence.faces and evidence.decisions == 0 and evidence.due(position):
                self._resume(track, evidence.faces)
        evidences = [self.evidence(track) for track in self.seen if not track.doubtful]
        usable = [x for x in evidences if x.faces and (x.due(position) or x.refreshes(position))]
        rows = [each.rows_to_compare(position) for each in usable]
        found = self.engine.match_pooled(rows, decisions=[each.decisions for each in usable])
        for evidence, decision in zip(usable, found, strict=True):
            before = evidence.person_id
            evidence.decide(decision)
            if before and evidence.person_id is None:
                self.withdrawn.add(before)
        share_names(evidences)
        for track in self.seen:
            evidence = self.evidence(track)
            if not evidence.faces and evidence.due(position):
                reasons = evidence.reasons or track.face.reasons or ("unclear",)
                (face,) = self.engine.match([track.face.replace(reasons=reasons)])
                evidence.decision = face.decision


def _moved(face: Face, by: NDArray[np.float32]) -> Face:
    """Return a face with its box and landmarks moved by ``(2,)`` pixels."""
    if not by.any():
        return face
    return face.replace(bbox=face.bbox + np.tile(by, 2), landmarks=face.landmarks + by)
