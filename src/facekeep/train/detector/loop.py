"""The steps of a detector's training, from any step to the last."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from facekeep.errors import ModelCorrupt, ModelError
from facekeep.nn.detector import FaceDetector
from facekeep.train.checkpoint import CHECKPOINT, load_checkpoint, save_checkpoint
from facekeep.train.detector.album import Faces
from facekeep.train.detector.canvas import Composer
from facekeep.train.detector.loss import PARTS, detection_loss
from facekeep.train.detector.recipe import DetectorRecipe
from facekeep.train.ema import Ema
from facekeep.train.interrupt import stop_gently
from facekeep.train.log import Log
from facekeep.train.schedule import Schedule

__all__ = ["COLUMNS", "LOG", "Trainer", "batch"]

LOG: Final = "log.csv"
COLUMNS: Final = (
    "step",
    *("loss", *PARTS),
    *(f"holdout_{part}" for part in ("loss", *PARTS)),
    "lr",
    "images_per_second",
)

_VERSION: Final = 1
_LOOKS: Final = 40  # rows of the log, and checkpoints, of a run
_HELD_OUT: Final = 48  # canvases to measure with
_TRAINING, _HOLDOUT = 0, 1  # streams of canvases
_EMA: Final = 0.998
_CLIP: Final = 10.0
_WEIGHT_DECAY: Final = 1e-4


def batch(
    composer: Composer, first: int, count: int, *, seed: int, stream: int = _TRAINING
) -> tuple[Tensor, list[Faces]]:
    """Compose canvases ``first`` and on, the same ones whenever they are asked for.

    Returns:
        uint8 ``(count, 3, S, S)`` RGB, and the faces of each.
    """
    drawn = (np.random.default_rng((seed, stream, first + each)) for each in range(count))
    images, faces = zip(*(composer.compose(rng) for rng in drawn), strict=True)
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2), list(faces)


class Trainer:
    """Takes a detector from the step it stands at to the last, and can be stopped on the way.

    Args:
        model: The network to train.
        recipe: How.
        canvases: What it learns from.
        held_out: What it is measured with.
        folder: Where the run is.

    Attributes:
        step: Steps done.
        seconds: How long they took.
    """

    def __init__(
        self,
        model: FaceDetector,
        recipe: DetectorRecipe,
        canvases: Composer,
        held_out: Composer,
        folder: Path,
    ) -> None:
        self.step, self.seconds = 0, 0.0
        self._recipe, self._folder = recipe, folder
        self._canvases, self._held_out = canvases, held_out
        self._model = model.train()
        self._model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        learning = [each for each in model.parameters() if each.requires_grad]
        self._optimizer = torch.optim.AdamW(learning, lr=recipe.lr, weight_decay=_WEIGHT_DECAY)
        self._ema = Ema(model, _EMA)
        self._schedule = Schedule(recipe.lr, max(1, recipe.steps // 20), recipe.steps, 1.0)
        self._every = max(1, recipe.steps // _LOOKS)
        self._rows: list[list[float]] = []
        self._since = 0.0
        self._position = 0

    @property
    def averaged(self) -> FaceDetector:
        """The network with averaged weights: what a run yields."""
        return self._ema.model

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
        self._model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._ema.load_state_dict(state["ema"])
        self.step, self.seconds, self._rows = state["step"], state["seconds"], state["rows"]
        self._since, self._position = state["since"], state["log"]

    def run(self, advance: Callable[[int], None] = lambda images: None) -> bool:
        """Train to the end.

        Args:
            advance: Told how many canvases were learned from since the last call.

        Returns:
            Whether the end was reached; False where SIGINT or SIGTERM asked to stop: the step in
            hand was finished and a checkpoint saved.

        Raises:
            ModelError: The loss is no longer a finite number.
            StorageFull: There is no room for a checkpoint; the older one is as it was.
        """
        path = self._folder / LOG
        with stop_gently() as stop, Log(path, self._position, columns=COLUMNS) as log:
            while self.step < self._recipe.steps:
                begun = time.perf_counter()
                self._learn()
                self.seconds += time.perf_counter() - begun
                advance(self._recipe.batch)
                due = self.step % self._every == 0 or self.step == self._recipe.steps
                if due:
                    log.write(self._row())
                if due or stop.asked:
                    self._save(log)
                if stop.asked:
                    break
        return self.step == self._recipe.steps

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Return the averaged network's losses on canvases of the people kept out."""
        recipe, found = self._recipe, []
        for first in range(0, _HELD_OUT, recipe.batch):
            images, faces = batch(
                self._held_out, first, recipe.batch, seed=recipe.seed, stream=_HOLDOUT
            )
            found.append(detection_loss(self.averaged(images), faces, recipe.side).tolist())
        means = np.mean(found, axis=0).tolist()
        return dict(zip(("loss", *PARTS), [sum(means), *means], strict=True))

    def _learn(self) -> None:
        recipe, rate = self._recipe, self._schedule(self.step)
        images, faces = batch(
            self._canvases, self.step * recipe.batch, recipe.batch, seed=recipe.seed
        )
        pixels = images.contiguous(memory_format=torch.channels_last)
        losses = detection_loss(self._model(pixels), faces, recipe.side)
        self._optimizer.zero_grad()
        losses.sum().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._model.parameters(), _CLIP)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        self._ema.update(self._model)
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
        images = len(self._rows) * self._recipe.batch
        speed = images / max(self.seconds - self._since, 1e-9)
        self._rows, self._since = [], self.seconds
        return {
            "step": self.step,
            "loss": float(means.sum()),
            **dict(zip(PARTS, means.tolist(), strict=True)),
            **{f"holdout_{name}": value for name, value in self.measure().items()},
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
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "ema": self._ema.state_dict(),
            "log": log.mark(),
        }
        save_checkpoint(self._folder / CHECKPOINT, state)
