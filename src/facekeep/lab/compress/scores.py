"""How much each unit of a network matters to what it makes of faces.

Taylor's score of a unit is what the embedding moves when the unit's activation is replaced by its
mean, to first order: the distillation loss against the network before it was cut, ``|z - z'|^2`` of
unit embeddings, has no slope where nothing was cut yet, so its second-order term is taken
(``sum_k (dz_k/dm)^2`` for a factor m at the activation), estimated with random directions of z. It
is "gradient x activation" of Molchanov et al. (arXiv 1906.10771) for that loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from facekeep.lab.compress.axes import Axis, inner
from facekeep.lab.compress.moments import Moments
from facekeep.lab.nn import EdgeFace

__all__ = ["magnitudes", "moved_without", "taylor"]

_BATCH = 16
_DRAWS = 2  # random directions for each batch


@torch.no_grad()
def magnitudes(model: EdgeFace, axes: list[Axis]) -> list[Tensor]:
    """Score units by the product of the norms of the weights before and after them.

    The scores of an axis add up to one, as weights of different layers cannot be compared.
    """
    scores = []
    for axis in axes:
        reader = model.get_submodule(inner(axis, model))
        writer = model.get_submodule(_writer(axis, model))
        before, after = writer.get_parameter("weight"), reader.get_parameter("weight")
        products = before.norm(dim=1).square() * after.norm(dim=0).square()
        scores.append(products.double() / products.sum().clamp(min=1e-30))
    return scores


def taylor(
    model: EdgeFace,
    axes: list[Axis],
    crops: Tensor,
    known: Mapping[str, Moments],
    *,
    progress: Callable[[int], object] = lambda crops: None,
) -> list[Tensor]:
    """Score units by how far unit embeddings move without them, squared, on average over faces.

    Args:
        model: The network.
        axes: The axes whose units are scored.
        crops: float32 ``(n, 3, S, S)`` as the network takes them; some tens are enough.
        known: What `moments` tells of this network.
        progress: Told how many more crops are done.

    Returns:
        float64 ``(size,)`` for each axis.
    """
    if not axes:
        return []
    sums = [torch.zeros(axis.size, dtype=torch.float64) for axis in axes]
    readers = [inner(axis, model) for axis in axes]
    means = [known[name].mean.float() for name in readers]
    factors: list[Tensor] = []

    def watch(place: int) -> Callable[[nn.Module, tuple[Tensor, ...]], Tensor]:
        def scale(module: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
            factor = factors[place].view(-1, *[1] * (inputs[0].ndim - 2), axes[place].size)
            return means[place] + factor * (inputs[0] - means[place])

        return scale

    hooks = [
        model.get_submodule(name).register_forward_pre_hook(watch(place))
        for place, name in enumerate(readers)
    ]
    generator = torch.Generator().manual_seed(0)
    try:
        for batch in torch.split(crops, _BATCH):
            factors[:] = [torch.ones(len(batch), axis.size, requires_grad=True) for axis in axes]
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
def moved_without(model: EdgeFace, blocks: list[str], crops: Tensor) -> list[float]:
    """Measure how far unit embeddings move without each block, squared, on average over faces."""
    whole = _rows(model, crops)
    moved = []
    for name in blocks:
        hook = model.get_submodule(name).register_forward_hook(_skip)
        try:
            rows = _rows(model, crops)
        finally:
            hook.remove()
        moved.append(float((rows - whole).square().sum(1).mean()))
    return moved


def _skip(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return inputs[0]


def _rows(model: EdgeFace, crops: Tensor) -> Tensor:
    return torch.cat([functional.normalize(model(batch)) for batch in torch.split(crops, _BATCH)])


def _writer(axis: Axis, model: EdgeFace) -> str:
    """Name the matrix that the units of an axis leave."""
    if axis.kind == "rank":
        return f"{axis.layer}.linear1"
    first = f"{axis.layer}.fc1"
    thin = hasattr(model.get_submodule(first), "linear2")
    return f"{first}.linear2" if thin else first
