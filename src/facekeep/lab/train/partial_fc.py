"""PartialFC: compare a batch with a sample of the classes, not all (An et al., arXiv 2203.15565).

The classes of the batch are always in the sample; the others are drawn anew for every step. Only
the rows of the sample are touched: they alone get a gradient, moments and weight decay, so a step
costs a fraction of the time and of the memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facekeep.errors import InputError

__all__ = ["RowAdamW", "sample_classes"]


def sample_classes(labels: Tensor, classes: int, rate: float, *, seed: int, step: int) -> Tensor:
    """Draw the classes of one step.

    The draw depends on nothing but the arguments. Processes that hold parts of the classes, and
    know the labels of all, draw the same sample, whatever their number.

    Args:
        labels: int64 ``(n,)``, the classes of the whole batch; negative ones are unknown.
        classes: How many classes there are.
        rate: The share to draw, above 0 to 1.
        seed: Of the run.
        step: Of the run.

    Returns:
        int64 ``(k,)``, in order, each once: the classes of the batch, filled up with others to
        ``ceil(rate * classes)``; more only where the batch alone has more. On the device of
        ``labels``.
    """
    keys = torch.from_numpy(np.random.default_rng((seed, step)).random(classes)).to(labels.device)
    keys[labels[labels >= 0]] = -1
    count = max(math.ceil(rate * classes), int((keys < 0).sum()))
    return keys.topk(count, largest=False, sorted=False).indices.sort().values


class RowAdamW(torch.optim.Optimizer):
    """AdamW (Loshchilov & Hutter, arXiv 1711.05101) for matrices of which a step uses a few rows.

    A row that a step does not use keeps its values and moments; each row counts its own steps. So
    a row goes the way that ``torch.optim.AdamW`` would take it through the steps that used it.

    Args:
        params: Matrices with sparse gradients, as of ``torch.nn.functional.embedding``.
        lr: Learning rate.
        betas: Decay of the first and the second moment.
        eps: Added to the divisor.
        weight_decay: Decoupled from the gradient, times the learning rate.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        *,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update the rows that have a gradient.

        Raises:
            InputError: A gradient is dense.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is not None:
                    self._update(matrix, group)
        return loss

    def _update(self, matrix: Tensor, group: dict[str, Any]) -> None:
        if matrix.grad is None or not matrix.grad.is_sparse:
            raise InputError("RowAdamW takes sparse gradients; use torch.optim.AdamW")
        gradient = matrix.grad.coalesce()
        rows, slopes = gradient.indices()[0], gradient.values()
        state = self.state[matrix]
        if not state:
            state["step"] = torch.zeros(len(matrix), device=matrix.device)
            state["exp_avg"] = torch.zeros_like(matrix)
            state["exp_avg_sq"] = torch.zeros_like(matrix)
        first, second = group["betas"]
        steps = state["step"][rows] + 1
        mean = state["exp_avg"][rows].lerp_(slopes, 1 - first)
        square = state["exp_avg_sq"][rows].mul_(second).addcmul_(slopes, slopes, value=1 - second)
        state["step"][rows] = steps
        state["exp_avg"][rows] = mean
        state["exp_avg_sq"][rows] = square
        steps = steps[:, None]
        divisor = square.div_(1 - second**steps).sqrt_().add_(group["eps"])
        move = mean.div_(1 - first**steps).div_(divisor)
        kept = matrix[rows].mul_(1 - group["lr"] * group["weight_decay"])
        matrix[rows] = kept.sub_(move, alpha=group["lr"])
