"""``facekeep train detector``, ``refiner`` and so on: the small networks."""

from __future__ import annotations

import importlib
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

import click
from msgspec import NODEFAULT, structs

from facekeep._internal.tables import unwrap
from facekeep.cli.command import INTERRUPTED, ExitStatus, Run
from facekeep.cli.options import PATH, Decorator
from facekeep.errors import InputError, StorageFull
from facekeep.lab.train.detector.recipe import DetectorRecipe
from facekeep.lab.train.liveness.recipe import LivenessRecipe
from facekeep.lab.train.orienter.recipe import OrienterRecipe
from facekeep.lab.train.quality.recipe import QualityRecipe
from facekeep.lab.train.refiner.recipe import LIFT, RefinerRecipe
from facekeep.lab.train.small import SmallRecipe, read_recipe

if TYPE_CHECKING:
    from facekeep.lab.train.results import TrainingResult

__all__ = [
    "EXAMPLES",
    "advise_resuming",
    "detector",
    "liveness",
    "orienter",
    "quality",
    "refiner",
    "report_interruption",
]

EXAMPLES = {
    "detector": (
        "facekeep train detector --data photos.tar --scenes scenes.tar --out run",
        "facekeep train detector --data photos.tar --crops faces/ --from yunet --out run"
        " --name ours",
        "facekeep train detector --out run --resume",
    ),
    "refiner": (
        "facekeep train refiner --data photos.tar --out run",
        "facekeep train refiner --data portraits.tar --teacher mediapipe.whl --out run",
        "facekeep train refiner --data photos/ --out run --steps 20000 --name ours",
        "facekeep train refiner --out run --resume",
    ),
    "quality": (
        "facekeep train quality --data portraits.tar --out run",
        "facekeep train quality --data photos/ --out run --teacher mine --name mine-quality",
        "facekeep train quality --out run --resume",
    ),
    "orienter": (
        "facekeep train orienter --data portraits.tar --out run",
        "facekeep train orienter --data photos/ --out run --steps 20000 --name ours",
        "facekeep train orienter --out run --resume",
    ),
    "liveness": (
        "facekeep train liveness --data portraits.tar --out run",
        "facekeep train liveness --data photos/ --out run --teacher mine --name ours",
        "facekeep train liveness --out run --resume",
    ),
}

out_option = click.option(
    "--out",
    required=True,
    type=PATH,
    metavar="RUN",
    help="Folder for everything that the run writes.",
)
name_option = click.option(
    "--name", metavar="NAME", help="Put the result into the catalog under this name."
)
resume_option = click.option(
    "--resume", is_flag=True, help="Go on with the run in --out from its checkpoint."
)

Recipe = TypeVar("Recipe", bound=SmallRecipe)


def _recipe_options(
    kind: type[SmallRecipe], images: str, own: Mapping[str, tuple[str, str, str]]
) -> Decorator:
    """Give a command an option for fields of its recipe; None where one is not given.

    Args:
        kind: Of the recipe.
        images: What a batch is of.
        own: For each field that other small networks have not, its flag, what the flag is followed
            by, and the help.
    """
    options = {
        "data": (
            "--data",
            "PHOTOS",
            "Annotated photos: pictures, each with a .json; tar or folder.",
        ),
        **{name: option for name, option in own.items() if name != "holdout"},
        "steps": ("--steps", "N", "Length of the run in steps."),
        "batch": ("--batch", "N", f"{images} in a step."),
        "lr": ("--lr", "X", "Highest learning rate."),
        "holdout": own.get("holdout", ("--holdout", "N", "People kept out to measure with.")),
        "seed": ("--seed", "N", "Seed of all random numbers."),
    }
    hints = get_type_hints(kind)
    defaults = {field.name: field.default for field in structs.fields(kind)}

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for name, (flag, metavar, text) in reversed(options.items()):
            default = defaults[name]
            shown = text if default in (NODEFAULT, None) else f"{text} [default: {default}]"
            base, _ = unwrap(hints[name])
            kind_of_value = PATH if base is Path else base
            click.option(name, flag, type=kind_of_value, metavar=metavar, help=shown)(function)
        return function

    return decorate


_DETECTOR_OPTIONS = {
    "scenes": (
        "--scenes",
        "TAR",
        "Photos without annotations: backgrounds, and more faces.",
    ),
    "crops": (
        "--crops",
        "DIR",
        "Aligned faces of many more people, as facekeep train takes.",
    ),
    "crops_used": ("--crops-used", "N", "Number of them to use."),
    "teacher": ("--teacher", "NAME", "Detector that labels the photos without annotations."),
    "begin": (
        "--from",
        "NAME",
        "Begin with the weights of this small YuNet. [default: from scratch]",
    ),
    "side": ("--side", "N", "Side of a mosaic, in pixels; a multiple of 32."),
}


