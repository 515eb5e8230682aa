"""A whole training run, from faces to a network: what ``facekeep train`` does."""

from __future__ import annotations

import dataclasses
import logging
import os
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from facekeep.errors import InputError
from facekeep.lab.datasets.augment import PRESETS
from facekeep.lab.datasets.source import Source, hold_out_people, select
from facekeep.lab.datasets.training_set import open_source
from facekeep.lab.evaluate.crops import has_face_in_place
from facekeep.lab.evaluate.plots import require_matplotlib
from facekeep.lab.evaluate.result import list_points
from facekeep.lab.train.embedder_loop import EmbedderTrainer
from facekeep.lab.train.embedding import read_face
from facekeep.lab.train.folder import KEPT_OUT, begin, require_new
from facekeep.lab.train.holdout import Holdout, Measured
from facekeep.lab.train.learner import Learner
from facekeep.lab.train.loader import Loader
from facekeep.lab.train.loop import Watch, unwatched
from facekeep.lab.train.parallel import Parallel, from_environment
from facekeep.lab.train.recipe import Recipe
from facekeep.lab.train.results import (
    Registered,
    TrainingResult,
    describe_command,
    measure_holdout,
    register,
    require_free,
    write_results,
)
from facekeep.lab.train.schedule import (
    count_holdout,
    count_workers,
    fill_defaults,
    make_schedule,
)
from facekeep.lab.train.start import find_origin, make_starting_model
from facekeep.lab.train.teacher import open_teacher
from facekeep.lab.train.teacher_targets import FULL_SIDE, CachedTargets, Targets, live_targets
from facekeep.models.files import keep
from facekeep.pipeline.detect import Detector
from facekeep.runtime import RuntimeOptions

__all__ = ["TrainingResult", "count_misplaced", "train"]

_LOOKS: Final = 24
_SIDE: Final = 112


def count_misplaced(source: Source) -> tuple[int, int]:
    """Look at a few images, spread over the source.

    Returns:
        In how many of them no face is found where an aligned crop has it, and how many were looked
        at.
    """
    places = np.unique(np.linspace(0, len(source) - 1, _LOOKS).astype(int))
    looked = wrong = 0
    with Detector(options=RuntimeOptions(threads=1)) as detector:
        for place in places:
            face = read_face(source, int(place), _SIDE)
            if face is None:
                continue
            looked += 1
            wrong += not has_face_in_place(detector, face)
    return wrong, looked


_log = logging.getLogger(__name__)


def train(
    recipe: Recipe,
    folder: Path,
    *,
    resume: bool = False,
    name: str | None = None,
    threads: int = 0,
    watch: Watch = unwatched,
) -> TrainingResult:
    """Train as a recipe says; every process of a run calls it alike.

    Seeds PyTorch's global random generator.

    Args:
        recipe: What to learn from and how.
        folder: Made for all that the run yields.
        resume: Go on with the run in the folder, whose recipe it must be.
        name: Put the result into the catalog under this name.
        threads: CPU threads of one process; 0 for PyTorch's own choice.
        watch: Shows how far it is; see `Watch`.

    Raises:
        InputError: The folder or the name is taken, or an option does not fit the data.
        FacekeepError: The data, the weights or the teachers cannot be used, the loss is no longer
            a finite number, or there is no room.
    """
    require_matplotlib("train")
    if name is not None:
        require_free(name)
    if threads:
        torch.set_num_threads(threads)
    with from_environment(recipe.device) as parallel:
        return _trained(recipe, folder, parallel, resume=resume, name=name, watch=watch)


def _trained(
    recipe: Recipe,
    folder: Path,
    parallel: Parallel,
    *,
    resume: bool,
    name: str | None,
    watch: Watch,
) -> TrainingResult:
    """Do a run; nothing of it is left when the group of processes ends."""
    if not resume and parallel.is_main:
        require_new(folder)
    job = _Job(recipe, folder, parallel)
    job.prepare(resume=resume, watch=watch)
    with watch("Training", job.trainer.images_left) as advance:
        finished = job.trainer.run(advance)
    if not finished:
        return TrainingResult(finished=False, step=job.trainer.step)
    return job.finish(name)


