"""A whole run of a small network, from its data to a name in the catalogue."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from facekeep._version import __version__
from facekeep.lab.evaluate.plots import require_matplotlib
from facekeep.lab.train.checkpoint import save_checkpoint
from facekeep.lab.train.curves import draw_panels
from facekeep.lab.train.finish import CURVES, SUMMARY, require_free
from facekeep.lab.train.folder import keep, make, require_new
from facekeep.lab.train.lessons import Watch
from facekeep.lab.train.small import RECIPE, Outcome, SmallRecipe, recipe_json
from facekeep.lab.train.steps import LOG, Stepper

__all__ = ["train_small", "write_results"]

Trainer = TypeVar("Trainer", bound=Stepper[Any])
Network = TypeVar("Network", bound=nn.Module)
Panels = Mapping[str, Mapping[str, str]]


def train_small(
    recipe: SmallRecipe,
    folder: Path,
    *,
    resume: bool,
    name: str | None,
    threads: int,
    watch: Watch,
    prepare: Callable[[], tuple[Trainer, dict[str, Any]]],
    finish: Callable[[Trainer, dict[str, Any]], dict[str, Any]],
    register: Callable[[str], object],
) -> Outcome:
    """Train a small network on the CPU. Seeds PyTorch's global random generator.

    Args:
        recipe: What to learn from and how.
        folder: Made for all that the run yields.
        resume: Go on with the run in the folder, whose recipe it must be.
        name: Put the result into the catalogue under this name.
        threads: CPU threads; 0 for PyTorch's own choice.
        watch: Shows how far it is; see ``lessons.Watch``.
        prepare: Reads the data; gives what trains, and facts about the data.
        finish: Writes what the run yields, given these; gives the summary.
        register: Puts it into the catalogue under a name.

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
    done = _summary(folder) if resume else None
    if done is not None:
        return _named(done, recipe, name, register)
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(recipe.seed)
    trainer, facts = prepare()
    if resume:
        trainer.resume()
    else:
        make(folder)
        keep(folder / RECIPE, recipe_json(recipe))
    with watch("Training", trainer.images_left) as advance:
        finished = trainer.run(advance)
    if not finished:
        return Outcome(finished=False, step=trainer.step)
    summary = finish(trainer, facts | {"seconds": round(trainer.seconds)})
    return _named(summary, recipe, name, register)


def _summary(folder: Path) -> dict[str, Any] | None:
    """Read what a run told at its end, after all else was written; None where it has not ended."""
    try:
        summary: dict[str, Any] = json.loads((folder / SUMMARY).read_bytes())
    except (OSError, ValueError):
        return None
    return summary


def _named(
    summary: dict[str, Any],
    recipe: SmallRecipe,
    name: str | None,
    register: Callable[[str], object],
) -> Outcome:
    """Give the result of a run its name, where it is to have one."""
    if name is not None:
        register(name)
    return Outcome(finished=True, step=recipe.steps, summary=summary, name=name)


def write_results(
    folder: Path,
    model: Network,
    recipe: SmallRecipe,
    facts: dict[str, Any],
    *,
    export: Callable[[Network, Path], None],
    panels: Panels,
    seen: str,
) -> dict[str, Any]:
    """Write what a run yields: ONNX and weights, ``curves.png`` and ``summary.json``.

    Args:
        folder: Where to.
        model: The network.
        recipe: How it was trained.
        facts: What else the summary tells.
        export: Writes the ONNX file.
        panels: See ``curves.draw_panels``.
        seen: What the summary calls the number of images that it learnt from.

    Returns:
        The summary.

    Raises:
        StorageFull: There is no room.
        ModelError: A file cannot be written.
    """
    onnx, weights = f"{recipe.network}.onnx", f"{recipe.network}.pt"
    save_checkpoint(folder / weights, model.state_dict())
    export(model, folder / onnx)
    keep(folder / CURVES, draw_panels(folder / LOG, panels))
    summary = {
        **facts,
        "params": sum(weight.numel() for weight in model.parameters()),
        seen: recipe.steps * recipe.batch,
        "recipe": json.loads(recipe_json(recipe)),
        "files": {"onnx": onnx, "weights": weights, "curves": CURVES, "log": LOG},
        "facekeep": __version__,
        "torch": torch.__version__,
    }
    keep(folder / SUMMARY, (json.dumps(summary, indent=2) + "\n").encode())
    return summary
