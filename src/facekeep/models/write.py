"""Writing an entry as the TOML that ``parse`` reads."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from pathlib import Path
from typing import Any

from facekeep.errors import InputError
from facekeep.models.catalog import ENTRY_FILE
from facekeep.models.files import keep
from facekeep.models.model_entry import ModelEntry
from facekeep.models.parse import parse_entry

_NOT_WRITTEN = ("name", "folder")  # both follow from where the file lies


def write_entry(made: ModelEntry, folder: Path) -> None:
    """Write an entry that reads back as what it is into its folder, or refuse it.

    Raises:
        InputError: A text holds line breaks or other control characters.
        ModelError: The entry makes no sense, or its folder cannot be written.
        StorageFull: There is no room for it.
    """
    text = entry_toml(made)
    parse_entry(made.name, tomllib.loads(text), f"model {made.name!r}", made.folder)
    keep(folder / ENTRY_FILE, text.encode())


def entry_toml(entry: ModelEntry) -> str:
    """Return a user's entry as TOML; reading it gives the same entry.

    Raises:
        InputError: A text holds line breaks or other control characters.
    """
    fields = {f.name: getattr(entry, f.name) for f in dataclasses.fields(entry)}
    written = {
        name: value
        for name, value in fields.items()
        if name not in _NOT_WRITTEN and value not in (None, "", (), 0)
    }
    return "".join(f"{name} = {_toml(value)}\n" for name, value in written.items())


def _toml(value: Any) -> str:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        given = (f"{name} = {_toml(part)}" for name, part in parts.items() if part is not None)
        return "{ " + ", ".join(given) + " }"
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str):
        return _text(value)
    return repr(value)


def _text(value: str) -> str:
    """Quote a text: for printable ones, JSON's strings are TOML's basic strings."""
    if not value.isprintable():
        raise InputError(f"{value!a} holds control characters; give one printable line")
    return json.dumps(value, ensure_ascii=False)
