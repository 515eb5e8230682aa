"""The export of a network that everybody else would run: PyTorch's own."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

from facekeep.lab.nn.edgeface import EdgeFace

__all__ = ["plain_export"]


def plain_export(model: EdgeFace) -> tuple[bytes, str]:
    """Export a network with ``torch.onnx.export`` and all that is default there.

    PyTorch's present exporter needs the package onnxscript; without it the one of TorchScript is
    taken. The batch is free, as in ours.

    Returns:
        The ONNX file, and which exporter made it.
    """
    present = importlib.util.find_spec("onnxscript") is not None
    crops = torch.zeros(2, 3, model.input_size, model.input_size)
    batch = {"x": {0: torch.export.Dim("batch")}} if present else None
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "plain.onnx"
        torch.onnx.export(
            model.eval(),
            (crops,),
            str(path),
            input_names=["image"],
            output_names=["embedding"],
            dynamo=present,
            external_data=False,
            dynamic_shapes=batch,
            dynamic_axes=None if present else {"image": {0: "batch"}},
            verbose=False,
        )
        content = path.read_bytes()
    form = "torch.export" if present else "TorchScript"
    return content, f"PyTorch {torch.__version__}, by {form}"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep to ourselves what the exporters tell about themselves."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
