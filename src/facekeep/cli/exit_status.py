"""The exit statuses of the command line."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from facekeep.errors import (
    DependencyError,
    FacekeepError,
    GalleryBusy,
    GalleryReadOnly,
    ModelCorrupt,
    PullError,
    RuntimeUnavailable,
    StorageFull,
)

__all__ = ["INTERRUPTED", "PIPE_CLOSED", "ExitStatus", "status_of"]

INTERRUPTED: Final = 130
"""Exit status after Ctrl-C, as shells have it: 128 + SIGINT."""

PIPE_CLOSED: Final = 141
"""Exit status when the reader of our output went away: 128 + SIGPIPE."""

_ENVIRONMENT: Final = (
    DependencyError,
    GalleryBusy,
    GalleryReadOnly,
    ModelCorrupt,
    PullError,
    RuntimeUnavailable,
    StorageFull,
)
"""Errors that say that something is wrong with this machine, not with what was asked for."""


class ExitStatus(IntEnum):
    """What the exit status says to scripts."""

    YES = 0
    """Done, yes, a match."""
    NO = 1
    """No, unknown, rejected."""
    MISUSE = 2
    """Wrong use or bad input."""
    FAULT = 3
    """A fault of the environment."""


def status_of(error: FacekeepError) -> ExitStatus:
    """Choose the exit status of an error of the library."""
    return ExitStatus.FAULT if isinstance(error, _ENVIRONMENT) else ExitStatus.MISUSE
