"""Linear layers, full or of low rank: what makes an EdgeNeXt an EdgeFace."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor, nn

__all__ = ["LinearFactory", "LoRaLin", "linear_factory", "rank_of"]

_SPREAD = 0.02

LinearFactory = Callable[[int, int], nn.Module]


def rank_of(in_feat: int, out_feat: int, gamma: float) -> int:
    """Return the rank of a low-rank layer: ``max(2, int(min(in, out) * gamma))``."""
    return max(2, int(min(in_feat, out_feat) * gamma))


class LoRaLin(nn.Module):
    """A linear layer as the product of two thin ones (EdgeFace, arXiv 2307.01838).

    It maps (..., in_feat) to (..., out_feat) through ``rank`` numbers.

    Args:
        in_feat: Width of the input.
        out_feat: Width of the output.
        rank: Width between the two layers.
        bias: Whether the second of the two layers adds a bias; the first never does.
    """

    def __init__(self, in_feat: int, out_feat: int, rank: int, bias: bool = True) -> None:
        super().__init__()
        self.linear1 = nn.Linear(in_feat, rank, bias=False)
        self.linear2 = nn.Linear(rank, out_feat, bias=bias)
        # So the entries of the product start with the spread of a full layer's.
        spread = math.sqrt(_SPREAD / math.sqrt(rank))
        for layer in (self.linear1, self.linear2):
            nn.init.trunc_normal_(layer.weight, std=spread)
        if bias:
            nn.init.zeros_(self.linear2.bias)

    @property
    def rank(self) -> int:
        """Width between the two layers."""
        return self.linear1.out_features

    @property
    def widths(self) -> tuple[int, int]:
        """Width of the input and of the output."""
        return self.linear1.in_features, self.linear2.out_features

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in_feat) to (..., out_feat)."""
        out: Tensor = self.linear2(self.linear1(x))
        return out


def linear_factory(gamma: float | None) -> LinearFactory:
    """Return what makes a network's linear layers: of low rank with a gamma, else full."""
    if gamma is None:
        return _full
    return lambda in_feat, out_feat: LoRaLin(in_feat, out_feat, rank_of(in_feat, out_feat, gamma))


def _full(in_feat: int, out_feat: int) -> nn.Linear:
    layer = nn.Linear(in_feat, out_feat)
    nn.init.trunc_normal_(layer.weight, std=_SPREAD)
    nn.init.zeros_(layer.bias)
    return layer
