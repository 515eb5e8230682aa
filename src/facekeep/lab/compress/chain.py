"""Several steps one after the other, from a model of the catalogue to a new one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from facekeep.lab.compress.faces import Faces
from facekeep.lab.compress.made import Made
from facekeep.lab.compress.measure import Facts, Measuring
from facekeep.lab.compress.options import Step
from facekeep.lab.compress.register import register
from facekeep.lab.compress.staging import staged
from facekeep.lab.compress.steps import take
from facekeep.lab.compress.workfolder import WorkFolder, digest_of
from facekeep.models import ModelEntry

__all__ = ["Chain", "Done", "StepDone", "run_chain"]


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
    faces: Faces | None
    compare: tuple[ModelEntry, ...] = ()
    command: str = ""

    def name(self, number: int) -> str:
        """Return what the network is called after so many steps."""
        last = number == len(self.steps)
        return self.out if last else f"{self.out}.{number}-{self.steps[number - 1].kind}"


@dataclass(frozen=True, slots=True)
class StepDone:
    """One step done.

    Attributes:
        step: What was asked for.
        made: What was made.
        before: Facts about the network before it.
        after: Facts about the network after it.
    """

    step: Step
    made: Made
    before: Facts
    after: Facts

    def document(self) -> dict[str, Any]:
        """Return all of it as JSON has it."""
        return {
            "step": self.step.kind,
            "options": asdict(self.step),
            "told": self.made.told,
            "remarks": list(self.made.remarks),
            "details": self.made.details,
            "before": self.before.document(),
            "after": self.after.document(),
        }


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a chain.

    Attributes:
        entry: The new model in the catalogue.
        steps: The steps, with what each did.
        facts: The original, the network after each step and the models to compare, their latencies
            measured in one run.
    """

    entry: ModelEntry
    steps: tuple[StepDone, ...]
    facts: tuple[Facts, ...]

    @property
    def before(self) -> Facts:
        """The facts of the original."""
        return self.facts[0]

    @property
    def after(self) -> Facts:
        """The facts of the new model."""
        return self.facts[len(self.steps)]

    @property
    def compared(self) -> tuple[Facts, ...]:
        """The facts of the further models."""
        return self.facts[len(self.steps) + 1 :]

    def document(self) -> dict[str, Any]:
        """Return all of it as JSON has it."""
        return {
            "model": self.before.name,
            "out": self.entry.name,
            "before": self.before.document(),
            "after": self.after.document(),
            "steps": [each.document() for each in self.steps],
            "compared": [each.document() for each in self.compared],
            "thresholds": [{"fmr": fmr, "cosine": cosine} for fmr, cosine in self.entry.thresholds],
            "calibrated_on": self.entry.calibrated_on,
        }


def run_chain(
    chain: Chain,
    measuring: Measuring,
    folder: Path,
    *,
    tell: Callable[[StepDone], object] = lambda done: None,
) -> Done:
    """Do the steps, measure, and register what came of them.

    Args:
        chain: What is to be done.
        measuring: Measures against the model that the chain begins with.
        folder: Keeps what each step made; steps that are found there are not done again.
        tell: Told of each step when it is done.

    Raises:
        FacekeepError: A step cannot be done; what came before it stays in the folder.
    """
    work = WorkFolder(folder)
    work.recall(measuring)
    models, done = [measuring.original], []
    for number, step in enumerate(chain.steps, 1):
        made = _made(chain, number, models[-1], measuring, work)
        models.append(staged(made, models[-1], folder, chain.name(number)))
        before, after = measuring.facts(models[-2:])
        work.remember(measuring)
        done.append(StepDone(step, made, before, after))
        tell(done[-1])
    return _finished(chain, measuring, models, done)


def _made(
    chain: Chain, number: int, model: ModelEntry, measuring: Measuring, work: WorkFolder
) -> Made:
    """Do a step, unless it was done before."""
    step, faces = chain.steps[number - 1], chain.faces
    images = None if faces is None else [faces.name, faces.samples.names, faces.samples.aligned]
    key = digest_of(step.kind, asdict(step), model.files[0].sha256, images)
    found = work.find(chain.name(number), key)
    if found is None:
        found = take(step, model, faces, measuring, work.path / f"{number}-{step.kind}")
        work.keep(chain.name(number), key, found)
    return found


def _finished(
    chain: Chain, measuring: Measuring, models: list[ModelEntry], done: list[StepDone]
) -> Done:
    """Measure all in one run where there is more than one step, and register the last."""
    if len(done) == 1 and not chain.compare:
        facts = [done[0].before, done[0].after]
    else:
        facts = measuring.facts(models, chain.compare)
    entry = register(
        done[-1].made.content,
        models[-1],
        facts[0],
        facts[len(done)],
        measuring=measuring,
        told=[each.made.told for each in done],
        command=chain.command,
    )
    return Done(entry, tuple(done), tuple(facts))
