"""Recipes as users give them, by flags and TOML, and as runs write them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from facekeep._internal.tables import shorten
from facekeep.config.fields import read_document
from facekeep.errors import ConfigError
from facekeep.lab.train.config import OPTIONS, Recipe

__all__ = ["given_values", "make_recipe", "read_recipe_file", "recipe_toml"]


def given_values(flags: Mapping[str, object], file: Path | None = None) -> dict[str, Any]:
    """Merge flags over a recipe file.

    Args:
        flags: Values by key; text is parsed, None and an empty tuple mean "not given".
        file: A ``recipe.toml``, or None.

    Returns:
        The values that were given, by field of `Recipe`; what is not among them is a default.

    Raises:
        ConfigError: A value is of the wrong form or out of range, a key of the file is unknown, or
            both ``epochs`` and ``steps`` are given.
    """
    values = read_recipe_file(file) if file else {}
    given = {name: value for name, value in flags.items() if value not in (None, ())}
    if {"epochs", "steps"} <= given.keys():
        raise ConfigError("epochs and steps both say how long to train; give one of them")
    for one, other in (("epochs", "steps"), ("steps", "epochs")):
        if one in given:
            values.pop(other, None)
    read = {OPTIONS[name].attribute: _read(name, given[name]) for name in given}
    return {name: _located(value) for name, value in (values | read).items()}


def make_recipe(values: Mapping[str, Any]) -> Recipe:
    """Make a recipe of given values and defaults.

    Raises:
        ConfigError: ``data`` is missing.
    """
    if "data" not in values:
        raise ConfigError("there is nothing to train on; name the data", "data")
    return Recipe(**values)


def read_recipe_file(file: Path) -> dict[str, Any]:
    """Read a recipe file as values by field; relative paths in it are relative to its folder.

    Raises:
        ConfigError: It cannot be read, is not TOML, or holds unknown keys or bad values.
    """
    values = {}
    for name, value in read_document(file, "a recipe").items():
        if name not in OPTIONS:
            raise ConfigError(f"{file}: unknown key {name!r}; known: {', '.join(OPTIONS)}")
        option = OPTIONS[name]
        shown = f"{file}: {name} = {shorten(value, quote=True)}"
        values[option.attribute] = option.check(value, shown, file.parent)
    if {"epochs", "steps"} <= values.keys():
        raise ConfigError(f"{file}: epochs and steps both say how long to train; keep one of them")
    return values


def recipe_toml(recipe: Recipe) -> str:
    """Write a recipe as the TOML that `read_recipe_file` reads; what is None is left out."""
    lines = ["# The recipe of a run: facekeep train --recipe THIS-FILE --out RUN"]
    for name, option in OPTIONS.items():
        value = getattr(recipe, option.attribute)
        if value is not None:
            lines.append(f"{name} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def _read(name: str, given: object) -> Any:
    option = OPTIONS[name]
    return option.parse(given, f"{option.option} {shorten(given)}")


def _located(value: Any) -> Any:
    """Make a path absolute, and a name that may be one too where there is such a file."""
    if isinstance(value, tuple):
        return tuple(map(_located, value))
    if isinstance(value, Path) or (isinstance(value, str) and Path(value).is_file()):
        return type(value)(Path(value).absolute())
    return value


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str | Path):
        return json.dumps(str(value), ensure_ascii=False)
    return repr(value)
