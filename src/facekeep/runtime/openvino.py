"""OpenVINO behind the ``Session`` protocol: an optional runtime that reads ONNX files."""

from __future__ import annotations

import ctypes
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facekeep.errors import (
    InputError,
    ModelCorrupt,
    ModelError,
    ModelNotFound,
    RuntimeUnavailable,
)
from facekeep.runtime.options import RuntimeOptions
from facekeep.runtime.session import (
    DeviceStatus,
    Opened,
    TensorInfo,
    check_feeds,
    imported,
    name_of,
    short,
)

_DEVICES = {"cpu": "CPU", "gpu": "GPU", "npu": "NPU"}
_PRECISIONS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
_TELEMETRY = "openvino_telemetry"


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


class OpenVinoSession(Opened):
    """A network opened by OpenVINO; see ``Session`` for what it promises.

    A request of OpenVINO's serves one run at a time, so there are as many as runs at once.
    """

    def __init__(
        self, compiled: Any, inputs: tuple[TensorInfo, ...], outputs: tuple[TensorInfo, ...]
    ) -> None:
        super().__init__(inputs, outputs)
        self._compiled = compiled
        self._idle: deque[Any] = deque()

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Run the network once; see ``Session.run``."""
        compiled = self._compiled
        if compiled is None:
            raise InputError("this session is closed; open a new one")
        check_feeds(feeds, self._inputs)
        values = {
            place: np.ascontiguousarray(feeds[tensor.name])
            for place, tensor in enumerate(self._inputs)
        }
        try:
            request = self._idle.pop() if self._idle else compiled.create_infer_request()
        except IndexError:  # another thread was faster
            request = compiled.create_infer_request()
        try:
            request.infer(values, share_inputs=True)
        except RuntimeError as error:
            raise ModelError(f"the network failed to run: {short(error)}") from error
        places = range(len(self._outputs))
        results = [request.get_output_tensor(place).data.copy() for place in places]
        self._idle.append(request)
        return results

    def close(self) -> None:
        """Let go of the network; a run under way in another thread still ends well."""
        self._compiled = None
        self._idle.clear()


@kept_signal_stack()
def open_openvino(model: Path | bytes, options: RuntimeOptions) -> OpenVinoSession:
    """Open an ONNX file, or OpenVINO's own ``.xml``; the rest is as for ``open_session``."""
    openvino = import_openvino()
    core = openvino.Core()
    device = options.device
    target = _target(core, device)
    if isinstance(model, Path) and not model.is_file():
        raise ModelNotFound(f"no model file at {model}")
    try:
        network = read_openvino(core, model)
        names = [[_tensor(node) for node in side] for side in (network.inputs, network.outputs)]
    except (RuntimeError, ValueError) as error:
        raise ModelCorrupt(f"OpenVINO cannot open {name_of(model)}: {short(error)}") from error
    try:
        compiled = core.compile_model(network, target, _compile_options(options))
    except RuntimeError as error:
        problem = f"{name_of(model)} does not open on device {device!r}: {short(error)}"
        raise RuntimeUnavailable(problem) from error
    _require_precision(compiled, device, options.precision)
    return OpenVinoSession(compiled, tuple(names[0]), tuple(names[1]))


def device_statuses() -> list[DeviceStatus]:
    """Report each device that OpenVINO may have: present here, or what it takes.

    Raises:
        RuntimeUnavailable: OpenVINO is not installed.
    """
    openvino = import_openvino()
    present = _available(openvino.Core())
    version = f"OpenVINO {openvino.__version__.partition('-')[0]}"
    return [
        DeviceStatus(
            "openvino",
            device,
            available=device in present,
            detail=version if device in present else "no such device with a driver of Intel's",
        )
        for device in _DEVICES
    ]


def import_openvino() -> ModuleType:
    """Import OpenVINO without its reporter.

    OpenVINO reports every import to its makers and leaves an identity in the home folder, unless
    the package that does so cannot be imported. Nothing leaves the machine here.

    Raises:
        RuntimeUnavailable: OpenVINO is not installed.
    """
    hidden = _TELEMETRY not in sys.modules
    if hidden:
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        return imported("openvino", "OpenVINO", "openvino")
    finally:
        if hidden:
            sys.modules.pop(_TELEMETRY, None)


def _target(core: Any, device: str) -> str:
    if device not in _DEVICES:
        raise InputError(f"unknown device {device!r} of OpenVINO; known: {', '.join(_DEVICES)}")
    present = _available(core)
    if device not in present:
        raise RuntimeUnavailable(
            f"OpenVINO finds no device {device!r} here, only: {', '.join(present)};"
            " it needs Intel's driver"
        )
    return _DEVICES[device]


def _available(core: Any) -> list[str]:
    kinds = {name.partition(".")[0] for name in core.available_devices}
    return [device for device, name in _DEVICES.items() if name in kinds]


def _compile_options(options: RuntimeOptions) -> dict[str, Any]:
    found: dict[str, Any] = {"INFERENCE_PRECISION_HINT": _PRECISIONS[options.precision]}
    if options.device != "cpu":
        return found
    # Pinned threads would wait for cores that other programs use.
    return found | {
        "INFERENCE_NUM_THREADS": options.threads,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
    }


def _require_precision(compiled: Any, device: str, precision: str) -> None:
    """Refuse another precision than the one asked for: OpenVINO takes it as a hint."""
    used = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    if used == _PRECISIONS[precision]:
        return
    names = {short: name for name, short in _PRECISIONS.items()}
    raise RuntimeUnavailable(
        f"OpenVINO does not compute in {precision} on this {device}, but in"
        f" {names.get(used, used)}; ask for another precision",
        "precision",
    )


def read_openvino(core: Any, model: Path | bytes) -> Any:
    """Read a network, and compute what depends on constants only.

    Those are packed weights, which OpenVINO would misread. Of a network whose activations are
    quantized, it needs the weights as they are.

    Raises:
        RuntimeError: It cannot be read.
    """
    from openvino import passes

    network = core.read_model(str(model) if isinstance(model, Path) else model)
    if any(node.get_type_name() == "FakeQuantize" for node in network.get_ops()):
        return network
    manager = passes.Manager()
    manager.register_pass(passes.ConstantFolding())
    manager.run_passes(network)
    return network


def _tensor(node: Any) -> TensorInfo:
    shape = node.get_partial_shape()
    sizes = tuple(size.get_length() if size.is_static else None for size in shape)
    return TensorInfo(node.get_any_name(), sizes, np.dtype(node.get_element_type().to_dtype()).name)
