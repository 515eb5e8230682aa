"""Several steps one after the other, from a model of the catalog to a new one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from msgspec import structs

from facekeep.errors import InputError, RuntimeUnavailable
from facekeep.lab.compress.data import FaceSet
from facekeep.lab.compress.measure import FMR, Evaluator, NetworkProfile
from facekeep.lab.compress.options import Quantize, Step
from facekeep.lab.compress.quantize import quantize_model
from facekeep.lab.compress.workspace import StepResult, Workspace, compute_digest, write_model
from facekeep.lab.evaluate.calibrate import calibrate
from facekeep.models import Measurement, ModelEntry
from facekeep.models.importing import add_model

__all__ = ["AGREEMENT", "Chain", "ChainResult", "StepRecord", "run_chain", "run_step"]

AGREEMENT: Final = (0.999, 0.998, 100)
"""Mean cosine, its first percentile and the number of faces from which thresholds carry over.

Noise of this size moves a cosine between two faces by about 0.002, less than the difference between
one collection of faces and another.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """What is to be done.

    Attributes:
        out: What the new model will be called.
        steps: What is done, in this order.
        faces: What steps calibrate and train on; None where there are none.
        compare: Further models for the picture.
        command: The command line, for the record.
    """

    out: str
    steps: tuple[Step, ...]
    faces: FaceSet | None
    compare: tuple[ModelEntry, ...] = ()
    command: str = ""

    def name_network(self, number: int) -> str:
        """Return what the network is called after so many steps."""
        last = number == len(self.steps)
        return self.out if last else f"{self.out}.{number}-{self.steps[number - 1].kind}"


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step that was done.

    Attributes:
        step: What was asked for.
        result: What it made.
        before: The network before it.
        after: The network after it.
    """

    step: Step
    result: StepResult
    before: NetworkProfile
    after: NetworkProfile

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "step": self.step.kind,
            "options": structs.asdict(self.step),
            "told": self.result.summary,
            "remarks": list(self.result.remarks),
            "details": self.result.details,
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class ChainResult:
    """The result of a chain.

    Attributes:
        entry: The new model in the catalog.
        steps: The steps, with what each did.
        profiles: The original, the network after each step and the models to compare, their
            latencies measured in one run.
    """

    entry: ModelEntry
    steps: tuple[StepRecord, ...]
    profiles: tuple[NetworkProfile, ...]

    @property
    def before(self) -> NetworkProfile:
        """The original."""
        return self.profiles[0]

    @property
    def after(self) -> NetworkProfile:
        """The new model."""
        return self.profiles[len(self.steps)]

    @property
    def compared(self) -> tuple[NetworkProfile, ...]:
        """The further models."""
        return self.profiles[len(self.steps) + 1 :]

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "model": self.before.name,
            "out": self.entry.name,
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "steps": [record.to_dict() for record in self.steps],
            "compared": [profile.to_dict() for profile in self.compared],
            "thresholds": [{"fmr": fmr, "cosine": cosine} for fmr, cosine in self.entry.thresholds],
            "calibrated_on": self.entry.calibrated_on,
        }


def run_chain(
    chain: Chain,
    evaluator: Evaluator,
    folder: Path,
    *,
    on_step: Callable[[StepRecord], object] = lambda record: None,
) -> ChainResult:
    """Do the steps, measure, and register the result in the catalog.

    Args:
        chain: What is to be done.
        evaluator: Measures against the model that the chain begins with.
        folder: Keeps what each step made; steps that are found there are not done again.
        on_step: Called with each step when it is done.

    Raises:
        FacekeepError: A step cannot be done; what came before it stays in the folder.
    """
    workspace = Workspace(folder)
    evaluator.load_known(folder)
    models, records = [evaluator.original], []
    for number, step in enumerate(chain.steps, 1):
        result = _load_or_run(chain, number, models[-1], evaluator, workspace)
        models.append(write_model(result, models[-1], folder, chain.name_network(number)))
        before, after = evaluator.profile(models[-2:])
        evaluator.save_known(folder)
        records.append(StepRecord(step, result, before, after))
        on_step(records[-1])
    if len(records) == 1 and not chain.compare:
        profiles = [records[0].before, records[0].after]
    else:  # all latencies in one run
        profiles = evaluator.profile(models, chain.compare)
    entry = _register(models[-1], records, profiles, evaluator, chain.command)
    return ChainResult(entry, tuple(records), tuple(profiles))


def _load_or_run(
    chain: Chain, number: int, model: ModelEntry, evaluator: Evaluator, workspace: Workspace
) -> StepResult:
    """Do a step, unless it was done before."""
    step, faces, name = chain.steps[number - 1], chain.faces, chain.name_network(number)
    images = None if faces is None else [faces.name, faces.samples.names, faces.samples.aligned]
    key = compute_digest(step.kind, structs.asdict(step), model.files[0].sha256, images)
    result = workspace.load(name, key)
    if result is None:
        result = run_step(step, model, faces, evaluator, workspace.path / f"{number}-{step.kind}")
        workspace.save(name, key, result)
    return result


def run_step(
    step: Step, model: ModelEntry, faces: FaceSet | None, evaluator: Evaluator, folder: Path
) -> StepResult:
    """Do one step.

    Args:
        step: Which.
        model: The network so far.
        faces: What it calibrates and trains on; None where there are none.
        evaluator: Measures people where the step has to know them, and shows progress.
        folder: Keeps what takes long, so that it can go on after an interruption.

    Raises:
        FacekeepError: It cannot be done.
        KeyboardInterrupt: It was stopped, and can go on.
    """
    if step.fine_tune or not isinstance(step, Quantize):
        _require_pytorch()
    if isinstance(step, Quantize):
        return quantize_model(model, step, faces, evaluator, folder)
    from facekeep.lab.compress.reshape import reshape_model

    return reshape_model(model, step, faces, evaluator, folder)


def _require_pytorch() -> None:
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise RuntimeUnavailable(
            "networks are changed with PyTorch, which is not installed;"
            " run: pip install 'facekeep[compress]'"
        ) from error


def _register(
    model: ModelEntry,
    records: Sequence[StepRecord],
    profiles: Sequence[NetworkProfile],
    evaluator: Evaluator,
    command: str,
) -> ModelEntry:
    """Put the last network into the catalog.

    Its thresholds are those of the original where their embeddings agree (``AGREEMENT``); else they
    are calibrated on the known people, as far as those allow; else there are none.

    Raises:
        InputError: The name is taken or malformed.
        ModelError: Its folder cannot be written.
        StorageFull: There is no room for it.
    """
    original, before, after = evaluator.original, profiles[0], profiles[len(records)]
    entry = structs.replace(
        model,
        summary=f"{original.name}, {'; '.join(record.result.summary for record in records)}",
        params=after.parameters,
        accuracy=tuple(_list_measurements(after, evaluator, command)),
        notes=f"Made of {original.name} by: {command}. {_describe_loss(original, before, after)}",
    )
    entry = _add_thresholds(entry, after, evaluator, command)
    return add_model(records[-1].result.content, entry)


def _list_measurements(
    after: NetworkProfile, evaluator: Evaluator, command: str
) -> Iterator[Measurement]:
    found, people = after.accuracy, evaluator.data.people
    known = "" if people is None else people.name
    for name, value, factor, digits in (
        (f"cosine to {evaluator.original.name}, mean of {found.faces} faces", found.cosine, 1, 4),
        (f"{known}, TAR at FMR {FMR:g} in %", found.tar, 100, 2),
        ("LFW, ten folds, accuracy in %", found.lfw, 100, 2),
        (f"LFW, TAR at FMR {FMR:g} in %", found.lfw_tar, 100, 2),
    ):
        if value is not None:
            yield Measurement(name, round(factor * value, digits), command)


def _describe_loss(original: ModelEntry, before: NetworkProfile, after: NetworkProfile) -> str:
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


def _add_thresholds(
    entry: ModelEntry, after: NetworkProfile, evaluator: Evaluator, command: str
) -> ModelEntry:
    mean, low, faces = AGREEMENT
    original, found, people = evaluator.original, after.accuracy, evaluator.data.people
    agrees = (found.cosine or 0) >= mean and (found.cosine_p01 or 0) >= low
    if agrees and found.faces >= faces and original.thresholds:
        return structs.replace(
            entry,
            thresholds=original.thresholds,
            comparisons=original.comparisons,
            calibrated_on=(
                f"carried over from {original.name}, to which the embeddings of {found.faces} faces"
                f" have a cosine of {found.cosine:.4f}: {original.calibrated_on}"
            ),
            calibration_command=original.calibration_command,
        )
    if people is None:
        return entry
    try:
        calibration = calibrate(people, evaluator.embed(entry, people.samples))
    except InputError:  # too few people are known for any threshold
        return entry
    return structs.replace(
        entry,
        thresholds=calibration.thresholds,
        comparisons=calibration.pairs.scores.non_mated,
        calibrated_on=f"{people.name}: {len(people.samples):,} images of"
        f" {len(people.people):,} people",
        calibration_command=command,
    )
