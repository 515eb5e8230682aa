"""What the shell completes: choices, files, names of models, of people; silent where that fails."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import click

from facekeep.config.fields import Field
from facekeep.config.settings import load_settings

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = [
    "COMPLETE",
    "DEVICES",
    "RUNTIMES",
    "choices",
    "completion_of",
    "file_names",
    "model_names",
    "people_names",
    "people_or_file_names",
]

Completion = Callable[[click.Context, click.Parameter, str], "list[CompletionItem] | list[str]"]

COMPLETE = "_FACEKEEP_COMPLETE"
"""The variable by which the shell asks what there is to complete."""

RUNTIMES = ("onnxruntime", "openvino", "litert", "ncnn")
DEVICES = (
    *("cpu", "cuda", "tensorrt", "openvino", "coreml", "directml", "migraphx", "qnn", "xnnpack"),
    *("gpu", "npu"),
)

_WORDS = {"runtime": RUNTIMES, "device": DEVICES}
_TASKS = {"detector": "detect", "refiner": "refine", "orienter": "orient", "embedder": "embed"}


def choices(*words: str) -> Completion:
    """Complete one of a few words."""

    def complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return complete


def file_names(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Leave it to the shell to complete the name of a file."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def model_names(task: str | None = None, *, offered: bool = False) -> Completion:
    """Complete the name of a model, of those for a task or of all; if asked, of those to pull."""

    def complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        from facekeep.models import Task, list_models

        found = _or_nothing(
            lambda: [
                model.name
                for model in list_models(cast("Task | None", task))
                if model.offered or not offered
            ]
        )
        return [name for name in found if name.startswith(incomplete)]

    return complete


def people_names(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Complete the name of somebody enrolled in the gallery that the command line names."""

    def names() -> list[str]:
        from facekeep.factory import open_gallery

        flags = {name: ctx.params.get(name) for name in ("gallery", "key")}
        settings = load_settings(ctx.params.get("config"), **flags)
        with open_gallery(settings, read_only=True) as gallery:
            return [person.name for person in gallery.people()]

    found = [name for name in _or_nothing(names) if name.startswith(incomplete)]
    return [_for_shell(name) for name in found if name.isprintable()]


def people_or_file_names(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem] | list[str]:
    """Complete the name of somebody enrolled, or else of a file."""
    return people_names(ctx, parameter, incomplete) or file_names(ctx, parameter, incomplete)


def completion_of(setting: Field) -> Completion | None:
    """What completes the value of a setting, where there is something to choose from."""
    if setting.name in _TASKS:
        return model_names(_TASKS[setting.name])
    if setting.name in _WORDS:
        return choices(*_WORDS[setting.name])
    if "|" in setting.metavar:
        return choices(*setting.metavar.split("|"))
    return file_names if setting.metavar == "PATH" else None


def _or_nothing(names: Callable[[], list[str]]) -> list[str]:
    """Whoever presses the tabulator wants no message about a missing gallery or key."""
    try:
        return names()
    except Exception:  # noqa: BLE001 - nothing to complete, whatever the reason
        return []


def _for_shell(name: str) -> str:
    """Write a name so that bash takes every letter of it as it is; other shells do that themselves.

    Names come from outside: one such as ``$(date)`` must not become a command, neither as it
    stands nor in a quotation that the user has begun.
    """
    if not os.environ.get(COMPLETE, "").startswith("bash"):
        return name
    quotation = _quotation(os.environ.get("COMP_WORDS", ""), int(os.environ.get("COMP_CWORD") or 0))
    if quotation == '"':
        return re.sub(r'(["$`\\])', r"\\\1", name).replace("!", '"\\!"')
    if quotation == "'":
        return name.replace("'", r"'\''")
    return re.sub(r"([^\w@%+=:,./-])", r"\\\1", name)


def _quotation(words: str, number: int) -> str:
    """Tell which quotation is open at the end of a word, of words on lines of their own."""
    quotation, escaped, at = "", False, 0
    for character in words:
        if escaped:
            escaped = False
        elif character == "\\" and quotation != "'":
            escaped = True
        elif quotation:
            quotation = "" if character == quotation else quotation
        elif character in "'\"":
            quotation = character
        elif character == "\n":
            at += 1
            if at > number:
                break
    return quotation
