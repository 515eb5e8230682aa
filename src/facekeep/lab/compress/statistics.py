"""What flows through a network on faces: activation statistics, and least-squares fits to it.

With statistics a layer is cut so that its outputs on faces change least, not its weights. With
`reconstruct` a cut network is fitted to the whole one, block by block, before any training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, cast

import torch
from torch import Tensor, nn

from facekeep.lab.nn import EdgeFace
from facekeep.lab.nn.edgeface import Stage
from facekeep.lab.nn.edgenext import ConvBlock, SplitBlock
from facekeep.lab.nn.lora import LoRaLin

__all__ = ["ActivationStatistics", "collect_statistics", "reconstruct"]

_BATCH: Final = 32
_COVARIANCE_RIDGE: Final = (
    1e-4  # of the mean variance, added to all: unseen directions stay bounded
)
_RIDGE: Final = 0.01  # of the mean square of the inputs: matrices stay near what they were
_FAINT: Final = 1e-4  # mean square of inputs without information, as of an MLP that gives nothing
_SMALLEST_SCALE: Final = 1e-2  # of a layer scale, below which a channel is left as it is


@dataclass(frozen=True, slots=True, eq=False)
class ActivationStatistics:
    """The inputs of one linear layer on faces.

    Attributes:
        mean: float64 ``(in,)``.
        covariance: float64 ``(in, in)``, of full rank.
        positions: How often the layer is run for one crop.
    """

    mean: Tensor
    covariance: Tensor
    positions: int


class _Sums:
    """Sums over the inputs of a layer."""

    def __init__(self, width: int) -> None:
        self.count = 0
        self.total = torch.zeros(width, dtype=torch.float64)
        self.square = torch.zeros(width, width, dtype=torch.float64)

    def add(self, x: Tensor) -> None:
        rows = x.detach().flatten(0, -2)
        self.count += len(rows)
        self.total += rows.sum(0).double()
        self.square += (rows.T @ rows).double()

    def finish(self, crops: int) -> ActivationStatistics:
        mean = self.total / self.count
        covariance = self.square / self.count - torch.outer(mean, mean)
        ridge = _COVARIANCE_RIDGE * covariance.diagonal().mean().clamp(min=1e-12)
        covariance.diagonal().add_(ridge)
        return ActivationStatistics(mean, covariance, self.count // crops)


@torch.no_grad()
def collect_statistics(
    model: EdgeFace, crops: Tensor, *, progress: Callable[[int], object] = lambda crops: None
) -> dict[str, ActivationStatistics]:
    """Run a network on faces and collect statistics of the inputs of each full matrix.

    Args:
        model: The network.
        crops: float32 ``(n, 3, S, S)`` as it takes them; some hundreds are enough.
        progress: Called with the number of crops done since the last call.

    Returns:
        The statistics by the name of the layer; a `LoRaLin` has two layers.
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
    return {name: each.finish(len(crops)) for name, each in sums.items()}


class _Stream:
    """The feature maps of all faces between two parts of a network."""

    def __init__(self, maps: Tensor) -> None:
        self.maps = maps

    def run(self, part: Callable[[Tensor], Tensor]) -> _Stream:
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
def reconstruct(
    model: EdgeFace,
    whole: EdgeFace,
    crops: Tensor,
    *,
    kept: Sequence[Sequence[int]] | None = None,
    progress: Callable[[int], object] = lambda crops: None,
) -> None:
    """Fit a cut network to the whole one, block by block.

    In the order they are run, the last matrix of each branch of a block is solved for by least
    squares, so that on faces the output of the block comes as near the whole network's as it can,
    in spite of everything that was cut before and inside it.

    Args:
        model: The cut network, which is changed.
        whole: What it was cut from.
        crops: float32 ``(n, 3, S, S)`` as both take them, some hundreds; more are better.
        kept: For each stage, which blocks of the whole one are left; None for all.
        progress: Called with the number of crops done since the last call.
    """
    ours, theirs = _Stream(crops).run(model.stem), _Stream(crops).run(whole.stem)
    pairs = zip(model.stages, whole.stages, strict=True)
    for place, (stage, other) in enumerate(cast(Iterator[tuple[Stage, Stage]], pairs)):
        ours, theirs = ours.run(stage.downsample), theirs.run(other.downsample)
        left = range(len(other.blocks)) if kept is None else kept[place]
        mine = dict(zip(left, stage.blocks, strict=True))
        for index, block in enumerate(other.blocks):
            ours, theirs = _fit_block(mine.get(index), block, ours, theirs)
        progress(len(crops) // len(whole.stages))


def _fit_block(
    mine: nn.Module | None, block: nn.Module, ours: _Stream, theirs: _Stream
) -> tuple[_Stream, _Stream]:
    """Fit a block, where it is left, and return the streams after it."""
    if isinstance(mine, SplitBlock):
        _fit_attention(mine, cast(SplitBlock, block), ours, theirs)
    theirs = theirs.run(block)
    if mine is None:
        return ours, theirs
    _fit_mlp(cast(ConvBlock | SplitBlock, mine), ours, theirs)
    return ours.run(mine), theirs


def _fit_mlp(block: ConvBlock | SplitBlock, ours: _Stream, wanted: _Stream) -> None:
    """Fit the last matrix of the MLP, so that the block gives what is wanted."""
    matrix = _last_matrix(block.mlp.fc2)
    equations = _Equations(matrix.in_features, matrix.out_features)
    for maps, target in _iterate_batches(ours, wanted):
        entered, given = _observe(block, matrix, maps)
        missing = (target - given).permute(0, 2, 3, 1).flatten(0, -2)
        equations.add(entered.flatten(0, -2), missing)
    _update(matrix, equations, block.gamma)


def _fit_attention(block: SplitBlock, other: SplitBlock, ours: _Stream, theirs: _Stream) -> None:
    """Fit the attention's last matrix, so that what enters the MLP's norm is as in the other."""
    matrix = _last_matrix(block.xca.proj)
    equations = _Equations(matrix.in_features, matrix.out_features)
    for maps, their_maps in _iterate_batches(ours, theirs):
        entered, _ = _observe(block, matrix, maps)
        given, _ = _observe(block, block.norm, maps)
        wanted, _ = _observe(other, other.norm, their_maps)
        equations.add(entered.flatten(0, -2), (wanted - given).flatten(0, -2))
    _update(matrix, equations, block.gamma_xca)


def _update(matrix: nn.Linear, equations: _Equations, scale: Tensor) -> None:
    weight, bias = equations.solve()
    factor = torch.where(scale.abs() > _SMALLEST_SCALE, 1 / scale, 0)
    matrix.weight.add_(factor[:, None] * weight)
    matrix.bias.add_(factor * bias)


def _observe(block: nn.Module, part: nn.Module, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Return the input of a part of a block, and the output of the block."""
    seen: list[Tensor] = []
    hook = part.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    try:
        given = block(maps)
    finally:
        hook.remove()
    return seen[0], given


def _iterate_batches(ours: _Stream, theirs: _Stream) -> Iterator[tuple[Tensor, Tensor]]:
    pairs = zip(torch.split(ours.maps, _BATCH), torch.split(theirs.maps, _BATCH), strict=True)
    yield from pairs


def _last_matrix(layer: nn.Module) -> nn.Linear:
    return layer.linear2 if isinstance(layer, LoRaLin) else cast(nn.Linear, layer)
