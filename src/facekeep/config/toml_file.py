"""Files and texts of options: read TOML, and check values by their kinds."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from facekeep._internal.files import one_line, open_regular, why
from facekeep.config.values import Kind
from facekeep.errors import ConfigError

__all__ = ["check", "parse", "read_document"]

_LIMIT: Final = 1 << 20  # bytes


def read_document(path: Path, what: str) -> dict[str, Any]:
    """Read a TOML file.

    Args:
        path: The file.
        what: What it should be, for a message: "a recipe".

    Raises:
        ConfigError: It cannot be read, is larger than 1 MiB, or is not TOML.
    """
    import tomllib

    try:
        with open_regular(path) as stream:
            data = stream.read(_LIMIT + 1)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {why(error)}") from error
    if len(data) > _LIMIT:
        raise ConfigError(f"{path}: is larger than 1 MiB and cannot be {what}")
    try:
        return tomllib.loads(data.decode("utf-8-sig").replace("\r\n", "\n"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text (byte {error.start})") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: is not valid TOML: {one_line(error)}") from error


def parse(kind: Kind, given: object, shown: str) -> Any:
    """Read a value from text, and check it; anything but text is checked as it is.

    Args:
        kind: What it should be.
        given: The text or value.
        shown: The option and the value, for a message.

    Raises:
        ConfigError: It is not of the kind.
    """
    if not isinstance(given, str):
        return check(kind, given, shown)
    try:
        value = kind.read(given)
    except ValueError as error:
        raise ConfigError(f"{shown}: expected {kind.expects}") from error
    return check(kind, value, shown)


def check(kind: Kind, value: object, shown: str) -> Any:
    """Return the value to use for a value of the TOML type; see `parse`."""
    try:
        return kind.check(value)
    except ValueError as error:
        raise ConfigError(f"{shown}: expected {kind.expects}") from error
