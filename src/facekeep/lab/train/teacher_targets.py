"""What teachers say of the faces of a step: of the crops as the student sees them, or once for all.

A teacher that embeds every changed crop anew costs more than the student's own learning on a CPU.
One that is asked once for each face as it lies on disk, and for its mirror image, teaches the
student to see past the changes, for the price of one pass.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from facekeep.errors import ModelCorrupt
from facekeep.lab.datasets.source import Source
from facekeep.lab.train.embedding import read_face
from facekeep.lab.train.loop import Watch
from facekeep.lab.train.parallel import Parallel, shard
from facekeep.lab.train.teacher import Teacher
from facekeep.models.files import cannot_write

__all__ = ["FULL_SIDE", "CachedTargets", "Targets", "live_targets"]

Targets = Callable[[Tensor, Tensor], Tensor]
"""From crops, uint8 ``(n, 3, S, S)`` as the student sees them, and their places in the source,
int64 ``(n,)``, to unit rows ``(n, width)`` on the crops' device."""

FULL_SIDE: Final = 112
"""The side of the crops that teachers see in full size."""
_BATCH: Final = 64


def live_targets(teacher: Teacher) -> Targets:
    """Ask the teacher about every crop as the student sees it."""
    return lambda pixels, index: teacher.embed(pixels)


class CachedTargets:
    """Asks a teacher about each face of a source once, and remembers the answers in files.

    An answer is the mean direction of the face and its mirror image, float32 ``(width,)``. The
    files lie in the folder of the run, one for each process; what is in them is not asked again.

    Args:
        teacher: The teacher.
        source: The faces.
        stem: Path of the files, without what tells the processes apart.
        parallel: The processes of the run, which share the work.
    """

    def __init__(self, teacher: Teacher, source: Source, stem: Path, parallel: Parallel) -> None:
        self._teacher, self._source, self._parallel = teacher, source, parallel
        world, faces = parallel.world, _digest(source)
        self._files = [Path(f"{stem}.{faces}.{rank}-of-{world}.f32") for rank in range(world)]
        self._parts: list[NDArray[np.float32]] = []

    def fill(self, watch: Watch) -> None:
        """Ask about all faces that were not asked about yet; all processes call it together.

        Raises:
            ModelCorrupt: A file holds more than there are faces.
            StorageFull: There is no room.
            FacekeepError: The teacher fails.
        """
        mine = self._places(self._parallel.rank)
        file = self._files[self._parallel.rank]
        done = self._whole_rows(file, len(mine))
        if done < len(mine):
            with watch(f"Asking {self._teacher.name}", len(mine) - done) as advance:
                self._append(file, mine[done:], advance)
        self._parallel.barrier()
        width = self._teacher.width
        self._parts = [
            np.memmap(each, np.float32, "r", shape=(len(self._places(rank)), width))
            for rank, each in enumerate(self._files)
            if self._places(rank)
        ]

    def __call__(self, pixels: Tensor, index: Tensor) -> Tensor:
        """Return what the teacher said of the faces at these places; see `Targets`."""
        places = index.cpu().numpy()
        ends = np.cumsum([len(part) for part in self._parts])
        which = np.searchsorted(ends, places, side="right")
        rows = [self._parts[k][at - ends[k]] for k, at in zip(which, places, strict=True)]
        return torch.from_numpy(np.stack(rows)).to(pixels.device)

    def _places(self, rank: int) -> range:
        return shard(len(self._source), rank, self._parallel.world)

    def _whole_rows(self, file: Path, most: int) -> int:
        """Count the rows in a file, and cut off one that was not written to its end."""
        if not file.exists():
            return 0
        size = 4 * self._teacher.width
        rows = file.stat().st_size // size
        if rows > most:
            raise ModelCorrupt(f"{file} was made from other faces; delete it")
        with file.open("r+b") as stream:
            stream.truncate(rows * size)
        return rows

    def _append(self, file: Path, places: range, advance: Callable[[int], None]) -> None:
        try:
            with file.open("ab") as stream:
                for rows in self._answers(places):
                    stream.write(rows.tobytes())
                    advance(len(rows))
        except OSError as error:
            raise cannot_write(file, error) from error

    def _answers(self, places: range) -> Iterator[NDArray[np.float32]]:
        """Give the rows of the faces in their order; zeros for one that nothing can be read of."""
        for start in range(0, len(places), _BATCH):
            chunk = places[start : start + _BATCH]
            read = (read_face(self._source, at, FULL_SIDE) for at in chunk)
            faces = {k: face for k, face in enumerate(read) if face is not None}
            rows = np.zeros((len(chunk), self._teacher.width), np.float32)
            if faces:
                rows[list(faces)] = self._mean_rows(np.stack(list(faces.values())))
            yield rows

    def _mean_rows(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        pixels = torch.from_numpy(faces).permute(0, 3, 1, 2).to(self._parallel.device)
        both = self._teacher.embed(pixels) + self._teacher.embed(pixels.flip(-1))
        rows: NDArray[np.float32] = functional.normalize(both).cpu().numpy()
        return rows


def _digest(source: Source) -> str:
    """Tell by eight letters which faces these are, and in which order."""
    digest = hashlib.sha256()
    for index in range(len(source)):
        digest.update(source.key(index).encode(errors="surrogateescape") + b"\0")
    return digest.hexdigest()[:8]
