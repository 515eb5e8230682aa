"""What the commands that train a small network share: their options, and what they tell."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

from facekeep.cli.command import INTERRUPTED, ExitStatus, Run
from facekeep.errors import InputError
from facekeep.train.small import Outcome, SmallRecipe, read_recipe

__all__ = ["Name", "Out", "Resume", "conclude", "recipe_of", "takes"]

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
    kind: type[SmallRecipe], options: Mapping[str, tuple[str, str, str]]
) -> Callable[[Command], Command]:
    """Give a command an option for fields of its recipe, behind ``out``, in place of ``**given``.

    Args:
        kind: Of the recipe.
        options: For each field its flag, what the flag is followed by, and the help.
    """
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


def recipe_of(
    kind: type[Recipe], options: Mapping[str, object], out: Path, *, resume: bool
) -> Recipe:
    """Make the recipe of a new run, or read that of the run that is to go on.

    Raises:
        InputError: Options are missing, out of range, or given again; or there is no such run.
        ConfigError: The recipe of the run is damaged.
    """
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if resume:
        if given:
            raise InputError("a run goes on with the options it began with; leave out all others")
        return read_recipe(kind, out)
    if "data" not in given:
        raise InputError("there is nothing to train on; name it with --data")
    return kind(**given)


def conclude(
    run: Run,
    outcome: Outcome,
    out: Path,
    kind: type[SmallRecipe],
    words: Callable[[dict[str, Any]], str],
) -> ExitStatus:
    """Tell what became of a run.

    Args:
        run: Of the command.
        outcome: What became of it.
        out: Its folder.
        kind: Of its recipe.
        words: Says what there is to say of a summary.

    Raises:
        typer.Exit: The run was interrupted.
    """
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
