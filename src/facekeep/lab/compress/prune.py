"""Structured pruning: a network with fewer hidden units, lower ranks and fewer blocks.

The least important for what it costs is cut first, until the network is as small as was asked for.
Sizes are cut to multiples of a whole number, for processors that work on several numbers at once.

Unstructured and 2:4 pruning (`sparsify`) set single weights to zero, anywhere or two of every four.
It makes files smaller (``models.sparse``), not faster: on a CPU a runtime computes with the zeros
as with any number. The rows of a matrix compensate for the removed weights as well as the others
can. There is no fine-tuning, which would fill the zeros again, so this is the last step.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from facekeep.errors import InputError
from facekeep.lab.compress.dimensions import (
    CUT_KINDS,
    CutKind,
    CutPlan,
    Dimension,
    cut_dimension,
    drop_block,
    list_dimensions,
    list_matrices,
    list_removable_blocks,
    name_reader,
    name_writer,
    rotate_ranks,
)
from facekeep.lab.compress.statistics import (
    ActivationStatistics,
    collect_statistics,
    reconstruct,
)
from facekeep.lab.nn import EdgeFace, cost, network_of
from facekeep.lab.nn.edgeface import Stage

__all__ = [
    "CostFunction",
    "Cut",
    "Goal",
    "ImportanceMethod",
    "Pattern",
    "PrunedNetwork",
    "SparseNetwork",
    "prune",
    "score_blocks",
    "score_by_magnitude",
    "score_by_taylor",
    "sparsify",
]

Pattern = Literal["2:4"]

_GROUP: Final = 4
_ROWS: Final = 16  # solved at a time


@dataclass(frozen=True, slots=True)
class SparseNetwork:
    """A network with zeros in its matrices.

    Attributes:
        model: The network.
        zeros: Share of the weights of its linear layers that are zero.
    """

    model: EdgeFace
    zeros: float


@torch.no_grad()
def sparsify(
    model: EdgeFace,
    share: float | Pattern,
    *,
    crops: Tensor | None = None,
    progress: Callable[[int], object] = lambda crops: None,
) -> SparseNetwork:
    """Set weights of the linear layers to zero.

    Args:
        model: The network; it stays as it is.
        share: The share of the weights of each matrix that become zero, the least important ones:
            above 0, below 1; or ``2:4``, which leaves two of every four in a row, and leaves
            matrices alone whose rows do not divide by four.
        crops: float32 ``(n, 3, S, S)``, some hundreds of faces as the network takes them. With them
            importance is what a weight adds to the outputs on faces (cf. arXiv 2306.11695), and
            the weights that stay are fitted by least squares. Without them importance is the size
            of the weight.
        progress: Called with the number of crops done since the last call.
    """
    statistics = {} if crops is None else collect_statistics(model, crops, progress=progress)
    thin = copy.deepcopy(model)
    matrices = {name: each for name, each in thin.named_modules() if isinstance(each, nn.Linear)}
    for name, matrix in matrices.items():
        _prune_matrix(matrix, share, statistics.get(name))
    weights = [each.weight for each in matrices.values()]
    zeros = sum(int((each == 0).sum()) for each in weights)
    return SparseNetwork(thin, zeros / sum(each.numel() for each in weights))


def _prune_matrix(layer: nn.Linear, share: float | str, seen: ActivationStatistics | None) -> None:
    weight = layer.weight.double()
    if share == "2:4" and layer.in_features % _GROUP:
        return
    importance = weight.abs()
    if seen is not None:
        importance = importance * (seen.covariance.diagonal() + seen.mean.square()).sqrt()
    keep = _mark_two_of_four(importance) if isinstance(share, str) else _mark(importance, share)
    fewer = weight * keep
    if seen is not None:
        fewer = _fit(weight, keep, seen.covariance)
        if layer.bias is not None:
            layer.bias.add_((weight - fewer) @ seen.mean)
    layer.weight.copy_(fewer)


def _mark(importance: Tensor, share: float) -> Tensor:
    """Mark the most important weights, all but a share of them."""
    removed = round(importance.numel() * share)
    order = importance.flatten().argsort()
    keep = torch.ones(importance.numel(), dtype=torch.bool)
    keep[order[:removed]] = False
    return keep.view_as(importance)


def _mark_two_of_four(importance: Tensor) -> Tensor:
    """Mark the two most important of every four in a row."""
    groups = importance.view(len(importance), -1, _GROUP)
    best = groups.topk(_GROUP // 2, dim=2).indices
    return torch.zeros_like(groups, dtype=torch.bool).scatter_(2, best, True).view_as(importance)


def _fit(weight: Tensor, keep: Tensor, covariance: Tensor) -> Tensor:
    """Solve for the kept weights of each row that change its outputs least.

    With the rows and columns of removed weights replaced by those of the identity, the systems of
    all rows have one size, and their solutions are zero there.
    """
    rows = []
    wanted = weight @ covariance
    parts = zip(torch.split(keep, _ROWS), torch.split(wanted, _ROWS), strict=True)
    for kept, target in parts:
        both = kept[:, :, None] & kept[:, None, :]
        system = torch.where(both, covariance, torch.eye(len(covariance), dtype=weight.dtype))
        rows.append(torch.linalg.solve(system, target * kept) * kept)
    return torch.cat(rows)


ImportanceMethod = Literal["taylor", "magnitude"]
Goal = Literal["parameters", "macs"]
CostFunction = Callable[[EdgeFace], float]

_TRIALS: Final = 7  # of the search for a latency
_SCORED: Final = 64  # crops for importance; activation statistics are of all
_BATCH: Final = 16
_DRAWS: Final = 2  # random directions for each batch


@dataclass(frozen=True, slots=True)
class Cut:
    """One dimension that was cut.

    Attributes:
        layer: Name of the layer; of a stage whose blocks are counted.
        kind: ``hidden``, ``rank`` or ``blocks``.
        before: Its size before.
        after: Its size now.
    """

    layer: str
    kind: CutKind
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class PrunedNetwork:
    """A smaller network, and what was cut."""

    model: EdgeFace
    cuts: tuple[Cut, ...]


def prune(
    model: EdgeFace,
    keep: float,
    *,
    of: Goal | CostFunction = "macs",
    crops: Tensor | None = None,
    by: ImportanceMethod = "taylor",
    kinds: Sequence[CutKind] = ("hidden", "rank"),
    multiple: int = 8,
    rounds: int = 1,
    fine_tune: Callable[[EdgeFace, int], EdgeFace] | None = None,
    progress: Callable[[int], object] = lambda crops: None,
) -> PrunedNetwork:
    """Make a network smaller by cutting what is least important.

    Args:
        model: The network; it stays as it is.
        keep: What is left: the share of the network's own, above 0 and below 1.
        of: Of what: ``parameters``, ``macs``, or what a function measures, as the time a run takes.
        crops: float32 ``(n, 3, S, S)``, some hundreds of faces as the network takes them. With them
            the layers compensate for what is cut as well as they can. ``magnitude`` needs none.
        by: How importance is computed; see `score_by_taylor` and `score_by_magnitude`.
        kinds: What may be cut: ``hidden`` widths of MLPs, the ``rank`` of low-rank layers, whole
            ``blocks``.
        multiple: What is cut has a size that is a multiple of it, and never less than it.
        rounds: The number of rounds of the same proportion; importance is computed anew in each.
        fine_tune: Called after each round with the network and the number of the round from 1,
            returns the fine-tuned network.
        progress: Called with the number of crops done since the last call.

    Raises:
        InputError: An argument is wrong, or the network cannot be made that small.
    """
    _check(crops, by, kinds)
    whole = model
    for each in range(1, rounds + 1):
        pruner = _Pruner(model, crops, by, tuple(kinds), multiple, progress)
        share = keep ** (each / rounds)
        if isinstance(of, str):
            plan = pruner.plan_size(share * _count(whole, of), of)
        else:
            plan = pruner.plan_cost(share * of(whole), of)
        model = pruner.cut(plan)
        if fine_tune is not None:
            model = fine_tune(model, each)
    return PrunedNetwork(model, tuple(_list_cuts(whole, model)))


class _Pruner:
    """Knows the importance of each unit of one network, and cuts copies of it."""

    def __init__(
        self,
        model: EdgeFace,
        crops: Tensor | None,
        by: ImportanceMethod,
        kinds: tuple[CutKind, ...],
        multiple: int,
        progress: Callable[[int], object],
    ) -> None:
        self._model, self._multiple = copy.deepcopy(model).eval(), multiple
        self._crops, self._progress = crops, progress
        self._statistics: Mapping[str, ActivationStatistics] = {}
        size = model.input_size
        once = collect_statistics(self._model, torch.zeros(1, 3, size, size))
        self._positions = {name: each.positions for name, each in once.items()}
        if crops is not None:
            rotate_ranks(self._model, collect_statistics(self._model, crops, progress=progress))
            self._statistics = collect_statistics(self._model, crops, progress=progress)
        self._dimensions = list(list_dimensions(self._model, kinds))
        self._blocks: dict[str, float] = {}
        if crops is None or by == "magnitude":
            scores = score_by_magnitude(self._model, self._dimensions)
        else:
            few = crops[:_SCORED]
            scores = score_by_taylor(
                self._model, self._dimensions, few, self._statistics, progress=progress
            )
            names = list_removable_blocks(self._model) if "blocks" in kinds else []
            self._blocks = dict(zip(names, score_blocks(self._model, names, few), strict=True))
        self._importance = dict(zip(self._dimensions, scores, strict=True))

    def plan_size(self, target: float, of: Goal) -> CutPlan:
        """Plan cuts until so many parameters or multiply-accumulates are left."""
        plan, size = self._start_plan(of), _count(self._model, of)
        while size > target:
            saved = plan.cut_next()
            if not saved:
                raise InputError(
                    f"the network cannot be cut to {target:,.0f} {of} without more kinds of cuts or"
                    f" a smaller multiple; {size:,} are left where all is cut"
                )
            size -= saved
        return plan

    def plan_cost(self, target: float, measure: CostFunction) -> CutPlan:
        """Plan to cut the fewest multiply-accumulates that bring the measured cost down to this."""
        whole, low, high = _count(self._model, "macs"), 0.0, 1.0
        best = None
        for _ in range(_TRIALS):
            share = (low + high) / 2
            try:
                plan = self.plan_size(share * whole, "macs")
            except InputError:
                low = share
                continue
            if measure(self._apply(plan)) <= target:
                best, low = plan, share
            else:
                high = share
        if best is None:
            raise InputError("cutting does not bring the network down to what was asked for")
        return best

    def _start_plan(self, of: Goal) -> CutPlan:
        by_positions = of != "parameters"
        matrices = list_matrices(
            self._model, self._dimensions, lambda name: self._positions[name] if by_positions else 1
        )
        blocks = {
            name: (loss, self._count_kernel(name, by_positions))
            for name, loss in self._blocks.items()
        }
        return CutPlan(matrices, self._importance, blocks, self._multiple)

    def _count_kernel(self, block: str, by_positions: bool) -> int:
        """Count the numbers of a block's convolution, or its multiply-accumulates."""
        numbers = self._model.get_submodule(f"{block}.conv_dw").get_parameter("weight").numel()
        mlp = next(name for name in self._positions if name.startswith(f"{block}.mlp."))
        return numbers * (self._positions[mlp] if by_positions else 1)

    def cut(self, plan: CutPlan) -> EdgeFace:
        """Cut what was planned, and fit what is left to the network as it was."""
        cut = self._apply(plan)
        if self._crops is not None:
            kept = [
                [
                    place
                    for place in range(len(cast(Stage, stage).blocks))
                    if f"stages.{index}.blocks.{place}" not in plan.dropped
                ]
                for index, stage in enumerate(self._model.stages)
            ]
            reconstruct(cut, self._model, self._crops, kept=kept, progress=self._progress)
        return cut

    def _apply(self, plan: CutPlan) -> EdgeFace:
        cut = copy.deepcopy(self._model)
        for dimension, size in plan.sizes.items():
            if size < dimension.size:
                cut_dimension(cut, dimension, plan.select_units(dimension), self._statistics)
        for name in sorted(plan.dropped, key=_find_index, reverse=True):  # those before keep theirs
            drop_block(cut, name)
        return network_of(cut.state_dict(), input_size=cut.input_size)


