"""Checks of the numbers that users give, with one line of what is wrong."""

from __future__ import annotations

from numbers import Integral, Real

from facekeep.errors import InputError

__all__ = ["require_count", "require_rate"]


def require_count(name: str, value: object, least: int = 1) -> None:
    """Refuse what is no whole number, or a smaller one.

    Raises:
        InputError: It is refused; the line begins with ``name``.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise InputError(f"{name} must be a whole number; got {value!r}")
    if int(value) < least:
        raise InputError(f"{name} must be {least} or more; got {value!r}")


def require_rate(what: str, value: object, example: str) -> None:
    """Refuse what is no number between 0 and 1, both left out.

    Raises:
        InputError: It is refused; the line begins with ``what``.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < 1:
        raise InputError(f"{what} lies between 0 and 1, such as {example}; got {value!r}")
