"""``facekeep train detector``: from annotated photos to a network that finds faces."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facekeep.cli.command import INTERRUPTED, ExitStatus, Run
from facekeep.errors import InputError
from facekeep.train.detector.recipe import DetectorRecipe
from facekeep.train.small import read_recipe

if TYPE_CHECKING:
    from facekeep.train.small import Outcome

__all__ = ["EXAMPLES", "detector"]

EXAMPLES = (
    "facekeep train detector --data photos.tar --scenes scenes.tar --out run",
    "facekeep train detector --data photos.tar --crops faces/ --from yunet --out run --name ours",
    "facekeep train detector --out run --resume",
)

_DEFAULTS = DetectorRecipe(data=Path())


def _option(flag: str, metavar: str, text: str, default: object = None) -> Any:
    shown = text if default is None else f"{text} [default: {default}]"
    return typer.Option(flag, metavar=metavar, help=shown, show_default=False)


def detector(
    run: Run,
    *,
    out: Annotated[Path, _option("--out", "RUN", "Make this folder for all of the run.")],
    data: Annotated[
        Path | None,
        _option(
            "--data", "PHOTOS", "Annotated photos: pictures, each with a .json; tar or folder."
        ),
    ] = None,
    scenes: Annotated[
        Path | None,
        _option("--scenes", "TAR", "Photos that nobody annotated: backgrounds, and more faces."),
    ] = None,
    crops: Annotated[
        Path | None,
        _option("--crops", "DIR", "Aligned faces of many more people, as facekeep train takes."),
    ] = None,
    crops_used: Annotated[
        int | None, _option("--crops-used", "N", "So many of them.", _DEFAULTS.crops_used)
    ] = None,
    teacher: Annotated[
        str | None,
        _option("--teacher", "NAME", "Labels what nobody annotated.", _DEFAULTS.teacher),
    ] = None,
    begin: Annotated[
        str | None,
        _option("--from", "NAME", "Begin with the weights of this small YuNet.", "from scratch"),
    ] = None,
    steps: Annotated[
        int | None, _option("--steps", "N", "Length of the run in steps.", _DEFAULTS.steps)
    ] = None,
    batch: Annotated[
        int | None, _option("--batch", "N", "Canvases in a step.", _DEFAULTS.batch)
    ] = None,
    side: Annotated[
        int | None,
        _option("--side", "N", "Side of a canvas, a multiple of 32 pixels.", _DEFAULTS.side),
    ] = None,
    lr: Annotated[
        float | None, _option("--lr", "X", "Highest learning rate.", _DEFAULTS.lr)
    ] = None,
    holdout: Annotated[
        int | None,
        _option("--holdout", "N", "People kept out to measure with.", _DEFAULTS.holdout),
    ] = None,
    seed: Annotated[
        int | None, _option("--seed", "N", "Start of all random numbers.", _DEFAULTS.seed)
    ] = None,
    name: Annotated[
        str | None,
        _option("--name", "NAME", "Put the result into the catalogue under this name."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out from its checkpoint.")
    ] = False,
) -> ExitStatus | None:
    """Train a face detector with five landmarks, from annotated photos and a teacher.

    It learns on canvases composed of the photos at many scales. All that the run yields is in RUN:
    detector.onnx, detector.pt, curves.png, summary.json, log.csv, recipe.json, and checkpoints.
    Ctrl-C finishes the step and saves a checkpoint; --resume goes on. It runs on the CPU.
    """
    options = {
        "data": data,
        "scenes": scenes,
        "crops": crops,
        "crops_used": crops_used,
        "teacher": teacher,
        "begin": begin,
        "steps": steps,
        "batch": batch,
        "side": side,
        "lr": lr,
        "holdout": holdout,
        "seed": seed,
    }
    recipe = _recipe(
        {key: value for key, value in options.items() if value is not None}, out, resume
    )
    import facekeep.nn  # noqa: F401 - its error names the cure
    from facekeep.train.detector.run import train_detector

    outcome = train_detector(
        recipe,
        out,
        resume=resume,
        name=name,
        threads=run.settings.threads,
        watch=lambda what, images: run.progress(what, images, unit="images"),
    )
    _tell(run, outcome, out)
    if not outcome.finished:
        raise typer.Exit(INTERRUPTED)
    return ExitStatus.YES


def _recipe(given: dict[str, Any], out: Path, resume: bool) -> DetectorRecipe:
    if resume:
        if given:
            raise InputError("a run goes on with the options it began with; leave out all others")
        return read_recipe(DetectorRecipe, out)
    if "data" not in given:
        raise InputError("there is nothing to train on; name it with --data")
    return DetectorRecipe(**given)


def _tell(run: Run, outcome: Outcome, out: Path) -> None:
    if outcome.summary is None:
        resume = f"facekeep train detector --resume --out {shlex.quote(str(out))}"
        if run.json:
            run.emit({"finished": False, "step": outcome.step, "resume": resume})
        run.say(f"stopped after step {outcome.step}; go on with: {resume}")
        return
    if run.json:
        run.emit({"finished": True, "out": out, **outcome.summary, "model": outcome.name})
        return
    loss = outcome.summary["holdout_loss"]["loss"]
    run.say(
        f"{out}: {outcome.summary['params']:,} parameters, saw"
        f" {outcome.summary['canvases_seen']:,} canvases; loss on people kept out {loss:.3f}"
    )
    if outcome.name is not None:
        run.say(
            f"{outcome.name}: in the catalogue; measure it with: facekeep evaluate detect PHOTOS"
            f" --model yunet --model {outcome.name}"
        )
