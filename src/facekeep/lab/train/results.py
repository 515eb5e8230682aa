"""The end of a run: weights, ONNX, curves, a summary, and a name in the catalog."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from facekeep._internal.files import printable
from facekeep._version import __version__
from facekeep.errors import InputError
from facekeep.lab.evaluate import FMRS, OperatingPoint, measure_at_rates, score_all_pairs
from facekeep.lab.evaluate.calibrate import Calibration, calibrate
from facekeep.lab.evaluate.extract import Embeddings
from facekeep.lab.nn import EdgeFace, export_onnx, save_checkpoint
from facekeep.lab.train.curves import draw_curves
from facekeep.lab.train.folder import RECIPE
from facekeep.lab.train.holdout import Measured
from facekeep.lab.train.loop import LOG
from facekeep.models import ModelEntry, import_model, set_thresholds
from facekeep.models.catalog import is_builtin, own_folder
from facekeep.models.entry_file import check_name
from facekeep.models.files import keep

__all__ = [
    "Registered",
    "TrainingResult",
    "describe_command",
    "measure_holdout",
    "register",
    "require_free",
    "write_results",
    "write_summary",
]

MODEL: Final = "model.pt"
ONNX: Final = "model.onnx"
CURVES: Final = "curves.png"
SUMMARY: Final = "summary.json"

_YOURS: Final = "your own, as far as the faces and the weights begun with allow"


@dataclass(frozen=True, slots=True)
class Registered:
    """A trained network in the catalog.

    Attributes:
        name: Its name.
        thresholds: Pairs (FMR, cosine); empty where too few people were kept out to decide by.
        comparisons: Non-mated comparisons behind them.
    """

    name: str
    thresholds: tuple[tuple[float, float], ...] = ()
    comparisons: int = 0


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What became of a run.

    Attributes:
        finished: Whether it reached its end; if not, a checkpoint was saved.
        step: Steps done.
        summary: What ``summary.json`` says; None where it is not finished, and in the processes
            beside the main one.
        model: The entry in the catalog, where one was asked for.
    """

    finished: bool
    step: int
    summary: dict[str, Any] | None = None
    model: Registered | None = None


def require_free(name: str) -> None:
    """Make sure before a long run that a model can get a name after it.

    Raises:
        InputError: The name is malformed or taken.
    """
    try:
        check_name(name)
    except ValueError as error:
        raise InputError(f"a model's name {error}") from error
    if is_builtin(name) or own_folder(name) is not None:
        raise InputError(f"a model is already called {name!r}; choose another name", "name")


def describe_command(folder: Path) -> str:
    """Return what repeats a run, but for the folder it goes to."""
    recipe = shlex.quote(printable(folder.absolute() / RECIPE))
    return f"facekeep train --recipe {recipe} --out RUN"


def measure_holdout(measured: Measured) -> tuple[OperatingPoint, ...]:
    """Measure TAR at all the usual rates, with 95 % intervals by identity."""
    return measure_at_rates(score_all_pairs(measured.rows, measured.data.person).scores, FMRS)


def write_results(folder: Path, model: EdgeFace, facts: dict[str, Any]) -> dict[str, Any]:
    """Write what a run yields: ``model.pt``, ``model.onnx``, ``curves.png``, ``summary.json``.

    Args:
        folder: Of the run.
        model: The trained network.
        facts: What the summary says beyond what is found here.

    Returns:
        The summary.

    Raises:
        StorageFull: There is no room.
        ModelError: A file cannot be written.
    """
    save_checkpoint(model, folder / MODEL)
    export_onnx(model, folder / ONNX)
    keep(folder / CURVES, draw_curves(folder / LOG))
    summary = {
        "arch": model.arch,
        "gamma": model.gamma,
        "input_size": model.input_size,
        "width": model.width,
        "params": sum(weight.numel() for weight in model.parameters()),
        **facts,
        "files": {"weights": MODEL, "onnx": ONNX, "curves": CURVES, "log": LOG},
    }
    return write_summary(folder, summary)


def write_summary(folder: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """Write and return the summary of a run: facts, and the versions that made it."""
    summary = {**facts, "facekeep": __version__, "torch": torch.__version__}
    keep(folder / SUMMARY, (json.dumps(summary, indent=2) + "\n").encode())
    return summary


def register(
    folder: Path,
    name: str,
    model: EdgeFace,
    measured: Measured | None,
    begun: ModelEntry | None = None,
) -> Registered:
    """Put a trained network into the catalog, calibrated as far as the comparisons carry.

    Args:
        folder: Of the run.
        name: What to call it.
        model: The network.
        measured: The people kept out; None where there are none.
        begun: The model that the run began with, whose terms go on.

    Raises:
        FacekeepError: As ``facekeep.models.import_model`` and ``set_thresholds``.
    """
    import_model(
        folder / MODEL,
        name,
        arch=model.arch,
        gamma=model.gamma,
        input_size=model.input_size,
        summary=f"{model.arch}, trained with facekeep",
        weights_license=_YOURS
        if begun is None
        else f"that of {begun.name}: {begun.weights_license}",
        training_data=_data(folder, begun),
    )
    calibration = None if measured is None else _calibrate(measured)
    if measured is None or calibration is None:
        return Registered(name)
    comparisons = calibration.pairs.scores.non_mated
    set_thresholds(
        name,
        calibration.thresholds,
        comparisons=comparisons,
        calibrated_on=printable(measured.data.name),
        command=describe_command(folder),
    )
    return Registered(name, calibration.thresholds, comparisons)


def _data(folder: Path, begun: ModelEntry | None) -> str:
    seen = f"see {SUMMARY} in {printable(folder.absolute())}"
    return seen if begun is None else f"{begun.training_data}; then {seen}"


def _calibrate(measured: Measured) -> Calibration | None:
    """Find thresholds; None where too few people were kept out for any."""
    every = np.ones(len(measured.rows), np.bool_)
    try:
        return calibrate(measured.data, Embeddings(measured.rows, every, None, ()))
    except InputError:
        return None
