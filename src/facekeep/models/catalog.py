"""The catalog: the built-in models and the user's own, looked up without the network.

Some built-in models are only offered (``ModelEntry.offered``): pulling one writes an entry of the
user's own under its name, which from then on is the one that is found.
"""

from __future__ import annotations

import importlib.resources
import os
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from msgspec import structs

from facekeep._internal.files import one_line, open_regular, printable, why
from facekeep.errors import ConfigError, ModelError, ModelNotFound
from facekeep.models.entry_file import ENTRY_FILE, check_name, parse_entry
from facekeep.models.model_entry import ModelEntry, Task
from facekeep.models.paths import models_dir

_ENTRY_LIMIT = 1 << 20  # bytes


@dataclass(frozen=True, slots=True)
class DamagedEntry:
    """A user's model whose ``model.toml`` cannot be used.

    Attributes:
        name: The model's name.
        reason: What is wrong with it, in one line.
    """

    name: str
    reason: str


def list_models(task: Task | None = None) -> list[ModelEntry]:
    """List the built-in models and the user's own, by name; see ``damaged_models`` for the rest."""
    own = {each.name: each for each in _own() if isinstance(each, ModelEntry)}
    found = (_builtin()[0] | own).values()
    chosen = [entry for entry in found if task is None or entry.task == task]
    return sorted(chosen, key=lambda entry: entry.name)


def damaged_models() -> list[DamagedEntry]:
    """List the user's own models whose entry cannot be used, and why."""
    return [entry for entry in _own() if isinstance(entry, DamagedEntry)]


def entry(name: str) -> ModelEntry:
    """Look up one model.

    Raises:
        ModelNotFound: No model has this name.
        ModelError: The user's own model of this name has a damaged entry.
    """
    if is_builtin(name):
        return _builtin()[0][name]
    folder = own_folder(name)
    if folder is None:
        known = [model.name for model in list_models()]
        alike = [each for each in known if name and each.startswith(name)]
        what = f"is it {' or '.join(alike)}?" if alike else f"known: {', '.join(known)}"
        raise ModelNotFound(f"no model is called {name!r}; {what}")
    return _read_own(folder)


def default_model(task: Task) -> str:
    """Return the name of the model that is used for a task when none is asked for."""
    return _builtin()[1][task]


def is_default(model: ModelEntry) -> bool:
    """Tell whether a model is the one that is used for its task when none is asked for.

    For quality, it is the one that belongs to the embedder of that kind.
    """
    models, defaults = _builtin()
    if model.task == "quality":
        return models[defaults["embed"]].quality == model.name
    return defaults.get(model.task) == model.name


def is_builtin(name: str) -> bool:
    """Tell whether the model found under a name is facekeep's: no offer that was pulled."""
    known = _builtin()[0].get(name)
    return known is not None and not (known.offered and own_folder(name))


def own_folder(name: str) -> Path | None:
    """Return the folder of the user's own model of this name, if there is one."""
    try:
        folder = models_dir() / check_name(name)
    except (ValueError, ConfigError):  # no model can have this name, or there is no folder of any
        return None
    return folder if os.path.lexists(folder / ENTRY_FILE) else None


def _own() -> list[ModelEntry | DamagedEntry]:
    try:
        folders = sorted(item for item in models_dir().iterdir() if _is_own(item))
    except (FileNotFoundError, NotADirectoryError, PermissionError, ConfigError):
        return []
    return [_own_or_damage(folder) for folder in folders]


def _is_own(folder: Path) -> bool:
    return not folder.name.startswith(".") and os.path.lexists(folder / ENTRY_FILE)


def _own_or_damage(folder: Path) -> ModelEntry | DamagedEntry:
    try:
        return _read_own(folder)
    except ModelError as error:
        return DamagedEntry(printable(folder.name), str(error))


def _read_own(folder: Path) -> ModelEntry:
    path = folder / ENTRY_FILE
    where = printable(path)
    if is_builtin(folder.name):
        raise ModelError(f"{where}: a built-in model is called {folder.name!r}; rename the folder")
    try:
        name = check_name(folder.name)
        with open_regular(path) as stream:
            content = tomllib.loads(stream.read(_ENTRY_LIMIT).decode())
    except RecursionError as error:
        raise ModelError(f"{where} is nested too deeply") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ModelError(f"{where} is not TOML: {one_line(error)}") from error
    except OSError as error:
        raise ModelError(f"{where} cannot be read: {why(error)}") from error
    except ValueError as error:
        raise ModelError(f"{where}: the folder's name {error}") from error
    return _converted_as_now(parse_entry(name, content, where, folder))


def _converted_as_now(pulled: ModelEntry) -> ModelEntry:
    """Let what an older version pulled be converted as this one does, and stand under its terms."""
    offer = _builtin()[0].get(pulled.name)
    if offer is None or [file.sha256 for file in offer.files] != [f.sha256 for f in pulled.files]:
        return pulled
    files = [
        structs.replace(file, conversion=now.conversion or file.conversion)
        for file, now in zip(pulled.files, offer.files, strict=True)
    ]
    return structs.replace(pulled, files=tuple(files), terms=offer.terms)


@cache
def _builtin() -> tuple[dict[str, ModelEntry], dict[str, str]]:
    text = importlib.resources.files(__package__).joinpath("catalog.toml").read_text("utf-8")
    table = tomllib.loads(text)
    models = table["models"]
    entries = {name: parse_entry(name, models[name], f"catalog.toml: {name}") for name in models}
    return entries, table["defaults"]
