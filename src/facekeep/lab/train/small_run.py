"""A whole run of a small network on the CPU, from its data to a name in the catalog."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Generic, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from facekeep._internal.files import printable
from facekeep._internal.tables import OptionError
from facekeep.lab.evaluate.plots import require_matplotlib
from facekeep.lab.train.curves import draw_panels
from facekeep.lab.train.ema import Ema
from facekeep.lab.train.folder import make, require_new
from facekeep.lab.train.loop import LOG, Trainer, Watch, unwatched
from facekeep.lab.train.results import (
    CURVES,
    SUMMARY,
    Registered,
    TrainingResult,
    require_free,
    write_summary,
)
from facekeep.lab.train.schedule import LearningRate
from facekeep.lab.train.small import RECIPE, SmallRecipe, recipe_json
from facekeep.lab.train.training_state import save_training_state
from facekeep.models import ModelEntry
from facekeep.models.files import keep, read_model
from facekeep.models.importing import add_model

__all__ = ["SmallTrainer", "hold_out", "train_small"]

_EMA: Final = 0.998
_ROWS: Final = 40  # rows of the log, and checkpoints, of a run

Network = TypeVar("Network", bound=nn.Module)
Recipe = TypeVar("Recipe", bound=SmallRecipe)


class SmallTrainer(Trainer, Generic[Network, Recipe]):
    """Trains one of the small networks; a subclass is all that one kind needs.

    AdamW with clipped gradients; the rate rises over a twentieth of the run and falls in a line;
    what is kept is the average of the weights.

    Args:
        model: The network to train, but for what of it needs no gradient.
        folder: Where the run is.
        recipe: How it is trained.

    Attributes:
        parts: What the parts of the loss are called in the log; none where it is one.
        measured: What `measure` finds.
        panels: Of the picture of the run; see `draw_panels`.
        seen: What the summary calls the number of images learned from.
        weight_decay: Of AdamW.
        clip: The longest gradient.
    """

    version = 1
    parts: ClassVar[Sequence[str]] = ()
    measured: ClassVar[Sequence[str]]
    panels: ClassVar[Mapping[str, Mapping[str, str]]]
    seen: ClassVar[str]
    weight_decay: ClassVar[float]
    clip: ClassVar[float] = 5.0

    def __init__(self, model: Network, folder: Path, recipe: Recipe) -> None:
        every = max(1, recipe.steps // _ROWS)
        super().__init__(
            folder,
            steps=recipe.steps,
            batch=recipe.batch,
            rate=LearningRate(recipe.lr, max(1, recipe.steps // 20), recipe.steps, 1.0),
            log_every=every,
            save_every=every,
            columns=("step", "loss", *self.parts, *self.measured, "lr", "images_per_second"),
            losses=("loss", *self.parts),
        )
        self.model, self.recipe = model.train(), recipe
        learning = [each for each in model.parameters() if each.requires_grad]
        self._optimizer = torch.optim.AdamW(learning, recipe.lr, weight_decay=self.weight_decay)
        self._ema = Ema(model, _EMA)

    @classmethod
    @abstractmethod
    def prepare(
        cls, recipe: Recipe, folder: Path, threads: int, watch: Watch
    ) -> tuple[Self, dict[str, Any]]:
        """Read the data; return what trains, and facts about the data for the summary."""

    @staticmethod
    @abstractmethod
    def export(model: Network, path: Path) -> None:
        """Write the network as ONNX."""

    @classmethod
    @abstractmethod
    def describe(cls, recipe: Recipe) -> dict[str, Any]:
        """Return the fields of the entry in the catalog that other small networks have not."""

    @classmethod
    def use(cls, recipe: Recipe, name: str) -> None:
        """Do what else is to be done once the network has a name."""

    @abstractmethod
    def losses(self, step: int) -> Tensor:
        """Return the parts of the loss of a step, ``(p,)``; the same ones for the same step."""

    @property
    def averaged(self) -> Network:
        """See `Trainer`."""
        return self._ema.model

    def learn(self, rate: float) -> Tensor:
        """See `Trainer`."""
        losses = self.losses(self.step)
        self._optimizer.zero_grad()
        losses.sum().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        self._ema.update(self.model)
        found = losses.detach().double()
        return torch.cat([found.sum()[None], found]) if self.parts else found

    def summarize(self) -> dict[str, Any]:
        """Return what the summary says of the network at the end of the run."""
        return self.measure()

    def state(self) -> dict[str, Any]:
        """See `Trainer`."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "ema": self._ema.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """See `Trainer`."""
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._ema.load_state_dict(state["ema"])
        if "rows" in state:  # a run begun before facekeep wrote the sum beside its parts
            sums = [[sum(row)] if self.parts else [] for row in state["rows"]]
            state["window"] = [[*a, *b] for a, b in zip(sums, state["rows"], strict=True)]


def train_small(
    kind: type[SmallTrainer[Any, Any]],
    recipe: SmallRecipe,
    folder: Path,
    *,
    resume: bool = False,
    name: str | None = None,
    threads: int = 0,
    watch: Watch = unwatched,
) -> TrainingResult:
    """Train a small network on the CPU. Seeds PyTorch's global random generator.

    Args:
        kind: What trains it.
        recipe: What to learn from and how.
        folder: Made for all that the run yields.
        resume: Go on with the run in the folder, whose recipe it must be.
        name: Put the result into the catalog under this name.
        threads: CPU threads; 0 for PyTorch's own choice.
        watch: Shows how far it is.

    Raises:
        InputError: The folder or the name is taken, or the data hold nothing to learn from.
        FacekeepError: The data or the weights cannot be used, the loss is no longer a finite
            number, or there is no room.
    """
    require_matplotlib("train")
    if name is not None:
        require_free(name)
    if not resume:
        require_new(folder)
    summary = _read_summary(folder) if resume else None
    if summary is None:
        if threads:
            torch.set_num_threads(threads)
        torch.manual_seed(recipe.seed)
        trainer, facts = kind.prepare(recipe, folder, threads, watch)
        if resume:
            trainer.resume()
        else:
            make(folder)
            keep(folder / RECIPE, recipe_json(recipe))
        with watch("Training", trainer.images_left) as advance:
            finished = trainer.run(advance)
        if not finished:
            return TrainingResult(finished=False, step=trainer.step)
        summary = _write_results(trainer, folder, facts)
    model = None if name is None else _register(kind, recipe, folder, name)
    return TrainingResult(finished=True, step=recipe.steps, summary=summary, model=model)


def hold_out(
    count: int, holdout: int, rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Draw which of so many faces are learned from, and which are kept out to measure with.

    Raises:
        OptionError: None would be left to learn from.
    """
    if holdout >= count:
        limits = f"from 1 to {count - 1}, as {count} faces were found"
        raise OptionError(["holdout"], f"must be {limits}; got {holdout}")
    drawn = rng.permutation(count)
    return drawn[holdout:], drawn[:holdout]


