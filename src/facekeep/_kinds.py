"""The kinds of values that a setting can take: how to read one from text, and how to check it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

__all__ = ["Kind", "choice", "flag", "path", "rate", "text", "whole"]

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
    """

    metavar: str
    expects: str
    read: Callable[[str], object]
    check: Callable[[object], Any]


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

    return Kind("RATE", f"a number from {low:g} to {high:g}", float, check)


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
        text = str(value)
        _require(text.strip() != "" and "\0" not in text)
        try:
            return Path(text).expanduser()
        except RuntimeError as error:
            raise ValueError from error

    return Kind("PATH", expects, str, check)
