"""Servers for tests that are processes of their own, and waiting for what they do."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Callable
from typing import Any

__all__ = ["ChildServer", "free_port", "wait_for"]


def free_port() -> int:
    """Return a TCP port on the loopback interface that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until something holds; fail when it does not within a generous time."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.005)


class ChildServer:
    """A process that can be frozen and killed."""

    process: subprocess.Popen[Any] | None = None

    def freeze(self) -> None:
        """Stop it, as something does that hangs: its sockets stay open."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as a loss of power would; doing it twice does no harm."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            if self.process.stdout is not None:
                self.process.stdout.close()
            self.process = None
