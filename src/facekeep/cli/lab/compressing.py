"""What the commands of ``facekeep compress`` share: options, the way through, what is printed."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from facekeep.cli.command import Run, command
from facekeep.cli.lab.evaluating import command_line
from facekeep.cli.options import Model

if TYPE_CHECKING:
    from facekeep.lab.compress.chain import Done, StepDone
    from facekeep.lab.compress.options import Step
    from facekeep.lab.compress.setting import Setting

__all__ = ["step_command", "tell_done", "tell_step"]

_Out = Annotated[
    str, typer.Option("--out", metavar="NEW", help="What to call the result.", show_default=False)
]
_Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Faces to calibrate, heal and compare on: a folder of photos, or of a folder for each"
        " person; tars; or train.rec.",
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
        help="A table with the columns key and identity, where the pictures do not tell.",
    ),
]
_Aligned = Annotated[
    bool,
    typer.Option(
        "--aligned/--raw", help="The images are face crops, aligned already; or faces are found."
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
        "--cache", metavar="DIR", help="Keep the faces found here: the next run is much quicker."
    ),
]
_Work = Annotated[
    Path | None,
    typer.Option(
        "--work", metavar="DIR", help="Keep what is made here, so that an interrupted run goes on."
    ),
]


@dataclass(frozen=True, kw_only=True)
class _Common:
    """The options that all commands of the group but ``run`` have."""

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

    def setting(self) -> Setting:
        """Return which data that is."""
        from facekeep.lab.compress.setting import Setting

        own = {each.name for each in fields(Setting)}
        return Setting(**{name: value for name, value in vars(self).items() if name in own})


def step_command(
    app: typer.Typer, *, examples: Sequence[str]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add the command for one step, which a function without a body describes.

    It is called like the step, its parameters are options for the step's attributes, and its
    docstring is the help. What all steps have in common is added.

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
            step = _step(function.__name__, values, flags)
            _compressed(run, name, step, shared, command_line(context))

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


def _step(kind: str, values: Mapping[str, Any], flags: Mapping[str, str]) -> Step:
    """Make the step that options ask for; one that is not given has the step's own default.

    Raises:
        OptionError: They make no sense; they are called by their flags.
    """
    from facekeep.lab.compress.options import STEPS, OptionError

    given = {name: value for name, value in values.items() if value not in (None, [])}
    listed = {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
    try:
        return STEPS[kind](**given | listed)
    except OptionError as error:
        raise error.with_flags(flags) from error


def _compressed(run: Run, name: str, step: Step, shared: _Common, line: str) -> None:
    """Do one step, register what came of it, and tell."""
    from facekeep.lab.compress.chain import Chain, run_chain
    from facekeep.lab.compress.measure import Measuring
    from facekeep.models import entry
    from facekeep.models.importing import free_folder

    free_folder(shared.out)
    original = entry(name)
    faces, trial = shared.setting().open(run.settings.threads)
    chain = Chain(out=shared.out, steps=(step,), faces=faces, command=line)
    measuring = Measuring(original, trial, watch=run.progress)
    with ExitStack() as stack:
        folder = shared.work
        if folder is None:
            made = tempfile.TemporaryDirectory(prefix="facekeep-compress-")
            folder = Path(stack.enter_context(made))
        done = run_chain(chain, measuring, folder)
    tell_step(run, done.steps[0])
    tell_done(run, done)


def tell_step(run: Run, done: StepDone) -> None:
    """Tell people of a step: what was done, and the network before and after it."""
    from facekeep.lab.compress.words import HEADERS, row

    run.say(f"{done.step.kind}: {done.made.told}")
    for remark in done.made.remarks:
        run.say(f"  {remark}")
    run.table(["", *HEADERS], [row("before", done.before), row("after", done.after)])


def tell_done(run: Run, done: Done) -> None:
    """Tell of what was registered; with --json all there is to tell."""
    from facekeep.lab.compress.words import HEADERS, remarks, row

    if run.json:
        run.emit(done.document())
        return
    if len(done.facts) > 2:
        run.table(["model", *HEADERS], [row(each.name, each) for each in done.facts])
    for line in remarks(done):
        run.say(line)
