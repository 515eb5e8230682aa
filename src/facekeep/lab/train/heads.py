"""Classification heads: the loss that makes an embedder out of a classifier over identities.

A head holds one vector per identity, its class. Training compares each embedding with the classes
and asks that its own be the nearest. When training is over, the head is thrown away.

The classes may be too many for one processor: each process of a run holds a part of them, all
processes' embeddings meet every part, and the softmax is put together from the parts. The loss is
that of the whole batch over all classes, the same in every process, and a run on any number of
processes is the same run but for rounding.

A margin says how much harder a head makes the comparison of a face with its own class. Every margin
falls as the angle grows, all the way to 180 degrees, so that a gradient always draws the embedding
toward its center.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from facekeep.errors import InputError
from facekeep.lab.train.parallel import Parallel, shard
from facekeep.lab.train.partial_fc import RowAdamW, sample_classes

__all__ = ["ArcFace", "CosFace", "Head", "Kind", "Margin", "make_head"]

# Keeps the sine's gradient finite in float32 where the angle is 0 or 180 degrees.
_LEAST_SQUARED_SINE = 1e-6


@dataclass(frozen=True, slots=True)
class CosFace:
    """Take the margin off the cosine: ``cos t - m`` (Wang et al., arXiv 1801.09414).

    Attributes:
        margin: m, in cosine; 0 to below 1.

    Raises:
        InputError: The margin is out of range.
    """

    margin: float = 0.4

    def __post_init__(self) -> None:
        _check("cosface", self.margin, 1.0, "1")

    def __call__(self, cosines: Tensor) -> Tensor:
        """Apply the margin to cosines of any shape."""
        return cosines - self.margin


@dataclass(frozen=True, slots=True)
class ArcFace:
    """Add the margin to the angle: ``cos(t + m)`` (Deng et al., arXiv 1801.07698).

    Beyond ``t = pi - m``, where the cosine of the sum would rise again, it goes on as
    ``cos t - (1 - cos m)``: without a step, and still falling.

    Attributes:
        margin: m, in radians; 0 to below pi / 2.

    Raises:
        InputError: The margin is out of range.
    """

    margin: float = 0.5

    def __post_init__(self) -> None:
        _check("arcface", self.margin, math.pi / 2, "pi / 2")

    def __call__(self, cosines: Tensor) -> Tensor:
        """Apply the margin to cosines of any shape."""
        cos_m, sin_m = math.cos(self.margin), math.sin(self.margin)
        sines = (1 - cosines.square()).clamp(min=_LEAST_SQUARED_SINE).sqrt()
        turned = cosines * cos_m - sines * sin_m
        return turned.where(cosines > -cos_m, cosines - (1 - cos_m))


Margin = CosFace | ArcFace


def _check(kind: str, margin: float, end: float, end_name: str) -> None:
    if not 0 <= margin < end:
        raise InputError(f"the margin of {kind} must be 0 to below {end_name}, not {margin!r}")


Kind = Literal["softmax", "cosface", "arcface"]

# Classes whose first values come from one random generator, so that every number of processes
# starts from the same values, and none ever holds those of all.
_BLOCK = 4096


def make_head(
    kind: str,
    *,
    width: int,
    classes: int,
    scale: float = 64.0,
    margin: float | None = None,
    sample_rate: float = 1.0,
    seed: int = 0,
    parallel: Parallel | None = None,
) -> Head:
    """Make a head, on the device of ``parallel``.

    Args:
        kind: ``softmax``: a linear classifier on the embeddings as they are, without scale, margin
            or bias (embeddings are later compared by their angle, where a bias has no place);
            ``cosface`` or ``arcface``: a classifier by cosine, with that margin.
        width: The embeddings' width.
        classes: How many identities there are.
        scale: What the cosines are multiplied by; ``softmax`` ignores it.
        margin: Of the kind; None for 0.4 (cosface) or 0.5 (arcface).
        sample_rate: The share of classes that one step compares with; below 1 it is PartialFC.
        seed: Of the first values and of the samples.
        parallel: The processes that share the classes; None for a single one on the CPU.

    Raises:
        InputError: An argument is unknown or out of range, or there are more processes than
            classes.
    """
    return Head(
        _margin(kind, margin),
        width=width,
        classes=classes,
        scale=scale,
        sample_rate=sample_rate,
        seed=seed,
        parallel=parallel or Parallel(),
    )


class Head(nn.Module):
    """A classifier over identities, whole or one process's part of it; made by `make_head`.

    ``weight`` has one row for each class of this process. It is no part of the embedder: keep it
    out of ``DistributedDataParallel``, and update it with the optimizer that `optimizer` makes.

    Args:
        margin: What to apply to the cosine with the own class; None for a plain linear classifier.
        width: The embeddings' width.
        classes: How many identities there are.
        scale: What cosines are multiplied by.
        sample_rate: The share of classes that one step compares with.
        seed: Of the first values and of the samples.
        parallel: The processes that share the classes.

    Raises:
        InputError: An argument is out of range.
    """

    step: Tensor

    def __init__(
        self,
        margin: Margin | None,
        *,
        width: int,
        classes: int,
        scale: float,
        sample_rate: float,
        seed: int,
        parallel: Parallel,
    ) -> None:
        super().__init__()
        _check_sizes(classes, parallel.world)
        self.margin, self.scale = margin, scale
        self.width, self.classes = width, classes
        self.sample_rate, self.seed, self.parallel = sample_rate, seed, parallel
        self.span = shard(classes, parallel.rank, parallel.world)
        self.weight = nn.Parameter(_first_values(self.span, width, seed).to(parallel.device))
        self.register_buffer("step", torch.tensor(0))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Compute the loss of a batch, in float32 also under autocast.

        In training mode with a sample rate below 1 each call draws the next sample of classes.

        Args:
            embeddings: ``(n, width)``, this process's part of the batch; n is the same in every
                process. Their length does not matter but to ``softmax``.
            labels: int64 ``(n,)``, each 0 to below ``classes``, or -1 for a face of an unknown
                person, which is left out of the loss. Labels on the CPU are checked without
                waiting for the GPU.

        Returns:
            The mean cross-entropy over the known faces of all processes, 0 if there are none: the
            same number in every process. The mean of the processes' gradients for the embedder
            (``DistributedDataParallel``) is that of one process with the whole batch.

        Raises:
            InputError: The shapes do not fit, or a label is out of range.
        """
        self._check(embeddings, labels)
        with torch.autocast(embeddings.device.type, enabled=False):
            everyone = self.parallel.gather(embeddings.to(self.weight))
            labels = self.parallel.gather(labels.to(self.weight.device))
            if everyone.requires_grad and self.parallel.world > 1:
                _scale_gradient(everyone, self.parallel.world)
            return self._loss(everyone, labels)

    def optimizer(
        self, *, lr: float, weight_decay: float, betas: tuple[float, float] = (0.9, 0.999)
    ) -> torch.optim.Optimizer:
        """Make the AdamW for this head: that of PyTorch, or `RowAdamW` if classes are sampled."""
        if self.sample_rate < 1:
            return RowAdamW([self.weight], lr=lr, weight_decay=weight_decay, betas=betas)
        return torch.optim.AdamW([self.weight], lr=lr, weight_decay=weight_decay, betas=betas)

    def full_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """Collect what an exact resume needs, with the parts of all processes put together.

        All processes must call it together.

        Args:
            optimizer: The one that `optimizer` made.

        Returns:
            In the main process ``step``, ``weight`` and ``moments``, all on the CPU, fit for
            ``torch.save`` and a ``weights_only`` load; in the others nothing.
        """
        weight = self.parallel.collect(self.weight)
        moments = {
            name: self.parallel.collect(value) if value.ndim else value.cpu().clone()
            for name, value in sorted(optimizer.state[self.weight].items())
        }
        if weight is None:
            return {}
        return {"step": int(self.step), "weight": weight, "moments": moments}

    def load_full_state(self, state: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> None:
        """Take this process's part out of what `full_state` gave, on any number of processes.

        Args:
            state: The whole of it, in every process.
            optimizer: The one that `optimizer` made.

        Raises:
            InputError: It is of no head, one of another size, or the other of the two optimizers.
        """
        if not {"step", "weight", "moments"} <= state.keys():
            raise InputError("the saved run had no head; resume it as it was, or train anew")
        weight, moments = state["weight"], state["moments"]
        if weight.shape != (self.classes, self.width):
            raise InputError(
                f"the saved head has {tuple(weight.shape)} classes and numbers each, "
                f"this one {(self.classes, self.width)}"
            )
        if moments and bool(moments["step"].ndim) != (self.sample_rate < 1):
            raise InputError("the head was saved with sampled classes, or is now; keep sample_rate")
        part = slice(self.span.start, self.span.stop)
        with torch.no_grad():
            self.weight.copy_(weight[part])
            self.step.fill_(state["step"])
        optimizer.state[self.weight] = {
            name: value[part].to(self.weight.device, copy=True) if value.ndim else value.clone()
            for name, value in moments.items()
        }

    def _loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        rows = self._rows(labels)
        weight: Tensor = self.weight
        if rows is not None:
            weight = functional.embedding(rows, weight, sparse=True)
        columns = self._columns(labels, rows)
        logits = self._logits(embeddings, weight, columns)
        losses = _cross_entropy(logits, columns, self.parallel)
        known = labels >= 0
        return losses.where(known, 0).sum() / known.sum().clamp(min=1)

    def _rows(self, labels: Tensor) -> Tensor | None:
        """Choose the rows of ``weight`` that this step compares with, in order; None for all."""
        if self.sample_rate == 1 or not self.training:
            return None
        chosen = sample_classes(
            labels, self.classes, self.sample_rate, seed=self.seed, step=int(self.step)
        )
        self.step += 1
        mine = (chosen >= self.span.start) & (chosen < self.span.stop)
        return chosen[mine] - self.span.start

    def _columns(self, labels: Tensor, rows: Tensor | None) -> Tensor:
        """Find each label's column in this process's logits; -1 where another process has it."""
        local = labels - self.span.start
        here = (labels >= self.span.start) & (labels < self.span.stop)
        columns = local if rows is None else torch.searchsorted(rows, local)
        return columns.where(here, -1)

    def _logits(self, embeddings: Tensor, weight: Tensor, columns: Tensor) -> Tensor:
        if self.margin is None:
            return embeddings @ weight.T
        directions = functional.normalize(embeddings) * self.scale
        logits = directions @ functional.normalize(weight).T
        if not logits.shape[1]:
            return logits
        own = torch.arange(len(logits), device=logits.device), columns.clamp(min=0)
        plain = logits[own]
        harder = self.margin(plain / self.scale) * self.scale
        logits[own] = harder.where(columns >= 0, plain)
        return logits

    def _check(self, embeddings: Tensor, labels: Tensor) -> None:
        count = len(labels)
        if not count or embeddings.shape != (count, self.width) or labels.shape != (count,):
            raise InputError(
                f"expected embeddings (n, {self.width}) and labels (n,), n above 0,"
                f" got {tuple(embeddings.shape)} and {tuple(labels.shape)}"
            )
        if labels.dtype != torch.int64:
            raise InputError(f"expected int64 labels, got {labels.dtype}")
        low, high = (int(value) for value in torch.aminmax(labels))
        if low < -1 or high >= self.classes:
            wrong = low if low < -1 else high
            raise InputError(
                f"label {wrong} is out of range: there are {self.classes} classes, from 0"
            )


def _cross_entropy(logits: Tensor, columns: Tensor, parallel: Parallel) -> Tensor:
    """Compute each row's cross-entropy, its logits being spread over the processes.

    Args:
        logits: ``(n, c)``, the columns of this process; c may be 0.
        columns: ``(n,)``, the column of the right class; -1 if it is in another process, or in
            none, which gives a finite number of no meaning.
        parallel: The processes.
    """
    part = torch.logsumexp(logits, 1)
    peak = parallel.max(part)
    total = peak + parallel.sum((part - peak).exp()).log()
    own = logits.new_zeros(len(logits))
    if logits.shape[1]:
        here = logits.gather(1, columns.clamp(min=0)[:, None])[:, 0]
        own = here.where(columns >= 0, own)
    return total - parallel.sum(own)


def _scale_gradient(tensor: Tensor, factor: float) -> None:
    """Undo in advance the mean over processes, which would divide a gradient that is whole."""
    tensor.register_hook(lambda gradient: gradient * factor)  # type: ignore[no-untyped-call]


def _first_values(span: range, width: int, seed: int) -> Tensor:
    """Draw a range of classes' first values, the same ones whatever the other ranges are."""
    values = np.empty((len(span), width), np.float32)
    for block in range(span.start // _BLOCK, math.ceil(span.stop / _BLOCK)):
        drawn = np.random.default_rng((seed, block)).standard_normal((_BLOCK, width), np.float32)
        start, stop = max(span.start, block * _BLOCK), min(span.stop, (block + 1) * _BLOCK)
        values[start - span.start : stop - span.start] = drawn[
            start - block * _BLOCK : stop - block * _BLOCK
        ]
    return torch.from_numpy(values).mul_(0.01)


def _margin(kind: str, margin: float | None) -> Margin | None:
    if kind not in get_args(Kind):
        raise InputError(f"unknown head {kind!r}; known: {', '.join(get_args(Kind))}")
    if kind == "softmax":
        if margin is not None:
            raise InputError("the softmax head has no margin; choose cosface or arcface")
        return None
    chosen = CosFace if kind == "cosface" else ArcFace
    return chosen() if margin is None else chosen(margin)


def _check_sizes(classes: int, world: int) -> None:
    if classes < 2:
        raise InputError(f"a head needs at least 2 identities to tell apart, not {classes}")
    if classes < world:
        raise InputError(f"{classes} classes cannot be shared by {world} processes; start fewer")
