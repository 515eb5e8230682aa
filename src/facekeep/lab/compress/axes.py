"""The dimensions of a network that can be made shorter, what their units cost, and the cutting.

Three kinds: the hidden width of an MLP, the rank of a `LoRaLin`, and whole convolutional blocks.
None of them shows outside its layer, so each can be cut without the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, cast, get_args

import torch
from torch import Tensor, nn

from facekeep.lab.compress.lowrank import product
from facekeep.lab.compress.moments import Moments, factored, input_of
from facekeep.lab.nn import EdgeFace
from facekeep.lab.nn.edgenext import ConvBlock, Mlp
from facekeep.lab.nn.lora import LoRaLin

__all__ = [
    "KINDS",
    "Axis",
    "Kind",
    "axes_of",
    "inner",
    "removable",
    "shorten",
    "turned",
    "without",
]

Kind = Literal["hidden", "rank", "blocks"]
KINDS: Final[tuple[str, ...]] = get_args(Kind)

_Linear = nn.Linear | LoRaLin


@dataclass(frozen=True, slots=True)
class Axis:
    """A dimension inside a layer.

    Attributes:
        kind: ``hidden`` or ``rank``.
        layer: Name of the `Mlp` or `LoRaLin`.
        size: Its length.
    """

    kind: Kind
    layer: str
    size: int


def axes_of(model: EdgeFace, kinds: tuple[Kind, ...]) -> Iterator[Axis]:
    """Give the dimensions of these kinds, in the order they are run."""
    for name, module in model.named_modules():
        if isinstance(module, Mlp) and "hidden" in kinds:
            yield Axis("hidden", name, _matrices(module.fc2)[0].in_features)
        elif isinstance(module, LoRaLin) and "rank" in kinds:
            yield Axis("rank", name, module.rank)


def inner(axis: Axis, model: EdgeFace) -> str:
    """Name the matrix that the units of an axis enter."""
    if axis.kind == "rank":
        return f"{axis.layer}.linear2"
    second = cast(_Linear, model.get_submodule(f"{axis.layer}.fc2"))
    return input_of(f"{axis.layer}.fc2", second)


def turned(model: EdgeFace, known: Mapping[str, Moments]) -> None:
    """Turn the inside of each low-rank layer to the principal directions of its outputs.

    The layers give what they gave before.
    """
    for name, layer in list(model.named_modules()):
        if isinstance(layer, LoRaLin):
            first, second, _ = factored(layer, known, name)
            model.set_submodule(name, product(layer, (first, second)))


@torch.no_grad()
def shorten(model: EdgeFace, axis: Axis, keep: Tensor, known: Mapping[str, Moments]) -> None:
    """Leave only some units of an axis.

    Args:
        model: The network, which is changed.
        axis: Which axis.
        keep: int64, the places of the units that stay.
        known: What `moments` tells of this network's inputs on faces. With it the matrix that the
            units enter makes up for those that are gone, as well as a linear map of the others can
            (least squares); without it they are just gone.
    """
    entered = inner(axis, model)
    reader = cast(nn.Linear, model.get_submodule(entered))
    weight, shift = _made_up(reader.weight, keep, known.get(entered))
    if axis.kind == "rank":
        layer = cast(LoRaLin, model.get_submodule(axis.layer))
        thin = product(layer, (layer.linear1.weight[keep], weight))
        thin.linear2.bias.add_(shift)
        model.set_submodule(axis.layer, thin)
        return
    mlp = cast(Mlp, model.get_submodule(axis.layer))
    *before, last = _matrices(mlp.fc1)
    model.set_submodule(_name(f"{axis.layer}.fc1", before), _rows(last, keep))
    model.set_submodule(entered, _columns(reader, weight))
    for later in _matrices(mlp.fc2)[1:]:
        shift = later.weight @ shift
    _matrices(mlp.fc2)[-1].bias.add_(shift)


def without(model: EdgeFace, name: str) -> None:
    """Take a block out of its stage."""
    stage, _, place = name.rpartition(".")
    blocks = cast(nn.Sequential, model.get_submodule(stage))
    del blocks[int(place)]


def removable(model: EdgeFace) -> list[str]:
    """Name the convolutional blocks; each stage keeps its last block, whatever it is."""
    names = []
    for stage, part in enumerate(model.stages):
        blocks = list(cast(nn.Sequential, part.get_submodule("blocks")))
        spare = blocks[:-1]
        names += [
            f"stages.{stage}.blocks.{place}"
            for place, block in enumerate(spare)
            if isinstance(block, ConvBlock)
        ]
    return names


def _made_up(weight: Tensor, keep: Tensor, known: Moments | None) -> tuple[Tensor, Tensor]:
    """Return the columns that stay, and what to add to the outputs, best for known inputs."""
    if known is None:
        return weight[:, keep], torch.zeros(len(weight))
    full = weight.double()
    some = known.covariance[keep]
    fewer = torch.linalg.solve(some[:, keep], some @ full.T).T
    shift = full @ known.mean - fewer @ known.mean[keep]
    return fewer.float(), shift.float()


def _matrices(layer: nn.Module) -> list[nn.Linear]:
    if isinstance(layer, LoRaLin):
        return [layer.linear1, layer.linear2]
    return [cast(nn.Linear, layer)]


def _name(layer: str, before: list[nn.Linear]) -> str:
    return f"{layer}.linear2" if before else layer


def _rows(layer: nn.Linear, keep: Tensor) -> nn.Linear:
    thin = nn.Linear(layer.in_features, len(keep))
    thin.weight.copy_(layer.weight[keep])
    thin.bias.copy_(layer.bias[keep])
    return thin


def _columns(layer: nn.Linear, weight: Tensor) -> nn.Linear:
    thin = nn.Linear(weight.shape[1], len(weight), bias=layer.bias is not None)
    thin.weight.copy_(weight)
    if layer.bias is not None:
        thin.bias.copy_(layer.bias)
    return thin