class _Job:
    """The parts of a run, put together."""

    def __init__(self, recipe: Recipe, folder: Path, parallel: Parallel) -> None:
        self.recipe, self.folder, self.parallel = recipe, folder, parallel
        torch.manual_seed(recipe.seed)
        self.model = make_starting_model(recipe)
        self.faces, kept_out = _open_faces(recipe)
        self.batch = _choose_batch(recipe, len(self.faces), parallel)
        self.loader = self._loader()
        self.schedule = make_schedule(recipe, self.loader.steps_per_epoch)
        self.holdout = None if kept_out is None else self._holdout(kept_out)
        self.cached: list[CachedTargets] = []
        self.learner = self._learner()
        self.trainer = EmbedderTrainer(
            self.learner,
            self.loader,
            self.schedule,
            holdout=self.holdout,
            folder=folder,
            parallel=parallel,
        )

    def prepare(self, *, resume: bool, watch: Watch) -> None:
        """Make the folder, or go back to its checkpoint; hear the teachers out."""
        if not resume and self.parallel.is_main:
            self.loader.require_usable()
            begin(self.folder, self._settled())
            if self.holdout is not None:
                keep(self.folder / KEPT_OUT, self.holdout.table())
            self._warn()
        self.parallel.barrier()
        for target in self.cached:
            target.fill(watch)
        if resume and self.trainer.resume():
            return
        if self.recipe.from_ is not None:
            self.learner.imprint(self.faces)

    def finish(self, name: str | None) -> TrainingResult:
        """Measure, write and register what was learned."""
        measured = None
        if self.holdout is not None:
            measured = self.holdout.measure(self.learner.averaged)
        step, corrupt = self.trainer.step, self.trainer.count_corrupt()
        if not self.parallel.is_main:
            return TrainingResult(finished=True, step=step)
        points = () if measured is None else measure_holdout(measured)
        facts = self._facts(corrupt) | {"tar": list_points(points) or None}
        model = self.learner.averaged
        summary = write_results(self.folder, model, facts)
        registered = None if name is None else self._register(name, measured)
        return TrainingResult(finished=True, step=step, summary=summary, model=registered)

    def _warn(self) -> None:
        """Tell of what will come to nothing: photos that are no crops; nobody to measure with."""
        wrong, looked = count_misplaced(self.faces)
        if 2 * wrong > looked:
            _log.warning(
                "in %d of %d pictures looked at there is no face where an aligned crop has it: a"
                " network trained on photos recognizes nobody; cut the faces out first",
                wrong,
                looked,
            )
        if self.recipe.holdout is None and self.holdout is None and self.faces.classes:
            _log.warning(
                "nobody is kept out to measure with: %d people are too few to spare some;"
                " the option holdout keeps some of them out",
                self.faces.classes,
            )

    def _register(self, name: str, measured: Measured | None) -> Registered:
        return register(
            self.folder, name, self.learner.averaged, measured, begun=find_origin(self.recipe)
        )

    def _holdout(self, kept_out: Source) -> Holdout:
        model = self.model
        return Holdout(kept_out, size=model.input_size, width=model.width, parallel=self.parallel)

    def _loader(self) -> Loader:
        here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        return Loader(
            self.faces,
            batch=self.batch // self.parallel.world,
            size=self._side(),
            seed=self.recipe.seed,
            augment=PRESETS[self.recipe.augment],
            rank=self.parallel.rank,
            world=self.parallel.world,
            workers=count_workers(self.recipe, here),
            max_corrupt=self.recipe.max_corrupt,
        )

    def _side(self) -> int:
        """Return the side of the crops of a batch; the network shrinks those that are too large."""
        side = self.model.input_size
        return max(side, FULL_SIDE) if self.recipe.teacher_sees == "full" else side

    def _learner(self) -> Learner:
        recipe, parallel = self.recipe, self.parallel
        threads = torch.get_num_threads()
        teachers = [
            open_teacher(each, device=parallel.device, threads=threads) for each in recipe.teacher
        ]
        targets: list[Targets] = [live_targets(each) for each in teachers]
        if recipe.teacher_sees == "plain":
            self.cached = [
                CachedTargets(each, self.faces, self.folder / f"teacher-{number}", parallel)
                for number, each in enumerate(teachers, 1)
            ]
            targets = [*self.cached]
        classes = self.faces.classes
        return Learner(self.model, recipe, classes=classes, parallel=parallel, targets=targets)

    def _settled(self) -> Recipe:
        """The recipe without a default that depends on the weights or the data."""
        return dataclasses.replace(
            fill_defaults(self.recipe, self.schedule, self._held_out()["people"]),
            arch=self.model.arch,
            gamma=0 if self.recipe.gamma == 0 else self.model.gamma,
            input_size=self.model.input_size,
        )

    def _held_out(self) -> dict[str, int]:
        if self.holdout is None:
            return {"people": 0, "images": 0}
        return {"people": self.holdout.people, "images": len(self.holdout)}

    def _facts(self, corrupt: int) -> dict[str, Any]:
        recipe, step = self.recipe, self.trainer.step
        return {
            "data": str(recipe.data),
            "images": len(self.faces),
            "people": self.faces.classes,
            "holdout": self._held_out(),
            "steps": step,
            "samples_seen": step * self.batch,
            "corrupt": corrupt + self.faces.corrupt,
            "precision": self.learner.precision,
            "device": self.parallel.device.type,
            "processes": self.parallel.world,
            "seconds": round(self.trainer.seconds),
            "command": describe_command(self.folder),
        }


def _open_faces(recipe: Recipe) -> tuple[Source, Source | None]:
    """Open the faces: those to learn from, and those of the people kept out."""
    source = open_source(recipe.data, labels=recipe.labels)
    _require_sound(source, recipe.max_corrupt)
    if source.classes and not recipe.teacher:  # faces without a name would teach nothing
        source = select(source, np.flatnonzero(source.labels >= 0))
    people = count_holdout(recipe, source.classes)
    if not people:
        return source, None
    return hold_out_people(source, people=people, seed=recipe.seed)


def _require_sound(source: Source, most: float) -> None:
    """Tell of records that are damaged or missing, as of a file that was cut short.

    Raises:
        InputError: They are more than a share of all.
    """
    if not source.corrupt:
        return
    listed = source.corrupt + len(source)
    message = f"{source.name}: {source.corrupt} of {listed} records are damaged or missing"
    if source.corrupt > most * listed:
        raise InputError(
            f"{message}, more than the {most:.1%} allowed: the file may have been cut short; copy"
            " it again, or allow more to train on what is left",
            "max_corrupt",
        )
    _log.warning("%s: the file may have been cut short; the rest is used", message)


def _choose_batch(recipe: Recipe, images: int, parallel: Parallel) -> int:
    """Return how many faces a step of all processes takes: no more than there are."""
    batch = min(recipe.batch, images)
    if recipe.batch % parallel.world:
        raise InputError(
            f"a batch of {recipe.batch} cannot be shared by {parallel.world} processes evenly",
            "batch",
        )
    if batch < max(2, parallel.world):
        raise InputError(f"{images} faces are too few to learn from; give at least 2 people's")
    return batch - batch % parallel.world
