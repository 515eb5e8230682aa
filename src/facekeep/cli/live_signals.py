"""What signals ask of ``facekeep live``: to end in order, or to read the configuration again."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

__all__ = ["Asked", "catch_live_signals"]


def _interrupt() -> None:
    raise KeyboardInterrupt


@dataclass(slots=True)
class Asked:
    """What was asked for.

    Attributes:
        end: The signal that asked to end.
        reload: Read the configuration again.
        next: What is to be done then, once it was read.
        stop: What ends the session that runs; before there is one, a KeyboardInterrupt.
    """

    end: int | None = None
    reload: bool = False
    next: Any = None
    stop: Callable[[], None] = _interrupt

    @property
    def status(self) -> int | None:
        """The exit status of who was asked to end, as shells have it."""
        return None if self.end is None else 128 + self.end


@contextmanager
def catch_live_signals() -> Iterator[Asked]:
    """Let Ctrl-C and SIGTERM end the session in order, and SIGHUP begin it anew.

    A terminal that was closed sends SIGHUP, too; that ends it. Whoever has a signal ignored, as
    ``nohup`` has SIGHUP, has it ignored here.
    """
    asked = Asked()
    terminal = _has_terminal()

    def end(number: int, frame: FrameType | None) -> None:
        asked.end = number
        asked.stop()

    def hang_up(number: int, frame: FrameType | None) -> None:
        if terminal and not _has_terminal():
            end(number, frame)
        else:
            asked.reload = True

    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for name, handler in (("SIGINT", end), ("SIGTERM", end), ("SIGHUP", hang_up)):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, handler)
    try:
        yield asked
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _has_terminal() -> bool:
    """Whether this process has a terminal that is still there."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
