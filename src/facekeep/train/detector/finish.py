"""The end of a detector's run: ONNX, weights, curves, a summary, and a name in the catalogue."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import torch

from facekeep._files import printable
from facekeep._version import __version__
from facekeep.models.importing import add_model
from facekeep.models.schema import ModelEntry
from facekeep.nn.detector import FaceDetector
from facekeep.nn.detector_export import export_detector
from facekeep.train.checkpoint import save_checkpoint
from facekeep.train.curves import draw_panels
from facekeep.train.detector.loop import HOLDOUT
from facekeep.train.detector.loss import PARTS
from facekeep.train.detector.recipe import DetectorRecipe
from facekeep.train.folder import keep
from facekeep.train.small import recipe_json
from facekeep.train.steps import LOG

__all__ = ["register", "write_results"]

WEIGHTS: Final = "detector.pt"
ONNX: Final = "detector.onnx"
CURVES: Final = "curves.png"
SUMMARY: Final = "summary.json"

_PANELS: Final = {
    "loss": {"loss": "training", f"{HOLDOUT}loss": "people kept out"},
    **{
        part.replace("_", ": "): {part: "training", f"{HOLDOUT}{part}": "people kept out"}
        for part in PARTS
    },
    "learning rate": {"lr": "rate"},
}


def write_results(
    folder: Path, model: FaceDetector, recipe: DetectorRecipe, facts: dict[str, Any]
) -> dict[str, Any]:
    """Write what a run yields: ``detector.onnx``, ``.pt``, ``curves.png``, ``summary.json``.

    Returns:
        The summary.

    Raises:
        StorageFull: There is no room.
        ModelError: A file cannot be written.
    """
    save_checkpoint(folder / WEIGHTS, model.state_dict())
    export_detector(model, folder / ONNX)
    keep(folder / CURVES, draw_panels(folder / LOG, _PANELS))
    summary = {
        **facts,
        "params": sum(weight.numel() for weight in model.parameters()),
        "canvases_seen": recipe.steps * recipe.batch,
        "recipe": json.loads(recipe_json(recipe)),
        "files": {"onnx": ONNX, "weights": WEIGHTS, "curves": CURVES, "log": LOG},
        "facekeep": __version__,
        "torch": torch.__version__,
    }
    keep(folder / SUMMARY, (json.dumps(summary, indent=2, ensure_ascii=False) + "\n").encode())
    return summary


def register(folder: Path, name: str, recipe: DetectorRecipe) -> ModelEntry:
    """Put a trained detector into the catalogue.

    Raises:
        FacekeepError: As ``facekeep.models.importing.add_model``.
    """
    begun = "" if recipe.begin is None else f", begun with the weights of {recipe.begin}"
    return add_model(
        (folder / ONNX).read_bytes(),
        ModelEntry(
            name=name,
            task="detect",
            architecture="facekeep-detector",
            summary=f"face detector trained with facekeep{begun}",
            files=(),
            weights_licence="your own, as far as the photos, the teacher and the weights begun"
            " with allow",
            training_data=f"see {SUMMARY} in {printable(folder.absolute())}",
            colour="rgb",
            mean=(0.0,) * 3,
            scale=(1.0,) * 3,
        ),
    )
