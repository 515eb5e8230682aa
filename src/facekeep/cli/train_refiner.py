"""``facekeep train refiner``: from annotated photos to a network that places landmarks better."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facekeep.cli.command import INTERRUPTED, ExitStatus, Run
from facekeep.errors import InputError
from facekeep.train.refiner.recipe import RefinerRecipe
from facekeep.train.small import read_recipe

if TYPE_CHECKING:
    from facekeep.train.small import Outcome

__all__ = ["EXAMPLES", "refiner"]

EXAMPLES = (
    "facekeep train refiner --data photos.tar --out run",
    "facekeep train refiner --data photos/ --out run --steps 20000 --name ours",
    "facekeep train refiner --out run --resume",
)

_DEFAULTS = RefinerRecipe(data=Path())


def _option(flag: str, metavar: str, text: str, default: object = None) -> Any:
    shown = text if default is None else f"{text} [default: {default}]"
    return typer.Option(flag, metavar=metavar, help=shown, show_default=False)


def refiner(
    run: Run,
    *,
    out: Annotated[Path, _option("--out", "RUN", "Make this folder for all of the run.")],
    data: Annotated[
        Path | None,
        _option(
            "--data", "PHOTOS", "Annotated photos: pictures, each with a .json; tar or folder."
        ),
    ] = None,
    steps: Annotated[
        int | None, _option("--steps", "N", "Length of the run in steps.", _DEFAULTS.steps)
    ] = None,
    batch: Annotated[
        int | None, _option("--batch", "N", "Crops in a step.", _DEFAULTS.batch)
    ] = None,
    lr: Annotated[
        float | None, _option("--lr", "X", "Highest learning rate.", _DEFAULTS.lr)
    ] = None,
    lift: Annotated[
        float | None,
        _option(
            "--lift",
            "X",
            "Teach landmarks higher than annotated, by this share of the distance of the eyes.",
            _DEFAULTS.lift,
        ),
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
    """Train a network that places five landmarks in the rough crop of a face.

    All that the run yields is in RUN: refiner.onnx, refiner.pt, curves.png, summary.json, log.csv,
    recipe.json, and checkpoints. Ctrl-C finishes the step and saves a checkpoint; --resume goes on.
    It runs on the CPU.
    """
    options = {
        "data": data,
        "steps": steps,
        "batch": batch,
        "lr": lr,
        "lift": lift,
        "holdout": holdout,
        "seed": seed,
    }
    given = {key: value for key, value in options.items() if value is not None}
    recipe = _recipe(given, out, resume)
    import facekeep.nn  # noqa: F401 - its error names the cure
    from facekeep.train.refiner.run import train_refiner

    outcome = train_refiner(
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


def _recipe(given: dict[str, Any], out: Path, resume: bool) -> RefinerRecipe:
    if resume:
        if given:
            raise InputError("a run goes on with the options it began with; leave out all others")
        return read_recipe(RefinerRecipe, out)
    if "data" not in given:
        raise InputError("there is nothing to train on; name it with --data")
    return RefinerRecipe(**given)


def _tell(run: Run, outcome: Outcome, out: Path) -> None:
    if outcome.summary is None:
        resume = f"facekeep train refiner --resume --out {shlex.quote(str(out))}"
        if run.json:
            run.emit({"finished": False, "step": outcome.step, "resume": resume})
        run.say(f"stopped after step {outcome.step}; go on with: {resume}")
        return
    if run.json:
        run.emit({"finished": True, "out": out, **outcome.summary, "model": outcome.name})
        return
    run.say(
        f"{out}: {outcome.summary['params']:,} parameters, saw"
        f" {outcome.summary['crops_seen']:,} crops; landmarks of people kept out are off by"
        f" {100 * outcome.summary['holdout_error']:.1f} % of the distance of their eyes"
    )
    if outcome.name is not None:
        run.say(f"{outcome.name}: in the catalogue")
