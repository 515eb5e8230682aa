"""Where models live on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def models_dir() -> Path:
    """Return the folder of the user's own and pulled models; ``FACEKEEP_MODELS`` moves it."""
    moved = os.environ.get("FACEKEEP_MODELS")
    return Path(moved or Path(platformdirs.user_data_dir("facekeep", appauthor=False), "models"))


def cache_dir() -> Path:
    """Return the folder of what can be made again at any time; ``FACEKEEP_CACHE`` moves it."""
    moved = os.environ.get("FACEKEEP_CACHE")
    return Path(moved or platformdirs.user_cache_dir("facekeep", appauthor=False))
