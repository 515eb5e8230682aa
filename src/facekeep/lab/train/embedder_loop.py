"""The training of an embedder: batches of a loader, measured by the people kept out."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from facekeep.errors import InputError
from facekeep.lab.nn import EdgeFace, save_checkpoint
from facekeep.lab.train.holdout import Holdout
from facekeep.lab.train.learner import Learner
from facekeep.lab.train.loader import Batch, Loader
from facekeep.lab.train.log import COLUMNS
from facekeep.lab.train.loop import Trainer
from facekeep.lab.train.parallel import Parallel
from facekeep.lab.train.schedule import TrainingSchedule
from facekeep.lab.train.training_state import collect_random_state, restore_random_state

__all__ = ["BEST", "EmbedderTrainer"]

BEST: Final = "best.pt"
"""The averaged weights that told the people kept out apart best."""


class EmbedderTrainer(Trainer):
    """Trains an embedder.

    Args:
        learner: What learns.
        loader: What it learns from.
        schedule: How long, and how often to measure.
        holdout: The people kept out, or None.
        folder: Where the run is.
        parallel: The processes of the run.
    """

    version = 2

    def __init__(
        self,
        learner: Learner,
        loader: Loader,
        schedule: TrainingSchedule,
        *,
        holdout: Holdout | None,
        folder: Path,
        parallel: Parallel,
    ) -> None:
        super().__init__(
            folder,
            steps=schedule.steps,
            batch=loader.batch * parallel.world,
            rate=schedule.rate,
            log_every=schedule.log_every,
            save_every=schedule.checkpoint_every,
            columns=COLUMNS,
            losses=learner.parts,
            skips_overflows=learner.skips_overflows,
            parallel=parallel,
        )
        self._learner, self._loader, self._schedule = learner, loader, schedule
        self._holdout = holdout
        self._best = -1.0
        self._batches: Iterator[Batch] = iter(())

    @property
    def averaged(self) -> EdgeFace:
        """See `Trainer`."""
        return self._learner.averaged

    def run(self, advance: Callable[[int], None] = lambda images: None) -> bool:
        """See `Trainer`; the loader's workers end with it."""
        with closing(self._iterate_batches()) as self._batches:
            return super().run(advance)

    def learn(self, rate: float) -> Tensor:
        """See `Trainer`."""
        batch = next(self._batches)
        return self._learner.step(batch.images, batch.labels, batch.index, rate)

    def is_row_due(self) -> bool:
        """See `Trainer`; a measurement makes a row too."""
        return super().is_row_due() or self._is_measurement_due()

    def measure(self) -> dict[str, float | None]:
        """Measure on the people kept out where it is time, and keep the best weights so far."""
        row: dict[str, float | None] = {"epoch": self.step / self._schedule.steps_per_epoch}
        if self._holdout is None or not self._is_measurement_due():
            return row
        measured = self._holdout.measure(self.averaged)
        if measured is None:
            return row
        score = sum(each.tar or 0.0 for each in measured.tar)
        if score > self._best:
            self._best = score
            save_checkpoint(self.averaged, self._folder / BEST)
        return row | {f"tar_fmr_1e{round(math.log10(each.fmr))}": each.tar for each in measured.tar}

    def count_corrupt(self) -> int:
        """Count the images that could not be used; all processes ask together."""
        count = torch.tensor(float(self._loader.corrupt), device=self._parallel.device)
        return int(self._parallel.sum(count))

    def state(self) -> dict[str, Any]:
        """See `Trainer`."""
        return {
            "data": self._count_data(),
            "best": self._best,
            "corrupt": self.count_corrupt(),
            "learner": self._learner.full_state(),
            "random": collect_random_state(self._parallel),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """See `Trainer`."""
        if state["data"] != self._count_data():
            then, now = state["data"], self._count_data()
            raise InputError(
                f"the faces changed since this run began: {then['images']} of {then['people']}"
                f" people then, {now['images']} of {now['people']} now; train anew into another"
                " folder"
            )
        self._learner.load_full_state(state["learner"])
        restore_random_state(state["random"], self._parallel)
        self._best = state["best"]
        self._loader.corrupt = state["corrupt"] if self._parallel.is_main else 0

    def _iterate_batches(self) -> Generator[Batch]:
        """Give the batches from this step to the last."""
        epoch, start = divmod(self.step, self._schedule.steps_per_epoch)
        while True:
            yield from self._loader.epoch(epoch, start_step=start)
            epoch, start = epoch + 1, 0

    def _is_measurement_due(self) -> bool:
        return self._holdout is not None and self._is_due(self._schedule.eval_every)

    def _count_data(self) -> dict[str, int]:
        return {"images": len(self._loader.source), "people": self._loader.source.classes}
