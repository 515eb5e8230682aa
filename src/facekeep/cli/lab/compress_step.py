"""What the commands of ``facekeep compress`` share: options, running a step, what is printed."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from facekeep.cli.command import Run, command
from facekeep.cli.lab.evaluate_protocol import command_line
from facekeep.cli.options import Model

if TYPE_CHECKING:
    from facekeep.lab.compress.chain import ChainResult, StepRecord
    from facekeep.lab.compress.data import DataOptions
    from facekeep.lab.compress.options import Step

__all__ = ["add_step_command", "print_result", "print_step"]

_Out = Annotated[
    str, typer.Option("--out", metavar="NEW", help="Name of the result.", show_default=False)
]
_Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Faces to calibrate, fine-tune and compare on: a folder of photos, or of a folder for"
        " each person; tars; or train.rec.",
    ),
]
_EvalData = Annotated[
    Path | None,
    typer.Option(
        "--eval-data", metavar="DIR", help="Known people, not those of --data, to measure TAR on."
    ),
]
_Labels = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        metavar="FILE",
        help="A table with the columns key and identity, where the images do not name people.",
    ),
]
_Aligned = Annotated[
    bool,
    typer.Option(
        "--aligned/--raw",
        help="The images are aligned face crops; or photos in which faces are detected.",
    ),
]
_Count = Annotated[
    int,
    typer.Option(
        "--count", min=1, metavar="N", help="Faces of --data to calibrate and compare on."
    ),
]
_LfwImages = Annotated[
    Path | None,
    typer.Option("--lfw-images", metavar="DIR", help="The photos of LFW, to measure on."),
]
_LfwPairs = Annotated[
    Path | None, typer.Option("--lfw-pairs", metavar="FILE", help="Its pairs.txt.")
]
_Cache = Annotated[
    Path | None,
    typer.Option(
        "--cache", metavar="DIR", help="Keep the faces found here: the next run is much faster."
    ),
]
_Work = Annotated[
    Path | None,
    typer.Option(
        "--work", metavar="DIR", help="Keep the results here, so that an interrupted run can go on."
    ),
]


@dataclass(frozen=True, kw_only=True)
class _Common:
    """The options of all commands of the group except ``run``."""

    out: _Out
    data: _Data = None
    labels: _Labels = None
    aligned: _Aligned = False
    count: _Count = 256
    eval_data: _EvalData = None
    lfw_images: _LfwImages = None
    lfw_pairs: _LfwPairs = None
    cache: _Cache = None
    work: _Work = None

    def data_options(self) -> DataOptions:
        """Return the options that name the data."""
        from facekeep.lab.compress.data import DataOptions

        return DataOptions(**{name: getattr(self, name) for name in DataOptions.__struct_fields__})


def add_step_command(
    app: typer.Typer, *, examples: Sequence[str]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add the command for one step, which a function without a body describes.

    The function has the name of the step, its parameters are options for the step's attributes, and
    its docstring is the help. The options that all steps have in common are added.

    Args:
        app: From ``group``.
        examples: Command lines for the end of the help.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        common = list(inspect.signature(_Common, eval_str=True).parameters.values())
        own = list(inspect.signature(function, eval_str=True).parameters.values())
        # What stands first in an Option of Annotated typer calls its default: it is the flag.
        flags = {each.name: get_args(each.annotation)[1].default for each in own}

        def entry(run: Run, name: Model, context: typer.Context, **values: Any) -> None:
            shared = _Common(**{each.name: values.pop(each.name) for each in common})
            step = _build_step(function.__name__, values, flags)
            _run_step(run, name, step, shared, command_line(context))

        run, *first, _ = inspect.signature(entry, eval_str=True).parameters.values()
        keyword = inspect.Parameter.KEYWORD_ONLY
        options = [*first, common[0], *own, *common[1:]]
        entry.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [run, *(each.replace(kind=keyword) for each in options)]
        )
        entry.__doc__ = function.__doc__
        command(app, function.__name__, uses=("threads",), examples=examples)(entry)
        return function

    return decorate


def _build_step(kind: str, values: Mapping[str, Any], flags: Mapping[str, str]) -> Step:
    """Build the step that options ask for; one that is not given has the step's own default.

    Raises:
        OptionError: They are wrong; the message names their flags.
    """
    from facekeep._internal.tables import OptionError
    from facekeep.lab.compress.options import STEPS

    given = {name: value for name, value in values.items() if value not in (None, [])}
    listed = {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
    try:
        return STEPS[kind](**given | listed)
    except OptionError as error:
        raise error.with_flags(flags) from error


def _run_step(run: Run, name: str, step: Step, shared: _Common, line: str) -> None:
    """Do one step, register the result, and print it."""
    from facekeep.lab.compress.chain import Chain, run_chain
    from facekeep.lab.compress.measure import Evaluator
    from facekeep.models import entry
    from facekeep.models.importing import free_folder

    free_folder(shared.out)
    original = entry(name)
    faces, data = shared.data_options().open(run.settings.threads)
    chain = Chain(out=shared.out, steps=(step,), faces=faces, command=line)
    evaluator = Evaluator(original, data, watch=run.progress)
    with ExitStack() as stack:
        folder = shared.work
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
    from facekeep.lab.compress.report import HEADERS, format_row, list_remarks

    if run.json:
        run.emit(result.to_dict())
        return
    if len(result.profiles) > 2:
        rows = [format_row(profile.name, profile) for profile in result.profiles]
        run.table(["model", *HEADERS], rows)
    for remark in list_remarks(result):
        run.say(remark)
