"""What enters the linear layers of a network when it looks at faces: means and covariances.

With them a layer is cut so that its outputs on faces change least, rather than its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from facekeep.lab.nn import EdgeFace
from facekeep.lab.nn.lora import LoRaLin

__all__ = ["Moments", "factored", "full_weight", "input_of", "moments"]

_BATCH = 32
_RIDGE = 1e-4  # of the mean variance, added to all: directions that faces do not show stay bounded


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """The inputs of one linear layer on faces.

    Attributes:
        mean: float64 ``(in,)``.
        covariance: float64 ``(in, in)``, of full rank.
        places: How often the layer is run for one crop.
    """

    mean: Tensor
    covariance: Tensor
    places: int


class _Sums:
    """Adds up what enters a layer."""

    def __init__(self, width: int) -> None:
        self.count = 0
        self.total = torch.zeros(width, dtype=torch.float64)
        self.square = torch.zeros(width, width, dtype=torch.float64)

    def add(self, x: Tensor) -> None:
        rows = x.detach().flatten(0, -2)
        self.count += len(rows)
        self.total += rows.sum(0).double()
        self.square += (rows.T @ rows).double()

    def moments(self, crops: int) -> Moments:
        mean = self.total / self.count
        covariance = self.square / self.count - torch.outer(mean, mean)
        ridge = _RIDGE * covariance.diagonal().mean().clamp(min=1e-12)
        covariance.diagonal().add_(ridge)
        return Moments(mean, covariance, self.count // crops)


@torch.no_grad()
def moments(
    model: EdgeFace, crops: Tensor, *, progress: Callable[[int], object] = lambda crops: None
) -> dict[str, Moments]:
    """Run a network on faces and note what enters each of its full matrices.

    Args:
        model: The network.
        crops: float32 ``(n, 3, S, S)`` as it takes them; some hundreds are enough.
        progress: Told how many more crops are done.

    Returns:
        By the name of the layer, the two of a `LoRaLin` each under its own.
    """
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
    sums = {name: _Sums(layer.in_features) for name, layer in layers.items()}

    def listen(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda module, inputs: sums[name].add(inputs[0])

    hooks = [layer.register_forward_pre_hook(listen(name)) for name, layer in layers.items()]
    try:
        for batch in torch.split(crops, _BATCH):
            model(batch)
            progress(len(batch))
    finally:
        for hook in hooks:
            hook.remove()
    return {name: each.moments(len(crops)) for name, each in sums.items()}


def full_weight(layer: nn.Linear | LoRaLin) -> Tensor:
    """Return the matrix a layer multiplies with, float64 ``(out, in)``."""
    if isinstance(layer, LoRaLin):
        return (layer.linear2.weight.double() @ layer.linear1.weight.double()).detach()
    return layer.weight.double().detach()


def input_of(name: str, layer: nn.Linear | LoRaLin) -> str:
    """Name the matrix of a layer that its inputs enter, as `moments` does."""
    return f"{name}.linear1" if isinstance(layer, LoRaLin) else name


def factored(
    layer: nn.Linear | LoRaLin, known: Mapping[str, Moments], name: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Write a layer as a product of which any number of leading terms is the best of its rank.

    The second factor's columns are the principal directions of the layer's outputs. By the theorem
    of Eckart and Young, their leading ones give the least mean squared error of the outputs that a
    layer of that rank can have.

    Args:
        layer: The layer.
        known: What `moments` gave; empty where nothing is known of the inputs, which makes it
            the singular value decomposition of the weights.
        name: Of the layer.

    Returns:
        float64 ``(rank, in)``, ``(out, rank)`` and, from the largest, the share of the outputs'
        variance that each term gives, ``(rank,)``. The norms of a term's row and column are alike.
    """
    weight = full_weight(layer)
    rank = layer.rank if isinstance(layer, LoRaLin) else min(weight.shape)
    covariance = (
        known[input_of(name, layer)].covariance
        if known
        else torch.eye(weight.shape[1], dtype=torch.float64)
    )
    values, vectors = torch.linalg.eigh(weight @ covariance @ weight.T)
    second = vectors.flip(1)[:, :rank]
    energy = values.flip(0)[:rank].clamp(min=0)
    first = second.T @ weight
    balance = first.norm(dim=1, keepdim=True).sqrt().clamp(min=1e-12)
    return first / balance, second * balance.T, energy / energy.sum().clamp(min=1e-30)
