"""The loop: steps, measurements, log rows and checkpoints, from any step to the last."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import torch

from facekeep.errors import InputError, ModelCorrupt
from facekeep.lab.nn import save_checkpoint
from facekeep.lab.train import checkpoint
from facekeep.lab.train.holdout import Holdout
from facekeep.lab.train.interrupt import Stop, stop_gently
from facekeep.lab.train.loader import Batch, Loader
from facekeep.lab.train.log import Log
from facekeep.lab.train.parallel import Parallel
from facekeep.lab.train.plan import Plan
from facekeep.lab.train.step import Learner
from facekeep.lab.train.window import Window

__all__ = ["BEST", "LOG", "Trainer"]

LOG: Final = "log.csv"
BEST: Final = "best.pt"
"""The averaged weights that told the people kept out apart best."""

_AGREE_EVERY: Final = 10
"""Steps after which several processes ask each other whether to stop."""

_VERSION: Final = 2


class Trainer:
    """Takes a learner from the step it stands at to the last, and can be stopped on the way.

    Args:
        learner: What learns.
        loader: What it learns from.
        plan: How long, and how often to look.
        holdout: The people kept out, or None.
        folder: Where the run is.
        parallel: The processes of the run.

    Attributes:
        step: Steps done.
        seconds: How long they took, without measuring and saving.
    """

    def __init__(
        self,
        learner: Learner,
        loader: Loader,
        plan: Plan,
        *,
        holdout: Holdout | None,
        folder: Path,
        parallel: Parallel,
    ) -> None:
        self.step = 0
        self.seconds = 0.0
        self._learner, self._loader, self._plan = learner, loader, plan
        self._holdout, self._folder, self._parallel = holdout, folder, parallel
        self._window = Window(learner.parts, forgiving=learner.skips_overflows)
        self._best = -1.0
        self._position = 0
        self._log: Log | None = None

    def resume(self) -> bool:
        """Go back to the checkpoint, and say whether there is one.

        Raises:
            ModelCorrupt: It is damaged.
            ModelError: It cannot be read.
            InputError: It was made from other data.
        """
        path = self._folder / checkpoint.CHECKPOINT
        if not path.exists():
            return False
        state = checkpoint.load_checkpoint(path)
        if state.get("version") != _VERSION:
            raise ModelCorrupt(f"{path} is of another version of facekeep; train anew")
        if state["data"] != self._data():
            then, now = state["data"], self._data()
            raise InputError(
                f"the faces changed since this run began: {then['images']} of {then['people']}"
                f" people then, {now['images']} of {now['people']} now; train anew into another"
                " folder"
            )
        self._learner.load_full_state(state["learner"])
        checkpoint.restore_random_state(state["random"], self._parallel)
        self.step, self._best, self._position = state["step"], state["best"], state["log"]
        self.seconds = state["seconds"]
        self._loader.corrupt = state["corrupt"] if self._parallel.is_main else 0
        self._window.restore(state["window"])
        return True

    def run(self, advance: Callable[[int], None] = lambda images: None) -> bool:
        """Train to the end.

        Args:
            advance: Told how many images were learned from since the last call.

        Returns:
            Whether the end was reached; False where SIGINT or SIGTERM asked to stop: the step in
            hand was finished and a checkpoint saved.

        Raises:
            ModelError: The loss is no longer a finite number.
            StorageFull: There is no room for a checkpoint; the older one is as it was.
        """
        with stop_gently(patient=self._parallel.world > 1) as stop, self._logging():
            return self._run(stop, advance)

    @contextmanager
    def _logging(self) -> Iterator[None]:
        """Open the log in the main process, and close it at the end."""
        if not self._parallel.is_main:
            yield
            return
        with Log(self._folder / LOG, self._position) as self._log:
            yield

    def corrupt(self) -> int:
        """Count the images that could not be used; all processes ask together."""
        count = torch.tensor(float(self._loader.corrupt), device=self._parallel.device)
        return int(self._parallel.sum(count))

    def _run(self, stop: Stop, advance: Callable[[int], None]) -> bool:
        begun = time.perf_counter()
        for batch in self._batches():
            images = batch.images
            rate = self._plan.schedule(self.step)
            found = self._learner.step(images, batch.labels, batch.index, rate)
            self.step += 1
            count = len(images) * self._parallel.world
            taken = time.perf_counter() - begun
            self.seconds += taken
            self._window.add(found, count, taken)
            advance(count)
            self._look()
            if self._stopped(stop):
                self._save()
                return False
            if self._due(self._plan.checkpoint_every):
                self._save()
            begun = time.perf_counter()
        return True

    def _batches(self) -> Iterator[Batch]:
        """Give the batches from this step to the last."""
        epoch, start = divmod(self.step, self._plan.steps_per_epoch)
        left = self._plan.steps - self.step
        while left > 0:
            for batch in self._loader.epoch(epoch, start_step=start):
                yield batch
                left -= 1
                if not left:
                    return
            epoch, start = epoch + 1, 0

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self._plan.steps

    def _stopped(self, stop: Stop) -> bool:
        """Whether to stop here, which all processes must decide together."""
        if self._parallel.world == 1:
            return stop.asked
        if self.step % _AGREE_EVERY:
            return False
        asked = torch.tensor(float(stop.asked), device=self._parallel.device)
        return bool(self._parallel.max(asked))

    def _look(self) -> None:
        """Measure and write a row of the log where it is time."""
        measure = self._holdout is not None and self._due(self._plan.eval_every)
        if not measure and not self._due(self._plan.log_every):
            return
        row: dict[str, float | int | None] = {
            "step": self.step,
            "epoch": self.step / self._plan.steps_per_epoch,
            "lr": self._plan.schedule(self.step - 1),
            **self._window.close(self.step),
        }
        if measure:
            row |= self._measure()
        if self._log is not None:
            self._log.write(row)

    def _measure(self) -> dict[str, float | None]:
        """Measure on the people kept out, and keep the weights where they are the best so far."""
        assert self._holdout is not None  # noqa: S101 - asked only where there is one
        measured = self._holdout.measure(self._learner.averaged)
        if measured is None:
            return {}
        rates = {f"tar_fmr_1e{round(math.log10(each.fmr))}": each.tar for each in measured.tar}
        score = sum(each.tar or 0.0 for each in measured.tar)
        if score > self._best:
            self._best = score
            save_checkpoint(self._learner.averaged, self._folder / BEST)
        return rates

    def _save(self) -> None:
        """Save a checkpoint; all processes take part, the main one writes."""
        state = {
            "version": _VERSION,
            "step": self.step,
            "seconds": self.seconds,
            "data": self._data(),
            "best": self._best,
            "corrupt": self.corrupt(),
            "window": self._window.rows(self.step),
            "learner": self._learner.full_state(),
            "random": checkpoint.random_state(self._parallel),
        }
        if self._log is not None:
            state["log"] = self._log.mark()
            checkpoint.save_checkpoint(self._folder / checkpoint.CHECKPOINT, state)

    def _data(self) -> dict[str, int]:
        return {"images": len(self._loader.source), "people": self._loader.source.classes}
