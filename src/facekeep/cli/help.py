"""The help of commands: options in groups, arguments by their names, ``-h`` everywhere."""

from __future__ import annotations

import re
from typing import Any, Final

from typer.core import TyperCommand, TyperGroup

__all__ = ["CONTEXT", "HelpedCommand", "HelpedGroup", "in_words", "placeholder"]

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

CONTEXT: Final = {"help_option_names": ["-h", "--help"]}
"""What commands and groups are made with."""


class _Sorted:
    """Help whose options stand in groups, and whose arguments are called as in the usage."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        pieces = ["[OPTIONS]"] if _options(self, ctx) else []
        pieces += [placeholder(p) for p in _parameters(self, ctx, "argument")]
        return pieces + (["COMMAND [ARGS]..."] if isinstance(self, TyperGroup) else [])

    def format_options(self, ctx: Any, formatter: Any) -> None:
        arguments = [(placeholder(p), p.help) for p in _parameters(self, ctx, "argument")]
        if arguments:
            with formatter.section("Arguments"):
                formatter.write_dl(arguments)
        for title, records in _options(self, ctx).items():
            with formatter.section(title):
                formatter.write_dl(records)
        if isinstance(self, TyperGroup):
            self.format_commands(ctx, formatter)


class HelpedCommand(_Sorted, TyperCommand):
    """A verb."""


class HelpedGroup(_Sorted, TyperGroup):
    """A set of verbs, each with the whole of its first sentence."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the verbs; what does not fit on a line is folded, not cut off."""
        verbs = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        shown = [(name, verb) for name, verb in verbs if verb is not None and not verb.hidden]
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, verb.get_short_help_str(limit=_SENTENCE)) for name, verb in shown]
            )


def _parameters(command: Any, ctx: Any, kind: str) -> list[Any]:
    return [p for p in command.get_params(ctx) if p.param_type_name == kind]


def _options(command: Any, ctx: Any) -> dict[str, list[Any]]:
    """The lines of the help by group: the command's own options first."""
    panels = {name: title for title, names in PANELS.items() for name in names.split()}
    found: dict[str, list[Any]] = {title: [] for title in ("Options", *PANELS)}
    for option in _parameters(command, ctx, "option"):
        record = option.get_help_record(ctx)
        if record is not None:
            found[panels.get(option.name, "Options")].append((record[0], in_words(record[1])))
    return {title: records for title, records in found.items() if records}


def in_words(text: str) -> str:
    """Write numbers as people do: what typer adds reads ``1<=x<=9`` and ``2e-05``."""
    text = re.sub(r"(\de-)0+(\d)", r"\1\2", text)
    text = re.sub(r"([\d.]+)<=x<=([\d.]+)", r"\1 to \2", text)
    return re.sub(r"x>=([\d.]+)", r"\1 or more", text)


def placeholder(argument: Any) -> str:
    """An argument as it stands in the usage line: ``IMAGE...``, ``[STAGE]...``."""
    word = (argument.metavar or argument.name.upper()).removesuffix("...").strip("[]")
    word = word if argument.required else f"[{word}]"
    return word + ("..." if argument.nargs == -1 else "")
