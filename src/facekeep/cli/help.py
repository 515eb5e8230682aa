"""The help of commands: options in groups, arguments by their names, ``-h`` everywhere."""

from __future__ import annotations

import importlib
import re
from collections import UserDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from facekeep.errors import DependencyError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["HelpedCommand", "HelpedGroup", "in_words", "placeholder"]

PANELS: Final = {
    "Input": (
        "gallery key keep_crops min_face max_faces max_pixels max_bytes images pairs test labels"
        " aligned check_crops photos image sizes holdout scenes seed"
    ),
    "Output": "out crops csv json quiet verbose report sort_into",
    "Decision": (
        "fmr fpir rates any_quality review top min_size largest any_pair collage new_person"
    ),
    "Models": (
        "detector refiner orienter embedder terms models model flip runtime device precision"
    ),
    "Advanced": "threads cache config help install_completion show_completion",
}
"""The groups of options in the help, in their order; the command's own others come before."""

_SENTENCE: Final = 400
"""Letters of a first sentence; a longer one would be cut off."""

_FORMER_NAMES: Final = {"colour": "color", "licence": "license", "heal": "fine-tune"}
"""Names of options that are understood but not shown."""


class _GroupedHelp(click.Command):
    """A command whose help shows options in groups, and arguments by their names in the usage.

    Args:
        name: The verb.
        examples: Command lines for the end of the help.
        attributes: As ``click.Command`` takes them.
    """

    def __init__(
        self, name: str | None = None, *, examples: Sequence[str] = (), **attributes: Any
    ) -> None:
        context = {
            "help_option_names": ["-h", "--help"],
            "show_default": True,
            "token_normalize_func": lambda word: _FORMER_NAMES.get(word, word),
        }
        # The backspace keeps the lines as they are.
        epilog = "\n".join(["\b", "Examples:", *(f"  {line}" for line in examples)])
        super().__init__(
            name, epilog=epilog, context_settings=context, no_args_is_help=False, **attributes
        )

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        pieces = ["[OPTIONS]"] if _options(self, ctx) else []
        pieces += [placeholder(p) for p in _parameters(self, ctx, "argument")]
        return pieces + (["COMMAND [ARGS]..."] if isinstance(self, click.Group) else [])

    def format_arguments(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write nothing: click calls this from 8.5 on, and the options below begin with them."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        arguments = [(placeholder(p), p.help) for p in _parameters(self, ctx, "argument")]
        if arguments:
            with formatter.section("Arguments"):
                formatter.write_dl(arguments)
        for title, records in _options(self, ctx).items():
            with formatter.section(title):
                formatter.write_dl(records)
        if isinstance(self, click.Group):
            self.format_commands(ctx, formatter)


class HelpedCommand(_GroupedHelp):
    """A verb."""


class _Commands(UserDict[str, Any]):
    """Commands by name, or the modules that hold them, which are imported when asked for."""

    def __getitem__(self, name: str) -> click.Command:
        found = self.data[name]
        if isinstance(found, str):
            found = self.data[name] = _load(found, name)
        return found  # type: ignore[no-any-return]


class HelpedGroup(_GroupedHelp, click.Group):
    """A set of verbs, each with the whole of its first sentence."""

    def __init__(self, name: str | None = None, **attributes: Any) -> None:
        super().__init__(name, **attributes)
        self._verbs = _Commands()
        self.commands = self._verbs
        self.summaries: dict[str, str] = {}

    def add_module(self, name: str, module: str, summary: str) -> None:
        """Add a verb whose module, of this package, is imported when it is called.

        Args:
            name: The verb.
            module: It has an ``app``, which is the verb or holds it.
            summary: The first sentence of the help.
        """
        self._verbs[name] = module
        self.summaries[name] = summary

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order in which they were added."""
        return list(self.commands)

    def summary(self, name: str) -> str:
        """Return the first sentence of the help of a verb."""
        known = self.summaries.get(name)
        return known or self.commands[name].get_short_help_str(limit=_SENTENCE)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs; what does not fit on a line is folded, not cut off."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.summary(name)) for name in self.commands])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the verbs and the options."""
        from click.shell_completion import CompletionItem

        verbs = [name for name in self.commands if name.startswith(incomplete)]
        found = [CompletionItem(name, help=self.summary(name)) for name in verbs]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]


def _load(module: str, name: str) -> click.Command:
    """Import the command of a name.

    Raises:
        DependencyError: It was left out of this program, as PyInstaller does with the laboratory.
    """
    try:
        app: click.Group = importlib.import_module(f"facekeep.cli.{module}").app
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("facekeep."):
            raise
        raise DependencyError(
            f"this program was built without the command {name!r}; install facekeep with pip"
        ) from error
    return app if app.name == name else app.commands[name]


def _parameters(command: click.Command, ctx: click.Context, kind: str) -> list[Any]:
    return [p for p in command.get_params(ctx) if p.param_type_name == kind]


def _options(command: click.Command, ctx: click.Context) -> dict[str, list[tuple[str, str]]]:
    """The lines of the help by group: the command's own options first."""
    panels = {name: title for title, names in PANELS.items() for name in names.split()}
    found: dict[str, list[tuple[str, str]]] = {title: [] for title in ("Options", *PANELS)}
    for option in _parameters(command, ctx, "option"):
        name = "help" if "--help" in option.opts else option.name  # click's is a private one
        spelling, text = option.get_help_record(ctx)
        found[panels.get(name, "Options")].append((spelling, in_words(text)))
    return {title: records for title, records in found.items() if records}


def in_words(text: str) -> str:
    """Write numbers as people do: what click adds reads ``1<=x<=9`` and ``2e-05``."""
    text = re.sub(r"(\de-)0+(\d)", r"\1\2", text)
    text = re.sub(r"([\d.]+)<=x<=([\d.]+)", r"\1 to \2", text)
    return re.sub(r"x>=([\d.]+)", r"\1 or more", text)


def placeholder(argument: Any) -> str:
    """An argument as it stands in the usage line: ``IMAGE...``, ``[STAGE]...``."""
    word = (argument.metavar or argument.name.upper()).removesuffix("...").strip("[]")
    word = word if argument.required else f"[{word}]"
    return word + ("..." if argument.nargs == -1 else "")
