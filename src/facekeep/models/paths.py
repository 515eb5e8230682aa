"""Where models live on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def models_dir() -> Path:
    """Return the folder of the user's own and pulled models; ``FACEKEEP_MODELS`` moves it."""
    moved = _moved("FACEKEEP_MODELS")
    return moved or platformdirs.user_data_path("facekeep", appauthor=False) / "models"


def cache_dir() -> Path:
    """Return the folder of what can be made again at any time; ``FACEKEEP_CACHE`` moves it."""
    return _moved("FACEKEEP_CACHE") or platformdirs.user_cache_path("facekeep", appauthor=False)


def _moved(variable: str) -> Path | None:
    folder = os.environ.get(variable)
    # Path.expanduser would fail where the user after the tilde is unknown.
    return Path(os.path.expanduser(folder)) if folder else None  # noqa: PTH111
