"""Networks in 8 bits: static (activations too, by calibrated ranges), dynamic, or weights alone.

Convolutions and matrix products are quantised, a step for each output channel; norms, GELU,
softmax, the products inside attention, position encodings and the last layer stay float32. Where a
layer stays float32, its weights are still stored in 8 bits (``models.pack``), so that a file is
small whichever layers are chosen.
"""

from __future__ import annotations

import io
import logging
import platform
from collections.abc import Collection, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, Final, Literal, get_args

from facekeep.errors import InputError, ModelError
from facekeep.lab.compress.folding import load
from facekeep.lab.compress.layers import OPERATORS, head, layers
from facekeep.models.pack import Numbers, pack
from facekeep.runtime.session import failing_as

__all__ = [
    "MODES",
    "TARGETS",
    "Mode",
    "Target",
    "dynamic_int8",
    "products",
    "saturates",
    "static_int8",
]

Mode = Literal["static", "dynamic", "float16", "packed"]
MODES: Final[tuple[str, ...]] = get_args(Mode)

Target = Literal["here", "vnni", "avx2", "arm"]
TARGETS: Final[tuple[str, ...]] = get_args(Target)

_PER_CHANNEL: Final = 13  # the opset
_VNNI: Final = ("avx512_vnni", "avx_vnni", "avxvnni")


def static_int8(
    content: bytes,
    ranges: Any,
    *,
    skip: Collection[str] = (),
    reduce_range: bool = False,
    weights: Numbers = "int8",
) -> bytes:
    """Return the network with layers that compute in 8 bits, by ranges that are known before.

    Activations are unsigned, weights signed and symmetric. What a matrix product gives stays
    float32 (its sums are exact 32-bit integers); what a convolution gives is rounded too, without
    which ONNX Runtime would not run it in 8 bits.

    Args:
        content: An ONNX file, its constants folded.
        ranges: Of ``activation_ranges``.
        skip: Nodes that stay float32, besides the last layer.
        reduce_range: Use 7 bits for the weights; see ``saturates``.
        weights: What the weights of layers that stay float32 are stored in.

    Raises:
        ModelError: No layer is left to quantise, or the network cannot be quantised.
    """
    from onnxruntime.quantization import QDQQuantizer, QuantType

    nodes, model = _chosen(content, skip), load(content)
    opset = next(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
    if opset < _PER_CHANNEL:
        raise ModelError(
            f"steps for each channel need ONNX opset {_PER_CHANNEL} and the network is of {opset};"
            " export it again, or store its weights alone in 8 bits with --mode packed"
        )
    with _quietly():
        quantiser = QDQQuantizer(
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
        quantiser.quantize_model()
        quantiser.model.topological_sort()  # it adds its nodes at the end
    return _stored(quantiser.model.model, weights)


def dynamic_int8(
    content: bytes, *, skip: Collection[str] = (), reduce_range: bool = False
) -> bytes:
    """Return the network with matrix products in 8 bits, by ranges found anew for every face.

    It needs no calibration. Convolutions only have their weights stored in 8 bits: they would
    become slower.

    Args:
        content: An ONNX file, its constants folded.
        skip: Nodes that stay float32, besides the last layer.
        reduce_range: Use 7 bits for the weights; see ``saturates``.

    Raises:
        ModelError: No layer is left to quantise, or the network cannot be quantised.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    names = products(content, skip)
    with _quietly(), _scratch() as folder:
        quantize_dynamic(
            load(content),
            folder / "made.onnx",
            op_types_to_quantize=["Gemm", "MatMul"],
            per_channel=True,
            reduce_range=reduce_range,
            weight_type=QuantType.QInt8,
            # It makes of a Gemm a MatMul and an Add first.
            nodes_to_quantize=[*names, *(f"{name}_MatMul" for name in names)],
            extra_options={"MatMulConstBOnly": True},
        )
        made = load((folder / "made.onnx").read_bytes())
    return _stored(made, "int8")


def products(content: bytes, skip: Collection[str] = ()) -> list[str]:
    """Name the nodes that a dynamic network computes in 8 bits.

    Args:
        content: An ONNX file, its constants folded.
        skip: Nodes that stay float32, besides convolutions and the last layer.

    Raises:
        ModelError: None is left, which ONNX Runtime's quantiser would take for all.
    """
    convolutions = {each.node for each in layers(content) if each.operator == "Conv"}
    return _chosen(content, convolutions.union(skip))


def _chosen(content: bytes, skip: Collection[str]) -> list[str]:
    """Name all layers but the last and those to be skipped."""
    every = layers(content)
    nodes = [each.node for each in every if each.node not in skip and each.node != head(every)]
    if not nodes:
        raise ModelError(
            "no layer of the network is left to compute in 8 bits;"
            " allow a greater loss, or store its weights alone in 8 bits with --mode packed"
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
        return True  # what cannot be known is better taken for the older kind
    return words.isdisjoint(_VNNI)


def _stored(model: Any, weights: Numbers) -> bytes:
    """Store in fewer bits what stayed float32."""
    return pack(model.SerializeToString(deterministic=True), weights)


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep ONNX Runtime's advice to itself, and tell of its failures in one line."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        with failing_as("the network cannot be quantised"), redirect_stdout(io.StringIO()):
            yield
    finally:
        root.setLevel(before)


@contextmanager
def _scratch() -> Iterator[Path]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)
