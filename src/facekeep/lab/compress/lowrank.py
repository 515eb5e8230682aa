"""Linear layers replaced by products of thinner ones: low-rank factorization."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from facekeep.errors import InputError
from facekeep.lab.compress.statistics import (
    ActivationStatistics,
    collect_statistics,
    reconstruct,
)
from facekeep.lab.nn import EdgeFace
from facekeep.lab.nn.lora import LoRaLin, rank_of
from facekeep.lab.nn.shapes import linear_layers, recognize

__all__ = [
    "FactorizedLayer",
    "FactorizedNetwork",
    "build_product",
    "factorize",
    "factorize_layers",
    "match_linear_layers",
    "name_input_matrix",
]

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class FactorizedLayer:
    """What became of one layer.

    Attributes:
        layer: Its name.
        before: Its rank before: that of the product, or the smaller side of a full matrix.
        after: Its rank now; ``before`` where it was kept as it was, because a product of the rank
            that was asked for would cost as much or more.
        energy: Share of the variance of its outputs that is left.
    """

    layer: str
    before: int
    after: int
    energy: float


@dataclass(frozen=True, slots=True)
class FactorizedNetwork:
    """A network with low-rank layers, and what became of each layer that was considered."""

    model: EdgeFace
    layers: tuple[FactorizedLayer, ...]


def factorize_layers(
    model: EdgeFace,
    *,
    gamma: float | None = None,
    energy: float | None = None,
    layers: Sequence[str] = ("*",),
    crops: Tensor | None = None,
    multiple: int = 1,
    progress: Callable[[int], object] = lambda crops: None,
) -> FactorizedNetwork:
    """Replace linear layers by `LoRaLin` of the best approximation of their rank.

    The one 1x1 convolution of the network, of the position encoding, is left: it is computed once
    while the file is loaded.

    Args:
        model: The network; it stays as it is.
        gamma: Keep this share of the full rank, as ``rank_of`` counts it; above 0, at most 1.
        energy: Keep in each layer as many terms as give this share of the variance of its outputs;
            above 0, at most 1. One of the two must be given.
        layers: Which: patterns of names, as ``stages.3.*`` or ``*.mlp.fc?``.
        crops: float32 ``(n, 3, S, S)``, some hundreds of faces as the network takes them. With them
            the outputs on faces change least, and the layers are fitted to the whole network one
            after the other. Without them only the weights decide, as if all inputs were equal.
        multiple: Ranks are rounded up to multiples of it.
        progress: Called with the number of crops done since the last call.

    Raises:
        InputError: No layer has such a name.
    """
    statistics = {} if crops is None else collect_statistics(model, crops, progress=progress)
    thin = copy.deepcopy(model)
    done = []
    every = dict(linear_layers(model))
    for name in match_linear_layers(every, layers):
        changed, record = _factorize_layer(name, every[name], gamma, energy, statistics, multiple)
        thin.set_submodule(name, changed)
        done.append(record)
    if crops is not None:
        reconstruct(thin, model, crops, progress=progress)
    found = recognize(thin.state_dict())
    thin.gamma = None if found is None else found[1]
    return FactorizedNetwork(thin, tuple(done))


def match_linear_layers(names: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """Return the names that fit one of the patterns.

    Raises:
        InputError: None does.
    """
    chosen = [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
    if not chosen:
        raise InputError(
            f"no linear layer is called {' or '.join(patterns)};"
            " name some as stages.3.* or *.mlp.fc1"
        )
    return chosen


def build_product(
    layer: nn.Linear | LoRaLin, factors: tuple[Tensor, Tensor], mean: Tensor | None = None
) -> LoRaLin:
    """Build the layer that multiplies by these factors, to replace another.

    Args:
        layer: The other.
        factors: ``(rank, in)`` and ``(out, rank)``.
        mean: The mean input ``(in,)``, for which the outputs are to stay exactly as they are.
    """
    first, second = factors
    thin = LoRaLin(first.shape[1], len(second), len(first)).to(_bias(layer).device)
    shift = torch.zeros(len(second), dtype=torch.float64)
    if mean is not None:
        shift = _full_weight(layer) @ mean - second @ (first @ mean)
    with torch.no_grad():
        thin.linear1.weight.copy_(first)
        thin.linear2.weight.copy_(second)
        thin.linear2.bias.copy_(_bias(layer) + shift)
    return thin


def _bias(layer: nn.Linear | LoRaLin) -> Tensor:
    return (layer.linear2 if isinstance(layer, LoRaLin) else layer).bias.detach()


def _factorize_layer(
    name: str,
    layer: nn.Linear | LoRaLin,
    gamma: float | None,
    energy: float | None,
    statistics: Mapping[str, ActivationStatistics],
    multiple: int,
) -> tuple[nn.Module, FactorizedLayer]:
    first, second, shares = factorize(layer, statistics, name)
    rows, columns = len(second), first.shape[1]
    if gamma is not None:
        rank = rank_of(columns, rows, gamma)
    else:
        rank = 1 + int((shares.cumsum(0) < (energy or 0) - _ROUNDING).sum())
    rank = multiple * -(-rank // multiple)
    before = layer.rank if isinstance(layer, LoRaLin) else min(rows, columns)
    limit = before if isinstance(layer, LoRaLin) else rows * columns / (rows + columns)
    if rank >= limit:
        return copy.deepcopy(layer), FactorizedLayer(name, before, before, 1.0)
    mean = statistics[name_input_matrix(name, layer)].mean if statistics else None
    thin = build_product(layer, (first[:rank], second[:, :rank]), mean)
    return thin, FactorizedLayer(name, before, rank, float(shares[:rank].sum()))


def _full_weight(layer: nn.Linear | LoRaLin) -> Tensor:
    """Return the matrix that a layer multiplies by, float64 ``(out, in)``."""
    if isinstance(layer, LoRaLin):
        return (layer.linear2.weight.double() @ layer.linear1.weight.double()).detach()
    return layer.weight.double().detach()


def name_input_matrix(name: str, layer: nn.Linear | LoRaLin) -> str:
    """Name the matrix of a layer that its inputs enter, as `collect_statistics` does."""
    return f"{name}.linear1" if isinstance(layer, LoRaLin) else name


def factorize(
    layer: nn.Linear | LoRaLin, statistics: Mapping[str, ActivationStatistics], name: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Write a layer as a product whose leading terms are the best approximation of their rank.

    The second factor's columns are the principal directions of the layer's outputs. By the theorem
    of Eckart and Young, their leading ones give the least mean squared error of the outputs that a
    layer of that rank can have.

    Args:
        layer: The layer.
        statistics: From `collect_statistics`; empty for the singular value decomposition of the
            weights.
        name: The name of the layer.

    Returns:
        float64 ``(rank, in)``, ``(out, rank)`` and, from the largest, the share of the outputs'
        variance that each term gives, ``(rank,)``. The norms of a term's row and column are equal.
    """
    weight = _full_weight(layer)
    rank = layer.rank if isinstance(layer, LoRaLin) else min(weight.shape)
    covariance = (
        statistics[name_input_matrix(name, layer)].covariance
        if statistics
        else torch.eye(weight.shape[1], dtype=torch.float64)
    )
    values, vectors = torch.linalg.eigh(weight @ covariance @ weight.T)
    second = vectors.flip(1)[:, :rank]
    energy = values.flip(0)[:rank].clamp(min=0)
    first = second.T @ weight
    balance = first.norm(dim=1, keepdim=True).sqrt().clamp(min=1e-12)
    return first / balance, second * balance.T, energy / energy.sum().clamp(min=1e-30)
