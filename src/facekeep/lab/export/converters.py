"""From a model to the form of another runtime: a function for each target, and ``CONVERTERS``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from facekeep.errors import InputError
from facekeep.lab.export.ncnn import write_ncnn
from facekeep.models import ModelEntry, weights
from facekeep.models.files import keep
from facekeep.runtime import RuntimeOptions, Session, open_session
from facekeep.runtime.openvino import import_openvino, read_openvino
from facekeep.runtime.session import imported

if TYPE_CHECKING:
    from facekeep.lab.nn import EdgeFace

__all__ = ["CONVERTERS", "RunExport"]

RunExport = Callable[[NDArray[np.float32]], dict[str, NDArray[Any]]]
"""Runs what was exported: takes float32 N x 3 x S x S, and returns the outputs by name."""


def convert_openvino(model: ModelEntry, target: Path) -> RunExport:
    """Write ``target`` (``.xml``) and its ``.bin``, for programs that read no ONNX."""
    openvino = import_openvino()
    if model.runtime != "onnxruntime":
        raise InputError(f"model {model.name!r} is no ONNX file, so it cannot go to openvino")
    network = read_openvino(openvino.Core(), weights(model))
    openvino.save_model(network, target, compress_to_fp16=False)
    return _run_session(open_session(target, options=RuntimeOptions(runtime="openvino", threads=1)))


def convert_ncnn(model: ModelEntry, target: Path) -> RunExport:
    """Write ``target`` (``.ncnn.param``) and its ``.ncnn.bin``."""
    write_ncnn(model, target)
    return _run_session(open_session(target, options=RuntimeOptions(runtime="ncnn", threads=1)))


def convert_tflite(model: ModelEntry, target: Path) -> RunExport:
    """Write ``target``, which takes one picture a run, 1 x 3 x S x S."""
    litert_torch: Any = imported("litert_torch", "litert-torch", "export")
    network, example = _read_network(model)
    litert_torch.convert(network, (example,)).export(str(target))
    session = open_session(target, options=RuntimeOptions(runtime="litert", threads=1))
    return _run_one_by_one(lambda picture: session.run({session.inputs[0].name: picture})[0])


def convert_coreml(model: ModelEntry, target: Path) -> None:
    """Write ``target`` (``.mlpackage``), which only macOS can run; for iOS 16 and later.

    It takes ``image``, 1 x 3 x S x S, and gives ``embedding``.
    """
    coremltools: Any = imported("coremltools", "coremltools", "export")
    converted = coremltools.convert(
        _export_program(model).run_decompositions({}),
        outputs=[coremltools.TensorType(name="embedding")],
        convert_to="mlprogram",
        compute_precision=coremltools.precision.FLOAT32,
        minimum_deployment_target=coremltools.target.iOS16,
    )
    converted.save(str(target))


def convert_executorch(model: ModelEntry, target: Path) -> RunExport:
    """Write ``target`` (``.pte``), one picture a run, for PyTorch's runtime with XNNPACK."""
    xnnpack, exir, runtime = (
        imported(f"executorch.{name}", "ExecuTorch", "export")
        for name in ("backends.xnnpack.partition.xnnpack_partitioner", "exir", "runtime")
    )
    lowered = exir.to_edge_transform_and_lower(
        _export_program(model), partitioner=[xnnpack.XnnpackPartitioner()]
    )
    keep(target, lowered.to_executorch().buffer)
    method = runtime.Runtime.get().load_program(target).load_method("forward")

    def run(picture: NDArray[np.float32]) -> Any:
        import torch

        return method.execute([torch.from_numpy(picture)])[0].numpy()

    return _run_one_by_one(run)


CONVERTERS: Final[dict[str, tuple[str, Callable[[ModelEntry, Path], RunExport | None]]]] = {
    "openvino": ("OpenVINO", convert_openvino),
    "ncnn": ("pnnx", convert_ncnn),
    "tflite": ("litert-torch", convert_tflite),
    "coreml": ("coremltools", convert_coreml),
    "executorch": ("ExecuTorch", convert_executorch),
}
"""By target: what converts, and the function; it returns what runs the result, if anything here."""


def _run_session(session: Session) -> RunExport:
    def run(pictures: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        results = session.run({session.inputs[0].name: pictures})
        return {tensor.name: value for tensor, value in zip(session.outputs, results, strict=True)}

    return run


def _run_one_by_one(run: Callable[[NDArray[np.float32]], Any]) -> RunExport:
    return lambda pictures: {"embedding": np.concatenate([run(each[None]) for each in pictures])}


def _read_network(model: ModelEntry) -> tuple[EdgeFace, Any]:
    """Return the network and one picture as an example of its input.

    Raises:
        ModelError: The model is no EdgeFace of facekeep's.
        RuntimeUnavailable: PyTorch is not installed.
    """
    import torch

    from facekeep.lab.nn import read_network

    network = read_network(model).eval()
    return network, torch.zeros(1, 3, network.input_size, network.input_size)


def _export_program(model: ModelEntry) -> Any:
    """Return the ``torch.export.ExportedProgram``; its batch is one."""
    import torch

    network, example = _read_network(model)
    return torch.export.export(network, (example,))
