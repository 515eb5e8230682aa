"""``facekeep compress``: networks made smaller and faster, with what that costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from facekeep.cli.command import Run, command, group
from facekeep.cli.compressing import Common, common, compressed, tell_done, tell_step
from facekeep.cli.evaluating import command_line

if TYPE_CHECKING:
    from facekeep.compress.calibration import Method
    from facekeep.compress.quantize import Mode, Target

app = group(
    "compress",
    "Make a network smaller and faster, and see what that costs.",
    examples=[
        "facekeep compress quantize edgeface-xs --out edgeface-xs-int8 --data faces/",
        "facekeep compress run recipe.toml",
    ],
)

Model = Annotated[str, typer.Argument(metavar="NAME", help="A model, as `models list` names it.")]
_Layers = Annotated[
    list[str] | None,
    typer.Option(
        "--skip",
        metavar="PATTERN",
        help="Leave layers of such names float32, as '*head*'; repeatable.",
    ),
]


@common(
    app,
    "quantize",
    examples=[
        "facekeep compress quantize facekeep-xxs --out small",
        "facekeep compress quantize edgeface-xs --out xs-int8 --data faces.tar --aligned --json",
        "facekeep compress quantize edgeface-xs --out xs-int8 --data faces/ --eval-data people/",
    ],
)
def quantize(
    run: Run,
    name: Model,
    shared: Common,
    mode: Annotated[
        str | None,
        typer.Option(
            "--mode",
            metavar="MODE",
            help="static: compute in 8 bits, calibrated on --data; dynamic: without calibration;"
            " packed: store weights alone in 8 bits; float16. [default: static with --data, else"
            " packed]",
            show_default=False,
        ),
    ] = None,
    calibration: Annotated[
        str,
        typer.Option(
            "--calibration",
            metavar="METHOD",
            help="Where the range of an activation ends: percentile, entropy or minmax.",
        ),
    ] = "percentile",
    min_cosine: Annotated[
        float,
        typer.Option(
            "--min-cosine", metavar="X", help="Spare layers until the mean cosine is no less."
        ),
    ] = 0.99,
    max_tar_loss: Annotated[
        float,
        typer.Option(
            "--max-tar-loss",
            metavar="POINTS",
            help="Spare layers until TAR at FMR 1e-3 falls by no more, where people are known.",
        ),
    ] = 0.3,
    skip: _Layers = None,
    target: Annotated[
        str,
        typer.Option(
            "--target",
            metavar="CPU",
            help="Where it will run: here, vnni, avx2 (x86 without VNNI: 7-bit weights) or arm.",
        ),
    ] = "here",
) -> None:
    """Compute a network in 8 bits, or store it in fewer, and register the result.

    Layers that suffer most stay float32 until the loss is within the bounds; their weights are
    stored in 8 bits all the same.
    """
    from facekeep.compress.options import Quantize

    step = Quantize(
        mode=cast("Mode | None", mode),
        calibration=cast("Method", calibration),
        min_cosine=min_cosine,
        max_tar_loss=max_tar_loss,
        skip=tuple(skip or ()),
        target=cast("Target", target),
    )
    compressed(run, name, step, shared)


@command(
    app,
    "run",
    examples=["facekeep compress run recipe.toml", "facekeep compress run recipe.toml --json"],
)
def run_(
    run: Run,
    context: typer.Context,
    recipe: Annotated[
        Path, typer.Argument(metavar="RECIPE.toml", help="A chain of steps, with its data.")
    ],
    work: Annotated[
        Path | None,
        typer.Option(
            "--work",
            metavar="DIR",
            help="Keep what each step makes, and the report, here. [default: RECIPE.work]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Do the steps of a recipe, register the result, and write a report of what it cost.

    Interrupted, the same command goes on: steps that are in the folder are not done again.
    """
    from facekeep.compress.chain import Chain, run_chain
    from facekeep.compress.measure import Measuring
    from facekeep.compress.recipe import read_recipe
    from facekeep.compress.report import write_report
    from facekeep.evaluate.page import check_report
    from facekeep.models import entry
    from facekeep.models.importing import free_folder

    read = read_recipe(recipe)
    free_folder(read.out)
    folder = work or recipe.with_suffix(".work")
    check_report(folder)
    original, compare = entry(read.model), tuple(map(entry, read.compare))
    faces, trial = read.setting.open()
    chain = Chain(
        out=read.out,
        steps=read.steps,
        faces=faces,
        compare=compare,
        command=command_line(context),
    )
    measuring = Measuring(original, trial, watch=run.progress)
    done = run_chain(chain, measuring, folder, tell=lambda step: tell_step(run, step))
    page = write_report(folder, done, chain.command)
    tell_done(run, done)
    run.say(f"report: {page}")
