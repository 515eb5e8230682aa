"""What the units of a network cost and are worth, and which of them to give up for a target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from facekeep.lab.compress.axes import Axis
from facekeep.lab.nn import EdgeFace
from facekeep.lab.nn.lora import LoRaLin
from facekeep.lab.nn.shapes import linear_layers

__all__ = ["Ledger", "Matrix", "matrices_of"]

_Side = Axis | int


@dataclass(frozen=True, slots=True)
class Matrix:
    """A full matrix, whose sides may be axes that can be made shorter.

    Attributes:
        name: Its name.
        rows: Its outputs: an axis, or a number that stays.
        columns: Its inputs.
        worth: What each of its numbers costs.
    """

    name: str
    rows: _Side
    columns: _Side
    worth: int


def matrices_of(model: EdgeFace, axes: list[Axis], worth: Callable[[str], int]) -> list[Matrix]:
    """List the matrices of a network.

    Args:
        model: The network.
        axes: Its axes that may be cut.
        worth: Tells by a matrix's name what each of its numbers costs.
    """
    by_layer = {(axis.kind, axis.layer): axis for axis in axes}
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
            found.append(Matrix(first, middle, inside, worth(first)))
            found.append(Matrix(second, outside, middle, worth(second)))
        else:
            found.append(Matrix(name, outside, inside, worth(name)))
    return found


class Ledger:
    """Gives up what matters least for what it costs.

    Args:
        matrices: All matrices.
        scores: What each unit matters, of the axes that may be cut.
        blocks: What each block matters that may go, and what it costs beside its matrices.
        multiple: Sizes are cut to multiples of it.

    Attributes:
        sizes: What is left of each axis.
        gone: Which blocks are given up.
    """

    def __init__(
        self,
        matrices: list[Matrix],
        scores: dict[Axis, Tensor],
        blocks: dict[str, tuple[float, int]],
        multiple: int,
    ) -> None:
        self.sizes = {axis: axis.size for axis in scores}
        self.gone: list[str] = []
        self._blocks, self._multiple = dict(blocks), multiple
        self._least = {axis: score.sort().values for axis, score in scores.items()}
        self._matrices = {
            axis: [m for m in matrices if axis in (m.rows, m.columns)] for axis in scores
        }
        self._inside = {
            name: [each for each in matrices if each.name.startswith(f"{name}.")] for name in blocks
        }

    def give_up(self) -> int:
        """Give up the next chunk of units, or block, and return what that saves; 0 at the end."""
        offers = [self._chunk(axis) for axis in self.sizes]
        offers += [self._block(name) for name in self._blocks]
        fitting = [offer for offer in offers if offer is not None]
        if not fitting:
            return 0
        _, saved, what, size = min(fitting, key=lambda offer: offer[0])
        if isinstance(what, Axis):
            self.sizes[what] = size
        else:
            self._drop(what)
        return saved

    def kept(self, axis: Axis, scores: Tensor) -> Tensor:
        """Return the places of the units that are left of an axis, in order."""
        return scores.sort(descending=True).indices[: self.sizes[axis]].sort().values

    def _chunk(self, axis: Axis) -> tuple[float, int, Axis | str, int] | None:
        size = self.sizes[axis]
        left = self._multiple * ((size - 1) // self._multiple)
        if not left:
            return None
        gone = axis.size - size
        loss = float(self._least[axis][gone : axis.size - left].sum())
        saved = (size - left) * sum(
            matrix.worth * self._length(matrix.columns if matrix.rows == axis else matrix.rows)
            for matrix in self._matrices[axis]
        )
        return loss / saved, saved, axis, left

    def _block(self, name: str) -> tuple[float, int, Axis | str, int]:
        loss, beside = self._blocks[name]
        saved = beside + sum(
            matrix.worth * self._length(matrix.rows) * self._length(matrix.columns)
            for matrix in self._inside[name]
        )
        return loss / saved, saved, name, 0

    def _drop(self, name: str) -> None:
        self.gone.append(name)
        del self._blocks[name]
        for axis in [axis for axis in self.sizes if axis.layer.startswith(f"{name}.")]:
            del self.sizes[axis]

    def _length(self, side: _Side) -> int:
        return side if isinstance(side, int) else self.sizes[side]


def _widths(layer: nn.Linear | LoRaLin) -> tuple[int, int]:
    """Return the widths of output and input."""
    if isinstance(layer, LoRaLin):
        columns, rows = layer.widths
        return rows, columns
    return layer.out_features, layer.in_features
