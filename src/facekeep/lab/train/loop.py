"""The loop under every training run: steps, log rows and checkpoints, from any step to the last.

Ctrl-C and the system's request to end wait until the step in hand is done.
"""

from __future__ import annotations

import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import torch
from torch import Tensor, nn

from facekeep.errors import ModelCorrupt
from facekeep.lab.train.log import Log, LossMeans
from facekeep.lab.train.parallel import Parallel
from facekeep.lab.train.schedule import LearningRate
from facekeep.lab.train.training_state import CHECKPOINT, load_training_state, save_training_state

__all__ = ["LOG", "Stop", "Trainer", "Watch", "stop_gently", "unwatched"]

_SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


@dataclass(slots=True)
class Stop:
    """Whether the run was asked to stop."""

    asked: bool = False


@contextmanager
def stop_gently(*, patient: bool = False) -> Iterator[Stop]:
    """Note SIGINT, SIGTERM or SIGHUP instead of dying of it; one that is ignored stays so.

    Outside the main thread, where signals cannot be caught, nothing changes.

    Args:
        patient: Note every one. Else a second one acts at once. The launcher of several processes
            repeats the user's Ctrl-C to each of them.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    before = {number: each for number, each in handlers.items() if each != signal.SIG_IGN}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, frame: Any) -> None:
        stop.asked = True
        if not patient:
            restore()

    for number in before:
        signal.signal(number, note)
    try:
        yield stop
    finally:
        restore()


LOG: Final = "log.csv"

_AGREE_EVERY: Final = 10
"""Steps after which several processes ask each other whether to stop."""

Watch = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""Told what is being done and to how many images, gives a context that gives what to call with the
number of images done since the last call."""


def unwatched(what: str, images: int) -> AbstractContextManager[Callable[[int], None]]:
    """Show nothing; see `Watch`."""
    return nullcontext(lambda done: None)


class Trainer(ABC):
    """Takes a network from the step it stands at to the last, and can be stopped on the way.

    A subclass does a step (`learn`), adds its own columns to the log (`measure`), and keeps what an
    exact resume needs (`state`, `restore`).

    Args:
        folder: Where the run is.
        steps: Length of the run.
        batch: Images in a step, those of all processes together.
        rate: The learning rate of each step.
        log_every: Steps between rows of the log; a row holds the means over them.
        save_every: Steps between checkpoints.
        columns: Of the log.
        losses: What the numbers of a step are called in the log; the first is the whole loss.
        skips_overflows: Whether a step whose gradients overflow is left out.
        parallel: The processes of the run.

    Attributes:
        step: Steps done.
        seconds: How long they took, without measuring and saving.
    """

    version: ClassVar[int]

    def __init__(
        self,
        folder: Path,
        *,
        steps: int,
        batch: int,
        rate: LearningRate,
        log_every: int,
        save_every: int,
        columns: Sequence[str],
        losses: Sequence[str],
        skips_overflows: bool = False,
        parallel: Parallel | None = None,
    ) -> None:
        self.step, self.seconds = 0, 0.0
        self._folder, self._steps, self._batch, self._rate = folder, steps, batch, rate
        self._log_every, self._save_every = log_every, save_every
        self._columns, self._parallel = columns, parallel or Parallel()
        self._means = LossMeans(losses, skips_overflows=skips_overflows)
        self._log: Log | None = None
        self._log_position = 0

    @property
    @abstractmethod
    def averaged(self) -> nn.Module:
        """The network with averaged weights: what a run yields."""

    @property
    def images_left(self) -> int:
        """How many images the rest of the run will see."""
        return (self._steps - self.step) * self._batch

    @abstractmethod
    def learn(self, rate: float) -> Tensor:
        """Do the step numbered `step` at a learning rate, and return its numbers, ``(n,)``."""

    @abstractmethod
    def measure(self) -> dict[str, float | None]:
        """Return further columns of a row of the log."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Collect what an exact resume needs; all processes call it together."""

    @abstractmethod
    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""

    def resume(self) -> bool:
        """Go back to the checkpoint, and say whether there is one.

        Raises:
            ModelCorrupt: It is damaged, or of another version.
            ModelError: It cannot be read.
            InputError: It was made from other data.
        """
        path = self._folder / CHECKPOINT
        if not path.exists():
            return False
        state = load_training_state(path)
        if state.get("version") != self.version:
            raise ModelCorrupt(f"{path} is of another version of facekeep; train anew")
        self.restore(state)
        self.step, self.seconds = state["step"], state["seconds"]
        self._log_position = state["log"]
        self._means.restore(state["window"])
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
        with stop_gently(patient=self._parallel.world > 1) as stop, self._open_log():
            while self.step < self._steps:
                self._do_step(advance)
                if self.is_row_due():
                    self._write_row()
                stopping = self._agree_to_stop(stop)
                if stopping or self._is_due(self._save_every):
                    self._save()
                if stopping:
                    break
        return self.step == self._steps

    def is_row_due(self) -> bool:
        """Whether it is time for a row of the log."""
        return self._is_due(self._log_every)

    def _is_due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self._steps

    @contextmanager
    def _open_log(self) -> Iterator[None]:
        """Open the log in the main process, and close it at the end."""
        if not self._parallel.is_main:
            yield
            return
        with Log(self._folder / LOG, self._log_position, columns=self._columns) as self._log:
            yield

    def _do_step(self, advance: Callable[[int], None]) -> None:
        begun = time.perf_counter()
        numbers = self.learn(self._rate(self.step))
        self.step += 1
        taken = time.perf_counter() - begun
        self.seconds += taken
        self._means.add(numbers, self._batch, taken)
        advance(self._batch)

    def _write_row(self) -> None:
        row = {
            "step": self.step,
            "lr": self._rate(self.step - 1),
            **self._means.close(self.step),
            **self.measure(),
        }
        if self._log is not None:
            self._log.write(row)

    def _agree_to_stop(self, stop: Stop) -> bool:
        """Whether to stop here, which all processes must decide together."""
        if self._parallel.world == 1:
            return stop.asked
        if self.step % _AGREE_EVERY:
            return False
        asked = torch.tensor(float(stop.asked), device=self._parallel.device)
        return bool(self._parallel.max(asked))

    def _save(self) -> None:
        """Save a checkpoint; all processes take part, the main one writes."""
        state = {
            "version": self.version,
            "step": self.step,
            "seconds": self.seconds,
            "window": self._means.rows(self.step),
            **self.state(),
        }
        if self._log is not None:
            state["log"] = self._log.mark()
            save_training_state(self._folder / CHECKPOINT, state)
