"""Linear layers replaced by thinner products: fewer multiplications where a layer's rank is low."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from facekeep.errors import InputError
from facekeep.lab.compress.moments import Moments, factored, full_weight, input_of, moments
from facekeep.lab.compress.refit import refit
from facekeep.lab.nn import EdgeFace
from facekeep.lab.nn.lora import LoRaLin, rank_of
from facekeep.lab.nn.shapes import linear_layers, recognize

__all__ = ["LowRank", "Thinned", "low_rank", "product"]

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Thinned:
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
class LowRank:
    """A network with thinner layers, and what became of each layer that was looked at."""

    model: EdgeFace
    layers: tuple[Thinned, ...]


def low_rank(
    model: EdgeFace,
    *,
    gamma: float | None = None,
    energy: float | None = None,
    layers: Sequence[str] = ("*",),
    crops: Tensor | None = None,
    multiple: int = 1,
    progress: Callable[[int], object] = lambda crops: None,
) -> LowRank:
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
            after the other. Without them the weights alone decide, as if all inputs were alike.
        multiple: Ranks are rounded up to multiples of it.
        progress: Told how many more crops were looked at.

    Raises:
        InputError: A number is out of range, neither or both of gamma and energy are given, or no
            layer has such a name.
    """
    _check(gamma, energy, multiple)
    known = {} if crops is None else moments(model, crops, progress=progress)
    thin = copy.deepcopy(model)
    done = []
    for name, layer in _chosen(model, layers):
        changed, told = _thinned(name, layer, gamma, energy, known, multiple)
        thin.set_submodule(name, changed)
        done.append(told)
    if crops is not None:
        refit(thin, model, crops, progress=progress)
    found = recognize(thin.state_dict())
    thin.gamma = None if found is None else found[1]
    return LowRank(thin, tuple(done))


def _chosen(model: EdgeFace, patterns: Sequence[str]) -> list[tuple[str, nn.Linear | LoRaLin]]:
    chosen = [
        (name, layer)
        for name, layer in linear_layers(model)
        if any(fnmatchcase(name, pattern) for pattern in patterns)
    ]
    if not chosen:
        raise InputError(
            f"no linear layer is called {' or '.join(patterns)};"
            " name some as stages.3.* or *.mlp.fc1"
        )
    return chosen


def product(
    layer: nn.Linear | LoRaLin, factors: tuple[Tensor, Tensor], mean: Tensor | None = None
) -> LoRaLin:
    """Make the layer that multiplies with these factors in place of another.

    Args:
        layer: The other.
        factors: ``(rank, in)`` and ``(out, rank)``.
        mean: The mean input ``(in,)``, for which the outputs are to stay exactly as they are.
    """
    first, second = factors
    thin = LoRaLin(first.shape[1], len(second), len(first)).to(_bias(layer).device)
    shift = torch.zeros(len(second), dtype=torch.float64)
    if mean is not None:
        shift = full_weight(layer) @ mean - second @ (first @ mean)
    with torch.no_grad():
        thin.linear1.weight.copy_(first)
        thin.linear2.weight.copy_(second)
        thin.linear2.bias.copy_(_bias(layer) + shift)
    return thin


def _bias(layer: nn.Linear | LoRaLin) -> Tensor:
    return (layer.linear2 if isinstance(layer, LoRaLin) else layer).bias.detach()


def _thinned(
    name: str,
    layer: nn.Linear | LoRaLin,
    gamma: float | None,
    energy: float | None,
    known: Mapping[str, Moments],
    multiple: int,
) -> tuple[nn.Module, Thinned]:
    first, second, shares = factored(layer, known, name)
    rows, columns = len(second), first.shape[1]
    if gamma is not None:
        rank = rank_of(columns, rows, gamma)
    else:
        rank = 1 + int((shares.cumsum(0) < (energy or 0) - _ROUNDING).sum())
    rank = multiple * -(-rank // multiple)
    before = layer.rank if isinstance(layer, LoRaLin) else min(rows, columns)
    dearest = before if isinstance(layer, LoRaLin) else rows * columns / (rows + columns)
    if rank >= dearest:
        return copy.deepcopy(layer), Thinned(name, before, before, 1.0)
    mean = known[input_of(name, layer)].mean if known else None
    thin = product(layer, (first[:rank], second[:, :rank]), mean)
    return thin, Thinned(name, before, rank, float(shares[:rank].sum()))


def _check(gamma: float | None, energy: float | None, multiple: int) -> None:
    if (gamma is None) == (energy is None):
        raise InputError("give either gamma or energy")
    what, value = ("gamma", gamma) if gamma is not None else ("energy", energy)
    if value is None or not 0 < value <= 1:
        raise InputError(f"{what} must be above 0 and at most 1, not {value!r}")
    if multiple < 1:
        raise InputError(f"multiple must be at least 1, not {multiple!r}")
