"""Healing: a changed network learns anew to make of faces what the original makes of them.

It is a run of the project's own training without a head: no labels are needed, any aligned faces
will do, and it can be stopped and gone on with.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from facekeep._internal.files import printable
from facekeep.errors import InputError
from facekeep.lab.nn import EdgeFace, export_onnx, read_network, save_checkpoint
from facekeep.lab.train import Recipe, train
from facekeep.lab.train.fake_quantization import FakeQuantization, read_fake_quantization
from facekeep.lab.train.folder import RECIPE, make, resumed_recipe
from facekeep.lab.train.loop import Watch
from facekeep.lab.train.results import MODEL
from facekeep.lab.train.teacher_targets import FULL_SIDE
from facekeep.models.files import keep

__all__ = ["Healed", "heal"]

_LR: Final = 1.5e-4  # more throws a finished network back before it learns
_ALWAYS: Final[dict[str, Any]] = {
    "head": "none",
    "optimizer": "muon",
    "power": 1.0,  # a straight fall
    "ema": 0.97,  # an average over some tens of steps, as runs are short
    "augment": "none",  # most runs see no face often
    "holdout": 0,
}
_CUT: Final = "changed.pt"
_ROUNDING: Final = "rounding.json"
_RUN: Final = "run"


@dataclass(frozen=True, slots=True)
class Healed:
    """A healed network.

    Attributes:
        model: The network; as it was given where the run was stopped before its end.
        finished: Whether the run reached its end; if not, the same call goes on with it.
        steps: Steps done.
    """

    model: EdgeFace
    finished: bool
    steps: int


def heal(
    model: EdgeFace,
    original: EdgeFace,
    folder: Path,
    data: str | os.PathLike[str],
    *,
    steps: int = 1000,
    batch: int = 64,
    lr: float = _LR,
    rounding: FakeQuantization | None = None,
    threads: int = 0,
    watch: Watch = lambda what, images: nullcontext(lambda done: None),
) -> Healed:
    """Train a changed network to embed faces as the original does.

    Args:
        model: The changed network; it stays as it is.
        original: What it was before; where it takes larger crops it sees the faces in full size.
        folder: Of the run. One that holds a stopped run of this network is gone on with.
        data: Aligned faces, as ``facekeep train --data`` takes them.
        steps: Length of the run.
        batch: Faces in a step.
        lr: Highest learning rate.
        rounding: What the network rounds while it learns; None for nothing.
        threads: CPU threads; 0 for PyTorch's own choice.
        watch: Shows how far it is.

    Raises:
        InputError: Another run lies in the folder, or something else; or an option makes no sense.
        FacekeepError: As ``facekeep.lab.train.train``.
    """
    folder = folder.absolute()  # a recipe's relative paths begin at its own folder
    asked: dict[str, Any] = {"steps": steps, "batch": batch, "lr": lr}
    resume = (folder / _RUN / RECIPE).is_file()
    if resume:
        recipe = _begun(folder, model, rounding, asked)
    else:
        teacher = _prepare(folder, model, original, rounding)
        recipe = Recipe(
            data=Path(data).absolute(),
            teacher=(str(teacher),),
            teacher_sees="full" if original.input_size > model.input_size else "changed",
            from_=str(folder / _CUT),
            input_size=model.input_size,
            rounding=None if rounding is None else folder / _ROUNDING,
            precision="auto" if rounding is None else "fp32",
            **asked,
            **_ALWAYS,
        )
    outcome = train(recipe, folder / _RUN, resume=resume, threads=threads, watch=watch)
    if not outcome.finished:
        return Healed(model, finished=False, steps=outcome.step)
    healed = read_network(folder / _RUN / MODEL, input_size=model.input_size)
    return Healed(healed, finished=True, steps=outcome.step)


def _on_gpu(original: EdgeFace) -> bool:
    """Whether the teacher runs on a GPU, which takes a checkpoint; a CPU is faster with ONNX."""
    return torch.cuda.is_available() and original.input_size == FULL_SIDE


def _prepare(
    folder: Path, model: EdgeFace, original: EdgeFace, rounding: FakeQuantization | None
) -> Path:
    """Write what a run begins with, and return the file of the teacher."""
    if not (folder / _CUT).is_file():
        make(folder)
    save_checkpoint(model, folder / _CUT)
    if rounding is not None:
        keep(folder / _ROUNDING, rounding.serialize())
    if _on_gpu(original):
        teacher = folder / "original.pt"
        save_checkpoint(original, teacher)
    else:
        teacher = folder / "original.onnx"
        export_onnx(original, teacher)
    return teacher


def _begun(
    folder: Path, model: EdgeFace, rounding: FakeQuantization | None, asked: dict[str, Any]
) -> Recipe:
    """Return the recipe of a stopped run, if it is one of this network, rounded and trained so."""
    recipe = resumed_recipe(folder / _RUN, {})
    begun = read_network(folder / _CUT, input_size=model.input_size).state_dict()
    now = model.state_dict()
    same = begun.keys() == now.keys() and all(torch.equal(now[name], begun[name]) for name in now)
    rounded = None if recipe.rounding is None else read_fake_quantization(recipe.rounding)
    if not same or rounded != rounding:
        raise InputError(
            f"{printable(folder)} holds the healing of another network; name another folder, or"
            " remove it"
        )
    begun_with = {name: getattr(recipe, name) for name in asked}
    if begun_with != asked:
        shown = ", ".join(f"{name} {value}" for name, value in begun_with.items())
        raise InputError(
            f"{printable(folder)} holds a healing that began with {shown}; ask for the same, name"
            " another folder, or remove it"
        )
    return recipe
