"""The user's own models: brought in, calibrated, removed."""

from __future__ import annotations

import dataclasses
import hashlib
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

from facekeep._files import open_regular, path_text, printable, why
from facekeep.errors import InputError, ModelCorrupt, ModelError, ModelNotFound
from facekeep.models.catalogue import ENTRY_FILE, entry, is_builtin, own_folder
from facekeep.models.files import cannot_write, keep
from facekeep.models.parse import check_name, parse_entry
from facekeep.models.paths import models_dir
from facekeep.models.probe import Form, probe_embedder
from facekeep.models.schema import Colour, FileEntry, ModelEntry
from facekeep.models.write import entry_toml

# arch: what finds out the form of its network.
_ARCHITECTURES: dict[str, Callable[[Path], Form]] = {"onnx": probe_embedder}
_NOT_STATED = "not stated"


def import_model(
    file: str | Path,
    name: str,
    *,
    arch: str = "onnx",
    colour: Colour = "rgb",
    mean: float | Sequence[float] = 127.5,
    scale: float | Sequence[float] = 1 / 127.5,
    summary: str = "",
    weights_licence: str = _NOT_STATED,
    training_data: str = _NOT_STATED,
) -> ModelEntry:
    """Make a network of the user's own known by a name, after running it once.

    The file is copied. The model has no thresholds until it is calibrated.

    Args:
        file: The network: for ``onnx``, one that takes aligned faces as float32 N x 3 x S x S and
            gives one embedding each.
        name: What it will be called: 1 to 64 characters a-z, 0-9, ``.``, ``_`` and ``-``.
        arch: The kind of file: ``onnx``.
        colour: The channel order it expects.
        mean: What is subtracted from the pixel values 0 to 255: one number, or one a channel.
        scale: What they are multiplied by afterwards.
        summary: One line for lists.
        weights_licence: The licence of the weights.
        training_data: What they were trained on, and on whose terms.

    Raises:
        InputError: The name is taken or malformed, or another argument makes no sense.
        ModelNotFound: There is no such file.
        ModelCorrupt: The file is not a network that can be run.
        ModelError: The network is no face embedder, or its folder cannot be written.
        StorageFull: There is no room for it.
    """
    folder = _free_folder(name)
    if arch not in _ARCHITECTURES:
        raise InputError(f"unknown architecture {arch!r}; known: {', '.join(_ARCHITECTURES)}")
    if colour not in get_args(Colour):
        raise InputError(f"colour must be {' or '.join(get_args(Colour))}, not {colour!r}")
    content = _read(file)
    with _scratch(folder) as scratch:
        network = FileEntry(f"{name}.onnx", hashlib.sha256(content).hexdigest(), len(content))
        keep(scratch / network.name, content)
        try:
            form = _ARCHITECTURES[arch](scratch / network.name)
        except ModelCorrupt as error:
            shown = printable(path_text(file))
            raise ModelCorrupt(
                f"{shown} is no network that can be run; export it to ONNX again"
            ) from error
        made = ModelEntry(
            name=name,
            task="embed",
            architecture=arch,
            summary=summary,
            files=(network,),
            weights_licence=weights_licence,
            training_data=training_data,
            colour=colour,
            mean=_triple("mean", mean),
            scale=_triple("scale", scale),
            input_size=form.input_size,
            max_batch=form.max_batch,
            width=form.width,
            alignment="arcface-112",
            folder=folder,
        )
        _write_entry(made, scratch)
        _publish(scratch, folder)
    return made


def set_thresholds(
    name: str,
    thresholds: Sequence[tuple[float, float]],
    *,
    comparisons: int,
    calibrated_on: str,
    command: str,
) -> ModelEntry:
    """Record a calibration in the entry of a model of the user's own.

    Args:
        name: The model's name.
        thresholds: Pairs (FMR, cosine), from the highest rate to the lowest.
        comparisons: The number of non-mated comparisons behind them.
        calibrated_on: The data behind them.
        command: The command that measured them.

    Raises:
        InputError: The model is built in, so that its entry cannot change.
        ModelNotFound: No model has this name.
        ModelError: The thresholds make no sense, or the entry cannot be read or written.
    """
    if is_builtin(name):
        raise InputError(f"model {name!r} is built in; its thresholds come with facekeep")
    known = entry(name)
    changed = dataclasses.replace(
        known,
        thresholds=tuple((float(fmr), float(cosine)) for fmr, cosine in thresholds),
        comparisons=comparisons,
        calibrated_on=calibrated_on,
        calibration_command=command,
    )
    assert known.folder is not None  # noqa: S101 - every model that is not built in has one
    _write_entry(changed, known.folder)
    return changed


def remove_model(name: str) -> None:
    """Remove a model of the user's own, damaged or not, with all its files.

    Raises:
        InputError: The model is built in.
        ModelNotFound: No model has this name.
        ModelError: The folder of models cannot be written.
    """
    if is_builtin(name):
        raise InputError(f"model {name!r} is built in and cannot be removed")
    folder = own_folder(name)
    if folder is None:
        raise ModelNotFound(f"no model of your own is called {name!r}")
    try:
        if folder.is_symlink():
            folder.unlink()
            return
        # Renamed first, so that nobody finds a model half removed.
        gone = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".removed-"))
        folder.replace(gone)
        shutil.rmtree(gone)
    except OSError as error:
        raise ModelError(f"cannot remove {printable(folder)}: {why(error)}") from error


def _free_folder(name: str) -> Path:
    try:
        folder = models_dir() / check_name(name)
    except ValueError as error:
        raise InputError(f"a model's name {error}") from error
    if is_builtin(name) or folder.is_symlink() or (folder / ENTRY_FILE).exists():
        raise InputError(f"a model is already called {name!r}; choose another name")
    return folder


def _read(file: str | Path) -> bytes:
    shown = printable(path_text(file))
    try:
        with open_regular(file) as stream:
            return stream.read()
    except FileNotFoundError as error:
        raise ModelNotFound(f"no model file at {shown}; check the path") from error
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {shown}: {why(error)}") from error


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """Make a hidden folder beside the model's own, gone afterwards unless it was published."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Not of tempfile's: its folders stay closed to others who share the models.
        scratch = folder.parent / f".import-{secrets.token_hex(8)}"
        scratch.mkdir()
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _publish(scratch: Path, folder: Path) -> None:
    try:
        scratch.rename(folder)
    except OSError as error:
        if folder.exists():
            taken = f"{folder} exists already; choose another name, or remove the folder"
            raise InputError(taken) from error
        raise cannot_write(folder, error) from error


def _write_entry(made: ModelEntry, folder: Path) -> None:
    """Write an entry that reads back as what it is, or refuse it."""
    import tomllib

    text = entry_toml(made)
    parse_entry(made.name, tomllib.loads(text), f"model {made.name!r}", made.folder)
    keep(folder / ENTRY_FILE, text.encode())


def _triple(what: str, value: float | Sequence[float]) -> tuple[float, float, float]:
    try:
        numbers = [
            float(item) for item in ([value] * 3 if isinstance(value, int | float) else value)
        ]
        red, green, blue = numbers
    except (TypeError, ValueError) as error:
        raise InputError(f"{what} must be a number or three of them, not {value!r}") from error
    return (red, green, blue)
