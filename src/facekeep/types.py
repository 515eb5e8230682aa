"""What travels: a face, its quality, and the decisions about it. Nothing of ours is imported."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Calibrated",
    "Candidate",
    "Decision",
    "Face",
    "FaceDetector",
    "FaceEmbedder",
    "Observation",
    "Quality",
    "Threshold",
    "Verification",
    "reading_order",
]

# With no false match among n comparisons the rate is below 3/n at 95 % confidence, the "rule of
# three" (ISO/IEC 19795-1); a claim of rate f needs as many comparisons.
_RULE_OF_THREE = 3
# What faces of one row share of the smaller one's height, at the least.
_SHARED_HEIGHT = 0.4


@dataclass(frozen=True, slots=True)
class Quality:
    """What was measured on one face.

    Attributes:
        size: The shorter side of its box in pixels of the image.
        eye_distance: Between the two eye landmarks, in pixels of the image.
        sharpness: Share of its edges that the aligned crop loses by a further blur, 0 to 1; good
            photos have about 0.33, and a crop below 0.2 is too blurred to be recognized well.
        brightness: Mean luma of the face, 0 (black) to 1 (white).
        contrast: Standard deviation of that luma, as a share of the largest possible, 0 to 1.
        yaw: Degrees, -90 to 90; above 0 the nose points to the right side of the image.
        pitch: Degrees, -180 to 180; above 0 the face looks up.
        roll: Degrees, -180 to 180; above 0 the head is turned clockwise in the image.
        score: Confidence of the detector, 0 to 1.
        outside: Share of the box that lies outside the image, 0 to 1.
        mouth_covered: Hint that a mask, scarf or hand hides the mouth, 0 to 1.
        eyes_covered: Hint that dark glasses, hair or deep shadow hide the eyes, 0 to 1.
        blockiness: How much stronger edges are on a grid of 8 pixels of the image than beside it,
            as JPEG leaves them: 0.2 without, 0.7 at quality 20 and 2.3 at 5, less in faces above
            100 pixels; a picture that was scaled after it was compressed does not show it.
        recognizability: How likely the face shows enough to tell who it is, 0 to 1, by the network
            of ``pipeline.quality_network`` that belongs to the embedder; 1 where it was not asked,
            or there is none.
        overall: All of it in one number, 0 to 1, to rank the templates of one person.
    """

    size: float
    eye_distance: float
    sharpness: float
    brightness: float
    contrast: float
    yaw: float
    pitch: float
    roll: float
    score: float
    outside: float
    mouth_covered: float
    eyes_covered: float
    blockiness: float
    recognizability: float
    overall: float

    def to_dict(self) -> dict[str, float]:
        """Return the facts as plain floats, rounded to four decimals, for JSON."""
        return {name: round(value, 4) for name, value in dataclasses.asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Threshold:
    """The cosine at and above which two faces count as the same person.

    Attributes:
        cosine: The threshold.
        fmr: The false-match rate it stands for: how often two different people reach it.
        comparisons: Non-mated comparisons behind the calibration.
    """

    cosine: float
    fmr: float
    comparisons: int

    @property
    def supported(self) -> bool:
        """Whether there were enough comparisons to claim the rate (ISO/IEC 19795-1)."""
        return self.comparisons * self.fmr >= _RULE_OF_THREE

    def expected_fpir(self, people: int) -> float:
        """How often a stranger is taken for one of ``people``: each is one more chance to err."""
        return -math.expm1(people * math.log1p(-self.fmr))


@dataclass(frozen=True, slots=True)
class Candidate:
    """Somebody in the gallery whom a face resembles.

    Attributes:
        name: The person's name.
        similarity: Cosine, -1 to 1, to the mean of the person's templates.
        threshold: The cosine that it must reach; higher for people of several templates.
        person_id: The person's UUID.
        template_id: UUID of the template that is most similar.
        refused: The face is at least as similar to a "this is not the person" template.
        elsewhere: Another face of the same photo matches the person better.
    """

    name: str
    similarity: float
    threshold: float
    person_id: str
    template_id: str
    refused: bool = False
    elsewhere: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the person's name, the similarity and what it must reach, for JSON."""
        return {
            "name": self.name,
            "similarity": round_number(self.similarity),
            "threshold": round_number(self.threshold),
            "refused": self.refused,
            "elsewhere": self.elsewhere,
        }


