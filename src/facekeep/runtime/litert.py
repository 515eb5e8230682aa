"""LiteRT, which was TensorFlow Lite, behind the ``Session`` protocol: an optional runtime.

A ``.tflite`` file says how its pictures lie (``TensorInfo.channels_last``); most say N x H x W x 3.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facekeep.errors import InputError, ModelCorrupt, ModelError
from facekeep.runtime.options import RuntimeOptions
from facekeep.runtime.quiet import quiet
from facekeep.runtime.session import (
    DeviceStatus,
    Opened,
    TensorInfo,
    check_feeds,
    content_of,
    imported,
    name_of,
    require_cpu,
    require_float32,
    short,
)

_FAILURES = (RuntimeError, ValueError)  # all that LiteRT raises
_CHATTER = b"INFO: "  # LiteRT greets when its first network is opened


class LiteRtSession(Opened):
    """A network opened by LiteRT; see ``Session`` for what it promises.

    An interpreter holds one input and one output, so threads that share it take turns.
    """

    def __init__(self, interpreter: Any) -> None:
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        super().__init__(tuple(map(_tensor, inputs)), tuple(map(_tensor, outputs)))
        self._interpreter = interpreter
        self._lock = threading.Lock()
        self._feeding = {detail["name"]: detail["index"] for detail in inputs}
        self._giving = [detail["index"] for detail in outputs]
        self._shapes = {detail["name"]: tuple(detail["shape"]) for detail in inputs}

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Run the network once; see ``Session.run``."""
        with self._lock:
            interpreter = self._interpreter
            if interpreter is None:
                raise InputError("this session is closed; open a new one")
            check_feeds(feeds, self._inputs)
            try:
                self._fit({name: value.shape for name, value in feeds.items()})
                for name, value in feeds.items():
                    interpreter.set_tensor(self._feeding[name], np.ascontiguousarray(value))
                interpreter.invoke()
                return [interpreter.get_tensor(index) for index in self._giving]
            except _FAILURES as error:
                raise ModelError(f"the network failed to run: {short(error)}") from error

    def close(self) -> None:
        """Let go of the network; a run under way in another thread ends well before."""
        with self._lock:
            self._interpreter = None

    def _fit(self, shapes: dict[str, tuple[int, ...]]) -> None:
        """Make room for inputs of these shapes, where they are not those of the run before."""
        if shapes == self._shapes:
            return
        self._shapes = {}  # a failure below leaves the interpreter without any
        for name, shape in shapes.items():
            self._interpreter.resize_tensor_input(self._feeding[name], shape)
        self._interpreter.allocate_tensors()
        self._shapes = shapes


def open_litert(model: Path | bytes, options: RuntimeOptions) -> LiteRtSession:
    """Open a ``.tflite`` network; arguments and errors are those of ``open_session``."""
    litert = _litert()
    require_cpu("LiteRT", options.device)
    require_float32("LiteRT", options.precision)
    name = name_of(model)
    content = content_of(model) if isinstance(model, Path) else model
    if not content:
        raise ModelCorrupt(f"LiteRT cannot open {name}: it is empty")
    try:
        with quiet(_CHATTER):
            interpreter = litert.Interpreter(model_content=content, num_threads=options.threads)
            interpreter.allocate_tensors()
    except _FAILURES as error:
        raise ModelCorrupt(f"LiteRT cannot open {name}: {short(error)}") from error
    return LiteRtSession(interpreter)


def device_statuses() -> list[DeviceStatus]:
    """Report the one device that LiteRT has here.

    Raises:
        RuntimeUnavailable: LiteRT is not installed.
    """
    _litert()
    import ai_edge_litert

    detail = f"LiteRT {ai_edge_litert.__version__}"
    return [DeviceStatus("litert", "cpu", available=True, detail=detail)]


def _litert() -> ModuleType:
    return imported("ai_edge_litert.interpreter", "LiteRT", "litert")


def _tensor(detail: dict[str, Any]) -> TensorInfo:
    signature = detail["shape_signature"]
    sizes = signature if len(signature) else detail["shape"]
    shape = tuple(None if size < 0 else int(size) for size in sizes)
    return TensorInfo(detail["name"], shape, np.dtype(detail["dtype"]).name)
