"""Where models live on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from facekeep._internal.files import user_folder


def models_dir() -> Path:
    """Return the folder of the user's own and pulled models; ``FACEKEEP_MODELS`` moves it.

    Raises:
        ConfigError: The variable is not set, and this user has no home folder.
    """
    moved = _moved("FACEKEEP_MODELS")
    return moved or user_folder("data", "set HOME or FACEKEEP_MODELS") / "models"


def cache_dir() -> Path:
    """Return the folder of what can be made again at any time; ``FACEKEEP_CACHE`` moves it.

    Raises:
        ConfigError: The variable is not set, and this user has no home folder.
    """
    return _moved("FACEKEEP_CACHE") or user_folder("cache", "set HOME or FACEKEEP_CACHE")


def _moved(variable: str) -> Path | None:
    folder = os.environ.get(variable)
    # Path.expanduser would fail where the user after the tilde is unknown.
    return Path(os.path.expanduser(folder)) if folder else None  # noqa: PTH111
