"""ncnn's form, ``.param`` and ``.bin``, made by pnnx from the ONNX file.

pnnx is Tencent's converter. Its wheel brings a program that needs no PyTorch to read ONNX. What
pnnx or ncnn cannot take is first written in other nodes that do the same arithmetic.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facekeep.errors import InputError, RuntimeUnavailable
from facekeep.lab.compress.onnx_layers import fold_constants
from facekeep.models import ModelEntry, weights
from facekeep.models.files import keep, read_model
from facekeep.models.weight_packing import is_packed
from facekeep.runtime import RuntimeOptions, Session, open_session

_SIZES = (320, 256)  # of pictures, where any size will do: pnnx learns from two what is free
_TIMEOUT = 600
_SMALLEST = "facekeep_smallest_norm"
_GEMM = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}  # what a Gemm does unless told


def write_ncnn(model: ModelEntry, target: Path) -> None:
    """Write ``target`` (``.ncnn.param``) and its ``.ncnn.bin``.

    What pnnx writes besides stays in the folder.
    """
    program = _pnnx()
    if model.runtime != "onnxruntime":
        raise InputError(f"model {model.name!r} is no ONNX file, so it cannot go to ncnn")
    source = weights(model)
    session = open_session(source, options=RuntimeOptions(threads=1))
    content = source if isinstance(source, bytes) else read_model(source)
    if is_packed(content):
        content = fold_constants(content)
    plain = with_picture_axis(with_plain_norms(content))
    draft = target.with_name("network.onnx")
    keep(draft, plain)
    _call(program, draft, model)
    text = draft.with_suffix(".ncnn.param").read_text(encoding="utf-8")
    keep(target, mended(text, session, model.input_size, reduced_axes(plain)).encode())
    draft.with_suffix(".ncnn.bin").replace(target.with_suffix(".bin"))


def with_plain_norms(content: bytes) -> bytes:
    """Write each ``LpNormalization``, which ncnn has not, as a length and a division by it.

    Args:
        content: An ONNX file.

    Returns:
        The same network.
    """
    import onnx

    model = onnx.load_model_from_string(content)
    nodes = [each for node in model.graph.node for each in _plain(node)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    floor = onnx.helper.make_tensor(_SMALLEST, onnx.TensorProto.FLOAT, (), (1e-12,))
    model.graph.initializer.append(floor)
    plain: bytes = model.SerializeToString()
    return plain


def _plain(node: Any) -> list[Any]:
    from onnx import helper

    if node.op_type != "LpNormalization":
        return [node]
    axis = next((each.i for each in node.attribute if each.name == "axis"), -1)
    (source,), (result,) = node.input, node.output
    axes, length, least = (f"{result}_{end}" for end in ("axes", "length", "least"))
    return [
        helper.make_node("Constant", [], [axes], value_ints=[axis]),
        helper.make_node("ReduceL2", [source, axes], [length], keepdims=1),
        helper.make_node("Max", [length, _SMALLEST], [least]),
        helper.make_node("Div", [source, least], [result]),
    ]


def with_picture_axis(content: bytes) -> bytes:
    """Put an axis for the picture before each matrix whose rows are the places of one picture.

    ncnn has no batches, so pnnx drops the axis that it takes for the batch: the first one of what a
    linear layer reads. Of a matrix of places those are the places.

    Args:
        content: An ONNX file.

    Returns:
        The same network, for one picture at a time if it has such matrices.
    """
    import onnx

    model = onnx.load_model_from_string(content)
    matrices = _matrices(content)
    nodes = [each for node in model.graph.node for each in _raised(node, matrices)]
    del model.graph.value_info[:], model.graph.node[:]
    model.graph.node.extend(nodes)
    raised: bytes = model.SerializeToString()
    return raised


def _matrices(content: bytes) -> dict[str, tuple[int, int]]:
    """Find the shapes of what a picture is computed to with two axes, the first not the batch."""
    import onnx

    model = onnx.load_model_from_string(content)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    del model.graph.value_info[:]  # what the exporter noted says "batch" where it is now one
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    constant = {each.name for each in graph.initializer}
    for node in graph.node:
        if constant.issuperset(node.input):
            constant.update(node.output)
    shapes = {
        each.name: tuple(axis.dim_value for axis in each.type.tensor_type.shape.dim)
        for each in graph.value_info
        if each.name not in constant
    }
    return {
        name: (shape[0], shape[1])
        for name, shape in shapes.items()
        if len(shape) == 2 and shape[0] > 1
    }


def _raised(node: Any, matrices: Mapping[str, tuple[int, int]]) -> list[Any]:
    """Return what makes the same as a node, of three axes where that is one of the matrices."""
    from onnx import helper

    result = node.output[0]
    if result in matrices and node.op_type == "Reshape":
        shape = f"{result}_shape"
        return [
            helper.make_node("Constant", [], [shape], value_ints=[1, *matrices[result]]),
            helper.make_node("Reshape", [node.input[0], shape], [result]),
        ]
    if result in matrices and node.op_type == "Gemm":
        return _product(node)
    return [node]


def _product(node: Any) -> list[Any]:
    """Write a linear layer as the nodes that take more axes than a Gemm's two."""
    from onnx import helper

    given = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    if _GEMM | given != _GEMM | {"transB": 1}:
        return [node]
    (source, weights, *bias), (result,) = node.input, node.output
    turned, product = f"{result}_turned", f"{result}_product" if bias else result
    nodes = [
        helper.make_node("Transpose", [weights], [turned], perm=(1, 0)),
        helper.make_node("MatMul", [source, turned], [product]),
    ]
    return [*nodes, helper.make_node("Add", [product, *bias], [result])] if bias else nodes


