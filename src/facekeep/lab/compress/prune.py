"""Structured pruning: a network with fewer hidden units, lower ranks and fewer blocks.

What matters least for what it costs goes first, until the network is as small as was asked for.
Sizes are cut to multiples of a whole number, for processors that work on several numbers at once.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, cast, get_args

import torch
from torch import Tensor

from facekeep.errors import InputError
from facekeep.lab.compress.axes import (
    KINDS,
    Kind,
    axes_of,
    removable,
    shorten,
    turned,
    without,
)
from facekeep.lab.compress.ledger import Ledger, matrices_of
from facekeep.lab.compress.moments import Moments, moments
from facekeep.lab.compress.refit import refit
from facekeep.lab.compress.scores import magnitudes, moved_without, taylor
from facekeep.lab.nn import EdgeFace, cost, network_of
from facekeep.lab.nn.edgeface import Stage

__all__ = ["By", "Cut", "Goal", "Measure", "Pruned", "prune"]

By = Literal["taylor", "magnitude"]
Goal = Literal["parameters", "macs"]
Measure = Callable[[EdgeFace], float]

_TRIALS: Final = 7  # of the search for a latency
_SCORED: Final = 64  # crops that scores are found with; the moments are found with all


@dataclass(frozen=True, slots=True)
class Cut:
    """One dimension that became shorter.

    Attributes:
        layer: Name of the layer; of a stage whose blocks are counted.
        kind: ``hidden``, ``rank`` or ``blocks``.
        before: Its size before.
        after: Its size now.
    """

    layer: str
    kind: Kind
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Pruned:
    """A smaller network, and what was cut."""

    model: EdgeFace
    cuts: tuple[Cut, ...]


def prune(
    model: EdgeFace,
    keep: float,
    *,
    of: Goal | Measure = "macs",
    crops: Tensor | None = None,
    by: By = "taylor",
    kinds: Sequence[Kind] = ("hidden", "rank"),
    multiple: int = 8,
    rounds: int = 1,
    heal: Callable[[EdgeFace, int], EdgeFace] | None = None,
    progress: Callable[[int], object] = lambda crops: None,
) -> Pruned:
    """Make a network smaller by what it misses least.

    Args:
        model: The network; it stays as it is.
        keep: What is left: the share of the network's own, above 0 and below 1.
        of: Of what: ``parameters``, ``macs``, or what a function measures, as the time a run takes.
        crops: float32 ``(n, 3, S, S)``, some hundreds of faces as the network takes them. With them
            the layers make up for what is cut as well as they can. ``magnitude`` needs none.
        by: How units are scored; see `scores`.
        kinds: What may be cut: ``hidden`` widths of MLPs, the ``rank`` of low-rank layers, whole
            ``blocks``.
        multiple: What is cut has a size that is a multiple of it, and never less than it.
        rounds: Do it in so many steps of the same proportion, each scored anew.
        heal: Called after each round with the network and the number of the round from 1, returns
            the healed network.
        progress: Told how many more crops were looked at.

    Raises:
        InputError: An argument makes no sense, or the network cannot be made that small.
    """
    _check(keep, of, crops, by, kinds, multiple, rounds)
    whole = model
    for each in range(1, rounds + 1):
        surgeon = _Surgeon(model, crops, by, tuple(kinds), multiple, progress)
        share = keep ** (each / rounds)
        if isinstance(of, str):
            ledger = surgeon.to_size(share * _size(whole, of), of)
        else:
            ledger = surgeon.to_measure(share * of(whole), of)
        model = surgeon.cut(ledger)
        if heal is not None:
            model = heal(model, each)
    return Pruned(model, tuple(_cuts(whole, model)))


class _Surgeon:
    """Knows what each unit of one network matters, and cuts copies of it."""

    def __init__(
        self,
        model: EdgeFace,
        crops: Tensor | None,
        by: By,
        kinds: tuple[Kind, ...],
        multiple: int,
        progress: Callable[[int], object],
    ) -> None:
        self._model, self._multiple = copy.deepcopy(model).eval(), multiple
        self._crops, self._progress = crops, progress
        self._known: Mapping[str, Moments] = {}
        size = model.input_size
        looked = moments(self._model, torch.zeros(1, 3, size, size))
        self._places = {name: each.places for name, each in looked.items()}
        if crops is not None:
            turned(self._model, moments(self._model, crops, progress=progress))
            self._known = moments(self._model, crops, progress=progress)
        self._axes = list(axes_of(self._model, kinds))
        self._blocks: dict[str, float] = {}
        if crops is None or by == "magnitude":
            scores = magnitudes(self._model, self._axes)
        else:
            few = crops[:_SCORED]
            scores = taylor(self._model, self._axes, few, self._known, progress=progress)
            names = removable(self._model) if "blocks" in kinds else []
            self._blocks = dict(zip(names, moved_without(self._model, names, few), strict=True))
        self._scores = dict(zip(self._axes, scores, strict=True))

    def to_size(self, target: float, of: Goal) -> Ledger:
        """Give up units until so many parameters or multiply-accumulates are left."""
        ledger, size = self._ledger(of), _size(self._model, of)
        while size > target:
            saved = ledger.give_up()
            if not saved:
                raise InputError(
                    f"the network cannot be cut to {target:,.0f} {of} without more kinds of cuts or"
                    f" a smaller multiple; {size:,} are left where all is cut"
                )
            size -= saved
        return ledger

    def to_measure(self, target: float, measure: Measure) -> Ledger:
        """Give up as few multiply-accumulates as bring what is measured down to this."""
        whole, low, high = _size(self._model, "macs"), 0.0, 1.0
        best = None
        for _ in range(_TRIALS):
            share = (low + high) / 2
            try:
                ledger = self.to_size(share * whole, "macs")
            except InputError:
                low = share
                continue
            if measure(self._shortened(ledger)) <= target:
                best, low = ledger, share
            else:
                high = share
        if best is None:
            raise InputError("cutting does not bring the network down to what was asked for")
        return best

    def _ledger(self, of: Goal) -> Ledger:
        by_places = of != "parameters"
        matrices = matrices_of(
            self._model, self._axes, lambda name: self._places[name] if by_places else 1
        )
        blocks = {
            name: (loss, self._kernel(name, by_places)) for name, loss in self._blocks.items()
        }
        return Ledger(matrices, self._scores, blocks, self._multiple)

    def _kernel(self, block: str, by_places: bool) -> int:
        """Count the numbers of a block's convolution, or its multiply-accumulates."""
        numbers = self._model.get_submodule(f"{block}.conv_dw").get_parameter("weight").numel()
        mlp = next(name for name in self._places if name.startswith(f"{block}.mlp."))
        return numbers * (self._places[mlp] if by_places else 1)

    def cut(self, ledger: Ledger) -> EdgeFace:
        """Cut what was given up, and fit what is left to the network as it was."""
        cut = self._shortened(ledger)
        if self._crops is not None:
            kept = [
                [
                    place
                    for place in range(len(cast(Stage, stage).blocks))
                    if f"stages.{index}.blocks.{place}" not in ledger.gone
                ]
                for index, stage in enumerate(self._model.stages)
            ]
            refit(cut, self._model, self._crops, kept=kept, progress=self._progress)
        return cut

    def _shortened(self, ledger: Ledger) -> EdgeFace:
        cut = copy.deepcopy(self._model)
        for axis, size in ledger.sizes.items():
            if size < axis.size:
                shorten(cut, axis, ledger.kept(axis, self._scores[axis]), self._known)
        for name in sorted(ledger.gone, key=_place, reverse=True):  # those before keep theirs
            without(cut, name)
        return network_of(cut.state_dict(), input_size=cut.input_size)


