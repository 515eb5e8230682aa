"""The people kept out of training, and how well a network tells them apart."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from facekeep.lab.datasets.source import Source, decode_crop
from facekeep.lab.datasets.test_sets import PersonSet, Samples
from facekeep.lab.evaluate import OperatingPoint, measure_holdout_tar
from facekeep.lab.train.embedding import embed_faces, pick_first_of_each
from facekeep.lab.train.parallel import Parallel, shard

__all__ = ["FMRS", "Holdout", "Measured"]


FMRS: Final = (1e-2, 1e-3)
"""The false-match rates that the log tells."""

_MOST_FACES: Final = 20  # of a person


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
    tar: tuple[OperatingPoint, ...]


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
        self._places = pick_first_of_each(source.labels, _MOST_FACES)

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
        device = self._parallel.device
        rows, kept = embed_faces(model, self._source, mine, size=self._size, device=device)
        rows = rows.reshape(len(rows), self._width)  # also where none could be read
        all_rows, places = self._parallel.collect(rows), self._parallel.collect(kept)
        if all_rows is None or places is None:
            return None
        data = self._set(places.numpy())
        return Measured(
            data, all_rows.numpy(), measure_holdout_tar(all_rows.numpy(), data.person, FMRS)
        )

    def table(self) -> bytes:
        """Say in tab-separated lines who is on which face, as ``evaluate --labels`` takes it.

        With this table the same data show these people and nobody else. It is UTF-8 but for names
        of files that are not.
        """
        text, source = io.StringIO(), self._source
        table = csv.writer(text, csv.excel_tab, lineterminator="\n")
        table.writerow(["key", "identity"])
        labels = enumerate(source.labels)
        table.writerows([source.key(place), source.names[int(label)]] for place, label in labels)
        return text.getvalue().encode("utf-8", "surrogateescape")

    def _set(self, places: NDArray[np.int64]) -> PersonSet:
        source, size = self._source, self._size
        samples = Samples(
            tuple(source.key(int(place)) for place in places),
            lambda index: decode_crop(source.read(int(places[index])), size),
            aligned=True,
        )
        return PersonSet(
            f"people kept out of {source.name}",
            samples,
            source.labels[places].astype(np.intp),
            tuple(source.names),
        )
