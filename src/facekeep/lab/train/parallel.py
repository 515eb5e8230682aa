"""The processes of one training run: who this one is, and what they tell each other.

PyTorch's launcher (``torchrun``) starts the processes, on one machine or many, and says in the
environment who each of them is; without it there is one process and every exchange is a no-op.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor

from facekeep._internal.closing import Closing
from facekeep._internal.files import one_line
from facekeep.errors import ConfigError, InputError, RuntimeUnavailable

__all__ = ["Parallel", "from_environment", "shard"]

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Parallel(Closing):
    """This process among those of a run; made by `from_environment`, closed at the end.

    Gradients follow one rule: each process computes the loss of the whole batch, and
    ``DistributedDataParallel`` takes the mean of the processes' gradients.

    All processes must enter every exchange, in the same order, with tensors of the same shape and
    dtype (but for `collect`). One that the others do not enter before the time-out ends in
    ``RuntimeUnavailable``; torchrun then ends the other processes.

    Attributes:
        rank: The number of this process, from 0.
        world: How many processes there are.
        device: Where this process computes.
    """

    rank: int = 0
    world: int = 1
    device: torch.device = _CPU

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0

    def gather(self, rows: Tensor) -> Tensor:
        """Put the rows of all processes under one another, by rank; gradients flow back.

        Args:
            rows: ``(n, ...)``, the same shape in every process.

        Returns:
            ``(world * n, ...)``. Its gradients are summed over the processes.
        """
        if self.world == 1:
            return rows
        return cast(Tensor, _Gather.apply(rows, self))  # type: ignore[no-untyped-call]

    def sum(self, values: Tensor) -> Tensor:
        """Add up the tensors of all processes.

        The gradient passes as it is: every process computes the same from the same sum, so it
        already has the whole gradient.
        """
        if self.world == 1:
            return values
        return cast(Tensor, _Sum.apply(values, self))  # type: ignore[no-untyped-call]

    def max(self, values: Tensor) -> Tensor:
        """Take the largest of the processes' values, one by one, without a gradient."""
        values = values.detach()
        if self.world == 1:
            return values
        return self._reduced(values, dist.ReduceOp.MAX)

    def collect(self, rows: Tensor) -> Tensor | None:
        """Put the rows of all processes under one another in the main one's ordinary memory.

        The processes may hold different numbers of rows.

        Returns:
            All rows, on the CPU, in the main process; None in the others.
        """
        rows = rows.detach()
        if self.is_main:
            others = [self._received(rows, rank) for rank in range(1, self.world)]
            return torch.cat([rows.cpu(), *others])
        with _exchange():
            dist.send(torch.tensor(len(rows), device=self.device), 0)
            dist.send(rows.to(self.device).contiguous(), 0)
        return None

    def barrier(self) -> None:
        """Wait until every process is here."""
        if self.world > 1:
            with _exchange():
                dist.barrier()

    def close(self) -> None:
        """Leave the group of processes."""
        if self.world > 1 and dist.is_initialized():
            gc.collect()  # a group that something still refers to ends with the interpreter: abort
            dist.destroy_process_group()

    def _received(self, like: Tensor, rank: int) -> Tensor:
        count = torch.tensor(0, device=self.device)
        with _exchange():
            dist.recv(count, rank)
            rows = like.new_empty((int(count), *like.shape[1:]), device=self.device)
            dist.recv(rows, rank)
        return rows.cpu()

    def _reduced(self, values: Tensor, operation: Any) -> Tensor:
        values = values.detach().clone(memory_format=torch.contiguous_format)
        with _exchange():
            dist.all_reduce(values, operation)
        return values


def from_environment(device: str = "auto", *, timeout: float = 1800.0) -> Parallel:
    """Join the run that torchrun's variables describe, or be the only process without them.

    Args:
        device: ``cpu``, ``cuda``, or ``auto`` for a GPU where PyTorch finds one. With several
            processes on a machine each takes the GPU of its ``LOCAL_RANK``.
        timeout: Seconds after which a process that waits in vain for the others gives up.

    Raises:
        InputError: The device is none of these, or the time-out is not above 0.
        ConfigError: A variable is missing or makes no sense.
        RuntimeUnavailable: There is no such GPU, or the other processes cannot be reached.
    """
    if not timeout > 0:
        raise InputError(f"the time-out must be above 0 seconds, not {timeout!r}")
    rank, world, local = (
        _variable("RANK", 0),
        _variable("WORLD_SIZE", 1),
        _variable("LOCAL_RANK", 0),
    )
    if world < 1 or rank >= world:
        raise ConfigError(f"RANK={rank} does not fit WORLD_SIZE={world}; start with torchrun")
    chosen = _device(device, local)
    if world > 1:
        _join(rank, world, chosen, timeout)
    return Parallel(rank, world, chosen)


def shard(count: int, rank: int, world: int) -> range:
    """Return the part of ``range(count)`` that a rank holds; no two sizes differ by more than 1."""
    return range(count * rank // world, count * (rank + 1) // world)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, parallel: Parallel) -> Tensor:
        ctx.parallel, ctx.count = parallel, len(rows)
        rows = rows.contiguous()
        parts = [torch.empty_like(rows) for _ in range(parallel.world)]
        with _exchange():
            dist.all_gather(parts, rows)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = ctx.parallel._reduced(gradients[0], dist.ReduceOp.SUM)
        first = ctx.parallel.rank * ctx.count
        return total[first : first + ctx.count], None


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, parallel: Parallel) -> Tensor:
        return parallel._reduced(values, dist.ReduceOp.SUM)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


@contextmanager
def _exchange() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise RuntimeUnavailable(
            f"lost the other processes of this run: {one_line(error)}; start all of them again"
        ) from error


def _join(rank: int, world: int, device: torch.device, timeout: float) -> None:
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        if not os.environ.get(name):
            raise ConfigError(f"WORLD_SIZE={world} but {name} is not set; start with torchrun")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    try:
        dist.init_process_group(
            backend, rank=rank, world_size=world, timeout=timedelta(seconds=timeout)
        )
    except (RuntimeError, ValueError) as error:
        raise RuntimeUnavailable(
            f"cannot reach the other {world - 1} processes: {one_line(error)}"
        ) from error


def _device(wanted: str, local: int) -> torch.device:
    if wanted not in ("auto", "cpu", "cuda"):
        raise InputError(f"unknown device {wanted!r}; known: auto, cpu, cuda")
    present = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "cpu" or (wanted == "auto" and not present):
        return _CPU
    if local >= present:
        raise RuntimeUnavailable(
            f"process {local} of this machine has no GPU: PyTorch finds {present};"
            " start fewer processes or use the CPU"
        )
    return torch.device("cuda", local)


def _variable(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit():
        raise ConfigError(f"{name}={text!r} is not a whole number; start with torchrun")
    return int(text)
