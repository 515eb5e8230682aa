"""``facekeep compress``: make networks smaller and faster, and measure what that costs."""

from __future__ import annotations

from pathlib import Path

import click

from facekeep.cli.command import Run, command, group
from facekeep.cli.lab.compress_step import add_step_command, print_result, print_step
from facekeep.cli.lab.evaluate_protocol import command_line
from facekeep.cli.options import PATH, Decorator, argument

app = group(
    "compress",
    "Make a network smaller and faster, and measure what that costs.",
    examples=[
        "facekeep compress quantize edgeface-xs-q --out edgeface-xs-int8 --data faces/",
        "facekeep compress run recipe.toml",
    ],
)

_fine_tune_option = click.option(
    "--fine-tune",
    type=click.IntRange(0),
    default=0,
    metavar="STEPS",
    help="Number of steps to fine-tune it, so that it embeds like the original; needs"
    " aligned --data.",
)
_batch_option = click.option(
    "--batch",
    type=click.IntRange(2),
    default=64,
    metavar="N",
    help="Number of faces in a training step.",
)


def _rate_option(default: float) -> Decorator:
    return click.option("--lr", default=default, metavar="X", help="Highest learning rate.")


@add_step_command(
    app,
    examples=[
        "facekeep compress quantize facekeep-xxs --out small",
        "facekeep compress quantize edgeface-xs-q --out xs-int8 --data faces.tar --aligned --json",
        "facekeep compress quantize edgeface-xs-q --out xs-int8 --data faces/ --eval-data people/",
        "facekeep compress quantize edgeface-xs-q --out xs-int8 --data faces.tar --aligned"
        " --fine-tune 300",
    ],
)
@click.option(
    "--mode",
    metavar="MODE",
    help="static: compute in 8 bits, calibrated on --data; dynamic: without calibration;"
    " packed: only store weights in 8 bits; float16. [default: static with --data, else"
    " packed]",
)
@click.option(
    "--calibration",
    default="percentile",
    metavar="METHOD",
    help="Where the range of an activation ends: percentile, entropy or minmax.",
)
@click.option(
    "--min-cosine",
    default=0.99,
    metavar="X",
    help="Keep layers float32 until the mean cosine is at least this.",
)
@click.option(
    "--max-tar-loss",
    default=0.3,
    metavar="POINTS",
    help="Keep layers float32 until TAR at FMR 1e-3 falls by at most this, where people are known.",
)
@click.option(
    "--skip",
    multiple=True,
    metavar="PATTERN",
    help="Keep layers whose names match this pattern float32, such as '*head*'; may be repeated.",
)
@click.option(
    "--target",
    default="here",
    metavar="CPU",
    help="Where it will run: here, vnni, avx2 (x86 without VNNI: 7-bit weights) or arm.",
)
@click.option(
    "--fine-tune",
    type=click.IntRange(0),
    default=0,
    metavar="STEPS",
    help="Begin with this many steps of quantization-aware training; static and dynamic;"
    " needs aligned --data.",
)
@_batch_option
@_rate_option(2e-5)
def quantize() -> None:
    """Compute a network in 8 bits, or store it in fewer, and register the result.

    The most sensitive layers stay float32 until the loss is within the bounds; their weights are
    still stored in 8 bits. Where too much is lost, --fine-tune does quantization-aware training.
    """


@add_step_command(
    app,
    examples=[
        "facekeep compress prune edgeface-xs-q --out xs-30 --macs 0.7 --data faces.tar --aligned",
        "facekeep compress prune facekeep-xxs --out lean --params 0.8 --by magnitude",
        "facekeep compress prune facekeep-xxs --out sparse --zeros 2:4 --data faces.tar --aligned",
    ],
)
@click.option(
    "--macs", type=float, metavar="SHARE", help="Keep this share of the multiply-accumulates."
)
@click.option("--params", type=float, metavar="SHARE", help="Keep this share of the parameters.")
@click.option(
    "--latency", type=float, metavar="SHARE", help="Keep this share of the time that a face takes."
)
@click.option(
    "--zeros",
    metavar="SHARE",
    help="Set this share of the weights to zero instead, or 2:4; the file becomes"
    " smaller, but not faster.",
)
@click.option(
    "--by",
    metavar="METHOD",
    help="How importance is computed: taylor, which needs --data, or"
    " magnitude. [default: taylor with --data]",
)
@click.option(
    "kinds",
    "--kind",
    multiple=True,
    metavar="KIND",
    help="What may be cut: hidden, rank or blocks; may be repeated. [default: hidden, rank]",
)
@click.option(
    "--multiple",
    type=click.IntRange(1),
    default=8,
    metavar="N",
    help="Make all sizes multiples of this number.",
)
@click.option(
    "--rounds",
    type=click.IntRange(1),
    default=1,
    metavar="N",
    help="Number of rounds of cutting and fine-tuning.",
)
@_fine_tune_option
@_batch_option
@_rate_option(1.5e-4)
def prune() -> None:
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
@click.option("--gamma", type=float, metavar="SHARE", help="Keep this share of the full rank.")
@click.option(
    "--energy",
    type=float,
    metavar="SHARE",
    help="Keep this share of each layer's variance instead.",
)
@click.option(
    "--layers",
    multiple=True,
    metavar="PATTERN",
    help="Only layers whose names match this pattern; may be repeated.",
)
@click.option(
    "--multiple",
    type=click.IntRange(1),
    default=1,
    metavar="N",
    help="Make all ranks multiples of this number.",
)
@_fine_tune_option
@_batch_option
@_rate_option(1.5e-4)
def lowrank() -> None:
    """Replace linear layers by products of thinner ones, and register the result.

    Layers that would cost more as a product stay as they are.
    """


@add_step_command(
    app,
    examples=[
        "facekeep compress resize edgeface-xs-q --out xs-64 --size 64 --data faces.tar --aligned"
        " --fine-tune 1000",
    ],
)
@click.option(
    "--size",
    required=True,
    type=int,
    metavar="PIXELS",
    help="Side of the crops, in pixels: 96, 80 or 64.",
)
@_fine_tune_option
@_batch_option
@_rate_option(3e-4)
def resize() -> None:
    """Make a network take smaller crops, and register the result.

    Its embeddings get much worse until it is fine-tuned: give --fine-tune.
    """


@command(
    app,
    "run",
    uses=("threads",),
    examples=["facekeep compress run recipe.toml", "facekeep compress run recipe.toml --json"],
)
@argument("recipe", type=PATH, metavar="RECIPE.toml", help="A chain of steps, with its data.")
@click.option(
    "--work",
    type=PATH,
    metavar="DIR",
    help="Folder for the result of each step, and the report. [default: RECIPE.work]",
)
def run_(run: Run, recipe: Path, work: Path | None) -> None:
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
        command=command_line(),
    )
    evaluator = Evaluator(original, data, watch=run.progress)
    result = run_chain(chain, evaluator, folder, on_step=lambda record: print_step(run, record))
    page = write_chain_report(folder, result, chain.command)
    print_result(run, result)
    run.say(f"report: {page}")
