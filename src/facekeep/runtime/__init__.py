"""Running a network: one small protocol over whatever executes it.

The device asked for is the device used, or ``RuntimeUnavailable`` says why not.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

from facekeep.errors import InputError, RuntimeUnavailable
from facekeep.runtime.session import PRECISIONS, DeviceStatus, Reopened, Session, TensorInfo

__all__ = ["PRECISIONS", "DeviceStatus", "Session", "TensorInfo", "open_session", "runtimes"]

# The runtimes, and the module of each: it has open_MODULE and device_statuses.
_RUNTIMES = {"onnxruntime": "onnx", "openvino": "openvino", "litert": "litert", "ncnn": "ncnn"}


def open_session(
    model: Path | bytes,
    *,
    runtime: str = "onnxruntime",
    device: str = "cpu",
    precision: str = "float32",
    threads: int = 0,
) -> Session:
    """Open a network for running.

    Args:
        model: The path of a file of the runtime's kind, or such a file's content.
        runtime: What executes the network: ``onnxruntime`` an ONNX file, ``openvino`` one too or
            its own ``.xml``, ``litert`` a ``.tflite``, ``ncnn`` a ``.param``.
        device: Where it is executed: ``cpu``, ``cuda``, ``tensorrt``, ``openvino``, ...; see
            ``runtimes`` for those of this machine.
        precision: What the network computes in: ``float32``, ``bfloat16`` or ``float16``; the
            weights are stored as the file has them. ncnn computes in ``float32`` with what it
            keeps in ``bfloat16``.
        threads: How many CPU threads one run may use; 0 takes every core this process may use.

    Returns:
        The opened session, which threads may share. A process that is forked from this one opens
        the network again when it first runs it.

    Raises:
        InputError: The runtime, device or precision is unknown, or ``threads`` is no whole
            number >= 0.
        RuntimeUnavailable: The runtime, device or precision does not work on this machine.
        ModelNotFound: There is no file at the path.
        ModelCorrupt: The file is not a network that the runtime can read.
    """
    require_known(runtime)
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 0:
        raise InputError(f"threads must be a whole number, 0 for all cores, not {threads!r}")
    if precision not in PRECISIONS:
        raise InputError(f"unknown precision {precision!r}; known: {', '.join(PRECISIONS)}")
    opener = getattr(_module(runtime), f"open_{_RUNTIMES[runtime]}")
    return Reopened(
        lambda: opener(model, device=device, precision=precision, threads=threads or usable_cores())
    )


def require_known(runtime: str) -> None:
    """Refuse a runtime that nobody knows.

    Raises:
        InputError: It is unknown.
    """
    if runtime not in _RUNTIMES:
        told = f"unknown runtime {runtime!r}; known: {', '.join(_RUNTIMES)}"
        if runtime in _module("onnxruntime").DEVICES:
            told += "; it is a device of onnxruntime's, not a runtime"
        raise InputError(told, "runtime device")


def runtimes() -> list[DeviceStatus]:
    """List every known device of every runtime: whether it can be used here, and if not, why."""
    found: list[DeviceStatus] = []
    for runtime in _RUNTIMES:
        try:
            found += _module(runtime).device_statuses()
        except RuntimeUnavailable as error:
            found.append(DeviceStatus(runtime, "cpu", available=False, detail=str(error)))
    return found


def _module(runtime: str) -> Any:
    """Import a runtime's module late: what is behind it costs time that `--help` saves."""
    return importlib.import_module(f"facekeep.runtime.{_RUNTIMES[runtime]}")


def usable_cores() -> int:
    """Count the CPU cores this process may use, which a container or taskset can limit."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
