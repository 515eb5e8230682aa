"""What a network costs: its parameters, and the multiplications of one crop."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from facekeep.lab.nn.edgeface import EdgeFace

__all__ = ["NetworkCost", "cost"]


@dataclass(frozen=True)
class NetworkCost:
    """The size of a network.

    Attributes:
        params: Numbers that training learns.
        macs: Multiply-accumulates of one crop in convolutions, linear layers and the two matrix
            products of attention. Norms, GELU, softmax and additions are not counted.
        flops: Two for each multiply-accumulate, the convention of the EdgeFace paper: its "MFLOPs"
            are twice the MACs. They are the figures of PyTorch's profiler, which also counts some
            additions and products of single numbers, 0.2 % at most. Some other papers call the
            MACs FLOPs: convert before comparing.
    """

    params: int
    macs: int
    flops: int


def cost(model: EdgeFace) -> NetworkCost:
    """Count what one crop of the network's input size costs."""
    size = model.input_size
    device = next(model.parameters()).device
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(torch.zeros(1, 3, size, size, device=device))
    flops = counter.get_total_flops()
    return NetworkCost(sum(weight.numel() for weight in model.parameters()), flops // 2, flops)
