"""What systemd is told, where it started this process; nothing elsewhere."""

from __future__ import annotations

import os
import socket
from contextlib import suppress

__all__ = ["notify_service", "watchdog_seconds"]


def notify_service(state: str) -> None:
    """Tell the service manager, as ``sd_notify`` does: ``READY=1``, ``WATCHDOG=1``, ..."""
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
