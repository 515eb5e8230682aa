"""The catalogue: the built-in models and the user's own, looked up without the network."""

from __future__ import annotations

import importlib.resources
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from facekeep.errors import ModelError, ModelNotFound
from facekeep.models.entry import ModelEntry, Task
from facekeep.models.files import reason
from facekeep.models.parse import Table, check_name, parse_entry
from facekeep.models.paths import models_dir

ENTRY_FILE = "model.toml"


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
    found = [*_builtin()[0].values(), *(e for e in _own() if isinstance(e, ModelEntry))]
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
    builtin = _builtin()[0].get(name)
    if builtin is not None:
        return builtin
    folder = own_folder(name)
    if folder is None:
        known = ", ".join(model.name for model in list_models())
        raise ModelNotFound(f"no model is called {name!r}; known: {known}")
    return _read_own(folder)


def default_model(task: Task) -> str:
    """Return the name of the model that is used for a task when none is asked for."""
    return _builtin()[1][task]


def is_builtin(name: str) -> bool:
    """Tell whether a name belongs to the built-in catalogue."""
    return name in _builtin()[0]


def own_folder(name: str) -> Path | None:
    """Return the folder of the user's own model of this name, if there is one."""
    try:
        folder = models_dir() / check_name(name)
    except ValueError:
        return None
    return folder if (folder / ENTRY_FILE).exists() else None


def _own() -> list[ModelEntry | DamagedEntry]:
    try:
        folders = sorted(item for item in models_dir().iterdir() if (item / ENTRY_FILE).exists())
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []
    return [_own_or_damage(folder) for folder in folders]


def _own_or_damage(folder: Path) -> ModelEntry | DamagedEntry:
    try:
        return _read_own(folder)
    except ModelError as error:
        return DamagedEntry(folder.name, str(error))


def _read_own(folder: Path) -> ModelEntry:
    path = folder / ENTRY_FILE
    if is_builtin(folder.name):
        raise ModelError(f"{path}: a built-in model is called {folder.name!r}; rename the folder")
    try:
        check_name(folder.name)
    except ValueError as error:
        raise ModelError(f"{path}: the folder's name {error}") from error
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {reason(error)}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ModelError(f"{path} is not TOML: {' '.join(str(error).split())}") from error
    return parse_entry(folder.name, content, str(path), folder)


@cache
def _builtin() -> tuple[dict[str, ModelEntry], dict[str, str]]:
    text = importlib.resources.files(__package__).joinpath("catalogue.toml").read_text("utf-8")
    table = Table(tomllib.loads(text), "catalogue.toml")
    models: dict[str, Any] = table.take("models", dict)
    defaults: dict[str, str] = table.take("defaults", dict)
    table.end()
    entries = {name: parse_entry(name, models[name], f"catalogue.toml: {name}") for name in models}
    return entries, defaults