def _place(block: str) -> int:
    return int(block.rpartition(".")[2])


def _size(model: EdgeFace, of: Goal) -> int:
    counted = cost(model)
    return counted.params if of == "parameters" else counted.macs


def _cuts(before: EdgeFace, after: EdgeFace) -> Iterator[Cut]:
    """Tell the dimensions in which two networks differ."""
    for stage, (old, new) in enumerate(zip(before.stages, after.stages, strict=True)):
        counts = [len(cast(Stage, part).blocks) for part in (old, new)]
        if counts[0] != counts[1]:
            yield Cut(f"stages.{stage}", "blocks", *counts)
    kinds = cast(tuple[Kind, ...], ("hidden", "rank"))
    sizes = {(axis.layer, axis.kind): axis.size for axis in axes_of(after, kinds)}
    for axis in axes_of(before, kinds):
        left = sizes.get((axis.layer, axis.kind), axis.size)
        if left != axis.size:
            yield Cut(axis.layer, axis.kind, axis.size, left)


def _check(
    keep: float,
    of: Goal | Measure,
    crops: Tensor | None,
    by: str,
    kinds: Sequence[str],
    multiple: int,
    rounds: int,
) -> None:
    if not 0 < keep < 1:
        raise InputError(f"keep must be above 0 and below 1, not {keep!r}")
    if isinstance(of, str) and of not in get_args(Goal):
        raise InputError(f"of must be {' or '.join(get_args(Goal))}, or a function, not {of!r}")
    if by not in get_args(By):
        raise InputError(f"by must be {' or '.join(get_args(By))}, not {by!r}")
    if not kinds or not set(kinds) <= set(KINDS):
        raise InputError(f"what may be cut is {', '.join(KINDS)}, not {', '.join(kinds)!r}")
    if min(multiple, rounds) < 1:
        raise InputError("multiple and rounds must be at least 1")
    if crops is None and by == "taylor":
        raise InputError("Taylor scores need faces; name some with --data, or score by magnitude")
    if by == "magnitude" and "blocks" in kinds:
        raise InputError("blocks are scored on faces; use taylor, or leave blocks out")
