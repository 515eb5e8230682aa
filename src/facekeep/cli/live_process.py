"""What the system asks of ``facekeep live`` by signals, and what systemd is told."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any

__all__ = ["Asked", "catch_live_signals", "notify_service", "watchdog_seconds"]


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


def notify_service(state: str) -> None:
    """Tell the service manager, if it started us, as ``sd_notify`` does: ``READY=1``, ..."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    address = f"\0{address[1:]}" if address.startswith("@") else address
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stream:
        stream.connect(address)
        stream.sendall(state.encode())


def watchdog_seconds() -> float | None:
    """How often the service manager wants to hear from us; None where it does not."""
    try:
        seconds = int(os.environ.get("WATCHDOG_USEC", "")) / 1e6
    except ValueError:
        return None
    mine = os.environ.get("WATCHDOG_PID") in (None, str(os.getpid()))
    return seconds / 2 if mine and seconds > 0 else None
