"""Embedding faces of a source as they are, outside the steps of training."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from facekeep.errors import ImageError
from facekeep.lab.datasets.source import Source, decode_crop
from facekeep.lab.train.pixels import normalize

__all__ = ["embed_faces", "pick_first_of_each", "read_face"]

_BATCH: Final = 64


def embed_faces(
    model: nn.Module, source: Source, places: NDArray[np.int64], *, size: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Embed some faces, unchanged; those that cannot be read are left out.

    Args:
        model: From float32 ``(n, 3, size, size)`` to ``(n, width)``.
        source: The faces.
        places: Which of them.
        size: The side that the network takes.
        device: Where it is.

    Returns:
        float32 ``(n, width)`` of unit length, and int64 ``(n,)``, the places of those that could be
        read; both on the device, and both empty if none could.
    """
    rows: list[Tensor] = []
    kept: list[int] = []
    for start in range(0, len(places), _BATCH):
        faces = {int(at): read_face(source, int(at), size) for at in places[start : start + _BATCH]}
        read = {at: face for at, face in faces.items() if face is not None}
        if read:
            rows.append(_forward(model, np.stack(list(read.values())), device))
            kept += read
    everything = torch.cat(rows) if rows else torch.empty(0, 0, device=device)
    return everything, torch.tensor(kept, dtype=torch.int64, device=device)


def pick_first_of_each(labels: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Return the places of the first so many faces of each person, in order."""
    order = np.argsort(labels, kind="stable")
    ranked = labels[order]
    nth = np.arange(len(ranked)) - np.searchsorted(ranked, ranked)
    return np.sort(order[(nth < most) & (ranked >= 0)])


@torch.no_grad()
def _forward(model: nn.Module, faces: NDArray[np.uint8], device: torch.device) -> Tensor:
    pixels = torch.from_numpy(faces).permute(0, 3, 1, 2).to(device)
    return functional.normalize(model(normalize(pixels)).float())


def read_face(source: Source, place: int, size: int) -> NDArray[np.uint8] | None:
    """Read a face, uint8 ``(size, size, 3)`` RGB; None where nothing can be read."""
    try:
        return decode_crop(source.read(place), size)
    except ImageError:
        return None
