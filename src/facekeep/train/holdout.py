"""The people kept out of training, and how well a network tells them apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from facekeep.errors import ImageError
from facekeep.evaluate import Operating, holdout_tar
from facekeep.evaluate.data import PersonSet, Samples
from facekeep.train.data import Source, decode
from facekeep.train.parallel import Parallel, shard
from facekeep.train.step import normalise

__all__ = ["FMRS", "Holdout", "Measured"]

FMRS: Final = (1e-2, 1e-3)
"""The false-match rates that the log tells."""

_MOST_FACES: Final = 20  # of a person
_BATCH: Final = 64


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """How well a network tells the people apart who were kept out.

    Attributes:
        data: Their faces, n that could be read.
        rows: float32 ``(n, width)``, unit embeddings.
        tar: Operating points at `FMRS`.
    """

    data: PersonSet
    rows: NDArray[np.float32]
    tar: tuple[Operating, ...]


class Holdout:
    """Faces of people whom training never sees, 20 of a person at most.

    Args:
        source: Their faces.
        size: The side that the network takes.
        width: How many numbers it gives.
        parallel: The processes, which share the work.

    Attributes:
        people: How many people they are.
    """

    def __init__(self, source: Source, *, size: int, width: int, parallel: Parallel) -> None:
        self._source, self._size, self._width, self._parallel = source, size, width, parallel
        self.people = source.classes
        self._places = _first_of_each(source.labels, _MOST_FACES)

    def __len__(self) -> int:
        return len(self._places)

    def measure(self, model: nn.Module) -> Measured | None:
        """Embed and compare; all processes call it together.

        Args:
            model: A network in evaluation mode.

        Returns:
            What was found, in the main process; None in the others.
        """
        mine = self._places[list(shard(len(self), self._parallel.rank, self._parallel.world))]
        rows, kept = self._embedded(model, mine)
        all_rows, places = self._parallel.collect(rows), self._parallel.collect(kept)
        if all_rows is None or places is None:
            return None
        data = self._set(places.numpy())
        return Measured(data, all_rows.numpy(), holdout_tar(all_rows.numpy(), data.person, FMRS))

    def _set(self, places: NDArray[np.int64]) -> PersonSet:
        source, size = self._source, self._size
        samples = Samples(
            tuple(source.key(int(place)) for place in places),
            lambda index: decode(source.read(int(places[index])), size),
            aligned=True,
        )
        return PersonSet(
            f"people kept out of {source.name}",
            samples,
            source.labels[places].astype(np.intp),
            tuple(source.names),
        )

    def _embedded(self, model: nn.Module, places: NDArray[np.intp]) -> tuple[Tensor, Tensor]:
        """Embed faces; gives the rows, and the places of those that could be read."""
        rows: list[Tensor] = []
        kept: list[int] = []
        for start in range(0, len(places), _BATCH):
            faces = {int(at): self._face(int(at)) for at in places[start : start + _BATCH]}
            read = {at: face for at, face in faces.items() if face is not None}
            if read:
                rows.append(self._forward(model, np.stack(list(read.values()))))
                kept += read
        device = self._parallel.device
        empty = torch.empty(0, self._width, device=device)
        return torch.cat([empty, *rows]), torch.tensor(kept, dtype=torch.int64, device=device)

    @torch.no_grad()
    def _forward(self, model: nn.Module, faces: NDArray[np.uint8]) -> Tensor:
        pixels = torch.from_numpy(faces).permute(0, 3, 1, 2).to(self._parallel.device)
        return functional.normalize(model(normalise(pixels)).float())

    def _face(self, place: int) -> NDArray[np.uint8] | None:
        try:
            return decode(self._source.read(place), self._size)
        except ImageError:
            return None


def _first_of_each(labels: NDArray[np.int64], most: int) -> NDArray[np.intp]:
    """Return the places of the first so many faces of each person, in order."""
    order = np.argsort(labels, kind="stable")
    ranked = labels[order]
    nth = np.arange(len(ranked)) - np.searchsorted(ranked, ranked)
    return np.sort(order[(nth < most) & (ranked >= 0)])
