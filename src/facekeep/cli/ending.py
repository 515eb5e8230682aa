"""How a run ends: its exit status, and the signals that end it early."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

__all__ = ["INTERRUPTED", "PIPE_CLOSED", "Ending", "ExitStatus", "ending_gently"]

INTERRUPTED: Final = 130
"""Exit status after Ctrl-C, as shells have it: 128 + SIGINT."""

PIPE_CLOSED: Final = 141
"""Exit status when the reader of our output went away: 128 + SIGPIPE."""

_WORDS: Final = {"SIGTERM": "terminated", "SIGHUP": "the terminal was closed"}


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


@dataclass(slots=True)
class Ending:
    """Whether a signal has asked the run to end, and which; Ctrl-C does not count."""

    number: int | None = None

    @property
    def words(self) -> str:
        """The signal, in words for people."""
        return _WORDS[signal.Signals(self.number or 0).name]

    @property
    def status(self) -> int:
        """The exit status, as shells have it."""
        return 128 + (self.number or 0)


@contextmanager
def ending_gently() -> Iterator[Ending]:
    """Let SIGTERM and SIGHUP end a run as Ctrl-C does, so that nothing half done stays behind.

    Who is to ignore one, as ``nohup`` has it, still does. Outside the main thread, where signals
    cannot be caught, nothing changes.
    """
    ending = Ending()

    def end(number: int, frame: Any) -> None:
        ending.number = number
        raise KeyboardInterrupt

    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        numbers = (getattr(signal, name) for name in _WORDS if hasattr(signal, name))
        for number in numbers:
            if signal.getsignal(number) == signal.SIG_DFL:
                before[number] = signal.signal(number, end)
    try:
        yield ending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
