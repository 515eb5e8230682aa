"""Networks of any shape: what their tensors say, and nothing else, decides how they are built.

Depths, channels, ranks, hidden widths and the widths of groups are read from the tensors, so a
network that was cut is loaded like one that was published.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from itertools import takewhile

import torch
from torch import Tensor, nn

from facekeep.errors import ModelError
from facekeep.lab.nn.edgeface import (
    MODELS,
    WIDTHS,
    Architecture,
    EdgeFace,
    check_size,
    create_model,
)
from facekeep.lab.nn.edgenext import SplitBlock
from facekeep.lab.nn.lora import LoRaLin, rank_of

__all__ = ["find_mismatch", "full_rank", "linear_layers", "network_of", "read_width", "recognize"]

_STAGES = range(4)

State = Mapping[str, Tensor]


class _Unfit(Exception):
    """The tensors make no network; the message says why."""


def network_of(state: State, *, input_size: int = 112) -> EdgeFace:
    """Build the network whose tensors these are, and give it copies of them.

    Args:
        state: Tensors by name, without the prefix ``model.``.
        input_size: Height and width of the crops.

    Returns:
        The network. Its ``arch`` is the published network that it is, or the smallest that it could
        have been cut from; its ``gamma`` is None unless all its shapes are as published.

    Raises:
        InputError: ``input_size`` is none that networks have.
        ModelError: The tensors are those of no EdgeFace.
    """
    check_size(input_size)
    try:
        model = _hollow(state, input_size)
    except _Unfit as error:
        raise ModelError(f"these tensors make no EdgeFace: {error}") from error
    copies = {name: tensor.detach().float().clone() for name, tensor in state.items()}
    model.load_state_dict(copies, assign=True)
    model.resize(input_size)  # which gives the position encodings their numbers
    return model


def recognize(state: State) -> tuple[str, float | None] | None:
    """Tell by the shapes of its tensors which published network a checkpoint is of.

    Args:
        state: What `read_state` gave.

    Returns:
        ``arch`` and ``gamma`` as `create_model` takes them; None where it is no network of ours,
        was cut, or has a gamma that is no whole percentage.
    """
    try:
        model = _hollow(state, 112)
    except _Unfit:
        return None
    return (model.arch, model.gamma) if _is_published(model) else None


def linear_layers(model: nn.Module) -> Iterator[tuple[str, nn.Linear | LoRaLin]]:
    """Give the linear layers, full or of low rank, by name, in the order they are run."""
    inside: set[nn.Module] = set()
    for name, module in model.named_modules():
        if isinstance(module, LoRaLin):
            inside |= {module.linear1, module.linear2}
            yield name, module
        elif isinstance(module, nn.Linear) and module not in inside:
            yield name, module


def full_rank(model: EdgeFace) -> EdgeFace:
    """Return a network that computes the same with full linear layers in place of low-rank ones."""
    full = copy.deepcopy(model)
    for name, layer in list(linear_layers(full)):
        if isinstance(layer, LoRaLin):
            product = nn.Linear(*layer.widths)
            product.weight = nn.Parameter((layer.linear2.weight @ layer.linear1.weight).detach())
            product.bias = layer.linear2.bias
            full.set_submodule(name, product)
    full.gamma = None
    return full


def find_mismatch(wanted: State, state: State) -> str:
    """Name the first tensor that is missing, of another shape or too many; empty where all fit."""
    for key, tensor in wanted.items():
        if key not in state:
            return f"it lacks {key!r}"
        if state[key].shape != tensor.shape:
            return f"{key!r} is {_shape(state[key])}, not {_shape(tensor)}"
    extra = next((key for key in state if key not in wanted), None)
    return "" if extra is None else f"it has {extra[:100]!r} besides"


def read_width(state: State) -> int:
    """Return the length of the embedding; 512 where the tensors do not tell."""
    bias = state.get("head.fc.bias", state.get("head.fc.linear2.bias"))
    return bias.numel() if bias is not None and bias.numel() in WIDTHS else 512


def _hollow(state: State, input_size: int) -> EdgeFace:
    """Make the network without numbers: tensors that claim much take no memory."""
    kind = _architecture(state)
    arch = _family(kind)
    with torch.device("meta"):
        model = EdgeFace(arch, None, input_size, read_width(state), 1.0, kind)
        for name, _ in list(linear_layers(model)):
            model.set_submodule(name, _layer(state, name))
        for name, block in model.named_modules():
            if isinstance(block, SplitBlock):
                _split(block, _tensor(state, f"{name}.convs.0.weight", 4).shape[0])
        problem = find_mismatch(model.state_dict(), state)
        if problem:
            raise _Unfit(problem)
        try:
            model(torch.zeros(1, 3, input_size, input_size))
        except RuntimeError as error:
            raise _Unfit("the widths of its layers do not fit each other") from error
    model.gamma = _gamma(model)
    return model


def _architecture(state: State) -> Architecture:
    """Read depths, channels and heads."""
    keys = ["stem.0.weight", *(f"stages.{stage}.downsample.1.weight" for stage in _STAGES[1:])]
    channels = [_tensor(state, key, 4).shape[0] for key in keys]
    depths = [_depth(state, stage) for stage in _STAGES]
    if not all(depths):
        raise _Unfit(f"stage {depths.index(0)} has no block")
    last = f"stages.1.blocks.{depths[1] - 1}.xca.temperature"
    return Architecture(_four(depths), _four(channels), _tensor(state, last, 3).shape[0])


def _depth(state: State, stage: int) -> int:
    names = (f"stages.{stage}.blocks.{block}.norm.weight" for block in range(len(state)))
    return sum(1 for _ in takewhile(state.__contains__, names))


def _family(kind: Architecture) -> str:
    """Name the smallest published network that is nowhere smaller."""
    for name, whole in sorted(MODELS.items(), key=lambda item: item[1].channels):
        pairs = zip(kind.depths + kind.channels, whole.depths + whole.channels, strict=True)
        if kind.heads == whole.heads and all(part <= full for part, full in pairs):
            return name
    raise _Unfit("no published network has as many blocks, channels and heads")


def _layer(state: State, name: str) -> nn.Module:
    """Make the linear layer that has the shapes of its tensors."""
    if f"{name}.linear1.weight" not in state:
        out_feat, in_feat = _tensor(state, f"{name}.weight", 2).shape
        return nn.Linear(in_feat, out_feat)
    rank, in_feat = _tensor(state, f"{name}.linear1.weight", 2).shape
    return LoRaLin(in_feat, _tensor(state, f"{name}.linear2.weight", 2).shape[0], rank)


def _split(block: SplitBlock, width: int) -> None:
    if width * len(block.convs) >= len(block.gamma):
        raise _Unfit("the groups of a split block are wider than its map")
    block.split(width, len(block.convs) + 1)


def _tensor(state: State, key: str, axes: int) -> Tensor:
    tensor = state.get(key)
    if tensor is None:
        raise _Unfit(f"it lacks {key!r}")
    if tensor.ndim != axes or not tensor.numel():
        raise _Unfit(f"{key!r} is {_shape(tensor)}")
    return tensor


def _gamma(model: EdgeFace) -> float | None:
    """Find the gamma of a network as published; None where it has none."""
    thin = [layer for _, layer in linear_layers(model) if isinstance(layer, LoRaLin)]
    for gamma in (step / 100 for step in range(1, 101)):
        if thin and all(layer.rank == rank_of(*layer.widths, gamma) for layer in thin):
            return gamma if _is_published(model, gamma) else None
    return None


def _is_published(model: EdgeFace, gamma: float | None = None) -> bool:
    """Whether all shapes are those that ``create_model`` gives."""
    with torch.device("meta"):
        whole = create_model(model.arch, gamma=gamma or model.gamma, width=model.width)
    return not find_mismatch(whole.state_dict(), model.state_dict())


def _four(values: list[int]) -> tuple[int, int, int, int]:
    first, second, third, fourth = values
    return first, second, third, fourth


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a single number"
