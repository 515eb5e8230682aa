"""Which images make up which batch, and how a batch is made: numpy alone, in any process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facekeep.errors import FacekeepError, ImageError
from facekeep.lab.datasets.augment import Augment, augment
from facekeep.lab.datasets.source import Source, decode_crop

__all__ = ["BatchMaker", "DecodedBatch", "Order", "Part"]

_MOST_TRIES = 64
"""So many images in a row that cannot be used mean that (nearly) all are broken."""

_EPOCHS, _FACES = range(2)  # the random numbers of the two do not meet

Part = tuple[int, NDArray[np.int64]]
"""An epoch, and the images of one batch in it."""


@dataclass(frozen=True, slots=True)
class Order:
    """Deals the images of each epoch to the batches of each process.

    The images are shuffled anew each epoch. Step s takes the next ``batch * world`` of them, and
    the process of rank r the r-th ``batch`` of those. So what the processes get in a step is, in
    the order of their ranks, what one process with a batch of ``batch * world`` would get. What is
    left over at the end of an epoch is left out of it.
    """

    images: int
    batch: int
    seed: int
    rank: int
    world: int

    @property
    def steps(self) -> int:
        """Steps of an epoch, the same in each process."""
        return self.images // (self.batch * self.world)

    def parts(self, epoch: int, start_step: int) -> Iterator[Part]:
        """Yield the epoch and the images, int64 ``(batch,)``, of each step from one on."""
        order = np.random.default_rng((_EPOCHS, self.seed, epoch)).permutation(self.images)
        for step in range(start_step, self.steps):
            first = (step * self.world + self.rank) * self.batch
            yield epoch, order[first : first + self.batch]


@dataclass(frozen=True, slots=True)
class DecodedBatch:
    """A batch in numpy, and what could not be used.

    Attributes:
        images: uint8 ``(n, 3, S, S)``.
        index: int64 ``(n,)``, the images that were used.
        broken: Index and reason of each that could not be; others took their places.
    """

    images: NDArray[np.uint8]
    index: NDArray[np.int64]
    broken: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class BatchMaker:
    """Reads, decodes and augments the images of a batch."""

    source: Source
    size: int
    seed: int
    settings: Augment | None

    def __call__(self, part: Part) -> DecodedBatch | FacekeepError:
        """Make a batch; an error is given back, since a worker's own would lose its class."""
        epoch, wanted = part
        images = np.empty((len(wanted), 3, self.size, self.size), np.uint8)
        index, broken = wanted.copy(), list[tuple[int, str]]()
        try:
            for place, first in enumerate(wanted):
                image, index[place] = self._face(epoch, int(first), broken)
                _planes(image, images[place])
        except FacekeepError as error:
            return error
        return DecodedBatch(images, index, tuple(broken))

    def _face(
        self, epoch: int, first: int, broken: list[tuple[int, str]]
    ) -> tuple[NDArray[np.uint8], int]:
        """Make one face; one that is broken is replaced by another drawn from the same numbers."""
        rng = np.random.default_rng((_FACES, self.seed, epoch, first))
        index, hint = first, None
        for _ in range(_MOST_TRIES):
            try:
                image = decode_crop(self.source.read(index), self.size)
                return self._augmented(image, rng), index
            except ImageError as error:
                broken.append((index, str(error)))
                hint = error.hint
                index = int(rng.integers(len(self.source)))
        where, why = broken[-1]
        raise ImageError(
            f"{self.source.name}: {_MOST_TRIES} images in a row cannot be used; "
            f"{self.source.key(where)}: {why}",
            hint,
        )

    def _augmented(self, image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        return image if self.settings is None else augment(image, rng, self.settings)


def _planes(image: NDArray[np.uint8], planes: NDArray[np.uint8]) -> None:
    """Write ``(S, S, 3)`` as ``(3, S, S)``; OpenCV does it four times as fast as numpy."""
    import cv2

    cv2.split(image, list(planes))
