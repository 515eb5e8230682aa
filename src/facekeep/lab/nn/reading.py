"""Networks read back from the files that facekeep made of them, to be worked on again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facekeep._internal.files import path_text, printable
from facekeep.errors import ModelError
from facekeep.lab.nn.checkpoint import network_of, read_state
from facekeep.lab.nn.edgeface import EdgeFace
from facekeep.lab.nn.graph import PRODUCER
from facekeep.models import ModelEntry, checkpoint_path, locate
from facekeep.models.files import read_model
from facekeep.models.sparse import restore_zeros
from facekeep.models.weight_packing import unpack

__all__ = ["read_network"]

_ZIP = b"PK"  # how a checkpoint begins


def read_network(source: ModelEntry | str | Path, *, input_size: int | None = None) -> EdgeFace:
    """Make the network that a model runs, whatever its form: ranks, widths and depths are free.

    Args:
        source: A model of the catalog, a PyTorch checkpoint, or an ONNX file that facekeep
            exported, packed, sparse or neither; a packed one gives the numbers that are run.
        input_size: Height and width of the crops; None for what the source says, which for a
            checkpoint alone is 112.

    Raises:
        ModelNotFound: There is no such file.
        ModelError: It holds no EdgeFace that facekeep wrote, or is damaged.
    """
    size = input_size
    if isinstance(source, ModelEntry):
        size = size or source.input_size
        path, shown = checkpoint_path(source) or locate(source), f"model {source.name!r}"
    else:
        path, shown = Path(source), printable(path_text(source))
    content = read_model(path)
    if content.startswith(_ZIP):
        return network_of(read_state(path), input_size=size or 112)
    state, side = _state(content, shown)
    return network_of(state, input_size=size or side)


def _state(content: bytes, shown: str) -> tuple[dict[str, Tensor], int]:
    """Return the parameters in an ONNX file, and the side of the crops that it takes."""
    import onnx

    foreign = (
        f"{shown} is no EdgeFace that facekeep wrote, so it can only be run;"
        " start from a .pt checkpoint or a model trained here"
    )
    try:
        model = onnx.load_model_from_string(restore_zeros(content))
    except Exception as error:
        raise ModelError(foreign) from error
    if model.producer_name != PRODUCER:
        raise ModelError(foreign)
    found = {name: value for name, value in unpack(model.graph).items() if "." in name}
    side = _side(model.graph)
    if "stem.0.weight" not in found or not side:
        raise ModelError(foreign)
    try:
        return {name: torch.from_numpy(found[name].astype(np.float32)) for name in found}, side
    except ValueError as error:
        raise ModelError(f"{shown} holds a parameter that is no number") from error


def _side(graph: Any) -> int:
    """Return the side of the crops; 0 where the graph tells none."""
    sizes = [axis.dim_value for each in graph.input for axis in each.type.tensor_type.shape.dim]
    return sizes[-1] if sizes else 0
