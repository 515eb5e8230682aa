"""The exponential moving average of a network's weights."""

from __future__ import annotations

import copy
from typing import Any, Generic, TypeVar

import torch
from torch import nn

__all__ = ["Ema"]

Network = TypeVar("Network", bound=nn.Module)


class Ema(Generic[Network]):
    """A copy of a network whose weights follow the trained one's slowly.

    The decay warms up, min(decay, (1 + n) / (10 + n)) at update n, so that the random start of a
    short run is soon forgotten.

    Args:
        model: The network to follow.
        decay: The share of the average that an update keeps, 0 to 1; with 0 it is the network.

    Attributes:
        model: The averaged network, in evaluation mode.
        updates: How often it was updated.
    """

    def __init__(self, model: Network, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, model: Network) -> None:
        """Move the average toward the network's weights; buffers are copied."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        pairs = zip(self.model.parameters(), model.parameters(), strict=True)
        own, theirs = (list(each) for each in zip(*pairs, strict=True))
        torch._foreach_lerp_(own, theirs, 1 - decay)
        for mine, other in zip(self.model.buffers(), model.buffers(), strict=True):
            mine.copy_(other)

    def state_dict(self) -> dict[str, Any]:
        """Everything that a checkpoint needs."""
        return {"model": self.model.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.model.load_state_dict(state["model"])
        self.updates = state["updates"]
