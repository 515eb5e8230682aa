"""``facekeep compress``: make networks smaller and faster, and measure what that costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facekeep.cli.command import Run, command, group
from facekeep.cli.lab.compress_step import add_step_command, print_result, print_step
from facekeep.cli.lab.evaluate_protocol import command_line

app = group(
    "compress",
    "Make a network smaller and faster, and measure what that costs.",
    examples=[
        "facekeep compress quantize edgeface-xs-q --out edgeface-xs-int8 --data faces/",
        "facekeep compress run recipe.toml",
    ],
)

_FineTune = Annotated[
    int,
    typer.Option(
        "--heal",
        min=0,
        metavar="STEPS",
        help="Fine-tune it for this many steps to embed like the original; needs aligned --data.",
    ),
]
_Batch = Annotated[
    int, typer.Option("--batch", min=2, metavar="N", help="Faces in a training step.")
]
_Rate = Annotated[float, typer.Option("--lr", metavar="X", help="Highest learning rate.")]


@add_step_command(
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
            " packed: only store weights in 8 bits; float16. [default: static with --data, else"
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
            "--min-cosine",
            metavar="X",
            help="Keep layers float32 until the mean cosine is at least this.",
        ),
    ] = 0.99,
    max_tar_loss: Annotated[
        float,
        typer.Option(
            "--max-tar-loss",
            metavar="POINTS",
            help="Keep layers float32 until TAR at FMR 1e-3 falls by at most this, where people are"
            " known.",
        ),
    ] = 0.3,
    skip: Annotated[
        list[str] | None,
        typer.Option(
            "--skip",
            metavar="PATTERN",
            help="Keep layers with such names float32, as '*head*'; repeatable.",
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
            help="Begin with this many steps of quantization-aware training; static and dynamic;"
            " needs aligned --data.",
        ),
    ] = 0,
    batch: _Batch = 64,
    lr: _Rate = 2e-5,
) -> None:
    """Compute a network in 8 bits, or store it in fewer, and register the result.

    The most sensitive layers stay float32 until the loss is within the bounds; their weights are
    still stored in 8 bits. Where too much is lost, --heal does quantization-aware training.
    """


@add_step_command(
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
        typer.Option(
            "--macs", metavar="SHARE", help="Keep this share of the multiply-accumulates."
        ),
    ] = None,
    params: Annotated[
        float | None,
        typer.Option("--params", metavar="SHARE", help="Keep this share of the parameters."),
    ] = None,
    latency: Annotated[
        float | None,
        typer.Option("--latency", metavar="SHARE", help="Keep this share of the time for a face."),
    ] = None,
    zeros: Annotated[
        str | None,
        typer.Option(
            "--zeros",
            metavar="SHARE",
            help="Instead, set this share of the weights to zero, or 2:4: a smaller file, not"
            " faster.",
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            "--by",
            metavar="METHOD",
            help="How importance is computed: taylor, which needs --data, or"
            " magnitude. [default: taylor with --data]",
            show_default=False,
        ),
    ] = None,
    kinds: Annotated[
        list[str] | None,
        typer.Option(
            "--kind",
            metavar="KIND",
            help="What may be cut: hidden, rank or blocks; repeatable. [default: hidden, rank]",
            show_default=False,
        ),
    ] = None,
    multiple: Annotated[
        int, typer.Option("--multiple", min=1, metavar="N", help="Sizes become multiples of it.")
    ] = 8,
    rounds: Annotated[
        int,
        typer.Option(
            "--rounds", min=1, metavar="N", help="Number of rounds of cutting and fine-tuning."
        ),
    ] = 1,
    heal: _FineTune = 0,
    batch: _Batch = 64,
    lr: _Rate = 1.5e-4,
) -> None:
    """Remove the least important parts of a network, and register the result.

    It cuts the hidden widths of MLPs, the ranks of low-rank layers and whole blocks. With --data
    the rest compensates for what is cut as well as it can, even before fine-tuning.
    """


@add_step_command(
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
        typer.Option(
            "--layers", metavar="PATTERN", help="Only layers with such names; repeatable."
        ),
    ] = None,
    multiple: Annotated[
        int, typer.Option("--multiple", min=1, metavar="N", help="Ranks become multiples of it.")
    ] = 1,
    heal: _FineTune = 0,
    batch: _Batch = 64,
    lr: _Rate = 1.5e-4,
) -> None:
    """Replace linear layers by products of thinner ones, and register the result.

    Layers that would cost more as a product stay as they are.
    """


@add_step_command(
    app,
    examples=[
        "facekeep compress resize edgeface-xs-q --out xs-64 --size 64 --data faces.tar --aligned"
        " --heal 1000",
    ],
)
def resize(
    *,
    size: Annotated[
        int,
        typer.Option("--size", metavar="PIXELS", help="The side of its crops, as 96, 80 or 64."),
    ],
    heal: _FineTune = 0,
    batch: _Batch = 64,
    lr: _Rate = 3e-4,
) -> None:
    """Make a network take smaller crops, and register the result.

    Its embeddings get much worse until it is fine-tuned: give --heal.
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
            help="Keep the result of each step, and the report, here. [default: RECIPE.work]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Do the steps of a recipe, register the result, and write a report of what they cost.

    After an interruption the same command goes on: steps that are in the folder are not repeated.
    """
    from facekeep.lab.compress.chain import Chain, run_chain
    from facekeep.lab.compress.measure import Evaluator
    from facekeep.lab.compress.options import read_chain_recipe
    from facekeep.lab.compress.report import write_chain_report
    from facekeep.lab.evaluate.page import check_report
    from facekeep.models import entry
    from facekeep.models.importing import free_folder

    read = read_chain_recipe(recipe)
    free_folder(read.out)
    folder = work or recipe.with_suffix(".work")
    check_report(folder)
    original, compare = entry(read.model), tuple(map(entry, read.compare))
    faces, data = read.open(run.settings.threads)
    chain = Chain(
        out=read.out,
        steps=read.steps,
        faces=faces,
        compare=compare,
        command=command_line(context),
    )
    evaluator = Evaluator(original, data, watch=run.progress)
    result = run_chain(chain, evaluator, folder, on_step=lambda record: print_step(run, record))
    page = write_chain_report(folder, result, chain.command)
    print_result(run, result)
    run.say(f"report: {page}")
