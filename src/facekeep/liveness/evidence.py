"""What liveness is judged from: whether a picture shows enough, and what a judgment says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from facekeep.pipeline.filters import to_gray
from facekeep.types import Face

__all__ = [
    "POOR",
    "LivenessResult",
    "Verdict",
    "combine_results",
    "describe_evidence",
    "eye_distance",
    "weightiest",
]

Verdict = Literal["live", "not live", "cannot tell"]

POOR: Final = ("no_face", "too_far", "too_dark", "too_bright", "glare", "outside")
"""Why a picture shows too little; with no other picture that is ``cannot tell``, never ``live``."""

_EYES_APART: Final = 20.0  # pixels between the eyes, at the least
_DARK: Final = 40.0  # mean gray level of a face, at the least
_BRIGHT: Final = 235.0  # and at the most
_WHITE: Final = 250  # the gray level from which a pixel holds nothing
_GLARE: Final = 0.12  # share of white pixels about the eyes
_OUTSIDE: Final = 0.1  # share of the box that lies outside the picture


@dataclass(frozen=True, slots=True)
class LivenessResult:
    """Whether a face is a living one.

    Attributes:
        verdict: ``live``, ``not live``, or ``cannot tell``: the pictures show too little.
        reasons: Why it is not ``live``, the weightiest first; empty for ``live``.
        score: How likely it is a living face, 0 to 1, by networks; None where none was asked.
    """

    verdict: Verdict
    reasons: tuple[str, ...] = ()
    score: float | None = None

    @property
    def live(self) -> bool:
        """Whether the face is surely enough a living one."""
        return self.verdict == "live"

    def to_dict(self) -> dict[str, Any]:
        """Return verdict, reasons and score, for JSON."""
        score = None if self.score is None else round(self.score, 4)
        return {"verdict": self.verdict, "reasons": list(self.reasons), "score": score}


def combine_results(results: Sequence[LivenessResult]) -> LivenessResult:
    """Put judgments of several kinds about one person together, at least one.

    Who is denied by one is denied; who cannot be judged by one is not judged; what the others
    confirm never counts against that.
    """
    verdicts: tuple[Verdict, ...] = ("not live", "cannot tell", "live")
    verdict = min((each.verdict for each in results), key=verdicts.index)
    reasons = [reason for each in results if each.verdict == verdict for reason in each.reasons]
    scores = [each.score for each in results if each.score is not None]
    return LivenessResult(verdict, tuple(dict.fromkeys(reasons)), min(scores, default=None))


def eye_distance(face: Face) -> float:
    """Return how far the eyes of a face are apart, in pixels."""
    return float(np.hypot(*(face.landmarks[1] - face.landmarks[0])))


def describe_evidence(image: NDArray[np.uint8], face: Face | None) -> tuple[str, ...]:
    """Say why a picture of a face shows too little to judge whether it lives; see `POOR`.

    Args:
        image: uint8 ``(H, W, 3)`` RGB.
        face: The face in it; None where there is none.

    Returns:
        The reasons; none where the picture is good enough.
    """
    if face is None:
        return ("no_face",)
    height, width = image.shape[:2]
    x1, y1, x2, y2 = face.bbox.astype(float).tolist()
    inside = _part(image, x1, y1, x2, y2)
    reasons = []
    area = max((x2 - x1) * (y2 - y1), 1e-9)
    seen = max(min(x2, width) - max(x1, 0), 0) * max(min(y2, height) - max(y1, 0), 0)
    if 1 - seen / area > _OUTSIDE:
        reasons.append("outside")
    if eye_distance(face) < _EYES_APART:
        reasons.append("too_far")
    if inside.size:
        light = float(to_gray(inside).mean())
        reasons += ["too_dark"] * (light < _DARK) + ["too_bright"] * (light > _BRIGHT)
    if _white_about_eyes(image, face) > _GLARE:
        reasons.append("glare")
    return tuple(reasons)


def _white_about_eyes(image: NDArray[np.uint8], face: Face) -> float:
    """Return the share of white pixels about the eye that has more of them: lamps in glasses."""
    reach = eye_distance(face) * 0.3
    shares = [0.0]
    for x, y in face.landmarks[:2].astype(float).tolist():
        part = _part(image, x - reach, y - reach, x + reach, y + reach)
        if part.size:
            shares.append(float((to_gray(part) >= _WHITE).mean()))
    return max(shares)


def _part(
    image: NDArray[np.uint8], x1: float, y1: float, x2: float, y2: float
) -> NDArray[np.uint8]:
    """Cut a box out, as far as it lies in the picture."""
    left, top = max(int(x1), 0), max(int(y1), 0)
    return image[top : max(int(y2) + 1, 0), left : max(int(x2) + 1, 0)]


def weightiest(reasons: Sequence[str]) -> tuple[str, ...]:
    """Return reasons without doubles, the most frequent first."""
    return tuple(reason for reason, _ in Counter(reasons).most_common())
