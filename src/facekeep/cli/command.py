"""How a command is made: its options, its settings, and the run it is given."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import typer

from facekeep.cli import output
from facekeep.cli.exit_status import INTERRUPTED, ExitStatus
from facekeep.cli.help import CONTEXT, HelpedCommand, HelpedGroup
from facekeep.cli.options import ConfigOption, JsonFlag, QuietFlag, VerboseFlag, setting_option
from facekeep.config.settings import Resolved, Settings, config_path, resolve
from facekeep.errors import InputError

__all__ = ["INTERRUPTED", "ExitStatus", "Run", "command", "group", "group_command"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """One run of a command: the settings in force, and where its output goes.

    Attributes:
        flags: The settings given as options, by name; None where one was not given.
        config: What ``--config`` said.
        json: Print one JSON document instead of text.
        quiet: Print no progress.
        muted: Print no text: something else goes to standard output.
    """

    flags: Mapping[str, object]
    config: str | None = None
    json: bool = False
    quiet: bool = False
    muted: bool = False

    @cached_property
    def resolved(self) -> Resolved:
        """The settings with the origin of each, read once."""
        return resolve(self.flags, file=config_path(self.config))

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.resolved.settings

    def emit(self, document: Mapping[str, Any]) -> None:
        """Print a JSON document on one line; call it once, or once a line for a stream."""
        output.emit_json(document)

    def say(self, text: object) -> None:
        """Print one line of the answer for people; nothing under ``--json``."""
        if not (self.json or self.muted):
            output.say(text)

    def warn(self, text: object) -> None:
        """Print one line on stderr, whatever goes to stdout; nothing under ``--quiet``."""
        if not self.quiet:
            output.say(f"facekeep: warning: {text}", sys.stderr)

    def table(
        self, headers: Sequence[str], rows: Sequence[Sequence[object]], *, fold: bool = False
    ) -> None:
        """Print a table for people; nothing under ``--json``."""
        if not (self.json or self.muted):
            output.print_table(headers, rows, fold=fold)

    @contextmanager
    def progress(
        self, description: str, total: int | None = None, *, unit: str = ""
    ) -> Iterator[Callable[..., None]]:
        """Show progress on stderr; yields ``advance(steps=1)``. Silent with --json and --quiet."""
        silent = self.json or self.quiet
        with output.progress(description, total, unit=unit, silent=silent) as advance:
            yield lambda steps=1: advance(steps)


CommandFunction = Callable[..., ExitStatus | None]


def group(
    name: str | None = None, help: str | None = None, *, examples: Sequence[str] = ()
) -> typer.Typer:
    """A set of commands; without a name they stand directly under ``facekeep``."""
    return typer.Typer(
        name=name,
        help=help,
        epilog=_epilog(examples),
        rich_markup_mode=None,
        cls=HelpedGroup,
        context_settings=CONTEXT,
    )


def command(
    app: typer.Typer, name: str, *, examples: Sequence[str], uses: Sequence[str] = ()
) -> Callable[[CommandFunction], CommandFunction]:
    """Add a function to ``app`` as a command.

    Args:
        app: From `group`.
        name: The verb.
        examples: Command lines for the end of the help.
        uses: Settings that the command obeys; each becomes an option.
    """

    def decorate(function: CommandFunction) -> CommandFunction:
        epilog = _epilog(examples)
        make = app.command(
            name,
            cls=HelpedCommand,
            context_settings=CONTEXT,
            help=inspect.getdoc(function),
            epilog=epilog,
        )
        make(_entry(function, uses))
        return function

    return decorate


def group_command(
    app: typer.Typer, *, examples: Sequence[str], uses: Sequence[str] = ()
) -> Callable[[CommandFunction], CommandFunction]:
    """Make a function what a group does where none of its verbs is named.

    Its parameters are read before a verb's own, too, so that each must be None, False or an empty
    list where it is not given.

    Args:
        app: From `group`, with a name.
        examples: Command lines for the end of the help.
        uses: Settings that the command obeys; each becomes an option.
    """

    def decorate(function: CommandFunction) -> CommandFunction:
        make = app.callback(
            cls=HelpedGroup,
            context_settings=CONTEXT,
            invoke_without_command=True,
            help=inspect.getdoc(function),
        )
        make(_unless_verb(_entry(function, uses)))
        app.info.epilog = _epilog(examples)
        return function

    return decorate


def _unless_verb(entry: Callable[..., int]) -> Callable[..., int | None]:
    """Leave the work to the verb that is named; options that stand before it are a mistake."""

    def run(ctx: typer.Context, **values: Any) -> int | None:
        if ctx.invoked_subcommand is None:
            return entry(**values)
        if any(value not in (None, False, []) for value in values.values()):
            raise InputError(f"give the options after {ctx.invoked_subcommand!r}, not before it")
        return None

    own = inspect.signature(entry).parameters.values()
    context = inspect.Parameter(
        "ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context
    )
    run.__signature__ = inspect.Signature([context, *own])  # type: ignore[attr-defined]
    run.__annotations__ = {}
    return run


def _epilog(examples: Sequence[str]) -> str:
    """The end of a help text; the leading backspace keeps the lines as they are."""
    return "\b\n" + "\n".join(["Examples:", *(f"  {line}" for line in examples)])


def _entry(function: CommandFunction, uses: Sequence[str]) -> Callable[..., int]:
    """The function that typer sees: the command's own parameters, its settings, the common ones."""
    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]

    def entry(*, config: str | None, json: bool, quiet: bool, verbose: bool, **values: Any) -> int:
        output.set_up_logging(verbose=verbose, quiet=quiet)
        flags = {name: values.pop(name) for name in uses}
        run = Run(flags, config, json=json, quiet=quiet)
        if uses:
            file = run.resolved.file  # a wrong setting stops the command before it does anything
            _log.debug("settings: %s", file or "no file; defaults, variables and options")
        return function(run, **values) or ExitStatus.YES

    keyword = inspect.Parameter.KEYWORD_ONLY
    options = [
        *(parameter.replace(kind=keyword) for parameter in own),
        *(_parameter(name, setting_option(name), None) for name in uses),
        _parameter("config", ConfigOption, None),
        _parameter("json", JsonFlag, False),
        _parameter("quiet", QuietFlag, False),
        _parameter("verbose", VerboseFlag, False),
    ]
    entry.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    entry.__annotations__ = {}
    return entry


def _parameter(name: str, annotation: Any, default: object) -> inspect.Parameter:
    keyword = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, keyword, default=default, annotation=annotation)
