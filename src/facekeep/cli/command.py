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

import click

from facekeep._internal.tables import OptionError
from facekeep.cli import output
from facekeep.cli.exit_status import INTERRUPTED, ExitStatus
from facekeep.cli.help import HelpedCommand, HelpedGroup
from facekeep.cli.options import COMMON, setting_option
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


CommandFunction = Callable[..., int | None]


def group(
    name: str | None = None, help: str | None = None, *, examples: Sequence[str] = ()
) -> HelpedGroup:
    """A set of commands; without a name they stand directly under ``facekeep``."""
    return HelpedGroup(name, help=help, examples=examples)


def command(
    app: click.Group,
    name: str,
    *,
    examples: Sequence[str],
    uses: Sequence[str] = (),
    options: Sequence[click.Parameter] = (),
) -> Callable[[CommandFunction], CommandFunction]:
    """Add a function to ``app`` as a command, with the options that decorators gave it.

    Args:
        app: From `group`.
        name: The verb.
        examples: Command lines for the end of the help.
        uses: Settings that the command obeys; each becomes an option.
        options: More options; in the help they stand behind the function's own.
    """

    def decorate(function: CommandFunction) -> CommandFunction:
        made = HelpedCommand(
            name,
            params=[*click.command(function).params, *options, *_shared_options(uses)],
            callback=_entry(function, uses),
            help=inspect.getdoc(function),
            examples=examples,
        )
        app.add_command(made)
        return function

    return decorate


def group_command(
    name: str,
    *,
    examples: Sequence[str],
    uses: Sequence[str] = (),
    options: Sequence[click.Parameter] = (),
) -> Callable[[CommandFunction], HelpedGroup]:
    """Make a function a group that does something where none of its verbs is named.

    Its parameters are read before a verb's own, too, so that each must be None, False or an empty
    tuple where it is not given.

    Args:
        name: Of the group.
        examples: Command lines for the end of the help.
        uses: Settings that the command obeys; each becomes an option.
        options: More options; in the help they stand behind the function's own.
    """

    def decorate(function: CommandFunction) -> HelpedGroup:
        return HelpedGroup(
            name,
            params=[*click.command(function).params, *options, *_shared_options(uses)],
            callback=_unless_verb(_entry(function, uses)),
            help=inspect.getdoc(function),
            examples=examples,
            invoke_without_command=True,
        )

    return decorate


def _unless_verb(entry: Callable[..., int]) -> Callable[..., int | None]:
    """Leave the work to the verb that is named; options that stand before it are a mistake."""

    def run(**values: Any) -> int | None:
        verb = click.get_current_context().invoked_subcommand
        if verb is None:
            return entry(**values)
        if any(value not in (None, False, ()) for value in values.values()):
            raise InputError(f"give the options after {verb!r}, not before it")
        return None

    return run


def _shared_options(uses: Sequence[str]) -> list[click.Parameter]:
    return [*map(setting_option, uses), *COMMON]


def _entry(function: CommandFunction, uses: Sequence[str]) -> Callable[..., int]:
    """The function that click calls with the values of all options."""

    def entry(*, config: str | None, json: bool, quiet: bool, verbose: bool, **values: Any) -> int:
        output.set_up_logging(verbose=verbose, quiet=quiet)
        flags = {name: values.pop(name) for name in uses}
        run = Run(flags, config, json=json, quiet=quiet)
        if uses:
            file = run.resolved.file  # a wrong setting stops the command before it does anything
            _log.debug("settings: %s", file or "no file; defaults, variables and options")
        try:
            return function(run, **values) or ExitStatus.YES
        except OptionError as error:
            options = click.get_current_context().command.params
            raise error.with_flags({str(each.name): each.opts[0] for each in options}) from error

    return entry
