"""Small training runs, alike on one process and on several, for the tests to compare."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from facekeep.lab.nn import create_model
from facekeep.lab.train.heads import make_head
from facekeep.lab.train.learner import distill_loss
from facekeep.lab.train.parallel import Parallel, from_environment

CLASSES = 13  # odd, so that two processes hold different numbers
BATCH = 12
WIDTH = 8


@dataclass(frozen=True)
class Case:
    """One kind of run.

    Attributes:
        kind: Of the head.
        rate: Of sampled classes.
        edgeface: Whether the student is a real EdgeFace, not a small perceptron.
        distil: Whether two teachers are learned from too.
    """

    kind: str
    rate: float = 1.0
    edgeface: bool = False
    distil: bool = False


CASES = {
    "softmax": Case("softmax"),
    "cosface": Case("cosface", edgeface=True),
    "arcface, sampled": Case("arcface", 0.5),
    "cosface, few sampled": Case("cosface", 0.05),
    "cosface, distilled": Case("cosface", 0.5, distil=True),
}


def train(
    case: Case, parallel: Parallel, steps: range, start: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Run some steps and return the losses, the first gradient and what the run can resume from."""
    student = _student(case)
    network = DistributedDataParallel(student) if parallel.world > 1 else student
    head = make_head(
        case.kind,
        width=WIDTH,
        classes=CLASSES,
        scale=8.0,
        sample_rate=case.rate,
        seed=5,
        parallel=parallel,
    )
    ours = torch.optim.AdamW(student.parameters(), lr=1e-3, weight_decay=0.05)
    theirs = head.optimizer(lr=1e-2, weight_decay=0.05)
    if start is not None:
        student.load_state_dict(start["student"])
        ours.load_state_dict(start["optimizer"])
        head.load_full_state(start["head"], theirs)
    losses, gradient = [], torch.empty(0)
    for step in steps:
        loss = _loss(case, network, head, step, parallel)
        ours.zero_grad()
        theirs.zero_grad()
        loss.backward()
        if not len(gradient):
            parts = [p.grad.flatten() for p in student.parameters() if p.grad is not None]
            gradient = torch.cat(parts).clone()
        ours.step()
        theirs.step()
        losses.append(loss.item())
    return {
        "losses": torch.tensor(losses),
        "gradient": gradient,
        "student": student.state_dict(),
        "optimizer": ours.state_dict(),
        "head": head.full_state(theirs),
    }


def join(rank: int, port: int, timeout: float) -> Parallel:
    """Enter a run of two processes the way torchrun lets them."""
    torch.set_num_threads(1)
    variables = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in variables.items()})
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    return from_environment("cpu", timeout=timeout)


def run_all(rank: int, port: int, folder: Path) -> None:
    """One of the two processes: every case, and the exchanges by themselves."""
    with join(rank, port, 120) as parallel:
        found: dict[str, Any] = {"exchanges": _exchanges(parallel)}
        for name, case in CASES.items():
            found[name] = train(case, parallel, range(6))
        for name, start in torch.load(folder / "halves.pt").items():
            found[f"resumed {name}"] = train(CASES[name], parallel, range(3, 6), start)
            found[f"half {name}"] = train(CASES[name], parallel, range(3))
        torch.save(found, folder / f"rank{rank}.pt")


def hang(rank: int, port: int, folder: Path) -> None:
    """One of two processes, of which the second never takes part."""
    _meet(rank, folder)
    parallel = join(rank, port, 3)
    if rank:
        time.sleep(100)
    parallel.gather(torch.ones(1))


def die(rank: int, port: int, folder: Path) -> None:
    """One of two processes, of which the second leaves without a word."""
    _meet(rank, folder)
    parallel = join(rank, port, 60)
    if rank:
        os._exit(0)
    parallel.gather(torch.ones(1))


def _meet(rank: int, folder: Path) -> None:
    """Wait until both processes have started, so that slow imports count against no time-out."""
    (folder / f"here{rank}").touch()
    while len(list(folder.glob("here*"))) < 2:
        time.sleep(0.01)


def _student(case: Case) -> nn.Module:
    torch.manual_seed(1)
    if case.edgeface:
        return create_model("edgeface-xxs", input_size=32, width=WIDTH, layer_scale=0.1)
    return nn.Sequential(nn.Linear(6, 10), nn.GELU(), nn.Linear(10, WIDTH))


def _loss(case: Case, network: nn.Module, head: nn.Module, step: int, parallel: Parallel) -> Tensor:
    part = slice(
        parallel.rank * BATCH // parallel.world, (parallel.rank + 1) * BATCH // parallel.world
    )
    random = torch.Generator().manual_seed(step)
    shape = (3, 32, 32) if case.edgeface else (6,)
    faces = torch.randn(BATCH, *shape, generator=random)[part]
    labels = torch.randint(CLASSES, (BATCH,), generator=random)
    labels[:4] = -1  # more unknown faces in the first process than in the second
    teachers = [torch.randn(BATCH, width, generator=random)[part] for width in (WIDTH, 5)]
    rows = network(faces)
    loss: Tensor = head(rows, labels[part])
    if case.distil:
        loss = loss + 10 * distill_loss(rows, teachers, parallel=parallel)
    return loss


def _exchanges(parallel: Parallel) -> dict[str, Any]:
    own = torch.arange(4.0).reshape(2, 2) + 10 * parallel.rank
    leaf = own.clone().requires_grad_()
    gathered = parallel.gather(leaf)
    (gathered * torch.arange(4.0)[:, None] * (parallel.rank + 1)).sum().backward()
    parallel.barrier()
    return {
        "gather": gathered.detach(),
        "gradient": leaf.grad,
        "sum": parallel.sum(own),
        "max": parallel.max(own * (1 - 2 * parallel.rank)),
        "collect": parallel.collect(own[: parallel.rank + 1].long()),
    }
