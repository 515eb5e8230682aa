"""ONNX networks in 8 bits: static, by calibrated ranges of activations, or dynamic.

Convolutions and matrix products are quantized, with a scale for each output channel; norms, GELU,
softmax, the products inside attention, position encodings and the last layer stay float32. Where a
layer stays float32, its weights are still stored in 8 bits (``weight_packing``), so that a file is
small whichever layers are chosen.
"""

from __future__ import annotations

import io
import logging
import platform
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from facekeep.errors import InputError, ModelError
from facekeep.lab.compress.onnx_layers import OPERATORS, find_head, list_layers, load_onnx
from facekeep.models.weight_packing import Numbers, pack_weights
from facekeep.runtime.session import failing_as, short

__all__ = [
    "METHODS",
    "MODES",
    "TARGETS",
    "Method",
    "Mode",
    "Target",
    "calibrate_ranges",
    "list_products",
    "quantize_dynamic",
    "quantize_static",
    "saturates",
]

Mode = Literal["static", "dynamic", "float16", "packed"]
MODES: Final[tuple[str, ...]] = get_args(Mode)

Method = Literal["entropy", "percentile", "minmax"]
METHODS: Final[tuple[str, ...]] = get_args(Method)

Target = Literal["here", "vnni", "avx2", "arm"]
TARGETS: Final[tuple[str, ...]] = get_args(Target)

_BATCH: Final = 8
_METHOD_NAMES: Final = {"entropy": "Entropy", "percentile": "Percentile", "minmax": "MinMax"}
_PERCENTILE: Final = 99.99  # ONNX Runtime's 99.999 hardly differs from the largest value
_PER_CHANNEL: Final = 13  # the opset
_VNNI: Final = ("avx512_vnni", "avx_vnni", "avxvnni")


def calibrate_ranges(
    content: bytes,
    tensors: NDArray[np.float32],
    method: Method = "percentile",
    *,
    progress: Callable[[int], object] | None = None,
) -> Any:
    """Run a network on faces, and find the range of what enters and leaves its layers.

    Args:
        content: An ONNX file with one input, its constants folded.
        tensors: float32, the faces as the network takes them, the batch first.
        method: Where a range ends: ``minmax`` at the extremes; ``percentile`` where 99.99 % of the
            values lie; ``entropy`` where the quantized values differ least from the true ones in
            their distribution (the method of TensorRT).
        progress: Called with the number of faces done since the last call.

    Returns:
        The ranges, as ONNX Runtime's quantizer takes them.

    Raises:
        InputError: The method is unknown, or there are no faces.
        ModelError: The network cannot be run on them.
    """
    if method not in METHODS:
        raise InputError(f"unknown calibration {method!r}; known: {', '.join(METHODS)}")
    if not len(tensors):
        raise InputError("there are no faces to calibrate on; name some", "data")
    name = load_onnx(content).graph.input[0].name
    try:
        # ONNX Runtime prints what it counts.
        with redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory() as folder:
            calibrator = _open_calibrator(content, Path(folder), method)
            for start in range(0, len(tensors), _BATCH):
                part = tensors[start : start + _BATCH]
                calibrator.collect_data(_Reader(iter([{name: part}])))
                if progress:
                    progress(len(part))
            return calibrator.compute_data()
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"the network cannot be calibrated: {short(error)}") from error


def _open_calibrator(content: bytes, folder: Path, method: Method) -> Any:
    from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

    source = folder / "model.onnx"
    source.write_bytes(content)
    options: dict[str, object] = {"symmetric": False}
    if method == "percentile":
        options["percentile"] = _PERCENTILE
    return create_calibrator(
        source,
        list(OPERATORS),
        augmented_model_path=str(folder / "augmented.onnx"),
        calibrate_method=CalibrationMethod[_METHOD_NAMES[method]],
        providers=["CPUExecutionProvider"],
        extra_options=options,
    )


class _Reader:
    """Batches of faces, in the form that ONNX Runtime's calibrators ask for."""

    def __init__(self, feeds: Iterator[dict[str, NDArray[np.float32]]]) -> None:
        self._feeds = feeds

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """Return the next batch, or None."""
        return next(self._feeds, None)


