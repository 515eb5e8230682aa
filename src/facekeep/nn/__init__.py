"""The networks in PyTorch: made, loaded, saved, exported to ONNX, counted. Needs the train extra.

The road from an image to a name never comes here: it runs the ONNX file.
"""

from __future__ import annotations

from facekeep.errors import RuntimeUnavailable

try:
    import torch as _torch  # noqa: F401
except ModuleNotFoundError as _error:
    raise RuntimeUnavailable(
        "PyTorch is not installed; install it with: pip install 'facekeep[train]'"
    ) from _error

from facekeep.nn.checkpoint import load_checkpoint, read_state, save_checkpoint
from facekeep.nn.edgeface import MODELS, Architecture, EdgeFace, create_model

__all__ = [
    "MODELS",
    "Architecture",
    "EdgeFace",
    "create_model",
    "load_checkpoint",
    "read_state",
    "save_checkpoint",
]
