"""The end of a refiner's run: ONNX, weights, curves, a summary, and a name in the catalogue."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import torch

from facekeep._files import printable
from facekeep._version import __version__
from facekeep.models.importing import add_model
from facekeep.models.schema import ModelEntry
from facekeep.nn.refiner import SIDE, LandmarkRefiner, export_refiner
from facekeep.train.checkpoint import save_checkpoint
from facekeep.train.curves import draw_panels
from facekeep.train.folder import keep
from facekeep.train.refiner.loop import ERROR
from facekeep.train.refiner.recipe import RefinerRecipe
from facekeep.train.small import recipe_json
from facekeep.train.steps import LOG

__all__ = ["register", "write_results"]

WEIGHTS: Final = "refiner.pt"
ONNX: Final = "refiner.onnx"
CURVES: Final = "curves.png"
SUMMARY: Final = "summary.json"

_PANELS: Final = {
    "loss": {"loss": "training"},
    "error, eye distances": {ERROR: "people kept out"},
    "learning rate": {"lr": "rate"},
}


def write_results(
    folder: Path, model: LandmarkRefiner, recipe: RefinerRecipe, facts: dict[str, Any]
) -> dict[str, Any]:
    """Write what a run yields: ``refiner.onnx``, ``.pt``, ``curves.png``, ``summary.json``.

    Returns:
        The summary.

    Raises:
        StorageFull: There is no room.
        ModelError: A file cannot be written.
    """
    save_checkpoint(folder / WEIGHTS, model.state_dict())
    export_refiner(model, folder / ONNX)
    keep(folder / CURVES, draw_panels(folder / LOG, _PANELS))
    summary = {
        **facts,
        "params": sum(weight.numel() for weight in model.parameters()),
        "crops_seen": recipe.steps * recipe.batch,
        "recipe": json.loads(recipe_json(recipe)),
        "files": {"onnx": ONNX, "weights": WEIGHTS, "curves": CURVES, "log": LOG},
        "facekeep": __version__,
        "torch": torch.__version__,
    }
    keep(folder / SUMMARY, (json.dumps(summary, indent=2, ensure_ascii=False) + "\n").encode())
    return summary


def register(folder: Path, name: str) -> ModelEntry:
    """Put a trained refiner into the catalogue.

    Raises:
        FacekeepError: As ``facekeep.models.importing.add_model``.
    """
    return add_model(
        (folder / ONNX).read_bytes(),
        ModelEntry(
            name=name,
            task="refine",
            architecture="facekeep-refiner",
            summary="landmark refiner trained with facekeep",
            files=(),
            weights_licence="your own, as far as the photos allow",
            training_data=f"see {SUMMARY} in {printable(folder.absolute())}",
            colour="rgb",
            mean=(127.5,) * 3,
            scale=(1 / 127.5,) * 3,
            input_size=SIDE,
        ),
    )
