"""``facekeep compress``: networks made smaller and faster, with what that costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facekeep.cli.command import Run, command, group
from facekeep.cli.lab.compressing import step_command, tell_done, tell_step
from facekeep.cli.lab.evaluating import command_line

app = group(
    "compress",
    "Make a network smaller and faster, and see what that costs.",
    examples=[
        "facekeep compress quantize edgeface-xs-q --out edgeface-xs-int8 --data faces/",
        "facekeep compress run recipe.toml",
    ],
)

_Heal = Annotated[
    int,
    typer.Option(
        "--heal",
        min=0,
        metavar="STEPS",
        help="Train it for so many steps to be like the original; needs aligned --data.",
    ),
]
_Batch = Annotated[int, typer.Option("--batch", min=2, metavar="N", help="Faces in such a step.")]
_Rate = Annotated[float, typer.Option("--lr", metavar="X", help="Highest learning rate.")]


@step_command(
    app,
    examples=[
        "facekeep compress quantize facekeep-xxs --out small",
        "facekeep compress quantize edgeface-xs-q --out xs-int8 --data faces.tar --aligned --json",
        "facekeep compress quantize edgeface-xs-q --out xs-int8 --data faces/ --eval-data people/",
        "facekeep compress quantize edgeface-xs-q --out xs-int8 --data faces.tar --aligned"
        " --heal 300",
    ],
)
def quantize(
    *,
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
    skip: Annotated[
        list[str] | None,
        typer.Option(
            "--skip",
            metavar="PATTERN",
            help="Leave layers of such names float32, as '*head*'; repeatable.",
        ),
    ] = None,
    target: Annotated[
        str,
        typer.Option(
            "--target",
            metavar="CPU",
            help="Where it will run: here, vnni, avx2 (x86 without VNNI: 7-bit weights) or arm.",
        ),
    ] = "here",
    heal: Annotated[
        int,
        typer.Option(
            "--heal",
            min=0,
            metavar="STEPS",
            help="First train it for so many steps with rounded numbers, to be like the original"
            " again; static and dynamic; needs aligned --data.",
        ),
    ] = 0,
    batch: _Batch = 64,
    lr: _Rate = 2e-5,
) -> None:
    """Compute a network in 8 bits, or store it in fewer, and register the result.

    Layers that suffer most stay float32 until the loss is within the bounds; their weights are
    stored in 8 bits all the same. Where too much is lost, --heal trains the network to bear it.
    """


@step_command(
    app,
    examples=[
        "facekeep compress prune edgeface-xs-q --out xs-30 --macs 0.7 --data faces.tar --aligned",
        "facekeep compress prune facekeep-xxs --out lean --params 0.8 --by magnitude",
        "facekeep compress prune facekeep-xxs --out sparse --zeros 2:4 --data faces.tar --aligned",
    ],
)
def prune(
    *,
    macs: Annotated[
        float | None,
        typer.Option("--macs", metavar="SHARE", help="Leave this share of the multiplications."),
    ] = None,
    params: Annotated[
        float | None,
        typer.Option("--params", metavar="SHARE", help="Leave this share of the parameters."),
    ] = None,
    latency: Annotated[
        float | None,
        typer.Option("--latency", metavar="SHARE", help="Leave this share of the time for a face."),
    ] = None,
    zeros: Annotated[
        str | None,
        typer.Option(
            "--zeros",
            metavar="SHARE",
            help="Instead, make this share of the weights nought, or 2:4: a smaller file, no"
            " faster.",
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            "--by",
            metavar="SCORE",
            help="What matters least: taylor, which needs --data, or"
            " magnitude. [default: taylor with --data]",
            show_default=False,
        ),
    ] = None,
    kinds: Annotated[
        list[str] | None,
        typer.Option(
            "--kind",
            metavar="KIND",
            help="What may go: hidden, rank or blocks; repeatable. [default: hidden, rank]",
            show_default=False,
        ),
    ] = None,
    multiple: Annotated[
        int, typer.Option("--multiple", min=1, metavar="N", help="Sizes become multiples of it.")
    ] = 8,
    rounds: Annotated[
        int, typer.Option("--rounds", min=1, metavar="N", help="Cut, and heal, so many times.")
    ] = 1,
    heal: _Heal = 0,
    batch: _Batch = 64,
    lr: _Rate = 1.5e-4,
) -> None:
    """Leave out what a network misses least, and register the result.

    Cut are the hidden widths of MLPs, the ranks of low-rank layers and whole blocks; with --data
    what is left makes up for what is gone as well as it can, even before healing.
    """


@step_command(
    app,
    examples=[
        "facekeep compress lowrank edgeface-xs-q --out thin --energy 0.99 --data faces/",
        "facekeep compress lowrank facekeep-xxs --out thin --gamma 0.5 --layers 'stages.3.*'",
    ],
)
def lowrank(
    *,
    gamma: Annotated[
        float | None,
        typer.Option("--gamma", metavar="SHARE", help="Keep this share of the full rank."),
    ] = None,
    energy: Annotated[
        float | None,
        typer.Option(
            "--energy", metavar="SHARE", help="Keep this share of each layer's variance instead."
        ),
    ] = None,
    layers: Annotated[
        list[str] | None,
        typer.Option("--layers", metavar="PATTERN", help="Only layers of such names; repeatable."),
    ] = None,
    multiple: Annotated[
        int, typer.Option("--multiple", min=1, metavar="N", help="Ranks become multiples of it.")
    ] = 1,
    heal: _Heal = 0,
    batch: _Batch = 64,
    lr: _Rate = 1.5e-4,
) -> None:
    """Replace linear layers by products of thinner ones, and register the result.

    Layers that would cost more as a product stay as they are.
    """


@step_command(
    app,
    examples=[
        "facekeep compress resize edgeface-xs-q --out xs-64 --size 64 --data faces.tar --aligned"
        " --heal 1000",
    ],
)
def resize(
    *,
    size: Annotated[
        int, typer.Option("--size", metavar="PIXELS", help="The side of its crops: 96, 80, 64.")
    ],
    heal: _Heal = 0,
    batch: _Batch = 64,
    lr: _Rate = 3e-4,
) -> None:
    """Make a network take smaller crops, and register the result.

    What it makes of faces suffers until it is healed: give --heal.
    """


@command(
    app,
    "run",
    uses=("threads",),
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
    from facekeep.lab.compress.chain import Chain, run_chain
    from facekeep.lab.compress.measure import Measuring
    from facekeep.lab.compress.recipe import read_recipe
    from facekeep.lab.compress.report import write_report
    from facekeep.lab.evaluate.page import check_report
    from facekeep.models import entry
    from facekeep.models.importing import free_folder

    read = read_recipe(recipe)
    free_folder(read.out)
    folder = work or recipe.with_suffix(".work")
    check_report(folder)
    original, compare = entry(read.model), tuple(map(entry, read.compare))
    faces, trial = read.setting.open(run.settings.threads)
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