@dataclass(frozen=True, slots=True)
class Decision:
    """Who a face is.

    Attributes:
        match: The person, or None: unknown, or an unusable face.
        candidates: The most similar people, best first, whether above the threshold or not.
        threshold: What was decided by: for the best candidate, where there is one.
        people: How many people the face was compared with.
    """

    match: Candidate | None
    candidates: tuple[Candidate, ...]
    threshold: Threshold
    people: int

    @property
    def expected_fpir(self) -> float:
        """How often a stranger would have been given a name here, by the stated rate."""
        return self.threshold.expected_fpir(self.people)

    def to_dict(self) -> dict[str, Any]:
        """Return the match, or None, all candidates and the rates, for JSON."""
        match = self.match
        return {
            "match": match and {"name": match.name, "similarity": round_number(match.similarity)},
            "candidates": [each.to_dict() for each in self.candidates],
            "threshold": round_number(self.threshold.cosine),
            "fmr": round_number(self.threshold.fmr),
            "expected_fpir": round_number(self.expected_fpir),
        }


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Face:
    """A face found in an image.

    Attributes:
        bbox: float32 ``(4,)``, ``x1, y1, x2, y2`` in pixels of the image it was found in (origin at
            the top left, may reach past the border).
        landmarks: float32 ``(5, 2)``, x and y in the same pixels: left eye, right eye, nose tip,
            left and right corner of the mouth; left and right as seen on the upright face.
        score: Confidence of the detector, 0 to 1.
        quality: Facts that decide whether the face should be enrolled, once they were measured.
        embedding: float32 ``(d,)`` of unit length, once it was computed; the model sets d.
        decision: Who it is, once it was compared with a gallery.
        reasons: Why the face is unusable: too small, too blurred, covered, no face, ...; the words
            of ``quality.Reason``, the plainest first. Empty for a usable face, and where nobody
            asked.
        crop: uint8 ``(112, 112, 3)`` RGB: the face cut out upright, as the embedder takes it (or
            of the size that the embedder takes), where it was asked for.
    """

    bbox: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    score: float
    quality: Quality | None = None
    embedding: NDArray[np.float32] | None = None
    decision: Decision | None = None
    reasons: tuple[str, ...] = ()
    crop: NDArray[np.uint8] | None = None

    def __repr__(self) -> str:
        box = " ".join(f"{side:.0f}" for side in self.bbox.tolist())
        who = f", {self.name or 'unknown'}" if self.decision else ""
        usable = "usable" if self.usable else f"unusable: {' '.join(self.reasons)}"
        return f"<Face [{box}], score {self.score:.2f}, size {self.size:.0f}{who}, {usable}>"

    @property
    def usable(self) -> bool:
        """Whether the face shows enough to be recognized; no other face ever gets a name."""
        return not self.reasons

    @property
    def size(self) -> float:
        """The shorter side of the box, in pixels."""
        x1, y1, x2, y2 = self.bbox.tolist()
        return float(min(x2 - x1, y2 - y1))

    @property
    def name(self) -> str | None:
        """The person's name, or None when unknown or not compared yet."""
        match = self.decision.match if self.decision else None
        return match.name if match else None

    @property
    def similarity(self) -> float | None:
        """Cosine to the best candidate, matched or not; None when there is none."""
        candidates = self.decision.candidates if self.decision else ()
        return candidates[0].similarity if candidates else None

    def replace(self, **changes: object) -> Face:
        """Return a copy with the given attributes changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    def to_dict(self) -> dict[str, Any]:
        """Return what is known of the face, without embedding and crop, for JSON.

        Numbers keep the seven digits that float32 holds. What the decision says stands beside the
        rest, and only where there is one: see ``Decision.to_dict``.
        """
        shape = {
            "bbox": _numbers(self.bbox),
            "landmarks": [_numbers(point) for point in self.landmarks],
            "score": round_number(self.score),
            "quality": self.quality.to_dict() if self.quality else None,
            "usable": self.usable,
            "reasons": [str(reason) for reason in self.reasons],
        }
        return shape | (self.decision.to_dict() if self.decision else {})


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """A face that a camera saw at one moment.

    Attributes:
        face: The face, in pixels of the camera's picture.
        track: The number of the track that it belongs to: the faces that are one person's, from
            when the person is first seen until they are out of sight. Each camera counts its own
            tracks, from 1.
        camera: The camera's name.
        time: When the picture was taken, in UTC.
        liveness: How likely the face is a living one, 0 to 1; None where nobody asked.
    """

    face: Face
    track: int
    camera: str
    time: datetime
    liveness: float | None = None


@dataclass(frozen=True, slots=True)
class Verification:
    """Whether two faces are of one person.

    Attributes:
        match: Whether the similarity reaches the threshold.
        similarity: Their cosine, -1 to 1; None where one of the images has no face, or no usable
            one.
        threshold: What was decided by.
        faces: The faces of both images, the largest first.
        compared: Which face of each image the similarity is of: its place in ``faces``. None where
            there is no similarity.
        reasons: Why there is no similarity: ``no_face``, or why a face is unusable, as in
            ``Face.reasons``; such a face never matches.
    """

    match: bool
    similarity: float | None
    threshold: Threshold
    faces: tuple[tuple[Face, ...], tuple[Face, ...]] = ((), ())
    compared: tuple[int, int] | None = None
    reasons: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the decision, and for each image the faces and the one compared, for JSON.

        ``face`` is the place of the compared face in reading order, from 1; ``boxes`` are in that
        order.
        """
        return {
            "match": self.match,
            "similarity": None if self.similarity is None else round_number(self.similarity),
            "threshold": round_number(self.threshold.cosine),
            "fmr": round_number(self.threshold.fmr),
            "reasons": [str(reason) for reason in self.reasons],
            "images": [self._image(side) for side in (0, 1)],
        }

    def _image(self, side: int) -> dict[str, Any]:
        faces = self.faces[side]
        numbers = reading_order(faces)
        place = self.compared[side] if self.compared else None
        boxes = [_numbers(face.bbox) for face in faces]
        return {
            "faces": len(faces),
            "face": None if place is None else numbers[place],
            "bbox": None if place is None else boxes[place],
            "boxes": [box for _, box in sorted(zip(numbers, boxes, strict=True))],
        }


