"""Ctrl-C and the system's request to end, kept until the step in hand is done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["Stop", "stop_gently"]

_SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


@dataclass(slots=True)
class Stop:
    """Whether the run was asked to stop."""

    asked: bool = False


@contextmanager
def stop_gently(*, patient: bool = False) -> Iterator[Stop]:
    """Note SIGINT, SIGTERM or SIGHUP instead of dying of it; one that is ignored stays so.

    Outside the main thread, where signals cannot be caught, nothing changes.

    Args:
        patient: Note every one. Else a second one acts at once. The launcher of several processes
            repeats the user's Ctrl-C to each of them.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    before = {number: each for number, each in handlers.items() if each != signal.SIG_IGN}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, frame: Any) -> None:
        stop.asked = True
        if not patient:
            restore()

    for number in before:
        signal.signal(number, note)
    try:
        yield stop
    finally:
        restore()
