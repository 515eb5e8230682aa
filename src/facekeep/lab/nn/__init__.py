"""The networks in PyTorch: made, loaded, saved, exported to ONNX, counted. Needs the train extra.

Recognition never imports this package: it runs the ONNX file.
"""

from __future__ import annotations

from facekeep.errors import RuntimeUnavailable

try:
    import torch as _torch  # noqa: F401
except ModuleNotFoundError as _error:
    raise RuntimeUnavailable(
        "PyTorch is not installed; install it with: pip install 'facekeep[train]'"
    ) from _error

from facekeep.lab.nn.checkpoint import (
    load_checkpoint,
    network_of,
    read_network,
    read_state,
    recognize,
    save_checkpoint,
)
from facekeep.lab.nn.cost import NetworkCost, cost
from facekeep.lab.nn.edgeface import MODELS, Architecture, EdgeFace, create_model
from facekeep.lab.nn.export import export_onnx

__all__ = [
    "MODELS",
    "Architecture",
    "EdgeFace",
    "NetworkCost",
    "cost",
    "create_model",
    "export_onnx",
    "load_checkpoint",
    "network_of",
    "read_network",
    "read_state",
    "recognize",
    "save_checkpoint",
]
