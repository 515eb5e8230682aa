"""``RuntimeOptions``: what runs a network, where, in what precision, and on how many threads."""

from __future__ import annotations

from dataclasses import dataclass

from facekeep.errors import InputError

__all__ = ["DEVICES", "PRECISIONS", "RUNTIMES", "RuntimeOptions"]

PRECISIONS = ("float32", "bfloat16", "float16")
"""What a network may compute in."""

RUNTIMES = {"onnxruntime": "onnx", "openvino": "openvino", "litert": "litert", "ncnn": "ncnn"}
"""The runtimes, and the module of each: it has ``open_MODULE`` and ``device_statuses``."""

DEVICES = {
    "cpu": ("CPUExecutionProvider", "install onnxruntime"),
    "cuda": ("CUDAExecutionProvider", "install onnxruntime-gpu in place of onnxruntime"),
    "tensorrt": ("TensorrtExecutionProvider", "install onnxruntime-gpu and TensorRT"),
    "openvino": ("OpenVINOExecutionProvider", "install onnxruntime-openvino"),
    "coreml": ("CoreMLExecutionProvider", "use macOS, where onnxruntime brings it"),
    "directml": ("DmlExecutionProvider", "install onnxruntime-directml on Windows"),
    "migraphx": ("MIGraphXExecutionProvider", "install onnxruntime-migraphx"),
    "qnn": ("QNNExecutionProvider", "install onnxruntime-qnn"),
    "xnnpack": ("XnnpackExecutionProvider", "build onnxruntime with XNNPACK"),
}
"""The devices of ``onnxruntime``: what it calls each, and how to get it."""


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """How networks are run. What is asked for is used, or an error says why not.

    Attributes:
        runtime: What executes the network: ``onnxruntime`` an ONNX file, ``openvino`` one too or
            its own ``.xml``, ``litert`` a ``.tflite``, ``ncnn`` a ``.param``. None for what the
            file of each model needs.
        device: Where it is executed: ``cpu``, ``cuda``, ``tensorrt``, ``openvino``, ...; see
            ``facekeep.runtime.runtimes`` for those of this machine.
        precision: What the network computes in: ``float32``, ``bfloat16`` or ``float16``; the
            weights are stored as the file has them. ncnn computes in ``float32`` with what it
            keeps in ``bfloat16``.
        threads: How many CPU threads one run may use; 0 for every core this process may use.

    Raises:
        InputError: The runtime or precision is unknown, or ``threads`` is no whole number >= 0.
    """

    runtime: str | None = None
    device: str = "cpu"
    precision: str = "float32"
    threads: int = 0

    def __post_init__(self) -> None:
        if self.runtime is not None and self.runtime not in RUNTIMES:
            raise InputError(_unknown_runtime(self.runtime), "runtime device")
        threads = self.threads
        if isinstance(threads, bool) or not isinstance(threads, int) or threads < 0:
            raise InputError(f"threads must be a whole number, 0 for all cores, not {threads!r}")
        if self.precision not in PRECISIONS:
            known = ", ".join(PRECISIONS)
            raise InputError(f"unknown precision {self.precision!r}; known: {known}")


def _unknown_runtime(runtime: str) -> str:
    text = f"unknown runtime {runtime!r}; known: {', '.join(RUNTIMES)}"
    if runtime in DEVICES:
        text += "; it is a device of the runtime onnxruntime: give it as the device"
    return text
