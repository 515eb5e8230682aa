"""Entries of the catalog as TOML: a wrong or unknown key is an error that names it."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from msgspec import Struct, structs

from facekeep._internal.tables import convert_table
from facekeep.errors import InputError, ModelError
from facekeep.models.files import keep
from facekeep.models.model_entry import (
    CHECKPOINTS,
    EDGEFACE,
    EXPORT,
    FOREIGN,
    IMPORT,
    NAME,
    NAME_WORDS,
    ModelEntry,
)

ENTRY_FILE = "model.toml"
_NOT_WRITTEN = ("name", "folder")  # both follow from where the file lies
_OLD_KEYS = {"colour": "color", "weights_licence": "weights_license"}
_SOURCES = ("bundled", "package", "archive", "url")  # the last kind is "file"


def check_name(name: str) -> str:
    """Return the name of a model, or raise ValueError if it cannot be one."""
    if not isinstance(name, str) or not re.search(NAME, name):
        raise ValueError(f"must be of {NAME_WORDS}")
    return name


def parse_entry(name: str, content: Any, where: str, folder: Path | None = None) -> ModelEntry:
    """Read one model.

    Args:
        name: The model's name.
        content: The TOML table; keys of older versions, such as ``colour``, are read too.
        where: What messages call the table.
        folder: Where a user's own model lies.

    Raises:
        ModelError: A key is missing, unknown or has a value that makes no sense.
    """
    if not isinstance(content, Mapping):
        raise ModelError(f"{where} must be a table")
    for key in _NOT_WRITTEN:
        if key in content:
            raise ModelError(f"{where}: has the unknown key {key!r}")
    table = {
        key if (new := _OLD_KEYS.get(key, key)) in content else new: value
        for key, value in content.items()
    }
    for key in ("mean", "scale"):
        if isinstance(table.get(key), int | float):
            table[key] = [table[key]] * 3
    if isinstance(files := table.get("files"), list):
        table["files"] = [_tag_sources(file) for file in files]
    table["name"] = name
    entry = convert_table(table, ModelEntry, where, ModelError, hidden=_NOT_WRITTEN)
    entry = structs.replace(entry, folder=folder)
    _check_whole(entry, where)
    return entry


def _tag_sources(file: Any) -> Any:
    """Say of which kind the sources of a file are: the key that only this kind has tells it."""
    if not isinstance(file, Mapping) or not isinstance(file.get("sources"), list):
        return file
    sources = [
        {**each, "kind": next((key for key in _SOURCES if key in each), "file")}
        if isinstance(each, Mapping)
        else each
        for each in file["sources"]
    ]
    return {**file, "sources": sources}


def _check_whole(entry: ModelEntry, where: str) -> None:
    """Refuse entries whose keys contradict each other."""
    _check_task(entry, where)
    if len({file.name for file in entry.files}) != len(entry.files):
        raise ModelError(f"{where}: files must not list a file twice")
    if entry.gamma is not None and entry.architecture not in EDGEFACE:
        raise ModelError(f"{where}: only the architectures {', '.join(EDGEFACE)} have a gamma")
    conversion = entry.files[0].conversion
    kept = conversion.name if conversion is not None and conversion.kept else None
    wanted = {**dict.fromkeys(CHECKPOINTS, EXPORT), **dict.fromkeys(FOREIGN, IMPORT)}
    if kept != (None if entry.offered else wanted.get(entry.architecture)):
        raise ModelError(
            f"{where}: a pulled or imported checkpoint is exported, a network in another format"
            " converted, and no other model"
        )
    if not all(a[0] > b[0] and a[1] <= b[1] for a, b in pairwise(entry.thresholds)):
        raise ModelError(
            f"{where}: thresholds must go from the highest rate to the lowest, cosines rising"
        )
    if entry.thresholds and not (entry.comparisons and entry.calibrated_on):
        raise ModelError(f"{where}: thresholds need comparisons and calibrated_on")


def _check_task(entry: ModelEntry, where: str) -> None:
    """Refuse keys that a model of this task must not lack, or cannot have."""
    embeds = entry.task == "embed"
    if embeds and None in (entry.input_size, entry.width, entry.alignment):
        raise ModelError(f"{where}: an embedder needs input_size, width and alignment")
    if not embeds and (entry.width or entry.alignment or entry.quality):
        raise ModelError(
            f"{where}: only an embedder has a width, an alignment and a quality network"
        )
    if entry.task in ("refine", "orient") and entry.input_size is None:
        raise ModelError(f"{where}: a model to {entry.task} faces needs input_size")
    live = entry.task == "liveness"
    if live != bool(entry.crop_scales) or (live and entry.input_size is None):
        raise ModelError(
            f"{where}: a liveness network, and no other, needs crop_scales, and an input_size"
        )
    if not live and entry.live_class is not None:
        raise ModelError(f"{where}: only a liveness network has a live_class")
    if entry.task == "detect" and (set(entry.mean), set(entry.scale)) != ({0}, {1}):
        raise ModelError(f"{where}: a detector is fed pixels as they are: mean 0 and scale 1")


def write_entry(entry: ModelEntry, folder: Path) -> None:
    """Write an entry that reads back as what it is into its folder, or refuse it.

    Raises:
        InputError: A text holds line breaks or other control characters.
        ModelError: The entry makes no sense, or its folder cannot be written.
        StorageFull: There is no room for it.
    """
    text = format_entry(entry)
    parse_entry(entry.name, tomllib.loads(text), f"model {entry.name!r}", entry.folder)
    keep(folder / ENTRY_FILE, text.encode())


def format_entry(entry: ModelEntry) -> str:
    """Return a user's entry as TOML; reading it gives the same entry.

    Raises:
        InputError: A text holds line breaks or other control characters.
    """
    written = {
        name: value
        for name, value in structs.asdict(entry).items()
        if name not in _NOT_WRITTEN and value not in (None, "", (), 0)
    }
    return "".join(f"{name} = {_format_value(value)}\n" for name, value in written.items())


def _format_value(value: Any) -> str:
    if isinstance(value, Struct):
        parts = structs.asdict(value).items()
        given = (f"{name} = {_format_value(part)}" for name, part in parts if part is not None)
        return "{ " + ", ".join(given) + " }"
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_format_value, value)) + "]"
    return _quote(value) if isinstance(value, str) else repr(value)


def _quote(text: str) -> str:
    """Quote a text: for printable ones, JSON's strings are TOML's basic strings."""
    if not text.isprintable():
        raise InputError(f"{text!a} holds control characters; give one printable line")
    return json.dumps(text, ensure_ascii=False)
