"""Distillation: losses that draw a small network toward what larger ones make of the same faces.

No labels are needed. Lengths of embeddings never matter, only directions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from facekeep.errors import InputError
from facekeep.lab.train.parallel import Parallel

__all__ = ["cosine_loss", "distill_loss", "relational_loss"]


def distill_loss(
    student: Tensor,
    teachers: Sequence[Tensor],
    *,
    weights: Sequence[float] | None = None,
    parallel: Parallel | None = None,
) -> Tensor:
    """Measure how far a student is from its teachers, in float32 also under autocast.

    A teacher of the student's width counts by `cosine_loss`, one of another width, which lives in
    another space, by `relational_loss`.

    Args:
        student: ``(n, d)``, this process's part of the batch; n is the same in every process.
        teachers: What each teacher makes of the same faces, ``(n, its width)``.
        weights: One a teacher, each above 0; None counts all alike.
        parallel: The processes that share the batch; None for a single one.

    Returns:
        The weighted mean of the teachers' losses over the batch of all processes: the same number
        in every process. The mean of the processes' gradients (``DistributedDataParallel``) is
        that of one process with the whole batch.

    Raises:
        InputError: There is no teacher, the shapes do not fit, or a weight is not above 0.
    """
    parallel = parallel or Parallel()
    weights = _checked(student, teachers, weights)
    with torch.autocast(student.device.type, enabled=False):
        everyone = parallel.gather(_real(student))
        losses = [_loss(everyone, parallel.gather(_real(rows))) for rows in teachers]
    weighted = [loss * weight for loss, weight in zip(losses, weights, strict=True)]
    return torch.stack(weighted).sum() / math.fsum(weights)


def cosine_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean of ``1 - cosine`` between the rows of two ``(n, d)``: 0 to 2."""
    cosines = (functional.normalize(student) * functional.normalize(teacher)).sum(1)
    return 1 - cosines.mean()


def relational_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Compare two spaces by how alike each finds two faces (cf. Tung & Mori, arXiv 1907.09682).

    Args:
        student: ``(n, d)``, n at least 2.
        teacher: ``(n, e)``; e may differ from d.

    Returns:
        The mean over all pairs of different rows of the squared difference of their cosines.

    Raises:
        InputError: There is only one row.
    """
    count = len(student)
    if count < 2:
        raise InputError("a teacher of another width needs at least 2 faces a batch; raise it")
    difference = _cosines(student) - _cosines(teacher)
    return difference.square().sum() / (count * (count - 1))


def _loss(student: Tensor, teacher: Tensor) -> Tensor:
    if student.shape == teacher.shape:
        return cosine_loss(student, teacher)
    return relational_loss(student, teacher)


def _cosines(rows: Tensor) -> Tensor:
    directions = functional.normalize(rows)
    return directions @ directions.T


def _real(rows: Tensor) -> Tensor:
    return rows.to(torch.promote_types(rows.dtype, torch.float32))


def _checked(
    student: Tensor, teachers: Sequence[Tensor], weights: Sequence[float] | None
) -> Sequence[float]:
    if weights is None:
        weights = [1.0] * len(teachers)
    if not teachers or len(weights) != len(teachers):
        raise InputError(f"{len(teachers)} teachers and {len(weights)} weights; give one to each")
    if not all(0 < weight < math.inf for weight in weights):
        raise InputError(f"the weights of teachers must be above 0, not {list(weights)}")
    for rows in (student, *teachers):
        if rows.ndim != 2 or not len(rows) or len(rows) != len(student):
            shapes = ", ".join(str(tuple(each.shape)) for each in (student, *teachers))
            raise InputError(f"expected a row for each face from student and teachers: {shapes}")
    return weights
