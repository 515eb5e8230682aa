"""The stack on which a thread's signals are handled, kept from a library that changes it."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["kept_signal_stack"]


class _Stack(ctypes.Structure):
    """``stack_t`` of sigaltstack(2)."""

    _fields_ = (
        ("pointer", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("size", ctypes.c_size_t),
    )


@contextmanager
def kept_signal_stack() -> Iterator[None]:
    """Give this thread back, afterward, the stack that its signals were handled on.

    OpenVINO gives each network it compiles a stack of its own, and at its end puts back the one
    that it found. Where networks end in another order than they began, that one is freed memory,
    and the next signal, such as that of Ctrl-C, ends the process.
    """
    exchange = getattr(ctypes.CDLL(None), "sigaltstack", None)
    found = _Stack()
    if exchange is None or exchange(None, ctypes.byref(found)):
        yield
        return
    try:
        yield
    finally:
        exchange(ctypes.byref(found), None)
