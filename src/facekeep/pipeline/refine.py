"""Place the five landmarks of found faces better, by a small network that looks at each once more.

A detector sees a face among everything else and coarsely; its landmarks are off by a tenth of the
distance of the eyes. They are good enough to turn the face upright, and in the upright crop a
network of a tenth of a millisecond finds them again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.closing import Closing
from facekeep.errors import InputError, ModelError
from facekeep.models import ModelEntry, Task, default_model, entry, open_model
from facekeep.pipeline.align import similarity_transform, template
from facekeep.pipeline.image import check_image
from facekeep.pipeline.warp import warp
from facekeep.runtime import RuntimeOptions
from facekeep.types import Face

__all__ = [
    "BATCH",
    "MIRRORED",
    "NONE",
    "CropNetwork",
    "Crops",
    "Refiner",
    "chosen_entry",
    "upright_landmarks",
]

NONE = "none"
"""In place of the name of a model that can be left out: do without."""

BATCH = 32
"""Crops in a run; bounds the memory of photos of crowds."""
MIRRORED = [1, 0, 2, 4, 3]
"""The places of the landmarks in a mirror image."""


def upright_landmarks(size: int) -> NDArray[np.float64]:
    """Return where the landmarks of an upright face lie, whose mirror image is as upright.

    The template of ``align`` is not quite the same on both sides; this is its mean with its mirror
    image. So whatever is found in a photo is found in the mirrored photo, mirrored.

    Args:
        size: The side of the crop in pixels.

    Returns:
        float64 ``(5, 2)`` pixels.
    """
    points = template(size)
    mirrored = points[MIRRORED] * [-1, 1] + [size - 1, 0]
    return (points + mirrored) / 2


def chosen_entry(model: str | ModelEntry | None, task: Task) -> ModelEntry | None:
    """Look up a model that can be left out: the default one for None, none at all for `NONE`.

    Raises:
        ModelNotFound: There is no such model.
    """
    if isinstance(model, ModelEntry):
        return model
    return None if model == NONE else entry(model or default_model(task))


class Crops(NamedTuple):
    """Faces cut out of an image, n of them.

    Attributes:
        places: Which faces they are, of those that were given.
        matrices: What brings each into its crop, ``(2, 3)``.
        pixels: uint8 ``(n, s, s, 3)`` RGB.
    """

    places: list[int]
    matrices: list[NDArray[np.float64]]
    pixels: NDArray[np.uint8]

    def first(self, faces: int) -> Crops:
        """Return those of so many of the first faces."""
        count = sum(place < faces for place in self.places)
        return Crops(self.places[:count], self.matrices[:count], self.pixels[:count])


class CropNetwork(Closing):
    """A network that looks at rough upright crops of faces. Threads may share one.

    Args:
        model: A name from the catalog, an entry, or None for the default model of the task.
        options: How the network is run.

    Attributes:
        task: What it does.
        entry: Its entry in the catalog.

    Raises:
        ModelNotFound: There is no such model, or its files are not here.
        ModelCorrupt: Its files are not what the catalog says.
        ModelError: It is a model for something else.
        RuntimeUnavailable: The runtime, device or precision does not work here.
    """

    task: ClassVar[Task]

    def __init__(
        self,
        model: str | ModelEntry | None = None,
        *,
        options: RuntimeOptions = RuntimeOptions(),  # noqa: B008 - frozen
    ) -> None:
        chosen = (
            model if isinstance(model, ModelEntry) else entry(model or default_model(self.task))
        )
        if chosen.task != self.task or chosen.input_size is None:
            raise ModelError(
                f"{chosen.name} is a model to {chosen.verb}, not to {self.task}, faces"
            )
        self.entry = chosen
        self._size = chosen.input_size
        self._session = open_model(chosen, options)

    def close(self) -> None:
        """Let go of the network."""
        self._session.close()

    def crops(self, image: NDArray[np.uint8], faces: Sequence[Face]) -> Crops:
        """Turn faces upright by their landmarks and cut them out.

        Args:
            image: The image that the faces were found in, uint8 ``(H, W, 3)`` RGB.
            faces: The faces; those whose landmarks allow no such turn are left out.
        """
        turns = [(place, self._upright(face)) for place, face in enumerate(faces)]
        able = [(place, matrix) for place, matrix in turns if matrix is not None]
        pixels = np.empty((len(able), self._size, self._size, 3), np.uint8)
        for crop, (_, matrix) in zip(pixels, able, strict=True):
            crop[...] = warp(image, matrix, self._size)
        return Crops([place for place, _ in able], [matrix for _, matrix in able], pixels)

    def _batches(
        self, image: NDArray[np.uint8], faces: Sequence[Face], crops: Crops | None
    ) -> Iterator[Crops]:
        """Yield the crops of faces some at a time, cut out now where that was not done before."""
        if crops is not None:
            yield crops
            return
        for start in range(0, len(faces), BATCH):
            part = self.crops(image, faces[start : start + BATCH])
            yield part._replace(places=[start + place for place in part.places])

    def _upright(self, face: Face) -> NDArray[np.float64] | None:
        """Return what turns a face upright, if there is such a turn."""
        try:
            return similarity_transform(face.landmarks, upright_landmarks(self._size))
        except InputError:
            return None

    def _run(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the network on crops ``(n, s, s, 3)``, normalized as the catalog says."""
        planes = crops.transpose(0, 3, 1, 2)
        if self.entry.color == "bgr":
            planes = planes[:, ::-1]
        mean, scale = (
            np.array(each, np.float32).reshape(3, 1, 1)
            for each in (self.entry.mean, self.entry.scale)
        )
        fed = np.subtract(planes, mean, dtype=np.float32, order="C")
        fed *= scale
        (output, *_) = self._session.run({self._session.inputs[0].name: fed})
        return output


