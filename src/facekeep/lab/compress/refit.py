"""Fit a cut network to the whole one, block by block, before anything is trained.

In the order they are run, the last matrix of each branch of a block is solved for by least squares,
so that on faces the stream behind the block comes as near the whole network's as it can, in spite
of all that was cut before and inside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, cast

import torch
from torch import Tensor, nn

from facekeep.lab.nn import EdgeFace
from facekeep.lab.nn.edgeface import Stage
from facekeep.lab.nn.edgenext import ConvBlock, SplitBlock
from facekeep.lab.nn.lora import LoRaLin

__all__ = ["refit"]

_BATCH: Final = 32
_RIDGE: Final = 0.01  # of the mean square of the inputs: matrices stay near what they were
_FAINT: Final = 1e-4  # mean square of inputs that say nothing, as of an MLP that fell silent
_SMALLEST_SCALE: Final = 1e-2  # of a layer scale, below which a channel is left as it is


class _Stream:
    """The maps that flow through a network, for all faces, between two of its parts."""

    def __init__(self, maps: Tensor) -> None:
        self.maps = maps

    def through(self, part: Callable[[Tensor], Tensor]) -> _Stream:
        return _Stream(torch.cat([part(batch) for batch in torch.split(self.maps, _BATCH)]))


class _Equations:
    """The normal equations of a least-squares problem with an intercept."""

    def __init__(self, width: int, outputs: int) -> None:
        self.left = torch.zeros(width + 1, width + 1, dtype=torch.float64)
        self.right = torch.zeros(width + 1, outputs, dtype=torch.float64)

    def add(self, inputs: Tensor, missing: Tensor) -> None:
        rows = torch.cat((inputs, torch.ones(len(inputs), 1)), dim=1)
        self.left += (rows.T @ rows).double()
        self.right += (rows.T @ missing).double()

    def solve(self) -> tuple[Tensor, Tensor]:
        """Return what to add to weight and bias."""
        rows = self.left[-1, -1].clamp(min=1)
        ridge = _RIDGE * torch.maximum(self.left.diagonal()[:-1].mean(), _FAINT * rows)
        self.left.diagonal()[:-1].add_(ridge)
        solution = torch.linalg.solve(self.left, self.right)
        return solution[:-1].T, solution[-1]


@torch.no_grad()
def refit(
    model: EdgeFace,
    whole: EdgeFace,
    crops: Tensor,
    *,
    kept: Sequence[Sequence[int]] | None = None,
    progress: Callable[[int], object] = lambda crops: None,
) -> None:
    """Fit a network to the one that it was cut from.

    Args:
        model: The cut network, which is changed.
        whole: What it was cut from.
        crops: float32 ``(n, 3, S, S)`` as both take them, some hundreds; more are better.
        kept: For each stage, which blocks of the whole one are left; None for all.
        progress: Told how many more crops were looked at.
    """
    ours, theirs = _Stream(crops).through(model.stem), _Stream(crops).through(whole.stem)
    pairs = zip(model.stages, whole.stages, strict=True)
    for place, (stage, other) in enumerate(cast(Iterator[tuple[Stage, Stage]], pairs)):
        ours, theirs = ours.through(stage.downsample), theirs.through(other.downsample)
        left = range(len(other.blocks)) if kept is None else kept[place]
        mine = dict(zip(left, stage.blocks, strict=True))
        for index, block in enumerate(other.blocks):
            ours, theirs = _next(mine.get(index), block, ours, theirs)
        progress(len(crops) // len(whole.stages))


def _next(
    mine: nn.Module | None, block: nn.Module, ours: _Stream, theirs: _Stream
) -> tuple[_Stream, _Stream]:
    """Fit a block, where it is left, and return the streams behind it."""
    if isinstance(mine, SplitBlock):
        _fit_attention(mine, cast(SplitBlock, block), ours, theirs)
    theirs = theirs.through(block)
    if mine is None:
        return ours, theirs
    _fit(cast(ConvBlock | SplitBlock, mine), ours, theirs)
    return ours.through(mine), theirs


def _fit(block: ConvBlock | SplitBlock, ours: _Stream, wanted: _Stream) -> None:
    """Fit the last matrix of the MLP, so that the block gives what is wanted."""
    matrix = _last(block.mlp.fc2)
    equations = _Equations(matrix.in_features, matrix.out_features)
    for maps, target in _batches(ours, wanted):
        entered, given = _observed(block, matrix, maps)
        missing = (target - given).permute(0, 2, 3, 1).flatten(0, -2)
        equations.add(entered.flatten(0, -2), missing)
    _add(matrix, equations, block.gamma)


def _fit_attention(block: SplitBlock, other: SplitBlock, ours: _Stream, theirs: _Stream) -> None:
    """Fit the attention's last matrix, so that what enters the MLP's norm is as in the other."""
    matrix = _last(block.xca.proj)
    equations = _Equations(matrix.in_features, matrix.out_features)
    for maps, their_maps in _batches(ours, theirs):
        entered, _ = _observed(block, matrix, maps)
        given, _ = _observed(block, block.norm, maps)
        wanted, _ = _observed(other, other.norm, their_maps)
        equations.add(entered.flatten(0, -2), (wanted - given).flatten(0, -2))
    _add(matrix, equations, block.gamma_xca)


def _add(matrix: nn.Linear, equations: _Equations, scale: Tensor) -> None:
    weight, bias = equations.solve()
    factor = torch.where(scale.abs() > _SMALLEST_SCALE, 1 / scale, 0)
    matrix.weight.add_(factor[:, None] * weight)
    matrix.bias.add_(factor * bias)


def _observed(block: nn.Module, part: nn.Module, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Return what enters a part of a block, and what the block gives."""
    seen: list[Tensor] = []
    hook = part.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    try:
        given = block(maps)
    finally:
        hook.remove()
    return seen[0], given


def _batches(ours: _Stream, theirs: _Stream) -> Iterator[tuple[Tensor, Tensor]]:
    pairs = zip(torch.split(ours.maps, _BATCH), torch.split(theirs.maps, _BATCH), strict=True)
    yield from pairs


def _last(layer: nn.Module) -> nn.Linear:
    return layer.linear2 if isinstance(layer, LoRaLin) else cast(nn.Linear, layer)
