"""The one object that travels: a face, and what each room has found out about it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from facekeep.pipeline.decide import Decision
    from facekeep.pipeline.quality import Quality

__all__ = ["Face"]


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