@out_option
@_recipe_options(DetectorRecipe, "Mosaics", _DETECTOR_OPTIONS)
@name_option
@resume_option
def detector(run: Run, *, out: Path, name: str | None, resume: bool, **given: object) -> int:
    """Train a face detector with five landmarks, from annotated photos and a teacher.

    It learns on mosaics composed of the photos at many scales. The results are in RUN:
    detector.onnx, detector.pt, curves.png, summary.json, log.csv, recipe.json, and checkpoints.
    Ctrl-C finishes the step and saves a checkpoint; --resume goes on. It runs on the CPU.
    """
    return _train(
        run, DetectorRecipe, given, out, resume=resume, name=name, describe=_describe_detector
    )


def _describe_detector(summary: dict[str, Any]) -> str:
    loss = summary["holdout_loss"]["loss"]
    return f"saw {summary['canvases_seen']:,} mosaics; loss on people kept out {loss:.3f}"


_REFINER_OPTIONS = {
    "data": (
        "--data",
        "PHOTOS",
        "Annotated photos: pictures, each with a .json; with --teacher any photos of faces, one a"
        " person; tar or folder.",
    ),
    "teacher": (
        "--teacher",
        "FILE",
        "Learn from MediaPipe's face_landmark.tflite, or a wheel of mediapipe that holds it,"
        " instead of annotations. It needs LiteRT.",
    ),
    "lift": (
        "--lift",
        "X",
        "Teach landmarks higher than they were placed, by this share of the distance of the eyes."
        f" [default: {LIFT} for annotated ones, 0 for those of the teacher]",
    ),
}


@out_option
@_recipe_options(RefinerRecipe, "Crops", _REFINER_OPTIONS)
@name_option
@resume_option
def refiner(run: Run, *, out: Path, name: str | None, resume: bool, **given: object) -> int:
    """Train a network that places five landmarks in the rough crop of a face.

    The results are in RUN: refiner.onnx, refiner.pt, curves.png, summary.json, log.csv,
    recipe.json, and checkpoints. Ctrl-C finishes the step and saves a checkpoint; --resume goes on.
    It runs on the CPU.
    """
    return _train(
        run, RefinerRecipe, given, out, resume=resume, name=name, describe=_describe_refiner
    )


def _describe_refiner(summary: dict[str, Any]) -> str:
    error = 100 * summary["holdout_error"]
    return (
        f"saw {summary['crops_seen']:,} crops; landmarks of people kept out are off by"
        f" {error:.1f} % of the distance of their eyes"
    )


_QUALITY_OPTIONS = {
    "data": ("--data", "PHOTOS", "Clear photos of faces, one for each person; tar or folder."),
    "teacher": ("--teacher", "NAME", "Embedder that the network belongs to, and learns from."),
    "crops": ("--crops", "N", "Damaged crops to learn from."),
    "holdout": ("--holdout", "N", "Photos kept out to measure with."),
}


@out_option
@_recipe_options(QualityRecipe, "Faces", _QUALITY_OPTIONS)
@name_option
@resume_option
def quality(run: Run, *, out: Path, name: str | None, resume: bool, **given: object) -> int:
    """Train a network that detects unusable faces, for one embedder.

    The photos are damaged in many ways, and the embedder measures what is left of each face. With
    --name, an embedder of your own uses the result from then on. The results
    are in RUN: quality.onnx, quality.pt, curves.png, summary.json, log.csv, recipe.json, and
    checkpoints. Ctrl-C finishes the step and saves a checkpoint; --resume goes on. It runs on the
    CPU.
    """
    return _train(
        run, QualityRecipe, given, out, resume=resume, name=name, describe=_describe_quality
    )


def _describe_quality(summary: dict[str, Any]) -> str:
    return (
        f"saw {summary['faces_seen']:,} faces; on those of people kept out it is off by"
        f" {summary['holdout_error']:.3f}"
    )


_ORIENTER_OPTIONS = {
    "data": ("--data", "PHOTOS", "Upright photos of faces, one for each person; tar or folder."),
    "holdout": ("--holdout", "N", "Photos kept out to measure with."),
}


@out_option
@_recipe_options(OrienterRecipe, "Crops", _ORIENTER_OPTIONS)
@name_option
@resume_option
def orienter(run: Run, *, out: Path, name: str | None, resume: bool, **given: object) -> int:
    """Train a network that measures how far a face is turned in its crop.

    The results are in RUN: orienter.onnx, orienter.pt, curves.png, summary.json,
    log.csv, recipe.json, and checkpoints. Ctrl-C finishes the step and saves a checkpoint; --resume
    goes on. It runs on the CPU.
    """
    return _train(
        run, OrienterRecipe, given, out, resume=resume, name=name, describe=_describe_orienter
    )


