"""Signals that end a run early: SIGTERM and SIGHUP."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["EndSignal", "catch_end_signals"]

_NAMES: Final = {"SIGTERM": "terminated", "SIGHUP": "the terminal was closed"}


@dataclass(slots=True)
class EndSignal:
    """Whether a signal has asked the run to end, and which; Ctrl-C does not count."""

    number: int | None = None

    @property
    def text(self) -> str:
        """The signal, in words for people."""
        return _NAMES[signal.Signals(self.number or 0).name]

    @property
    def status(self) -> int:
        """The exit status, as shells have it."""
        return 128 + (self.number or 0)


@contextmanager
def catch_end_signals() -> Iterator[EndSignal]:
    """Let SIGTERM and SIGHUP end a run as Ctrl-C does, so that nothing half done stays behind.

    Who is to ignore one, as ``nohup`` has it, still does. Outside the main thread, where signals
    cannot be caught, nothing changes.
    """
    received = EndSignal()

    def end(number: int, frame: Any) -> None:
        received.number = number
        raise KeyboardInterrupt

    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        numbers = (getattr(signal, name) for name in _NAMES if hasattr(signal, name))
        for number in numbers:
            if signal.getsignal(number) == signal.SIG_DFL:
                before[number] = signal.signal(number, end)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
