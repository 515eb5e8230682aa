"""How long a run is, its learning rate, and the defaults that depend on the data."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import Final

from facekeep.errors import InputError
from facekeep.lab.train.recipe import Recipe

__all__ = [
    "LearningRate",
    "TrainingSchedule",
    "count_holdout",
    "count_workers",
    "fill_defaults",
    "make_schedule",
]

FEW_PEOPLE: Final = 40
"""Of fewer people none is kept out of training unless asked for."""

_MOST_HELD_OUT: Final = 500
_EPOCHS: Final = (40, 10)  # from scratch, from weights
_LR: Final = (5e-4, 2e-5)
_MEASUREMENTS: Final = 20  # measurements and checkpoints in a run
_LOG_EVERY: Final = 10
_MOST_WORKERS: Final = 8


@dataclass(frozen=True, slots=True)
class LearningRate:
    """The learning rate over a run: a linear rise, then a polynomial fall to zero.

    Attributes:
        peak: The highest rate.
        warmup: Steps of the rise; the last of them has the peak.
        total: Steps of the run.
        power: 0 keeps the peak, 1 falls in a line, 2 in a parabola.
    """

    peak: float
    warmup: int
    total: int
    power: float

    def __call__(self, step: int) -> float:
        """Return the rate of a step, 0 to ``total - 1``; it is never zero."""
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        left = (self.total - step) / max(self.total - self.warmup, 1)
        return float(self.peak * left**self.power)


@dataclass(frozen=True, slots=True)
class TrainingSchedule:
    """What a recipe comes to on its data.

    Attributes:
        steps: Steps of the whole run.
        steps_per_epoch: Steps in which each face is seen once.
        rate: The learning rate of each step.
        eval_every: Steps between measurements.
        checkpoint_every: Steps between checkpoints.
        log_every: Steps between rows of the log; a row tells the means over them.
    """

    steps: int
    steps_per_epoch: int
    rate: LearningRate
    eval_every: int
    checkpoint_every: int
    log_every: int


def count_holdout(recipe: Recipe, people: int) -> int:
    """Say how many people to keep out of training.

    Args:
        recipe: The recipe.
        people: How many people the data show.

    Raises:
        InputError: Fewer than two would be left to train on, or one alone would be kept out, who
            can be compared with nobody.
    """
    if recipe.holdout is None:
        return 0 if people < FEW_PEOPLE else min(people // 10, _MOST_HELD_OUT)
    if recipe.holdout == 1:
        raise InputError("one person alone can be compared with nobody; keep 2 out", "holdout")
    if recipe.holdout and people - recipe.holdout < 2:
        raise InputError(
            f"to keep out {recipe.holdout} of {people} people leaves fewer than 2 to learn from",
            "holdout",
        )
    return recipe.holdout


def make_schedule(recipe: Recipe, steps_per_epoch: int) -> TrainingSchedule:
    """Turn a recipe into steps.

    Raises:
        InputError: The warm-up is as long as the run.
    """
    fine = recipe.from_ is not None
    steps = recipe.steps or (recipe.epochs or _EPOCHS[fine]) * steps_per_epoch
    warmup = steps // 20 if recipe.warmup is None else recipe.warmup
    if warmup >= steps:
        raise InputError(
            f"a warmup of {warmup} is not shorter than the run, {steps} steps", "warmup"
        )
    often = max(1, steps // _MEASUREMENTS)
    return TrainingSchedule(
        steps,
        steps_per_epoch,
        LearningRate(recipe.lr or _LR[fine], warmup, steps, recipe.power),
        recipe.eval_every or often,
        recipe.checkpoint_every or often,
        min(often, _LOG_EVERY),
    )


def fill_defaults(recipe: Recipe, schedule: TrainingSchedule, holdout: int) -> Recipe:
    """Write the defaults into a recipe, so that it means the same on other data and versions."""
    return dataclasses.replace(
        recipe,
        epochs=None if recipe.steps else schedule.steps // schedule.steps_per_epoch,
        lr=schedule.rate.peak,
        warmup=schedule.rate.warmup,
        holdout=holdout,
        eval_every=schedule.eval_every,
        checkpoint_every=schedule.checkpoint_every,
    )


def count_workers(recipe: Recipe, processes_here: int) -> int:
    """Say how many processes read and decode for each that trains."""
    if recipe.workers is not None:
        return recipe.workers
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(_MOST_WORKERS, max((cores or 1) // processes_here - 1, 0))
