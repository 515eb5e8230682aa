"""What PyInstaller asks of a package, by the entry point ``pyinstaller40``."""

from __future__ import annotations

from pathlib import Path

__all__ = ["hook_dirs"]


def hook_dirs() -> list[str]:
    """Return the folder of the hook that says what a frozen program needs of facekeep."""
    return [str(Path(__file__).parent)]
