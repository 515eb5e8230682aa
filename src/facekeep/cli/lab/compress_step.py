"""What the commands of ``facekeep compress`` share: options, running a step, what is printed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from facekeep.cli.command import Run, command
from facekeep.cli.lab.evaluate_protocol import command_line
from facekeep.cli.options import PATH, model_argument, parameters_of

if TYPE_CHECKING:
    from facekeep.lab.compress.chain import ChainResult, StepRecord
    from facekeep.lab.compress.options import Step

__all__ = ["add_step_command", "print_result", "print_step"]

_OUT: Final = click.Option(["--out"], required=True, metavar="NEW", help="Name of the result.")

_SHARED: Final = parameters_of(
    click.option(
        "--data",
        type=PATH,
        metavar="DIR",
        help="Faces to calibrate, fine-tune and compare on: a folder of photos, or of a folder for"
        " each person; tars; or train.rec.",
    ),
    click.option(
        "--labels",
        type=PATH,
        metavar="FILE",
        help="A table with the columns key and identity, if the images do not name people.",
    ),
    click.option(
        "--aligned/--raw",
        default=False,
        help="The images are aligned face crops; or photos in which faces are detected.",
    ),
    click.option(
        "--count",
        type=click.IntRange(1),
        default=256,
        metavar="N",
        help="Number of faces of --data to calibrate and compare on.",
    ),
    click.option(
        "--eval-data",
        type=PATH,
        metavar="DIR",
        help="Known people, not those of --data, to measure TAR on.",
    ),
    click.option(
        "--lfw-images", type=PATH, metavar="DIR", help="The photos of LFW, to measure on."
    ),
    click.option("--lfw-pairs", type=PATH, metavar="FILE", help="The file pairs.txt of LFW."),
    click.option(
        "--cache",
        type=PATH,
        metavar="DIR",
        help="Keep the faces found in this folder: the next run is much faster.",
    ),
    click.option(
        "--work",
        type=PATH,
        metavar="DIR",
        help="Keep the results in this folder, so that an interrupted run can go on.",
    ),
)
"""The options of all commands of the group except ``run``; those of the data, and ``--work``."""


def add_step_command(
    app: click.Group, *, examples: Sequence[str]
) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Add the command for one step, which a function without a body describes.

    The function has the name of the step, its options are for the step's attributes, and its
    docstring is the help. The options that all steps have in common are added.

    Args:
        app: From ``group``.
        examples: Command lines for the end of the help.
    """

    def decorate(function: Callable[[], None]) -> Callable[[], None]:
        kind, own = function.__name__, click.command(function).params
        names = [str(each.name) for each in own]

        @model_argument
        def entry(run: Run, name: str, *, out: str, work: Path | None, **values: Any) -> None:
            from facekeep.lab.compress.options import STEPS

            given = {each: value for each in names if (value := values.pop(each)) not in (None, ())}
            _run_step(run, name, STEPS[kind](**given), values, out, work)

        entry.__doc__ = function.__doc__
        options = [_OUT, *own, *_SHARED]
        command(app, kind, uses=("threads",), examples=examples, options=options)(entry)
        return function

    return decorate


def _run_step(
    run: Run, name: str, step: Step, data_options: Mapping[str, Any], out: str, work: Path | None
) -> None:
    """Do one step, register the result, and print it."""
    from facekeep.lab.compress.chain import Chain, run_chain
    from facekeep.lab.compress.data import DataOptions
    from facekeep.lab.compress.measure import Evaluator
    from facekeep.models import entry
    from facekeep.models.importing import free_folder

    free_folder(out)
    original = entry(name)
    faces, data = DataOptions(**data_options).open(run.settings.threads)
    chain = Chain(out=out, steps=(step,), faces=faces, command=command_line())
    evaluator = Evaluator(original, data, watch=run.progress)
    with ExitStack() as stack:
        folder = work
        if folder is None:
            scratch = tempfile.TemporaryDirectory(prefix="facekeep-compress-")
            folder = Path(stack.enter_context(scratch))
        result = run_chain(chain, evaluator, folder)
    print_step(run, result.steps[0])
    print_result(run, result)


def print_step(run: Run, record: StepRecord) -> None:
    """Print a step for people: what was done, and the network before and after it."""
    from facekeep.lab.compress.report import HEADERS, format_row

    run.say(f"{record.step.kind}: {record.result.summary}")
    for remark in record.result.remarks:
        run.say(f"  {remark}")
    rows = [format_row("before", record.before), format_row("after", record.after)]
    run.table(["", *HEADERS], rows)


def print_result(run: Run, result: ChainResult) -> None:
    """Print what was registered; with --json the whole result."""
    from facekeep.lab.compress.report import HEADERS, format_row, list_chain_remarks

    if run.json:
        run.emit(result.to_dict())
        return
    if len(result.profiles) > 2:
        rows = [format_row(profile.name, profile) for profile in result.profiles]
        run.table(["model", *HEADERS], rows)
    for remark in list_chain_remarks(result):
        run.say(remark)
