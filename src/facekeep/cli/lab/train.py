"""``facekeep train``: from faces of many people to a network that recognizes others."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from facekeep.cli.command import INTERRUPTED, ExitStatus, Run, command, group_command
from facekeep.cli.lab import train_small
from facekeep.cli.options import PATH
from facekeep.cli.output import format_count, format_value
from facekeep.config.fields import Field
from facekeep.errors import InputError
from facekeep.lab.train.recipe import OPTIONS, given_values, make_recipe

if TYPE_CHECKING:
    from facekeep.lab.train.results import TrainingResult

_WEAK: Final = 0.5
"""A TAR below which a network is called weak: it misses more than it finds."""


def _option(option: Field) -> click.Option:
    """The option for a row of the table of options; None where it is not given."""
    text, default = option.doc, option.default_text or option.default
    if default not in (None, (), ""):
        text += f" [default: {format_value(default)}]"
    return click.Option(
        [_parameter(option.name), option.option],
        multiple=isinstance(option.default, tuple),
        metavar=option.metavar,
        help=text,
    )


def _parameter(name: str) -> str:
    """The parameter for an option; settings such as ``device`` keep their names for themselves."""
    return f"recipe_{name}"


@group_command(
    "train",
    uses=("threads",),
    options=[_option(option) for option in OPTIONS.values()],
    examples=[
        "facekeep train --data people/ --out run",
        "facekeep train --data people/ --out run --from edgeface-xs --name ours",
        "facekeep train --data train.rec --out run --arch edgeface-xs --gamma 0.6 --epochs 100",
        "facekeep train --out run --resume",
    ],
)
@click.option("--out", type=PATH, metavar="RUN", help="Folder for everything that the run writes.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out from its checkpoint.")
@click.option(
    "--name",
    metavar="NAME",
    help="Put the result into the catalog under this name, calibrated on the people kept out.",
)
@click.option(
    "recipe_file",
    "--recipe",
    type=PATH,
    metavar="FILE",
    help="Read options from this TOML file, as a run writes it.",
)
def app(
    run: Run,
    *,
    out: Path | None,
    resume: bool,
    name: str | None,
    recipe_file: Path | None,
    **options: object,
) -> int:
    """Train a face embedder, or make one better for your own people.

    The results are in RUN: model.pt, model.onnx, curves.png, summary.json, log.csv,
    recipe.toml, holdout.tsv (who was kept out, as `evaluate --labels` takes it), and checkpoints.
    Ctrl-C finishes the step and saves a checkpoint; --resume goes on. Start several processes, on
    one machine or many, with torchrun -m facekeep train ...
    """
    if out is None:
        raise InputError("missing option '--out': name a folder for the run")
    given = given_values({name: options[_parameter(name)] for name in OPTIONS}, recipe_file)
    from facekeep.lab.train import train as train_network
    from facekeep.lab.train.folder import resumed_recipe

    recipe = resumed_recipe(out, given) if resume else make_recipe(given)
    main = os.environ.get("RANK", "0") == "0"
    shown = run if main else Run(run.flags, run.config, quiet=True)
    with train_small.advise_resuming():
        result = train_network(
            recipe,
            out,
            resume=resume,
            name=name,
            threads=run.settings.threads,
            watch=lambda what, images: shown.progress(what, images, unit="images"),
        )
    if main:
        _show(run, result, out)
    if not result.finished:
        return INTERRUPTED
    return ExitStatus.YES


def _show(run: Run, result: TrainingResult, out: Path) -> None:
    if result.summary is None:
        train_small.report_interruption(run, result.step, "facekeep train", out)
        return
    if run.json:
        run.emit({"finished": True, "out": out, **result.summary, "model": _model(result)})
        return
    _show_summary(run, result.summary, out)
    _show_name(run, result)


def _show_summary(run: Run, summary: dict[str, Any], out: Path) -> None:
    run.say(
        f"{out}: {summary['arch']}, {summary['params']:,} parameters, saw"
        f" {summary['samples_seen']:,} faces of"
        f" {format_count(summary['people'], 'person', 'people')}"
    )
    if summary["corrupt"]:
        run.say(
            f"{format_count(summary['corrupt'], 'picture')} could not be used; others took their"
            " places"
        )
    rows = [
        [rate, *(_percent(point[key]) for key in ("tar", "low", "high")), point["non_mated"]]
        for rate, point in (summary["tar"] or {}).items()
        if point["supported"]
    ]
    if rows:
        run.table(["FMR", "hold-out TAR", "from", "to", "non-mated"], rows)


def _model(result: TrainingResult) -> dict[str, Any] | None:
    model = result.model
    if model is None:
        return None
    thresholds = [{"fmr": fmr, "cosine": cosine} for fmr, cosine in model.thresholds]
    return {"name": model.name, "thresholds": thresholds, "comparisons": model.comparisons}


def _show_name(run: Run, result: TrainingResult) -> None:
    model = result.model
    if model is None:
        return
    if not model.thresholds:
        run.say(
            f"{model.name}: in the catalog, but too few people were kept out to decide by it:"
            f" run: facekeep evaluate calibrate DIR --model {model.name}"
        )
        return
    lowest = model.thresholds[-1][0]
    shown = format_value(lowest)
    rate = f" --fmr {shown}" if lowest > run.settings.fmr else ""
    run.say(
        f"{model.name}: in the catalog, calibrated on {model.comparisons:,} comparisons down to a"
        f" false-match rate of {shown}; enroll and identify with --embedder {model.name}{rate}"
    )
    _warn_of_weakness(run, result, max(lowest, run.settings.fmr))


def _warn_of_weakness(run: Run, result: TrainingResult, rate: float) -> None:
    """Say so where the network would miss most of the people at the rate it is used at."""
    points = [(float(each), point) for each, point in (result.summary or {})["tar"].items()]
    tar = min(points, key=lambda each: abs(math.log(each[0] / rate)))[1]["tar"]
    if tar is not None and tar < _WEAK:
        run.say(
            f"but it is weak: of two faces of one person {100 * (1 - tar):.0f} % are missed at"
            " that rate; train longer, on more people, or from published weights (--from)"
        )


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f} %"


for _each in (
    train_small.detector,
    train_small.refiner,
    train_small.quality,
    train_small.orienter,
    train_small.liveness,
):
    command(app, _each.__name__, uses=("threads",), examples=train_small.EXAMPLES[_each.__name__])(
        _each
    )
