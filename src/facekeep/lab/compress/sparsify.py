"""Unstructured and 2:4 pruning: single weights set to zero, anywhere or two of every four.

It makes files smaller (``models.sparse``), not faster: on a CPU a runtime computes with the zeros
as with any number. The rows of a matrix compensate for the removed weights as well as the others
can. There is no fine-tuning, which would fill the zeros again, so this is the last step.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor, nn

from facekeep.errors import InputError
from facekeep.lab.compress.lowrank import match_linear_layers
from facekeep.lab.compress.statistics import ActivationStatistics, collect_statistics
from facekeep.lab.nn import EdgeFace

__all__ = ["Pattern", "SparseNetwork", "sparsify"]

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
    layers: Sequence[str] = ("*",),
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
        layers: Which: patterns of names, as ``stages.3.*``.
        progress: Called with the number of crops done since the last call.

    Raises:
        InputError: ``share`` is out of range, or no layer has such a name.
    """
    if share != "2:4" and not (isinstance(share, int | float) and 0 < share < 1):
        raise InputError(f"the share of zeros must be above 0 and below 1, or 2:4, not {share!r}")
    statistics = {} if crops is None else collect_statistics(model, crops, progress=progress)
    thin = copy.deepcopy(model)
    matrices = {name: each for name, each in thin.named_modules() if isinstance(each, nn.Linear)}
    for name in match_linear_layers(matrices, layers):
        _prune_matrix(matrices[name], share, statistics.get(name))
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