def _describe_orienter(summary: dict[str, Any]) -> str:
    wrong, angle = 100 * summary["holdout_wrong"], summary["holdout_angle"]
    return (
        f"saw {summary['crops_seen']:,} crops; of damaged crops of people kept out {wrong:.2f} %"
        f" are wrong by more than 45 degrees, half of them by less than {angle:.1f}"
    )


_LIVENESS_OPTIONS = {
    "data": ("--data", "PHOTOS", "Photos of faces, one for each person; tar or folder."),
    "teacher": ("--teacher", "NAME", "Liveness network to learn from, which chooses the photos."),
    "attacks": ("--attacks", "N", "Attacks to make from each photo."),
    "trust": ("--trust", "SHARE", "Weight of the teacher's answers beside what is known."),
    "holdout": ("--holdout", "N", "Photos kept out to measure with."),
}


@out_option
@_recipe_options(LivenessRecipe, "Crops", _LIVENESS_OPTIONS)
@name_option
@resume_option
def liveness(run: Run, *, out: Path, name: str | None, resume: bool, **given: object) -> int:
    """Train a network that tells living faces from pictures of faces, on attacks made by a script.

    Photos that the teacher takes for living faces are shown as prints, on screens and as masks.
    Two species of attack are kept out to measure with. The results are in RUN:
    liveness.onnx, liveness.pt, curves.png, summary.json, log.csv, recipe.json, and checkpoints.
    Ctrl-C finishes the step and saves a checkpoint; --resume goes on. It runs on the CPU.
    """
    return _train(
        run, LivenessRecipe, given, out, resume=resume, name=name, describe=_describe_liveness
    )


def _describe_liveness(summary: dict[str, Any]) -> str:
    known, unknown = (100 * summary[key] for key in ("holdout_auc", "holdout_auc_kept_out"))
    return (
        f"saw {summary['crops_seen']:,} crops; a living face of people kept out scores above an"
        f" attack in {known:.1f} % of pairs, and above one of the worst species kept out in"
        f" {unknown:.1f} %"
    )


def _train(
    run: Run,
    kind: type[SmallRecipe],
    given: Mapping[str, object],
    out: Path,
    *,
    resume: bool,
    name: str | None,
    describe: Callable[[dict[str, Any]], str],
) -> int:
    """Train, and show what became of it.

    Args:
        run: Of the command.
        kind: Of the recipe.
        given: Its values that were given; None where one was not.
        out: The folder of the run.
        resume: Go on with the run that is there.
        name: What the catalog will call the network; None to leave it out.
        describe: Says what there is to say of a summary.

    Raises:
        FacekeepError: It cannot be done.
    """
    recipe = _recipe_of(kind, given, out, resume=resume)
    import facekeep.lab.nn  # noqa: F401 - its error names the cure

    module: Any = importlib.import_module(f"facekeep.lab.train.{kind.network}.run")
    with advise_resuming():
        result: TrainingResult = getattr(module, f"train_{kind.network}")(
            recipe,
            out,
            resume=resume,
            name=name,
            threads=run.settings.threads,
            watch=lambda what, images: run.progress(what, images, unit="images"),
        )
    return _report(run, result, out, kind, describe)


def _recipe_of(
    kind: type[Recipe], options: Mapping[str, object], out: Path, *, resume: bool
) -> Recipe:
    """Make the recipe of a new run, or read that of the run that is to go on."""
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if resume:
        if given:
            raise InputError("a run goes on with the options it began with; leave out all others")
        return read_recipe(kind, out)
    if "data" not in given:
        raise InputError("there is nothing to train on; name it with --data")
    return kind(**given)


@contextmanager
def advise_resuming() -> Iterator[None]:
    """Say how a run goes on that found no room for a file."""
    try:
        yield
    except StorageFull as error:
        raise StorageFull(f"{error}; then go on with --resume") from error


def report_interruption(run: Run, step: int, command: str, out: Path) -> None:
    """Say how a run that was interrupted goes on."""
    resume = f"{command} --resume --out {shlex.quote(str(out))}"
    if run.json:
        run.emit({"finished": False, "step": step, "resume": resume})
    run.say(f"stopped after step {step}; go on with: {resume}")


def _report(
    run: Run,
    result: TrainingResult,
    out: Path,
    kind: type[SmallRecipe],
    describe: Callable[[dict[str, Any]], str],
) -> int:
    if result.summary is None:
        report_interruption(run, result.step, f"facekeep train {kind.network}", out)
        return INTERRUPTED
    name = None if result.model is None else result.model.name
    if run.json:
        run.emit({"finished": True, "out": out, **result.summary, "model": name})
    run.say(f"{out}: {result.summary['params']:,} parameters, {describe(result.summary)}")
    if name is not None:
        hint = "; measure it with: facekeep evaluate detect PHOTOS --model yunet --model "
        run.say(f"{name}: in the catalog" + (hint + name) * (kind is DetectorRecipe))
    return ExitStatus.YES
