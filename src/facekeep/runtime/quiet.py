"""Keeping native libraries from talking on the process's stderr."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

_redirecting = threading.Lock()


def _renew() -> None:
    """In a forked process, forget who held the lock: that thread is not there."""
    global _redirecting  # noqa: PLW0603 - the file descriptor is the process's, so is the lock
    _redirecting = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


@contextmanager
def quiet(*chatter: bytes) -> Iterator[None]:
    """Swallow lines on stderr that begin with one of these; what else is written comes through.

    For libraries without a switch for it, whose native code writes to file descriptor 2.
    """
    with _redirecting, ExitStack() as stack:
        try:
            heard = stack.enter_context(tempfile.TemporaryFile())
            stderr = os.dup(2)
        except OSError:  # no stderr, or no room for the file: then the chatter is heard
            yield
            return
        try:
            os.dup2(heard.fileno(), 2)
            yield
        finally:
            os.dup2(stderr, 2)
            heard.seek(0)
            rest = b"".join(line for line in heard if not line.startswith(chatter))
            with suppress(OSError):  # nobody reads it any more
                os.write(stderr, rest)
            os.close(stderr)
