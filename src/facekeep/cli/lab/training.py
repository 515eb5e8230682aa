"""What the commands that train a small network share: their options, and what they tell."""

from __future__ import annotations

import importlib
import inspect
import shlex
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

from facekeep.cli.command import INTERRUPTED, ExitStatus, Run
from facekeep.errors import InputError
from facekeep.lab.train.small import Outcome, SmallRecipe, read_recipe

__all__ = ["Name", "Out", "Resume", "carry_out", "takes"]

Out = Annotated[
    Path,
    typer.Option(
        "--out", metavar="RUN", help="Make this folder for all of the run.", show_default=False
    ),
]
Name = Annotated[
    str | None,
    typer.Option(
        "--name",
        metavar="NAME",
        help="Put the result into the catalogue under this name.",
        show_default=False,
    ),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the run in --out from its checkpoint.")
]

Command = TypeVar("Command", bound=Callable[..., ExitStatus])
Recipe = TypeVar("Recipe", bound=SmallRecipe)


def takes(
    kind: type[SmallRecipe], images: str, own: Mapping[str, tuple[str, str, str]]
) -> Callable[[Command], Command]:
    """Give a command an option for fields of its recipe, behind ``out``, in place of ``**given``.

    Args:
        kind: Of the recipe.
        images: What a batch is of.
        own: For each field that other small networks have not, its flag, what the flag is followed
            by, and the help.
    """
    options = {
        "data": (
            "--data",
            "PHOTOS",
            "Annotated photos: pictures, each with a .json; tar or folder.",
        ),
        **{name: option for name, option in own.items() if name != "holdout"},
        "steps": ("--steps", "N", "Length of the run in steps."),
        "batch": ("--batch", "N", f"{images} in a step."),
        "lr": ("--lr", "X", "Highest learning rate."),
        "holdout": own.get("holdout", ("--holdout", "N", "People kept out to measure with.")),
        "seed": ("--seed", "N", "Start of all random numbers."),
    }
    hints = get_type_hints(kind)
    defaults = {field.name: field.default for field in fields(kind)}

    def option(name: str) -> inspect.Parameter:
        flag, metavar, text = options[name]
        default = defaults[name]
        shown = text if default in (MISSING, None) else f"{text} [default: {default}]"
        made = typer.Option(flag, metavar=metavar, help=shown, show_default=False)
        return inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[hints[name] | None, made],
        )

    def decorate(command: Command) -> Command:
        own = list(inspect.signature(command, eval_str=True).parameters.values())
        every = [*own[:2], *map(option, options), *own[2:-1]]
        command.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
        return command

    return decorate


def carry_out(
    run: Run,
    kind: type[SmallRecipe],
    given: Mapping[str, object],
    out: Path,
    *,
    resume: bool,
    name: str | None,
    words: Callable[[dict[str, Any]], str],
) -> ExitStatus:
    """Train, and tell what became of it.

    Args:
        run: Of the command.
        kind: Of the recipe.
        given: Its values that were given; None where one was not.
        out: The folder of the run.
        resume: Go on with the run that is there.
        name: What the catalogue will call the network; None to leave it out.
        words: Says what there is to say of a summary.

    Raises:
        FacekeepError: It cannot be done.
        typer.Exit: The run was interrupted.
    """
    recipe = _recipe_of(kind, given, out, resume=resume)
    import facekeep.lab.nn  # noqa: F401 - its error names the cure

    room: Any = importlib.import_module(f"facekeep.lab.train.{kind.network}.run")
    outcome: Outcome = getattr(room, f"train_{kind.network}")(
        recipe,
        out,
        resume=resume,
        name=name,
        threads=run.settings.threads,
        watch=lambda what, images: run.progress(what, images, unit="images"),
    )
    return _conclude(run, outcome, out, kind, words)


def _recipe_of(
    kind: type[Recipe], options: Mapping[str, object], out: Path, *, resume: bool
) -> Recipe:
    """Make the recipe of a new run, or read that of the run that is to go on."""
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if resume:
        if given:
            raise InputError("a run goes on with the options it began with; leave out all others")
        return read_recipe(kind, out)
    if "data" not in given:
        raise InputError("there is nothing to train on; name it with --data")
    return kind(**given)


def _conclude(
    run: Run,
    outcome: Outcome,
    out: Path,
    kind: type[SmallRecipe],
    words: Callable[[dict[str, Any]], str],
) -> ExitStatus:
    if outcome.summary is None:
        resume = f"facekeep train {kind.network} --resume --out {shlex.quote(str(out))}"
        if run.json:
            run.emit({"finished": False, "step": outcome.step, "resume": resume})
        run.say(f"stopped after step {outcome.step}; go on with: {resume}")
        raise typer.Exit(INTERRUPTED)
    if run.json:
        run.emit({"finished": True, "out": out, **outcome.summary, "model": outcome.name})
    run.say(f"{out}: {outcome.summary['params']:,} parameters, {words(outcome.summary)}")
    return ExitStatus.YES