def _read_summary(folder: Path) -> dict[str, Any] | None:
    """Read what a run wrote last of all; None where it has not ended."""
    try:
        summary: dict[str, Any] = json.loads((folder / SUMMARY).read_bytes())
    except (OSError, ValueError):
        return None
    return summary


def _write_results(
    trainer: SmallTrainer[Any, Any], folder: Path, facts: dict[str, Any]
) -> dict[str, Any]:
    """Write what a run yields: ONNX and weights, ``curves.png`` and ``summary.json``."""
    model, recipe = trainer.averaged, trainer.recipe
    facts = facts | {"seconds": round(trainer.seconds)} | trainer.summarize()
    onnx, weights = f"{recipe.network}.onnx", f"{recipe.network}.pt"
    save_training_state(folder / weights, model.state_dict())
    trainer.export(model, folder / onnx)
    keep(folder / CURVES, draw_panels(folder / LOG, trainer.panels))
    summary = {
        **facts,
        "params": sum(weight.numel() for weight in model.parameters()),
        trainer.seen: recipe.steps * recipe.batch,
        "recipe": json.loads(recipe_json(recipe)),
        "files": {"onnx": onnx, "weights": weights, "curves": CURVES, "log": LOG},
    }
    return write_summary(folder, summary)


def _register(
    kind: type[SmallTrainer[Any, Any]], recipe: SmallRecipe, folder: Path, name: str
) -> Registered:
    """Put the network of a finished run into the catalog."""
    fields = {
        "weights_license": "your own, as far as the photos allow",
        "training_data": f"see {SUMMARY} in {printable(folder.absolute())}",
        "color": "rgb",
        "mean": (127.5,) * 3,
        "scale": (1 / 127.5,) * 3,
        **kind.describe(recipe),
    }
    content = read_model(folder / f"{recipe.network}.onnx")
    add_model(content, ModelEntry(name=name, files=(), **fields))
    kind.use(recipe, name)
    return Registered(name)
