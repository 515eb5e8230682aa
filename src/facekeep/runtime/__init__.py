"""Running a network: one small protocol over whatever executes it.

The device asked for is the device used, or ``RuntimeUnavailable`` says why not.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
from pathlib import Path
from typing import Any

from facekeep.errors import RuntimeUnavailable
from facekeep.runtime.options import PRECISIONS, RUNTIMES, RuntimeOptions
from facekeep.runtime.session import DeviceStatus, Reopened, Session, TensorInfo

__all__ = [
    "PRECISIONS",
    "DeviceStatus",
    "RuntimeOptions",
    "Session",
    "TensorInfo",
    "open_session",
    "runtimes",
]


def open_session(model: Path | bytes, options: RuntimeOptions = RuntimeOptions()) -> Session:  # noqa: B008 - frozen
    """Open a network for running.

    Args:
        model: The path of a file of the runtime's kind, or such a file's content.
        options: How it is run; without a runtime by ONNX Runtime.

    Returns:
        The opened session, which threads may share. A process that is forked from this one opens
        the network again when it first runs it.

    Raises:
        InputError: The device is unknown.
        RuntimeUnavailable: The runtime, device or precision does not work on this machine.
        ModelNotFound: There is no file at the path.
        ModelCorrupt: The file is not a network that the runtime can read.
    """
    runtime = options.runtime or "onnxruntime"
    used = dataclasses.replace(options, runtime=runtime, threads=options.threads or usable_cores())
    opener = getattr(_module(runtime), f"open_{RUNTIMES[runtime]}")
    return Reopened(lambda: opener(model, used))


def runtimes() -> list[DeviceStatus]:
    """List every known device of every runtime: whether it can be used here, and if not, why."""
    found: list[DeviceStatus] = []
    for runtime in RUNTIMES:
        try:
            found += _module(runtime).device_statuses()
        except RuntimeUnavailable as error:
            found.append(DeviceStatus(runtime, "cpu", available=False, detail=str(error)))
    return found


def _module(runtime: str) -> Any:
    """Import a runtime's module late: what is behind it costs time that `--help` saves."""
    return importlib.import_module(f"facekeep.runtime.{RUNTIMES[runtime]}")


def usable_cores() -> int:
    """Count the CPU cores this process may use, which a container or taskset can limit."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
