"""The steps of a small network's training, on one CPU, from any step to the last."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from facekeep.errors import ModelCorrupt, ModelError
from facekeep.lab.train.checkpoint import CHECKPOINT, load_checkpoint, save_checkpoint
from facekeep.lab.train.ema import Ema
from facekeep.lab.train.interrupt import stop_gently
from facekeep.lab.train.log import Log
from facekeep.lab.train.schedule import Schedule
from facekeep.lab.train.small import SmallRecipe

__all__ = ["LOG", "Stepper"]

LOG: Final = "log.csv"

_VERSION: Final = 1
_EMA: Final = 0.998
_LOOKS: Final = 40  # rows of the log, and checkpoints, of a run

Network = TypeVar("Network", bound=nn.Module)


class Stepper(ABC, Generic[Network]):
    """Takes a network from the step it stands at to the last, and can be stopped on the way.

    AdamW with clipped gradients; the rate rises over a twentieth of the run and falls in a line;
    what is kept is the average of the weights. A subclass says what a step learns from
    (``losses``) and how it is measured (``measure``).

    Args:
        model: The network to train, but for what of it needs no gradient.
        folder: Where the run is.
        recipe: Says how long the run is, what a step learns from, and the highest learning rate.
        weight_decay: Of AdamW.
        clip: The longest gradient.

    Attributes:
        parts: What the parts of the loss are called in the log; none where it is one.
        measured: What ``measure`` tells.
        step: Steps done.
        seconds: How long they took, without measuring and saving.
    """

    parts: ClassVar[Sequence[str]]
    measured: ClassVar[Sequence[str]]

    def __init__(
        self,
        model: Network,
        folder: Path,
        recipe: SmallRecipe,
        *,
        weight_decay: float,
        clip: float,
    ) -> None:
        self.step, self.seconds = 0, 0.0
        self.model = model.train()
        self._folder, self._clip = folder, clip
        self._steps, self._batch = recipe.steps, recipe.batch
        learning = [each for each in model.parameters() if each.requires_grad]
        self._optimizer = torch.optim.AdamW(learning, recipe.lr, weight_decay=weight_decay)
        self._ema = Ema(model, _EMA)
        self._schedule = Schedule(recipe.lr, max(1, recipe.steps // 20), recipe.steps, 1.0)
        self._every = max(1, recipe.steps // _LOOKS)
        self._rows: list[list[float]] = []
        self._since = 0.0
        self._position = 0

    @property
    def averaged(self) -> Network:
        """The network with averaged weights: what a run yields."""
        return self._ema.model

    @property
    def images_left(self) -> int:
        """How many images the rest of the run will see."""
        return (self._steps - self.step) * self._batch

    @abstractmethod
    def losses(self, step: int) -> Tensor:
        """Return the parts of the loss of a step, ``(p,)``; the same ones for the same step."""

    @abstractmethod
    def measure(self) -> dict[str, float]:
        """Measure the averaged network on what was kept out."""

    def resume(self) -> None:
        """Go back to the checkpoint, if there is one.

        Raises:
            ModelCorrupt: It is damaged, or of another version.
            ModelError: It cannot be read.
        """
        path = self._folder / CHECKPOINT
        if not path.exists():
            return
        state = load_checkpoint(path)
        if state.get("version") != _VERSION:
            raise ModelCorrupt(f"{path} is of another version of facekeep; train anew")
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._ema.load_state_dict(state["ema"])
        self.step, self.seconds, self._rows = state["step"], state["seconds"], state["rows"]
        self._since, self._position = state["since"], state["log"]

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
        columns = ("step", "loss", *self.parts, *self.measured, "lr", "images_per_second")
        log_file = self._folder / LOG
        with stop_gently() as stop, Log(log_file, self._position, columns=columns) as log:
            while self.step < self._steps:
                begun = time.perf_counter()
                self._learn()
                self.seconds += time.perf_counter() - begun
                advance(self._batch)
                due = self.step % self._every == 0 or self.step == self._steps
                if due:
                    log.write(self._row())
                if due or stop.asked:
                    self._save(log)
                if stop.asked:
                    break
        return self.step == self._steps

    def _learn(self) -> None:
        rate = self._schedule(self.step)
        losses = self.losses(self.step)
        self._optimizer.zero_grad()
        losses.sum().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), self._clip)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        self._ema.update(self.model)
        self.step += 1
        self._rows.append(losses.tolist())

    def _row(self) -> dict[str, float | int | None]:
        """Close a row of the log."""
        means = np.mean(self._rows, axis=0)
        if not np.isfinite(means).all():
            raise ModelError(
                f"the loss is no longer a finite number at step {self.step}; train anew with a"
                " lower --lr"
            )
        images = len(self._rows) * self._batch
        speed = images / max(self.seconds - self._since, 1e-9)
        self._rows, self._since = [], self.seconds
        return {
            "step": self.step,
            "loss": float(means.sum()),
            **dict(zip(self.parts, means.tolist(), strict=bool(self.parts))),
            **self.measure(),
            "lr": self._schedule(self.step - 1),
            "images_per_second": speed,
        }

    def _save(self, log: Log) -> None:
        state: dict[str, Any] = {
            "version": _VERSION,
            "step": self.step,
            "seconds": self.seconds,
            "since": self._since,
            "rows": self._rows,
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "ema": self._ema.state_dict(),
            "log": log.mark(),
        }
        save_checkpoint(self._folder / CHECKPOINT, state)
