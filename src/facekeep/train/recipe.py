"""Recipes as users give them, by flags and TOML, and as runs write them."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from facekeep._files import one_line, open_regular, why
from facekeep.errors import ConfigError
from facekeep.train.config import OPTIONS, Option, Recipe

__all__ = ["given_values", "make_recipe", "read_recipe", "recipe_toml"]

_FILE_LIMIT: Final = 1 << 20  # bytes


def given_values(flags: Mapping[str, object], file: Path | None = None) -> dict[str, Any]:
    """Merge flags over a recipe file.

    Args:
        flags: Values by key; text is parsed, None and an empty list mean "not given".
        file: A ``recipe.toml``, or None.

    Returns:
        The values that were given, by field of `Recipe`; what is not among them is a default.

    Raises:
        ConfigError: A value is of the wrong form or out of range, a key of the file is unknown, or
            both ``epochs`` and ``steps`` are given.
    """
    values = read_recipe(file) if file else {}
    given = {name: value for name, value in flags.items() if value not in (None, [])}
    if {"epochs", "steps"} <= given.keys():
        raise ConfigError("--epochs and --steps both say how long to train; give one of them")
    for one, other in (("epochs", "steps"), ("steps", "epochs")):
        if one in given:
            values.pop(other, None)
    read = {OPTIONS[name].field: _read(OPTIONS[name], given[name]) for name in given}
    return {name: _located(value) for name, value in (values | read).items()}


def make_recipe(values: Mapping[str, Any]) -> Recipe:
    """Make a recipe of given values and defaults.

    Raises:
        ConfigError: ``data`` is missing.
    """
    if "data" not in values:
        raise ConfigError("there is nothing to train on; name it with --data")
    return Recipe(**values)


def read_recipe(file: Path) -> dict[str, Any]:
    """Read a recipe file as values by field; relative paths in it are relative to its folder.

    Raises:
        ConfigError: It cannot be read, is not TOML, or holds unknown keys or bad values.
    """
    values = {}
    for name, value in _document(file).items():
        if name not in OPTIONS:
            raise ConfigError(f"{file}: unknown key {name!r}; known: {', '.join(OPTIONS)}")
        option = OPTIONS[name]
        checked = _checked(option, value, f"{file}: {name} = {_short(repr(value))}")
        values[option.field] = option.kind.anchor(checked, file.parent)
    if {"epochs", "steps"} <= values.keys():
        raise ConfigError(f"{file}: epochs and steps both say how long to train; keep one of them")
    return values


def recipe_toml(recipe: Recipe) -> str:
    """Write a recipe as the TOML that `read_recipe` reads; what is None is left out."""
    lines = ["# The recipe of a run: facekeep train --recipe THIS-FILE --out RUN"]
    for name, option in OPTIONS.items():
        value = getattr(recipe, option.field)
        if value is not None:
            lines.append(f"{name} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def _document(file: Path) -> dict[str, Any]:
    try:
        with open_regular(file) as stream:
            data = stream.read(_FILE_LIMIT + 1)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: cannot be read: {why(error)}") from error
    if len(data) > _FILE_LIMIT:
        raise ConfigError(f"{file}: is larger than 1 MiB and cannot be a recipe")
    try:
        return tomllib.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: is not valid TOML: {one_line(error)}") from error


def _read(option: Option, given: object) -> Any:
    shown = f"{option.flag} {_short(given)}"
    if not isinstance(given, str):
        return _checked(option, given, shown)
    try:
        value = option.kind.read(given)
    except ValueError as error:
        raise ConfigError(f"{shown}: expected {option.kind.expects}") from error
    return _checked(option, value, shown)


def _checked(option: Option, value: object, shown: str) -> Any:
    try:
        return option.kind.check(value)
    except ValueError as error:
        raise ConfigError(f"{shown}: expected {option.kind.expects}") from error


def _short(value: object) -> str:
    text = one_line(value)
    return text if len(text) <= 60 else text[:57] + "..."


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