class Refiner(CropNetwork):
    """A network that refines landmarks, ready to run. Threads may share one.

    Arguments and errors are those of `CropNetwork`.
    """

    task = "refine"

    def refine(
        self, image: NDArray[np.uint8], faces: Sequence[Face], crops: Crops | None = None
    ) -> list[Face]:
        """Place the landmarks of faces better; boxes and scores stay.

        Each face is turned upright by its landmarks and looked at, and so is its mirror image; the
        two answers are averaged.

        Args:
            image: The image that the faces were found in, uint8 ``(H, W, 3)`` RGB.
            faces: The faces.
            crops: What `crops` gave for them, where they were cut out before.

        Returns:
            The same faces in the same order with better landmarks; a face whose landmarks lie all
            in one place or are mirrored stays as it is.

        Raises:
            InputError: The image is not such an array, or the refiner is closed.
            ModelError: The network gave something that is no landmarks.
        """
        image = check_image(image)
        refined = list(faces)
        for part in self._batches(image, faces, crops):
            if part.places:
                rows = zip(part.places, part.matrices, self._placed(part.pixels), strict=True)
                for place, matrix, points in rows:
                    refined[place] = faces[place].replace(landmarks=_brought_back(points, matrix))
        return refined

    def _placed(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return landmarks ``(n, 5, 2)`` in pixels of the crops ``(n, s, s, 3)``."""
        both = np.concatenate([crops, crops[:, :, ::-1]])
        output = self._run(both)
        if output.shape != (len(both), 5, 2) or not np.isfinite(output).all():
            raise ModelError(f"{self.entry.name} gave no landmarks; its weights are unusable")
        seen, mirrored = np.split(output * self._size, 2)
        mirrored = mirrored[:, MIRRORED]
        mirrored[..., 0] = self._size - 1 - mirrored[..., 0]
        return np.asarray((seen + mirrored) / 2, np.float32)


def _brought_back(points: NDArray[np.float32], matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """Bring landmarks from an upright crop back into the image."""
    return np.asarray((points - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T, np.float32)
