"""Strict reading of catalog entries: a wrong or unknown key is an error that names it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar, get_args

from facekeep.errors import ModelError
from facekeep.models.model_entry import (
    EDGEFACE,
    EXPORT,
    LARGEST_INPUT,
    ArchiveSource,
    BundledSource,
    Colour,
    Conversion,
    DistributionSource,
    FileEntry,
    FileSource,
    Measurement,
    ModelEntry,
    PackageSource,
    Runtime,
    Source,
    Task,
    UrlSource,
)

CONVERSIONS = ("fold-block-quantised", EXPORT)
_T = TypeVar("_T")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")
_LARGEST_BATCH = 256
_WIDEST = 65536  # numbers of an embedding
_REQUIRED = object()


class Table:
    """A TOML table that is emptied key by key, so that what remains is known to be unknown."""

    def __init__(self, content: Any, where: str) -> None:
        if not isinstance(content, Mapping):
            raise ModelError(f"{where} must be a table")
        self._rest = dict(content)
        self.where = where

    def take(self, key: str, read: Callable[[Any], _T], default: Any = _REQUIRED) -> _T:
        """Remove a key and return its value as ``read`` understands it."""
        if key not in self._rest:
            if default is _REQUIRED:
                raise ModelError(f"{self.where} lacks the key {key!r}")
            value: _T = default
            return value
        try:
            return read(self._rest.pop(key))
        except ValueError as error:
            raise ModelError(f"{self.where}: {key} {error}") from error

    def end(self) -> None:
        """Refuse what was not taken."""
        if self._rest:
            raise ModelError(f"{self.where} has the unknown key {min(map(str, self._rest))!r}")


def check_name(name: str) -> str:
    """Return the name of a model, or raise ValueError if it cannot be one."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError("must be of 1 to 64 characters a-z, 0-9, '.', '_' and '-'")
    return name


def parse_entry(name: str, content: Any, where: str, folder: Path | None = None) -> ModelEntry:
    """Read one model.

    Args:
        name: The model's name.
        content: The TOML table.
        where: What messages call the table.
        folder: Where a user's own model lies.

    Raises:
        ModelError: A key is missing, unknown or has a value that makes no sense.
    """
    table = Table(content, where)
    entry = ModelEntry(
        name=check_name(name),
        task=table.take("task", _one_of(get_args(Task))),
        architecture=table.take("architecture", _text),
        summary=table.take("summary", _text, ""),
        files=table.take("files", lambda value: _files(value, where)),
        weights_licence=table.take("weights_licence", _text),
        training_data=table.take("training_data", _text),
        colour=table.take("colour", _one_of(get_args(Colour))),
        mean=table.take("mean", _triple),
        scale=table.take("scale", _triple),
        input_size=table.take("input_size", _at_most(LARGEST_INPUT), None),
        gamma=table.take("gamma", _share, None),
        runtime=table.take("runtime", _one_of(get_args(Runtime)), "onnxruntime"),
        max_batch=table.take("max_batch", _positive, None),
        batch=table.take("batch", _at_most(_LARGEST_BATCH), None),
        width=table.take("width", _at_most(_WIDEST), None),
        alignment=table.take("alignment", _one_of(("arcface-112",)), None),
        quality=table.take("quality", check_name, ""),
        params=table.take("params", _positive, None),
        thresholds=table.take("thresholds", _thresholds, ()),
        comparisons=table.take("comparisons", _positive, 0),
        calibrated_on=table.take("calibrated_on", _text, ""),
        calibration_command=table.take("calibration_command", _text, ""),
        accuracy=table.take("accuracy", lambda value: _accuracy(value, where), ()),
        caution=table.take("caution", _text, ""),
        notes=table.take("notes", _text, ""),
        folder=folder,
    )
    table.end()
    _check_whole(entry, where)
    return entry


def _check_whole(entry: ModelEntry, where: str) -> None:
    """Refuse entries whose keys contradict each other."""
    _check_task(entry, where)
    if entry.gamma is not None and entry.architecture not in EDGEFACE:
        raise ModelError(f"{where}: only the architectures {', '.join(EDGEFACE)} have a gamma")
    conversion = entry.files[0].conversion
    exported = conversion is not None and conversion.name == EXPORT
    if exported != (entry.architecture in EDGEFACE and not entry.offered):
        raise ModelError(f"{where}: a pulled or imported EdgeFace, and no other model, is exported")
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
    if entry.task == "detect" and (set(entry.mean), set(entry.scale)) != ({0}, {1}):
        raise ModelError(f"{where}: a detector is fed pixels as they are: mean 0 and scale 1")


