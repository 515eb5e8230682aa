"""Asking the code under test to stop, as Ctrl-C does."""

from __future__ import annotations

import signal


def ask_to_stop(number: signal.Signals = signal.SIGINT) -> None:
    """Call what Python would call on a signal.

    None is sent: a native library that an earlier test loaded into the process may end it on one.
    """
    handler = signal.getsignal(number)
    assert callable(handler)
    handler(number, None)