@runtime_checkable
class FaceDetector(Protocol):
    """What finds faces; ``Detector`` is one. Threads may call it at the same time.

    A detector may have an attribute ``fingerprint``, a text that is another one when it would find
    other faces: ``PhotoCache`` then knows in later processes what was found.
    """

    def find(self, image: NDArray[np.uint8]) -> Sequence[Face]:
        """Find the faces of one image.

        Args:
            image: uint8 ``(H, W, 3)`` RGB, upright, C-contiguous.

        Returns:
            Faces with ``bbox``, ``landmarks`` and ``score``, in pixels of the image; empty where
            there is none.
        """


class Calibrated(Protocol):
    """What thresholds are found by: an embedder, or a model's entry in the catalog."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def thresholds(self) -> tuple[tuple[float, float], ...]:
        """Pairs of a false-match rate and its cosine; empty where it was never calibrated."""

    @property
    def comparisons(self) -> int:
        """How many non-mated comparisons are behind the thresholds."""


@runtime_checkable
class FaceEmbedder(Calibrated, Protocol):
    """What turns faces into vectors; ``Embedder`` is one. Threads may call it at the same time."""

    @property
    def space(self) -> str:
        """A text that names the embedding space: only embeddings of one space are compared.

        It changes with the weights and with the preparation of the crops.
        """

    @property
    def size(self) -> int:
        """The side of the square crops it takes, in pixels, such as 112."""

    @property
    def width(self) -> int:
        """How many numbers one embedding has."""

    def embed(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed faces.

        Args:
            crops: uint8 ``(n, size, size, 3)`` RGB, aligned to the ArcFace template; n may be 0.

        Returns:
            float32 ``(n, width)``, each row of unit length.
        """


def reading_order(faces: Sequence[Face]) -> list[int]:
    """Number faces as people read: rows from the top to the bottom, each from left to right.

    Returns:
        The number of each face, from 1.
    """
    boxes = [face.bbox.astype(float).tolist() for face in faces]
    rows: list[list[int]] = []
    for index in sorted(range(len(faces)), key=lambda i: boxes[i][1] + boxes[i][3]):
        if rows and _in_row(boxes[index], [boxes[i] for i in rows[-1]]):
            rows[-1].append(index)
        else:
            rows.append([index])
    order = [i for row in rows for i in sorted(row, key=lambda i: boxes[i][0] + boxes[i][2])]
    numbers = [0] * len(faces)
    for number, index in enumerate(order, 1):
        numbers[index] = number
    return numbers


def _in_row(box: Sequence[float], row: Sequence[Sequence[float]]) -> bool:
    """Tell whether a face is in a row: it shares enough of its height with the row's middle."""
    top, bottom = (statistics.fmean(each[side] for each in row) for side in (1, 3))
    shared = min(box[3], bottom) - max(box[1], top)
    return shared >= _SHARED_HEIGHT * min(box[3] - box[1], bottom - top)


def round_number(value: float) -> float | None:
    """Round to seven significant digits, what float32 holds; None for what JSON cannot hold."""
    value = float(value)
    if not math.isfinite(value):
        return None
    return float(f"{value:.7g}") if abs(value) < 1e6 else round(value, 3)


def _numbers(values: Iterable[float]) -> list[float | None]:
    return [round_number(value) for value in values]
