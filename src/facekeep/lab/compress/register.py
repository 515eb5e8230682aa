"""A compressed network in the catalogue, with what it lost."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

from facekeep.errors import InputError
from facekeep.lab.compress.measure import FMR, Facts, Measuring
from facekeep.lab.evaluate.calibrate import Calibration, calibrate
from facekeep.models import Measurement, ModelEntry
from facekeep.models.importing import add_model

__all__ = ["AGREEING", "register"]

AGREEING: Final = (0.999, 0.998, 100)
"""Mean cosine, its first percentile and the faces behind both from which thresholds carry over.

Noise of such a size moves a cosine between two faces by 0.002 or so, less than what one collection
of faces differs from another by.
"""


def register(
    content: bytes,
    made: ModelEntry,
    before: Facts,
    after: Facts,
    *,
    measuring: Measuring,
    told: Sequence[str],
    command: str,
) -> ModelEntry:
    """Put a network into the catalogue.

    Its thresholds are those of the original where their embeddings agree (``AGREEING``); else they
    are calibrated on the known people, as far as those carry; else there are none.

    Args:
        content: Its ONNX file.
        made: An entry that runs it, as ``staged`` gives it, under the name it is to have.
        before: Facts about the original.
        after: Facts about it.
        measuring: What both were measured by; it knows the original.
        told: What was done, step by step.
        command: The command line that did it.

    Raises:
        InputError: The name is taken or malformed.
        ModelError: Its folder cannot be written.
        StorageFull: There is no room for it.
    """
    original, steps = measuring.original, "; ".join(told)
    entry = dataclasses.replace(
        made,
        summary=f"{original.name}, {steps}",
        params=after.parameters,
        accuracy=_figures(after, measuring, command),
        notes=f"Made of {original.name} by: {command}. {_loss(original, before, after)}",
    )
    return add_model(content, _with_thresholds(entry, after, measuring, command))


def _figures(after: Facts, measuring: Measuring, command: str) -> tuple[Measurement, ...]:
    original, found, people = measuring.original, after.accuracy, measuring.trial.people
    known = "" if people is None else people.name
    values = (
        (f"cosine to {original.name}, mean of {found.faces} faces", found.cosine, 1, 4),
        (f"{known}, TAR at FMR {FMR:g} in %", found.tar, 100, 2),
        ("LFW, ten folds, accuracy in %", found.lfw, 100, 2),
        (f"LFW, TAR at FMR {FMR:g} in %", found.lfw_tar, 100, 2),
    )
    return tuple(
        Measurement(name, round(factor * value, digits), command)
        for name, value, factor, digits in values
        if value is not None
    )


def _loss(original: ModelEntry, before: Facts, after: Facts) -> str:
    """Say what the network loses, as far as it was measured."""
    old, new = before.accuracy, after.accuracy
    pairs = (
        ("TAR", old.tar, new.tar),
        ("accuracy on LFW", old.lfw, new.lfw),
        ("TAR on LFW", old.lfw_tar, new.lfw_tar),
    )
    losses = [
        f"{what} {100 * (b - a):+.2f} points"
        for what, a, b in pairs
        if a is not None and b is not None
    ]
    if not losses:
        return f"Its loss against {original.name} was not measured on people."
    return f"Against {original.name}: {', '.join(losses)}."


def _with_thresholds(
    entry: ModelEntry, after: Facts, measuring: Measuring, command: str
) -> ModelEntry:
    mean, low, faces = AGREEING
    original, found = measuring.original, after.accuracy
    agrees = (found.cosine or 0) >= mean and (found.cosine_p01 or 0) >= low
    if agrees and found.faces >= faces and original.thresholds:
        return dataclasses.replace(
            entry,
            thresholds=original.thresholds,
            comparisons=original.comparisons,
            calibrated_on=(
                f"carried over from {original.name}, to which the embeddings of {found.faces} faces"
                f" have a cosine of {found.cosine:.4f}: {original.calibrated_on}"
            ),
            calibration_command=original.calibration_command,
        )
    made = _calibrated(entry, measuring)
    people = measuring.trial.people
    if made is None or people is None:
        return entry
    return dataclasses.replace(
        entry,
        thresholds=made.thresholds,
        comparisons=made.pairs.scores.non_mated,
        calibrated_on=f"{people.name}: {len(people.samples):,} images of"
        f" {len(people.people):,} people",
        calibration_command=command,
    )


def _calibrated(entry: ModelEntry, measuring: Measuring) -> Calibration | None:
    """Find thresholds; None where too few people are known for any."""
    people = measuring.trial.people
    if people is None:
        return None
    try:
        return calibrate(people, measuring.embedded(entry, people.samples))
    except InputError:
        return None
