"""Sparse matrices: single weights set to nought, anywhere or two of every four.

It makes files smaller (``models.sparse``), not faster: on a CPU a runtime computes with the zeros
as with any number. The rows of a matrix make up for the weights that are gone as well as the others
can; there is no healing, which would fill the zeros again, so this comes last.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, Literal

import torch
from torch import Tensor, nn

from facekeep.errors import InputError
from facekeep.lab.compress.moments import Moments, moments
from facekeep.lab.nn import EdgeFace

__all__ = ["Pattern", "Sparse", "sparsify"]

Pattern = Literal["2:4"]

_GROUP: Final = 4
_ROWS: Final = 16  # solved at a time


@dataclass(frozen=True, slots=True)
class Sparse:
    """A network with zeros in its matrices.

    Attributes:
        model: The network.
        zeros: Share of the weights of its linear layers that are nought.
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
) -> Sparse:
    """Set weights of the linear layers to nought.

    Args:
        model: The network; it stays as it is.
        share: Of the weights of each matrix that go, those that matter least: above 0, below 1; or
            ``2:4``, which leaves two of every four in a row, and leaves matrices alone whose rows
            do not divide by four.
        crops: float32 ``(n, 3, S, S)``, some hundreds of faces as the network takes them. With them
            a weight matters by what it adds to the outputs on faces (cf. arXiv 2306.11695), and
            the weights that stay are fitted anew by least squares. Without them its size decides.
        layers: Which: patterns of names, as ``stages.3.*``.
        progress: Told how many more crops were looked at.

    Raises:
        InputError: ``share`` is out of range, or no layer has such a name.
    """
    if share != "2:4" and not (isinstance(share, int | float) and 0 < share < 1):
        raise InputError(f"the share of zeros must be above 0 and below 1, or 2:4, not {share!r}")
    known = {} if crops is None else moments(model, crops, progress=progress)
    thin = copy.deepcopy(model)
    matrices = {name: each for name, each in thin.named_modules() if isinstance(each, nn.Linear)}
    chosen = [name for name in matrices if any(fnmatchcase(name, each) for each in layers)]
    if not chosen:
        raise InputError(
            f"no linear layer is called {' or '.join(layers)}; name some as stages.3.*"
        )
    for name in chosen:
        _empty(matrices[name], share, known, name)
    weights = [each.weight for each in matrices.values()]
    zeros = sum(int((each == 0).sum()) for each in weights)
    return Sparse(thin, zeros / sum(each.numel() for each in weights))


def _empty(layer: nn.Linear, share: float | str, known: Mapping[str, Moments], name: str) -> None:
    weight = layer.weight.double()
    if share == "2:4" and layer.in_features % _GROUP:
        return
    seen = known.get(name)
    scores = weight.abs()
    if seen is not None:
        scores = scores * (seen.covariance.diagonal() + seen.mean.square()).sqrt()
    keep = _two_of_four(scores) if isinstance(share, str) else _best(scores, share)
    fewer = weight * keep
    if seen is not None:
        fewer = _fitted(weight, keep, seen.covariance)
        if layer.bias is not None:
            layer.bias.add_((weight - fewer) @ seen.mean)
    layer.weight.copy_(fewer)


def _best(scores: Tensor, share: float) -> Tensor:
    """Mark the highest scores, all but a share of them."""
    gone = round(scores.numel() * share)
    order = scores.flatten().argsort()
    keep = torch.ones(scores.numel(), dtype=torch.bool)
    keep[order[:gone]] = False
    return keep.view_as(scores)


def _two_of_four(scores: Tensor) -> Tensor:
    """Mark the two highest scores of every four in a row."""
    groups = scores.view(len(scores), -1, _GROUP)
    best = groups.topk(_GROUP // 2, dim=2).indices
    return torch.zeros_like(groups, dtype=torch.bool).scatter_(2, best, True).view_as(scores)


def _fitted(weight: Tensor, keep: Tensor, covariance: Tensor) -> Tensor:
    """Solve for the kept weights of each row that change its outputs least.

    With rows and columns of what is gone replaced by those of the identity, the systems of all rows
    are of one size, and their solutions are nought there.
    """
    rows = []
    wanted = weight @ covariance
    parts = zip(torch.split(keep, _ROWS), torch.split(wanted, _ROWS), strict=True)
    for kept, target in parts:
        both = kept[:, :, None] & kept[:, None, :]
        system = torch.where(both, covariance, torch.eye(len(covariance), dtype=weight.dtype))
        rows.append(torch.linalg.solve(system, target * kept) * kept)
    return torch.cat(rows)
