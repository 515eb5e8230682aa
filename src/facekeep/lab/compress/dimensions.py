"""The dimensions of a network that can be cut, what their units cost, and the cutting.

There are three kinds of cuts: the hidden width of an MLP, the rank of a `LoRaLin`, and whole
convolutional blocks. None of them shows outside its layer, so each can be cut without the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, cast, get_args

import torch
from torch import Tensor, nn

from facekeep.lab.compress.lowrank import build_product, factorize, name_input_matrix
from facekeep.lab.compress.statistics import ActivationStatistics
from facekeep.lab.nn import EdgeFace
from facekeep.lab.nn.edgenext import ConvBlock, Mlp
from facekeep.lab.nn.lora import LoRaLin
from facekeep.lab.nn.shapes import linear_layers

__all__ = [
    "CUT_KINDS",
    "CutKind",
    "CutPlan",
    "Dimension",
    "Matrix",
    "cut_dimension",
    "drop_block",
    "list_dimensions",
    "list_matrices",
    "list_removable_blocks",
    "name_reader",
    "name_writer",
    "rotate_ranks",
]

CutKind = Literal["hidden", "rank", "blocks"]
CUT_KINDS: Final[tuple[str, ...]] = get_args(CutKind)


@dataclass(frozen=True, slots=True)
class Dimension:
    """A dimension inside a layer.

    Attributes:
        kind: ``hidden`` or ``rank``.
        layer: Name of the `Mlp` or `LoRaLin`.
        size: Its length.
    """

    kind: CutKind
    layer: str
    size: int


def list_dimensions(model: EdgeFace, kinds: tuple[CutKind, ...]) -> Iterator[Dimension]:
    """List the dimensions of these kinds, in the order they are run."""
    for name, module in model.named_modules():
        if isinstance(module, Mlp) and "hidden" in kinds:
            yield Dimension("hidden", name, _matrices(module.fc2)[0].in_features)
        elif isinstance(module, LoRaLin) and "rank" in kinds:
            yield Dimension("rank", name, module.rank)


def name_reader(model: EdgeFace, dimension: Dimension) -> str:
    """Name the matrix that the units of a dimension enter."""
    if dimension.kind == "rank":
        return f"{dimension.layer}.linear2"
    name = f"{dimension.layer}.fc2"
    return name_input_matrix(name, cast(nn.Linear | LoRaLin, model.get_submodule(name)))


def name_writer(model: EdgeFace, dimension: Dimension) -> str:
    """Name the matrix that the units of a dimension leave."""
    if dimension.kind == "rank":
        return f"{dimension.layer}.linear1"
    name = f"{dimension.layer}.fc1"
    return f"{name}.linear2" if isinstance(model.get_submodule(name), LoRaLin) else name


def rotate_ranks(model: EdgeFace, statistics: Mapping[str, ActivationStatistics]) -> None:
    """Rotate the inside of each low-rank layer to the principal directions of its outputs.

    The layers give what they gave before.
    """
    for name, layer in list(model.named_modules()):
        if isinstance(layer, LoRaLin):
            first, second, _ = factorize(layer, statistics, name)
            model.set_submodule(name, build_product(layer, (first, second)))


@torch.no_grad()
def cut_dimension(
    model: EdgeFace,
    dimension: Dimension,
    keep: Tensor,
    statistics: Mapping[str, ActivationStatistics],
) -> None:
    """Keep only some units of a dimension.

    Args:
        model: The network, which is changed.
        dimension: Which one.
        keep: int64, the indices of the units that stay.
        statistics: From `collect_statistics` on this network. With them the matrix that the units
            enter compensates for those that are cut, as well as a linear map of the others can
            (least squares); empty for no compensation.
    """
    entered = name_reader(model, dimension)
    reader = cast(nn.Linear, model.get_submodule(entered))
    weight, shift = _compensate(reader.weight, keep, statistics.get(entered))
    if dimension.kind == "rank":
        layer = cast(LoRaLin, model.get_submodule(dimension.layer))
        thin = build_product(layer, (layer.linear1.weight[keep], weight))
        thin.linear2.bias.add_(shift)
        model.set_submodule(dimension.layer, thin)
        return
    mlp = cast(Mlp, model.get_submodule(dimension.layer))
    name = name_writer(model, dimension)
    model.set_submodule(name, _keep_rows(cast(nn.Linear, model.get_submodule(name)), keep))
    model.set_submodule(entered, _replace_columns(reader, weight))
    for later in _matrices(mlp.fc2)[1:]:
        shift = later.weight @ shift
    _matrices(mlp.fc2)[-1].bias.add_(shift)


def drop_block(model: EdgeFace, name: str) -> None:
    """Remove a block from its stage."""
    stage, _, place = name.rpartition(".")
    blocks = cast(nn.Sequential, model.get_submodule(stage))
    del blocks[int(place)]


def list_removable_blocks(model: EdgeFace) -> list[str]:
    """Name the convolutional blocks that can be dropped; each stage keeps its last block."""
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


def _compensate(
    weight: Tensor, keep: Tensor, known: ActivationStatistics | None
) -> tuple[Tensor, Tensor]:
    """Return the columns that stay, and what to add to the outputs, best for the known inputs."""
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


def _keep_rows(layer: nn.Linear, keep: Tensor) -> nn.Linear:
    thin = nn.Linear(layer.in_features, len(keep))
    thin.weight.copy_(layer.weight[keep])
    thin.bias.copy_(layer.bias[keep])
    return thin


def _replace_columns(layer: nn.Linear, weight: Tensor) -> nn.Linear:
    thin = nn.Linear(weight.shape[1], len(weight), bias=layer.bias is not None)
    thin.weight.copy_(weight)
    if layer.bias is not None:
        thin.bias.copy_(layer.bias)
    return thin


@dataclass(frozen=True, slots=True)
class Matrix:
    """A full matrix, whose sides may be dimensions that can be cut.

    Attributes:
        name: Its name.
        rows: Its outputs: a dimension, or a number that stays.
        columns: Its inputs.
        cost: What each of its numbers costs.
    """

    name: str
    rows: Dimension | int
    columns: Dimension | int
    cost: int


def list_matrices(
    model: EdgeFace, dimensions: list[Dimension], cost: Callable[[str], int]
) -> list[Matrix]:
    """List the matrices of a network.

    Args:
        model: The network.
        dimensions: Its dimensions that may be cut.
        cost: Returns for the name of a matrix what each of its numbers costs.
    """
    by_layer = {(each.kind, each.layer): each for each in dimensions}
    found = []
    for name, layer in linear_layers(model):
        mlp, _, last = name.rpartition(".")
        hidden = by_layer.get(("hidden", mlp))
        rows, columns = _widths(layer)
        outside = hidden if hidden and last == "fc1" else rows
        inside = hidden if hidden and last == "fc2" else columns
        if isinstance(layer, LoRaLin):
            middle = by_layer.get(("rank", name), layer.rank)
            first, second = f"{name}.linear1", f"{name}.linear2"
            found.append(Matrix(first, middle, inside, cost(first)))
            found.append(Matrix(second, outside, middle, cost(second)))
        else:
            found.append(Matrix(name, outside, inside, cost(name)))
    return found


class CutPlan:
    """Chooses what to cut: the least important for what it costs.

    Args:
        matrices: All matrices.
        importance: The importance of each unit, of the dimensions that may be cut.
        blocks: The importance of each block that may be dropped, and what it costs besides its
            matrices.
        multiple: Sizes are cut to multiples of it.

    Attributes:
        sizes: What is left of each dimension.
        dropped: Which blocks are dropped.
    """

    def __init__(
        self,
        matrices: list[Matrix],
        importance: dict[Dimension, Tensor],
        blocks: dict[str, tuple[float, int]],
        multiple: int,
    ) -> None:
        self.sizes = {each: each.size for each in importance}
        self.dropped: list[str] = []
        self._blocks, self._multiple = dict(blocks), multiple
        self._importance = importance
        self._least = {each: values.sort().values for each, values in importance.items()}
        self._matrices = {
            each: [m for m in matrices if each in (m.rows, m.columns)] for each in importance
        }
        self._inside = {
            name: [each for each in matrices if each.name.startswith(f"{name}.")] for name in blocks
        }

    def cut_next(self) -> int:
        """Cut the next chunk of units, or block, and return what that saves; 0 at the end."""
        options = [self._rate_chunk(dimension) for dimension in self.sizes]
        options += [self._rate_block(name) for name in self._blocks]
        fitting = [option for option in options if option is not None]
        if not fitting:
            return 0
        _, saved, what, size = min(fitting, key=lambda option: option[0])
        if isinstance(what, Dimension):
            self.sizes[what] = size
        else:
            self._drop(what)
        return saved

    def select_units(self, dimension: Dimension) -> Tensor:
        """Return the indices of the units that are left of a dimension, in order."""
        order = self._importance[dimension].sort(descending=True).indices
        return order[: self.sizes[dimension]].sort().values

    def _rate_chunk(self, dimension: Dimension) -> tuple[float, int, Dimension | str, int] | None:
        size = self.sizes[dimension]
        left = self._multiple * ((size - 1) // self._multiple)
        if not left:
            return None
        cut = dimension.size - size
        loss = float(self._least[dimension][cut : dimension.size - left].sum())
        saved = (size - left) * sum(
            matrix.cost * self._length(matrix.columns if matrix.rows == dimension else matrix.rows)
            for matrix in self._matrices[dimension]
        )
        return loss / saved, saved, dimension, left

    def _rate_block(self, name: str) -> tuple[float, int, Dimension | str, int]:
        loss, beside = self._blocks[name]
        saved = beside + sum(
            matrix.cost * self._length(matrix.rows) * self._length(matrix.columns)
            for matrix in self._inside[name]
        )
        return loss / saved, saved, name, 0

    def _drop(self, name: str) -> None:
        self.dropped.append(name)
        del self._blocks[name]
        for dimension in [each for each in self.sizes if each.layer.startswith(f"{name}.")]:
            del self.sizes[dimension]

    def _length(self, side: Dimension | int) -> int:
        return side if isinstance(side, int) else self.sizes[side]


def _widths(layer: nn.Linear | LoRaLin) -> tuple[int, int]:
    """Return the widths of output and input."""
    if isinstance(layer, LoRaLin):
        columns, rows = layer.widths
        return rows, columns
    return layer.out_features, layer.in_features
