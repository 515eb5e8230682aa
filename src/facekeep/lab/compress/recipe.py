"""Recipes: a chain of steps, and everything it needs, in one TOML file."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from facekeep._internal.files import printable
from facekeep.config.fields import read_document
from facekeep.errors import ConfigError, FacekeepError
from facekeep.lab.compress.data import DataOptions
from facekeep.lab.compress.options import STEPS, Step

__all__ = ["ChainRecipe", "read_chain_recipe"]

_T = TypeVar("_T")
_OWN: Final = ("model", "out", "compare", "step")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainRecipe:
    """A chain of steps.

    Attributes:
        model: The model that the chain begins with.
        out: What the result will be called.
        steps: The steps, in their order.
        data: The data; paths in the file start at its folder.
        compare: Further models for the report's picture.
    """

    model: str
    out: str
    steps: tuple[Step, ...]
    data: DataOptions
    compare: tuple[str, ...] = ()


def read_chain_recipe(path: Path) -> ChainRecipe:
    """Read a recipe.

    Its keys are ``model``, ``out``, ``compare`` and those of `DataOptions`; each ``[[step]]`` has a
    ``do``, which names its kind, and the options of that kind.

    Raises:
        ConfigError: The file cannot be read, or a key or value is wrong.
    """
    document = read_document(path, "a recipe")
    shown = printable(path)
    steps = document.get("step")
    if not isinstance(steps, list) or not steps:
        raise ConfigError(f"{shown}: there are no steps; add a [[step]] with a do")
    own = {key: value for key, value in document.items() if key in _OWN[:-1]}
    rest = {key: value for key, value in document.items() if key not in _OWN}
    data = _build(DataOptions, rest, shown, base=path.absolute().parent)
    every = tuple(_read_step(each, f"{shown}: step {n}") for n, each in enumerate(steps, 1))
    return _build(ChainRecipe, own, shown, steps=every, data=data)


def _read_step(values: object, shown: str) -> Step:
    if not isinstance(values, Mapping) or values.get("do") not in STEPS:
        raise ConfigError(f"{shown}: do must be one of {', '.join(STEPS)}")
    given = {key: value for key, value in values.items() if key != "do"}
    return _build(STEPS[values["do"]], given, f"{shown} ({values['do']})")


def _build(
    kind: type[_T], given: Mapping[str, Any], shown: str, *, base: Path | None = None, **more: Any
) -> _T:
    """Build one of our dataclasses from a table; the keys are the names of its fields."""
    hints = get_type_hints(kind)
    known = [each for each in fields(kind) if each.name not in more]  # type: ignore[arg-type]
    names = [each.name for each in known]
    values = {}
    for key, value in given.items():
        if key not in names:
            raise ConfigError(f"{shown}: unknown key {key!r}; known: {', '.join(names)}")
        values[key] = _convert(value, hints[key], f"{shown}: {key}", base)
    for each in known:
        if each.default is MISSING and each.default_factory is MISSING and each.name not in values:
            raise ConfigError(f"{shown}: the key {each.name!r} is missing")
    try:
        return kind(**values, **more)
    except FacekeepError as error:
        raise ConfigError(f"{shown}: {error}") from error


def _convert(value: Any, hint: Any, shown: str, base: Path | None) -> Any:
    """Check a value of TOML against a type, and convert it to that type."""
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(each for each in get_args(hint) if each is not types.NoneType)
    if hint is Path and isinstance(value, str) and base is not None:
        return base / Path(value).expanduser()
    if get_origin(hint) is tuple:
        inner = get_args(hint)[0]
        listed = [value] if isinstance(value, str) else value
        if isinstance(listed, list):
            return tuple(_convert(each, inner, shown, base) for each in listed)
    if get_origin(hint) is Literal and isinstance(value, str):
        return value  # which of them, the dataclass checks
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and type(value) is hint:
        return value
    raise ConfigError(f"{shown} cannot be {printable(repr(value))}; {_describe(hint)}")


def _describe(hint: Any) -> str:
    names = {float: "a number", int: "a whole number", bool: "true or false", str: "a text"}
    return f"give {names.get(hint, 'a text, or a list of them')}"
