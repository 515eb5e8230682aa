"""Running a network: one small protocol over whatever executes it.

The device asked for is the device used, or ``RuntimeUnavailable`` says why not.
"""

from __future__ import annotations

import os
from pathlib import Path

from facekeep.errors import InputError, RuntimeUnavailable
from facekeep.runtime.session import DeviceStatus, Session, TensorInfo

__all__ = ["DeviceStatus", "Session", "TensorInfo", "open_session", "runtimes"]

_RUNTIMES = ("onnxruntime", "litert")


def open_session(
    model: Path | bytes,
    *,
    runtime: str = "onnxruntime",
    device: str = "cpu",
    threads: int = 0,
) -> Session:
    """Open a network for running.

    Args:
        model: The path of a file of the runtime's kind, or such a file's content.
        runtime: What executes the network: ``onnxruntime`` an ONNX file, ``litert`` a ``.tflite``.
        device: Where it is executed: ``cpu``, ``cuda``, ``tensorrt``, ``openvino``, ...; see
            ``runtimes`` for those of this machine.
        threads: How many CPU threads one run may use; 0 takes every core this process may use.

    Returns:
        The opened session, which threads may share.

    Raises:
        InputError: The runtime or device is unknown, or ``threads`` is no whole number >= 0.
        RuntimeUnavailable: The runtime or device does not work on this machine.
        ModelNotFound: There is no file at the path.
        ModelCorrupt: The file is not a network that the runtime can read.
    """
    require_known(runtime)
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 0:
        raise InputError(f"threads must be a whole number, 0 for all cores, not {threads!r}")
    # Imported here: the runtime behind it costs a tenth of a second that `facekeep --help` saves.
    if runtime == "litert":
        from facekeep.runtime.litert import open_litert

        return open_litert(model, device=device, threads=threads or usable_cores())
    from facekeep.runtime.onnx import open_onnx

    return open_onnx(model, device=device, threads=threads or usable_cores())


def require_known(runtime: str) -> None:
    """Refuse a runtime that nobody knows.

    Raises:
        InputError: It is unknown.
    """
    if runtime not in _RUNTIMES:
        raise InputError(f"unknown runtime {runtime!r}; known: {', '.join(_RUNTIMES)}")


def runtimes() -> list[DeviceStatus]:
    """List every known device of every runtime: whether it can be used here, and if not, why."""
    from facekeep.runtime import litert, onnx

    found: list[DeviceStatus] = []
    for runtime, list_devices in (
        ("onnxruntime", onnx.device_statuses),
        ("litert", litert.device_statuses),
    ):
        try:
            found += list_devices()
        except RuntimeUnavailable as error:
            found.append(DeviceStatus(runtime, "cpu", available=False, detail=str(error)))
    return found


def usable_cores() -> int:
    """Count the CPU cores this process may use, which a container or taskset can limit."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