def reduced_axes(content: bytes) -> list[tuple[int, ...]]:
    """List the axes of each node that reduces, in order, as ncnn counts them: without the batch."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load_model_from_string(content).graph
    values = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value_ints":
            values[node.output[0]] = np.array(node.attribute[0].ints)
    found = (
        values.get(node.input[1], np.array([], np.int64))
        for node in graph.node
        if node.op_type in ("ReduceL2", "ReduceMean") and len(node.input) > 1
    )
    return [tuple(int(axis) - (axis > 0) for axis in axes) for axes in found]


def mended(
    text: str, session: Session, size: int | None, reductions: Sequence[tuple[int, ...]]
) -> str:
    """Give a ``.param`` the names of the ONNX file, the size of its pictures and its axes.

    pnnx calls the inputs ``in0``, ``in1``, ... and the outputs ``out0``, ... Of what reduces along
    one axis it forgets the axis (20261020 does).

    Args:
        text: The ``.param`` as pnnx wrote it.
        session: The network, opened from the ONNX file.
        size: The side of its pictures; None where any will do.
        reductions: The axes of each node that reduces, in order.
    """
    names = {f"in{place}": tensor.name for place, tensor in enumerate(session.inputs)}
    names |= {f"out{place}": tensor.name for place, tensor in enumerate(session.outputs)}
    remaining = iter(reductions)
    lines = []
    for line in text.splitlines():
        words = [names.get(word, word) for word in re.split(r"( +)", line)]
        if words[0] == "Input" and size is not None:
            words.append(f" 0={size} 1={size} 2=3")
        if words[0] == "Reduction":
            axes = next(remaining, ())
            known = f"-23303={','.join(map(str, (len(axes), *axes)))}"
            words = [known if word == "-23303=0" else word for word in words]
        lines.append("".join(words))
    return "\n".join(lines) + "\n"


def _pnnx() -> Path:
    """Find the program of pnnx; its module is not imported, for it imports PyTorch."""
    found = importlib.util.find_spec("pnnx")
    program = Path(found.origin).parent / "pnnx" if found and found.origin else None
    if program is None or not program.is_file():
        raise RuntimeUnavailable(
            "pnnx, which converts to ncnn, is not installed;"
            " install it with: pip install 'facekeep[export]'"
        )
    return program


def _call(program: Path, source: Path, model: ModelEntry) -> None:
    shapes = [
        f"{key}=[1,3,{side},{side}]"
        for key, side in zip(("inputshape", "inputshape2"), _sides(model), strict=False)
    ]
    command = [str(program), source.name, *shapes, "fp16=0"]
    done = subprocess.run(
        command,
        cwd=source.parent,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=_TIMEOUT,
    )
    if done.returncode or not source.with_suffix(".ncnn.bin").is_file():
        raise RuntimeError(f"it ended with status {done.returncode}")


def _sides(model: ModelEntry) -> tuple[int, ...]:
    return _SIZES if model.input_size is None else (model.input_size,)
