"""The kinds of values that a setting can take: how to read one from text, and how to check it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

__all__ = ["Kind", "choice", "flag", "key_spec", "path", "rate", "text", "whole"]

_TRUE: Final = ("true", "yes", "on", "1")
_FALSE: Final = ("false", "no", "off", "0")


@dataclass(frozen=True, slots=True)
class Kind:
    """What values a setting takes.

    Attributes:
        metavar: The placeholder on the command line.
        expects: What is allowed, in words that complete "expected ...".
        read: Turns text (of a flag or variable) into a value of the TOML type.
        check: Returns the value to use for a value of the TOML type; ValueError when not allowed.
        anchor: Makes a relative path in a checked value relative to a folder.
        secret: A wrong value may be a secret and must not be repeated.
    """

    metavar: str
    expects: str
    read: Callable[[str], object]
    check: Callable[[object], Any]
    anchor: Callable[[Any, Path], Any] = lambda value, folder: value
    secret: bool = False


def _require(condition: bool) -> None:
    if not condition:
        raise ValueError


def whole(low: int, high: int, unit: str = "") -> Kind:
    """A whole number within bounds."""

    def check(value: object) -> int:
        _require(type(value) is int and low <= value <= high)
        return value  # type: ignore[return-value]

    return Kind("N", f"a whole number{unit} from {low} to {high}", int, check)


def rate(low: float, high: float) -> Kind:
    """A share, as a number within bounds."""

    def check(value: object) -> float:
        _require(isinstance(value, int | float) and not isinstance(value, bool))
        _require(low <= value <= high)  # type: ignore[operator]
        return float(value)  # type: ignore[arg-type]

    lowest = f"{low:g}".replace("e-0", "e-")
    return Kind("RATE", f"a number from {lowest} to {high:g}", float, check)


def flag() -> Kind:
    """Yes or no."""

    def read(text: str) -> bool:
        word = text.strip().lower()
        _require(word in _TRUE + _FALSE)
        return word in _TRUE

    def check(value: object) -> bool:
        _require(type(value) is bool)
        return value  # type: ignore[return-value]

    return Kind("", "true or false", read, check)


def choice(*words: str) -> Kind:
    """One of a few words."""

    def check(value: object) -> str:
        _require(value in words)
        return value  # type: ignore[return-value]

    return Kind("|".join(words), "one of " + ", ".join(words), str, check)


def text(metavar: str, expects: str) -> Kind:
    """A printable text that is not empty."""

    def check(value: object) -> str:
        _require(isinstance(value, str) and value.strip() != "" and value.isprintable())
        return value  # type: ignore[return-value]

    return Kind(metavar, expects, str, check)


def path(expects: str) -> Kind:
    """A path; ``~`` is the home folder."""

    def check(value: object) -> Path:
        _require(isinstance(value, str | Path))
        return _expanded(str(value))

    return Kind("PATH", expects, str, check, anchor=lambda value, folder: folder / value)


def key_spec() -> Kind:
    """Where a key is kept: a reference, never the key itself."""

    def check(value: object) -> str:
        _require(isinstance(value, str) and value.isprintable())
        scheme, _, rest = str(value).partition(":")
        _require(scheme in ("file", "env", "keyring") and rest.strip() != "")
        _require(scheme != "env" or re.fullmatch(r"[A-Za-z_]\w*", rest) is not None)
        return f"file:{_expanded(rest)}" if scheme == "file" else f"{scheme}:{rest}"

    def anchor(value: str, folder: Path) -> str:
        scheme, _, rest = value.partition(":")
        return f"file:{folder / rest}" if scheme == "file" else value

    expects = "file:PATH, env:NAME or keyring:SERVICE/USER"
    return Kind("SPEC", expects, str, check, anchor=anchor, secret=True)


def _expanded(text: str) -> Path:
    _require(text.strip() != "" and "\0" not in text)
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ValueError from error
