"""Networks in other formats than ONNX, turned into ONNX files that ONNX Runtime runs."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from facekeep.errors import ModelCorrupt, ModelError
from facekeep.models.espdl import read_espdl
from facekeep.models.files import keep, read_model
from facekeep.models.model_entry import IMPORT, LARGEST_INPUT, Conversion, ModelEntry
from facekeep.models.onnx_folding import replace_prelu
from facekeep.models.openvino_ir import read_openvino_ir
from facekeep.models.weight_packing import pack_weights
from facekeep.runtime.session import imported

__all__ = ["convert_file", "convert_network", "record_conversion"]

_OPSET: Final = 17
_IR: Final = 8  # the version of the file format that goes with it
_SIDE, _LEFT, _RIGHT = 112, 8, 104  # the columns of an aligned face that narrow networks look at


def convert_network(architecture: str, contents: list[bytes]) -> bytes:
    """Turn a network into ONNX.

    Args:
        architecture: ``espdl``; ``openvino``; or ``openvino-narrow``, which looks at columns 8 to
            104 of a face of 112 x 112, stretched to the square that it takes.
        contents: Its files, the network first.

    Returns:
        An ONNX file from ``faces``, N x 3 x S x S, to ``embedding``, N x width; large
        constants are stored in float16.

    Raises:
        ModelCorrupt: A file is damaged.
        ModelError: The network holds something that facekeep does not support.
        RuntimeUnavailable: onnx is not installed.
    """
    imported("onnx", "onnx", "import")
    if architecture == "espdl":
        nodes, constants, side = read_espdl(contents[0])
    else:
        if len(contents) < 2:
            raise ModelError("the .bin of this network is missing; put it beside the .xml")
        nodes, constants, side = read_openvino_ir(contents[0], contents[1])
    if not 0 < side <= LARGEST_INPUT:
        raise ModelCorrupt("the size of the network's input is missing or too large")
    nodes = replace_prelu(nodes, constants)
    if architecture == "openvino-narrow":
        nodes = [*_stretch_columns(nodes, constants, side), *nodes]
        side = _SIDE
    return pack_weights(_assemble(nodes, constants, side), "float16")


def convert_file(architecture: str, target: str, *files: str) -> None:
    """Convert the files of a network, and write the result to ``target``."""
    keep(Path(target), convert_network(architecture, [read_model(each) for each in files]))


def record_conversion(entry: ModelEntry, content: bytes) -> ModelEntry:
    """Return an entry that says what its published file became."""
    conversion = Conversion(IMPORT, hashlib.sha256(content).hexdigest(), len(content))
    return structs.replace(
        entry, files=(structs.replace(entry.files[0], conversion=conversion), *entry.files[1:])
    )


def _stretch_columns(nodes: list[Any], constants: dict[str, NDArray[Any]], side: int) -> list[Any]:
    """Cut the middle columns out of a face, and stretch them to the square that is read."""
    from onnx import helper

    for node in nodes:
        for at, name in enumerate(node.input):
            node.input[at] = "square" if name == "faces" else name
    bounds = {"begin": _LEFT, "end": _RIGHT, "columns": 3}
    constants |= {f"face_{key}": np.array([value], np.int64) for key, value in bounds.items()}
    constants["face_scales"] = np.array([1, 1, side / _SIDE, side / (_RIGHT - _LEFT)], np.float32)
    return [
        helper.make_node("Slice", ["faces", *(f"face_{each}" for each in bounds)], ["middle"]),
        helper.make_node("Resize", ["middle", "", "face_scales"], ["square"], mode="linear"),
    ]


def _assemble(nodes: list[Any], constants: dict[str, NDArray[Any]], side: int) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    read = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "embedder",
        [helper.make_tensor_value_info("faces", TensorProto.FLOAT, ["batch", 3, side, side])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", "width"])],
        [
            numpy_helper.from_array(np.ascontiguousarray(value), name)
            for name, value in sorted(constants.items())
            if name in read
        ],
    )
    versions = [helper.make_opsetid("", _OPSET)]
    model = helper.make_model(graph, opset_imports=versions, ir_version=_IR)
    model.producer_name = "facekeep"
    content: bytes = model.SerializeToString(deterministic=True)
    return content