@torch.no_grad()
def score_by_magnitude(model: EdgeFace, dimensions: list[Dimension]) -> list[Tensor]:
    """Score units by the product of the norms of the weights before and after them.

    The scores of a dimension add up to one, as weights of different layers cannot be compared.
    """
    scores = []
    for dimension in dimensions:
        reader = model.get_submodule(name_reader(model, dimension))
        writer = model.get_submodule(name_writer(model, dimension))
        before, after = writer.get_parameter("weight"), reader.get_parameter("weight")
        products = before.norm(dim=1).square() * after.norm(dim=0).square()
        scores.append(products.double() / products.sum().clamp(min=1e-30))
    return scores


def score_by_taylor(
    model: EdgeFace,
    dimensions: list[Dimension],
    crops: Tensor,
    statistics: Mapping[str, ActivationStatistics],
    *,
    progress: Callable[[int], object] = lambda crops: None,
) -> list[Tensor]:
    """Score units by how far unit embeddings move without them, squared, on average over faces.

    To first order, when the unit's activation is replaced by its mean. The distillation loss
    against the network before it was cut, ``|z - z'|^2`` of unit embeddings, has no slope where
    nothing was cut yet, so its second-order term is taken (``sum_k (dz_k/dm)^2`` for a factor m at
    the activation), estimated with random directions of z. It is "gradient x activation" of
    Molchanov et al. (arXiv 1906.10771) for that loss.

    Args:
        model: The network.
        dimensions: The dimensions whose units are scored.
        crops: float32 ``(n, 3, S, S)`` as the network takes them; some tens are enough.
        statistics: From `collect_statistics` on this network.
        progress: Called with the number of crops done since the last call.

    Returns:
        float64 ``(size,)`` for each dimension.
    """
    if not dimensions:
        return []
    sums = [torch.zeros(each.size, dtype=torch.float64) for each in dimensions]
    readers = [name_reader(model, each) for each in dimensions]
    means = [statistics[name].mean.float() for name in readers]
    factors: list[Tensor] = []

    def watch(place: int) -> Callable[[nn.Module, tuple[Tensor, ...]], Tensor]:
        def scale(module: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
            factor = factors[place].view(-1, *[1] * (inputs[0].ndim - 2), dimensions[place].size)
            return means[place] + factor * (inputs[0] - means[place])

        return scale

    hooks = [
        model.get_submodule(name).register_forward_pre_hook(watch(place))
        for place, name in enumerate(readers)
    ]
    generator = torch.Generator().manual_seed(0)
    try:
        for batch in torch.split(crops, _BATCH):
            factors[:] = [
                torch.ones(len(batch), each.size, requires_grad=True) for each in dimensions
            ]
            rows = functional.normalize(model(batch))
            _add_slopes(rows, factors, sums, generator)
            progress(len(batch))
    finally:
        for hook in hooks:
            hook.remove()
    return [total / (len(crops) * _DRAWS) for total in sums]


def _add_slopes(
    rows: Tensor, factors: list[Tensor], sums: list[Tensor], generator: torch.Generator
) -> None:
    """Add the squared slopes of the embeddings in random directions."""
    for draw in range(_DRAWS):
        direction = torch.randn(rows.shape, generator=generator)
        last = draw + 1 == _DRAWS
        slopes = torch.autograd.grad((rows * direction).sum(), factors, retain_graph=not last)
        for total, slope in zip(sums, slopes, strict=True):
            total.add_(slope.double().square().sum(0))


@torch.no_grad()
def score_blocks(model: EdgeFace, blocks: list[str], crops: Tensor) -> list[float]:
    """Score blocks by how far unit embeddings move without them, squared, on average over faces."""
    whole = _embed(model, crops)
    moved = []
    for name in blocks:
        hook = model.get_submodule(name).register_forward_hook(_skip)
        try:
            rows = _embed(model, crops)
        finally:
            hook.remove()
        moved.append(float((rows - whole).square().sum(1).mean()))
    return moved


def _skip(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return inputs[0]


def _embed(model: EdgeFace, crops: Tensor) -> Tensor:
    return torch.cat([functional.normalize(model(batch)) for batch in torch.split(crops, _BATCH)])


def _find_index(block: str) -> int:
    return int(block.rpartition(".")[2])


def _count(model: EdgeFace, of: Goal) -> int:
    counted = cost(model)
    return counted.params if of == "parameters" else counted.macs


def _list_cuts(before: EdgeFace, after: EdgeFace) -> Iterator[Cut]:
    """List the dimensions in which two networks differ."""
    for stage, (old, new) in enumerate(zip(before.stages, after.stages, strict=True)):
        counts = [len(cast(Stage, part).blocks) for part in (old, new)]
        if counts[0] != counts[1]:
            yield Cut(f"stages.{stage}", "blocks", *counts)
    kinds = cast(tuple[CutKind, ...], ("hidden", "rank"))
    sizes = {(each.layer, each.kind): each.size for each in list_dimensions(after, kinds)}
    for each in list_dimensions(before, kinds):
        left = sizes.get((each.layer, each.kind), each.size)
        if left != each.size:
            yield Cut(each.layer, each.kind, each.size, left)


def _check(crops: Tensor | None, by: ImportanceMethod, kinds: Sequence[str]) -> None:
    if not kinds or not set(kinds) <= set(CUT_KINDS):
        raise InputError(f"what may be cut is {', '.join(CUT_KINDS)}, not {', '.join(kinds)!r}")
    if crops is None and by == "taylor":
        raise InputError("Taylor importance needs faces; name some, or use magnitude", "data")
    if by == "magnitude" and "blocks" in kinds:
        raise InputError(
            "the importance of blocks is computed on faces; use taylor, or do not cut blocks"
        )
