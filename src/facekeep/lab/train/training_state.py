"""Checkpoints: what an interrupted run needs to go on as if nothing had happened.

A checkpoint is one file, ``checkpoint.pt``. It is written beside the older one and takes its place
when all of it is on the disk, so that there is always a whole one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

import torch

from facekeep._internal.files import open_regular, replacing, why
from facekeep.errors import ModelCorrupt, ModelError
from facekeep.lab.train.parallel import Parallel
from facekeep.models.files import cannot_write

__all__ = [
    "CHECKPOINT",
    "collect_random_state",
    "load_training_state",
    "restore_random_state",
    "save_training_state",
]

CHECKPOINT: Final = "checkpoint.pt"
"""The file of the newest checkpoint in the folder of a run."""


def save_training_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a state of tensors and plain values, whole or not at all.

    Raises:
        StorageFull: There is no room; the older file is as it was.
        ModelError: It cannot be written for another reason; likewise.
    """
    try:
        with replacing(path) as stream:
            _write(dict(state), stream)
    except OSError as error:
        raise cannot_write(path, error) from error


def load_training_state(path: Path) -> dict[str, Any]:
    """Load what `save_training_state` wrote, on the CPU; never runs code that a file may carry.

    Raises:
        ModelCorrupt: The file is damaged.
        ModelError: It cannot be read.
    """
    try:
        with open_regular(path) as stream:
            state = torch.load(stream, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelError(f"cannot read checkpoint {path}: {why(error)}") from error
    except Exception as error:
        raise _damaged(path) from error
    if not isinstance(state, dict):
        raise _damaged(path)
    return state


def collect_random_state(parallel: Parallel) -> torch.Tensor | None:
    """Collect PyTorch's random states: a row of bytes for each process, in the main one.

    A row holds the CPU's generator and, on a GPU, that of the GPU behind it.
    """
    rows = [torch.get_rng_state()]
    if parallel.device.type == "cuda":
        rows.append(torch.cuda.get_rng_state(parallel.device))
    return parallel.collect(torch.cat(rows)[None].to(parallel.device))


def restore_random_state(rows: torch.Tensor, parallel: Parallel) -> None:
    """Set PyTorch's generators; another number or kind of processes keeps its fresh ones."""
    length = len(torch.get_rng_state())
    if len(rows) != parallel.world:
        return
    row = rows[parallel.rank]
    torch.set_rng_state(row[:length].clone())
    if parallel.device.type == "cuda" and len(row) > length:
        torch.cuda.set_rng_state(row[length:].clone(), parallel.device)


def _write(state: dict[str, Any], stream: BinaryIO) -> None:
    try:
        torch.save(state, stream)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):  # PyTorch hides what the system said
            raise error.__context__ from error
        raise


def _damaged(path: Path) -> ModelCorrupt:
    return ModelCorrupt(f"checkpoint {path} is damaged; train anew into another folder")
