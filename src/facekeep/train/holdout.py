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
        rows: float32 ``(n, width)``, unit embeddings.
        person: int64 ``(n,)``.
        tar: Operating points at `FMRS`.
    """

    rows: NDArray[np.float32]
    person: NDArray[np.int64]
    tar: tuple[Operating, ...]


class Holdout:
    """Faces of people whom training never sees, 20 of a person at most.

    Args:
        source: Their faces.
        size: The side that the network takes.
        parallel: The processes, which share the work.

    Attributes:
        people: How many people they are.
    """

    def __init__(self, source: Source, size: int, parallel: Parallel) -> None:
        self._source, self._size, self._parallel = source, size, parallel
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
        rows, person = self._embedded(model, mine)
        all_rows, everyone = self._parallel.collect(rows), self._parallel.collect(person)
        if all_rows is None or everyone is None:
            return None
        found, who = all_rows.numpy(), everyone.numpy()
        return Measured(found, who, holdout_tar(found, who, FMRS))

    def _embedded(self, model: nn.Module, places: NDArray[np.intp]) -> tuple[Tensor, Tensor]:
        """Embed faces; those that cannot be read are left out."""
        rows: list[Tensor] = []
        kept: list[int] = []
        for start in range(0, len(places), _BATCH):
            faces = {int(at): self._face(int(at)) for at in places[start : start + _BATCH]}
            read = {at: face for at, face in faces.items() if face is not None}
            if read:
                rows.append(self._forward(model, np.stack(list(read.values()))))
                kept += read
        device = self._parallel.device
        person = torch.from_numpy(self._source.labels[kept]).to(device)
        return torch.cat(rows) if rows else torch.empty(0, device=device), person

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
