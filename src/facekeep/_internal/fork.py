"""What is done where a process forks, as servers with a master and workers do.

The threads of libraries do not live on in the child, and their locks stay as they were. So what a
library opened before must neither be used nor let go of there: it is opened again when needed.
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref

__all__ = ["Forking", "keep_forever", "watch"]


class Forking:
    """Something that is notified when the process forks, as long as it lives."""

    __slots__ = ()

    def before_fork(self) -> None:
        """Get ready, in the parent; ``after_fork`` follows, in both."""

    def after_fork(self, *, child: bool) -> None:
        """Go on in the parent, or in the child, where the thread that forked is the only one."""


class _Watch:
    """All objects that are notified."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: weakref.WeakSet[Forking] = weakref.WeakSet()
        self._forking: list[Forking] = []

    def add(self, thing: Forking) -> None:
        with self._lock:
            self._all.add(thing)

    def before(self) -> None:
        self._lock.acquire()
        self._forking = list(self._all)
        for thing in self._forking:
            thing.before_fork()

    def after(self, *, child: bool) -> None:
        for thing in self._forking:
            thing.after_fork(child=child)
        self._forking = []
        self._lock.release()


_watch = _Watch()
watch = _watch.add
"""Notify something of each fork from now on."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_watch.before,
        after_in_parent=lambda: _watch.after(child=False),
        after_in_child=lambda: _watch.after(child=True),
    )


def keep_forever(thing: object) -> None:
    """Keep an object, and all that it holds, until the process has ended, its end included.

    Letting go of a network that the parent opened would wait for threads that are not there.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
