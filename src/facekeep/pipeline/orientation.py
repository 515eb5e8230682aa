"""Tell how far found faces are turned in the image, by a small network that looks at each.

The detector takes every face for upright: on one that is upside down it puts the eyes where the
mouth is. The network sees the crop by such landmarks and tells where the eyes really are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facekeep.errors import ModelError
from facekeep.pipeline.image import check_image
from facekeep.pipeline.refine import CropNetwork, Crops
from facekeep.types import Face

__all__ = ["Orienter", "Seen", "moved_back"]

# Chosen on training portraits kept out and on photos without annotations; see its card.
_UPRIGHT: Final = 0.2
_CLEAR: Final = 1.45
_SURE: Final = 0.5
_TILTED: Final = float(np.cos(np.radians(20)))  # the refiner alone sets smaller angles right


class Seen(NamedTuple):
    """A face and how it is turned.

    Attributes:
        face: The face.
        right: How sure it is that the face is upright by its landmarks; below 0 it is turned.
        down: The same for a face that lies on its right side: its eyes, left to right, point down.
    """

    face: Face
    right: float
    down: float

    @property
    def upright(self) -> bool:
        """Whether the face is more upright by its landmarks than turned."""
        return self.right >= _UPRIGHT

    @property
    def clear(self) -> bool:
        """Whether it is so surely upright that nobody need look again."""
        return self.rank >= _CLEAR

    @property
    def rank(self) -> float:
        """How well it is seen: the detector's score, and more the more upright it is."""
        return self.face.score + max(self.right, 0.0)

    @property
    def sure(self) -> bool:
        """Whether the answer can be relied on; it cannot where there is no face."""
        return float(np.hypot(self.right, self.down)) >= _SURE

    @property
    def turned(self) -> bool:
        """Whether the face is surely turned by a quarter or more."""
        return self.sure and self.quarters != 0

    @property
    def quarters(self) -> int:
        """How many quarter turns, clockwise, the face is turned in the image: 0 to 3."""
        (x, y), (x2, y2) = self.face.landmarks[:2].tolist()
        eyes = complex(x2 - x, y2 - y) * complex(self.right, self.down)
        return round(float(np.degrees(np.angle(eyes))) / 90) % 4

    @property
    def tilted(self) -> bool:
        """Whether the face is surely turned by more than the refiner sets right."""
        return self.sure and self.right < _TILTED * float(np.hypot(self.right, self.down))

    def righted(self) -> Face:
        """Return the face with landmarks turned as it is, about the middle of its box."""
        center = (self.face.bbox[:2] + self.face.bbox[2:]) / 2
        landmarks = (self.face.landmarks - center) @ _turn(self._direction).T + center
        return self.face.replace(landmarks=landmarks.astype(np.float32))

    def upright_matrix(self, width: float, side: int) -> NDArray[np.float64]:
        """Return what brings the face upright into the middle of a square: ``(2, 3)``.

        Args:
            width: The longer side of the face's box there, in pixels.
            side: The side of the square in pixels.
        """
        corner, other = self.face.bbox.reshape(2, 2).astype(np.float64)
        eyes = complex(*(self.face.landmarks[1] - self.face.landmarks[0]).tolist())
        direction = eyes / abs(eyes) * self._direction
        turn = width / (other - corner).max() * _turn(direction.conjugate())
        return np.column_stack([turn, (side - 1) / 2 - turn @ (corner + other) / 2])

    @property
    def _direction(self) -> complex:
        """From the left eye to the right one, of length 1, by the landmarks as they are."""
        direction = complex(self.right, self.down)
        return direction / abs(direction)


def _turn(direction: complex) -> NDArray[np.float64]:
    """Return what turns (1, 0) into a direction: ``(2, 2)``, for columns."""
    x, y = direction.real, direction.imag
    return np.array([[x, -y], [y, x]])


class Orienter(CropNetwork):
    """A network that tells how faces are turned, ready to run. Threads may share one.

    Arguments and errors are those of ``landmarks.Refiner``.
    """

    task = "orient"

    def look(
        self, image: NDArray[np.uint8], faces: Sequence[Face], crops: Crops | None = None
    ) -> list[Seen]:
        """Tell how faces are turned.

        Args:
            image: The image that the faces were found in, uint8 ``(H, W, 3)`` RGB.
            faces: The faces.
            crops: What `crops` gave for them, where they were cut out before.

        Returns:
            One for each face, in the same order. A face whose landmarks lie all in one place or are
            mirrored counts as upright.

        Raises:
            InputError: The image is not such an array, or the orienter is closed.
            ModelError: The network gave something that is no direction.
        """
        image = check_image(image)
        answers = np.tile(np.array([1, 0], np.float32), (len(faces), 1))
        for part in self._batches(image, faces, crops):
            if not part.places:
                continue
            output = self._run(part.pixels)
            if output.shape != (len(part.places), 2) or not np.isfinite(output).all():
                raise ModelError(f"{self.entry.name} gave no directions; its weights are unusable")
            answers[part.places] = output
        pairs = zip(faces, answers.tolist(), strict=True)
        return [Seen(face, right, down) for face, (right, down) in pairs]


def moved_back(face: Face, quarters: int, shape: tuple[int, ...]) -> Face:
    """Return a face of an image turned back by quarters where it lies in the image itself.

    Args:
        face: Found in ``np.rot90(image, quarters)``.
        quarters: How many quarter turns, counterclockwise.
        shape: Of the image.
    """
    height, width = shape[:2]
    corners, landmarks = face.bbox.reshape(2, 2), face.landmarks
    sides = (width, height) if quarters % 2 == 0 else (height, width)
    for _ in range(quarters):
        corners, landmarks = (
            np.column_stack([sides[1] - 1 - points[:, 1], points[:, 0]])
            for points in (corners, landmarks)
        )
        sides = sides[::-1]
    box = np.concatenate([corners.min(axis=0), corners.max(axis=0)])
    return face.replace(bbox=box.astype(np.float32), landmarks=landmarks.astype(np.float32))
