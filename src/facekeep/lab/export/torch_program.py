"""An EdgeFace as the program that PyTorch exports, from which several converters start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from facekeep.models import ModelEntry

if TYPE_CHECKING:
    from facekeep.lab.nn import EdgeFace


def network(model: ModelEntry) -> tuple[EdgeFace, Any]:
    """Return the network and one picture as an example of its input.

    Raises:
        ModelError: The model is no EdgeFace of facekeep's.
        RuntimeUnavailable: PyTorch is not installed.
    """
    import torch

    from facekeep.lab.nn import read_network

    made = read_network(model).eval()
    return made, torch.zeros(1, 3, made.input_size, made.input_size)


def program(model: ModelEntry) -> Any:
    """Return the ``torch.export.ExportedProgram``; its batch is one."""
    import torch

    made, example = network(model)
    return torch.export.export(made, (example,))