def quantize_static(
    content: bytes,
    ranges: Any,
    *,
    skip: Collection[str] = (),
    reduce_range: bool = False,
    weights: Numbers = "int8",
) -> bytes:
    """Return the network with layers that compute in 8 bits, by calibrated ranges.

    Activations are unsigned, weights signed and symmetric. What a matrix product gives stays
    float32 (its sums are exact 32-bit integers); what a convolution gives is quantized
    too, without which ONNX Runtime would not run it in 8 bits.

    Args:
        content: An ONNX file, its constants folded.
        ranges: From `calibrate_ranges`.
        skip: Nodes that stay float32, besides the last layer.
        reduce_range: Use 7 bits for the weights; see `saturates`.
        weights: What the weights of layers that stay float32 are stored in.

    Raises:
        ModelError: No layer is left to quantize, or the network cannot be quantized.
    """
    from onnxruntime.quantization import QDQQuantizer, QuantType

    nodes, model = _select_nodes(content, skip), load_onnx(content)
    opset = next(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
    if opset < _PER_CHANNEL:
        raise ModelError(
            f"scales for each channel need ONNX opset {_PER_CHANNEL} and the network has {opset};"
            " export it again, or only store its weights in 8 bits",
            "mode_packed",
        )
    with _catch_failures():
        quantizer = QDQQuantizer(
            model,
            per_channel=True,
            reduce_range=reduce_range,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=ranges,
            nodes_to_quantize=nodes,
            nodes_to_exclude=[],
            op_types_to_quantize=list(OPERATORS),
            extra_options={
                "ActivationSymmetric": False,
                "WeightSymmetric": True,
                "OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"],
            },
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()  # it adds its nodes at the end
    return _pack(quantizer.model.model, weights)


def quantize_dynamic(
    content: bytes, *, skip: Collection[str] = (), reduce_range: bool = False
) -> bytes:
    """Return the network with matrix products in 8 bits, by ranges computed for every face.

    It needs no calibration. Convolutions only have their weights stored in 8 bits: they would
    become slower.

    Args:
        content: An ONNX file, its constants folded.
        skip: Nodes that stay float32, besides the last layer.
        reduce_range: Use 7 bits for the weights; see `saturates`.

    Raises:
        ModelError: No layer is left to quantize, or the network cannot be quantized.
    """
    from onnxruntime import quantization

    names = list_products(content, skip)
    with _catch_failures(), tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "dynamic.onnx"
        quantization.quantize_dynamic(
            load_onnx(content),
            target,
            op_types_to_quantize=["Gemm", "MatMul"],
            per_channel=True,
            reduce_range=reduce_range,
            weight_type=quantization.QuantType.QInt8,
            # It first turns a Gemm into a MatMul and an Add.
            nodes_to_quantize=[*names, *(f"{name}_MatMul" for name in names)],
            extra_options={"MatMulConstBOnly": True},
        )
        model = load_onnx(target.read_bytes())
    return _pack(model, "int8")


def list_products(content: bytes, skip: Collection[str] = ()) -> list[str]:
    """Name the nodes that a dynamic network computes in 8 bits.

    Args:
        content: An ONNX file, its constants folded.
        skip: Nodes that stay float32, besides convolutions and the last layer.

    Raises:
        ModelError: None is left; ONNX Runtime would then quantize all.
    """
    convolutions = {layer.node for layer in list_layers(content) if layer.operator == "Conv"}
    return _select_nodes(content, convolutions.union(skip))


def _select_nodes(content: bytes, skip: Collection[str]) -> list[str]:
    """Name all layers but the last and those to be skipped."""
    layers = list_layers(content)
    skipped = {*skip, find_head(layers)}
    nodes = [layer.node for layer in layers if layer.node not in skipped]
    if not nodes:
        raise ModelError(
            "no layer of the network is left to compute in 8 bits;"
            " allow a greater loss, or only store its weights in 8 bits",
            "mode_packed",
        )
    return nodes


def saturates(target: Target = "here") -> bool:
    """Tell whether products of 8-bit numbers overflow on a processor, so that 7 bits are better.

    x86 processors without VNNI add two products of an unsigned and a signed 8-bit number in 16
    bits, which cuts off large sums; with 7 bits for the weights no sum is too large. VNNI and Arm's
    instructions add in 32 bits.

    Args:
        target: Where the network will run: ``here``, or a kind of processor.

    Raises:
        InputError: The target is unknown.
    """
    if target not in TARGETS:
        raise InputError(f"unknown target {target!r}; known: {', '.join(TARGETS)}")
    if target != "here":
        return target == "avx2"
    if platform.machine().lower() not in ("x86_64", "amd64", "i686", "x86"):
        return False
    try:
        words = set(Path("/proc/cpuinfo").read_text("ascii", errors="replace").split())
    except OSError:
        return True  # unknown: assume the older kind, which is safe
    return words.isdisjoint(_VNNI)


def _pack(model: Any, weights: Numbers) -> bytes:
    """Store in fewer bits what stayed float32."""
    return pack_weights(model.SerializeToString(deterministic=True), weights)


@contextmanager
def _catch_failures() -> Iterator[None]:
    """Silence ONNX Runtime's advice, and report its failures in one line."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        with failing_as("the network cannot be quantized"), redirect_stdout(io.StringIO()):
            yield
    finally:
        root.setLevel(before)