def _files(value: Any, where: str) -> tuple[FileEntry, ...]:
    files = tuple(_file(item, f"{where}: files") for item in _list(value))
    if not files:
        raise ValueError("must list at least one file")
    if len({file.name for file in files}) != len(files):
        raise ValueError("must not list a file twice")
    return files


def _file(content: Any, where: str) -> FileEntry:
    table = Table(content, where)
    file = FileEntry(
        name=table.take("name", _file_name),
        sha256=table.take("sha256", _sha256),
        size=table.take("size", _positive),
        sources=table.take(
            "sources", lambda value: tuple(_source(item, where) for item in _list(value)), ()
        ),
        conversion=table.take("conversion", lambda value: _conversion(value, where), None),
    )
    table.end()
    return file


def _conversion(content: Any, where: str) -> Conversion:
    table = Table(content, f"{where}: conversion")
    conversion = Conversion(
        name=table.take("name", _one_of(CONVERSIONS)),
        sha256=table.take("sha256", _sha256),
        size=table.take("size", _positive),
    )
    table.end()
    return conversion


def _source(content: Any, where: str) -> Source:
    """Read a source; the one key that only its kind has says which kind it is."""
    table = Table(content, f"{where}: sources")
    kind = next((key for key in _SOURCES if key in content), "file")
    made, readers = _SOURCES[kind]
    source: Source = made(*(table.take(key, read) for key, read in readers.items()))
    table.end()
    return source


def _accuracy(value: Any, where: str) -> tuple[Measurement, ...]:
    return tuple(_measurement(item, f"{where}: accuracy") for item in _list(value))


def _measurement(content: Any, where: str) -> Measurement:
    table = Table(content, where)
    measurement = Measurement(
        table.take("name", _text), table.take("value", _number), table.take("command", _text)
    )
    table.end()
    return measurement


def _thresholds(value: Any) -> tuple[tuple[float, float], ...]:
    rows = [_list(row) for row in _list(value)]
    if not all(len(row) == 2 for row in rows):
        raise ValueError("must be pairs [fmr, cosine]")
    pairs = tuple((_number(fmr), _number(cosine)) for fmr, cosine in rows)
    if not all(0 < fmr < 1 and -1 <= cosine <= 1 for fmr, cosine in pairs):
        raise ValueError("must hold rates between 0 and 1 and cosines from -1 to 1")
    falling = all(a[0] > b[0] and a[1] <= b[1] for a, b in pairwise(pairs))
    if not falling:
        raise ValueError("must go from the highest rate to the lowest, cosines rising")
    return pairs


def _one_of(choices: tuple[Any, ...]) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}, not {value!r}")
        return value

    return read


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("must be a list")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be a text that is not empty")
    return value


def _file_name(value: Any) -> str:
    if not isinstance(value, str) or not _FILE_NAME.fullmatch(value):
        raise ValueError("must be a plain file name")
    return value


def _sha256(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]{64}", value):
        raise ValueError("must be 64 hexadecimal digits in lower case")
    return value


def _positive(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError("must be a whole number above 0")
    return value


def _at_most(most: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if _positive(value) > most:
            raise ValueError(f"must be at most {most}")
        return int(value)

    return read


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("must be a number")
    return float(value)


def _share(value: Any) -> float:
    number = _number(value)
    if not 0 < number <= 1:
        raise ValueError("must be above 0 and at most 1")
    return number


def _triple(value: Any) -> tuple[float, float, float]:
    """Read one number for all channels or a list of one for each."""
    numbers = [_number(item) for item in value] if isinstance(value, list) else [_number(value)] * 3
    if len(numbers) != 3:
        raise ValueError("must be a number or a list of three")
    return (numbers[0], numbers[1], numbers[2])


_SOURCES: dict[str, tuple[Callable[..., Source], dict[str, Callable[[Any], Any]]]] = {
    "bundled": (BundledSource, {"bundled": _file_name}),
    "distribution": (
        DistributionSource,
        {"distribution": _text, "version": _text, "path": _text},
    ),
    "package": (
        PackageSource,
        {
            "package": _text,
            "wheel": _file_name,
            "sha256": _sha256,
            "size": _positive,
            "path": _text,
        },
    ),
    "archive": (
        ArchiveSource,
        {"archive": _text, "sha256": _sha256, "size": _positive, "path": _text},
    ),
    "url": (UrlSource, {"url": _text}),
    "file": (FileSource, {"file": _text}),
}
"""The kinds of source by the key that tells them: what each is made of, in order."""
