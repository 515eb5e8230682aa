"""What travels: a face, its quality, and the decisions about it. Nothing of ours is imported."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Candidate", "Decision", "Face", "Quality", "Threshold", "Verification"]

# With no false match among n comparisons the rate is below 3/n at 95 % confidence, the "rule of
# three" (ISO/IEC 19795-1); a claim of rate f needs as many comparisons.
_RULE_OF_THREE = 3


@dataclass(frozen=True, slots=True)
class Quality:
    """What was measured on one face.

    Attributes:
        size: The shorter side of its box in pixels of the image.
        eye_distance: Between the two eye landmarks, in pixels of the image.
        sharpness: Share of its edges that the aligned crop loses by a further blur, 0 to 1; good
            photos have about 0.33, and a crop below 0.2 is too blurred to be recognised well.
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


@dataclass(frozen=True, slots=True, eq=False)
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
    """

    bbox: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    score: float
    quality: Quality | None = None
    embedding: NDArray[np.float32] | None = None
    decision: Decision | None = None
    reasons: tuple[str, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether the face shows enough to be told from others; no other face is ever named."""
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
        reasons: Why a face is unusable, as in ``Face.reasons``; such a face never matches.
    """

    match: bool
    similarity: float | None
    threshold: Threshold
    faces: tuple[tuple[Face, ...], tuple[Face, ...]] = ((), ())
    compared: tuple[int, int] | None = None
    reasons: tuple[str, ...] = ()
