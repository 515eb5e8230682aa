"""The optimizers of a network, and the learning rate of each."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn

from facekeep.lab.nn import EdgeFace

__all__ = ["TIMES", "make_optimizers"]

TIMES: Final = "times"
"""Key of a group of parameters: what the learning rate is multiplied by for it."""

_MUON_TIMES: Final = 3.0  # it bears longer steps than AdamW


def make_optimizers(
    model: EdgeFace, kind: str, weight_decay: float
) -> tuple[torch.optim.Optimizer, ...]:
    """Make what turns a network's gradients into steps; see `TIMES`.

    Biases, norms and layer scales are spared the weight decay, which is for matrices and kernels.

    Args:
        model: The network.
        kind: ``adamw``; or ``muon`` (Jordan 2024; steps scaled as in arXiv 2502.16982) for the
            matrices of the layers between stem and head, and AdamW for all else.
        weight_decay: The decay.
    """
    matrices = _matrices(model) if kind == "muon" else []
    inside = {id(each) for each in matrices}
    rest = [each for each in model.parameters() if id(each) not in inside]
    groups: list[dict[str, Any]] = [
        {"params": [each for each in rest if each.ndim > 1], "weight_decay": weight_decay},
        {"params": [each for each in rest if each.ndim <= 1], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=0.0)
    if not matrices:
        return (adamw,)
    # A decay is multiplied by the rate, which must not make it stronger here than elsewhere.
    muon = torch.optim.Muon(
        [{"params": matrices, TIMES: _MUON_TIMES}],
        lr=0.0,
        weight_decay=weight_decay / _MUON_TIMES,
        adjust_lr_fn="match_rms_adamw",
    )
    return adamw, muon


def _matrices(model: EdgeFace) -> list[Tensor]:
    last = {id(each) for each in model.head.parameters()}
    layers = (each for each in model.modules() if isinstance(each, nn.Linear))
    return [layer.weight for layer in layers if id(layer.weight) not in last]
