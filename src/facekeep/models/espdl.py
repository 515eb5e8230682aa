"""Read Espressif's ``.espdl`` files: networks for microcontrollers, in 8 bits.

A file is 16 bytes of header and a FlatBuffers table, whose fields esp-dl's ``espdl.fbs`` numbers.
Its numbers are whole, times a power of two; float32 holds them exactly. Pictures lie as
N x H x W x C there; here the network is written for N x C x H x W, as ONNX has it.
"""

from __future__ import annotations

import math
import struct
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from facekeep.errors import ModelCorrupt, ModelError

__all__ = ["read_espdl"]

_MAGIC: Final = b"EDL2"
_HEADER: Final = 16  # bytes; the third number in it is the length of what follows
_BLOCK: Final = 16  # output channels that lie together
_MOST: Final = 10_000  # nodes, constants or dimensions of one network
_TYPES: Final = {1: "<f4", 3: "i1", 5: "<i2", 6: "<i4", 7: "<i8"}
_TO_NCHW: Final = [0, 3, 1, 2]
_CHANNELS: Final = {3: 1, -1: 1, 1: 2, 2: 3, 0: 0}  # axes of N x H x W x C in N x C x H x W


class _Table:
    """A table of FlatBuffers; every place in it is checked to lie in the file."""

    def __init__(self, content: bytes, place: int) -> None:
        self._content, self._place = content, place
        self._fields = place - self._one("<i", place)
        self._end = self._one("<H", self._fields)

    def number(self, field: int, kind: str, default: float = 0) -> Any:
        place = self._find(field)
        return self._one(kind, place) if place else default

    def table(self, field: int) -> _Table:
        if not (place := self._find(field)):
            raise ModelCorrupt("a part of the file is missing")
        return _Table(self._content, self._follow(place))

    def tables(self, field: int) -> list[_Table]:
        return [_Table(self._content, each) for each in self._references(field)]

    def text(self, field: int) -> str:
        place = self._find(field)
        return self._text(self._follow(place)) if place else ""

    def texts(self, field: int) -> list[str]:
        return [self._text(each) for each in self._references(field)]

    def numbers(self, field: int, kind: str, unit: int = 1) -> NDArray[Any]:
        """Read a list; each of its elements has ``unit`` numbers."""
        place = self._find(field)
        if not place:
            return np.zeros(0, kind)
        start = self._follow(place)
        return np.frombuffer(self._content, kind, self._one("<I", start) * unit, start + 4)

    def _find(self, field: int) -> int:
        place = 4 + 2 * field
        offset = self._one("<H", self._fields + place) if place < self._end else 0
        return self._place + offset if offset else 0

    def _references(self, field: int) -> list[int]:
        place = self._find(field)
        if not place:
            return []
        start = self._follow(place)
        count = self._one("<I", start)
        if count > _MOST:
            raise ModelCorrupt("a list in the file is too long")
        return [self._follow(start + 4 + 4 * each) for each in range(count)]

    def _follow(self, place: int) -> int:
        return place + int(self._one("<I", place))

    def _text(self, place: int) -> str:
        length = self._one("<I", place)
        return self._content[place + 4 : place + 4 + length].decode()

    def _one(self, kind: str, place: int) -> Any:
        if place < 0:
            raise ModelCorrupt("the file points outside of itself")
        return struct.unpack_from(kind, self._content, place)[0]


def read_espdl(content: bytes) -> tuple[list[Any], dict[str, NDArray[Any]], int]:
    """Read a network that embeds faces.

    Args:
        content: The ``.espdl`` file.

    Returns:
        The nodes of an ONNX graph from ``faces`` to ``embedding``; its constants by name; and the
        side of its square input in pixels.

    Raises:
        ModelCorrupt: The file is damaged, or no ``.espdl`` file.
        ModelError: It holds something that facekeep does not support.
    """
    if content[:4] != _MAGIC or len(content) < _HEADER + 4:
        raise ModelCorrupt("it is no .espdl file of version 2 (EDL2)")
    (length,) = struct.unpack_from("<8xI", content)
    if not 4 <= length <= len(content) - _HEADER:
        raise ModelCorrupt("the .espdl file is cut short; download it again")
    try:
        body = content[_HEADER : _HEADER + length]
        graph = _Table(body, *struct.unpack_from("<I", body)).table(7)
        return _read_graph(graph, length)
    except (struct.error, ValueError, IndexError, OverflowError, KeyError, TypeError) as error:
        raise ModelCorrupt("the .espdl file is damaged; download it again") from error


def _read_graph(graph: _Table, size: int) -> tuple[list[Any], dict[str, NDArray[Any]], int]:
    (given,), (output,) = graph.tables(4), graph.tables(5)
    side = _side(given)
    stored = {each.text(6): each for each in graph.tables(2)}
    constants: dict[str, NDArray[Any]] = {}
    nodes: list[Any] = []
    names = {given.text(0): "faces"}
    for node in graph.tables(0):
        nodes += _convert_node(node, stored, constants, names)
        if sum(each.size for each in constants.values()) > size:  # one may be read many times
            raise ModelCorrupt("the file claims more numbers than it holds")
    from onnx import helper

    nodes.append(helper.make_node("Flatten", [names[output.text(0)]], ["embedding"], axis=1))
    return nodes, constants, side


def _side(given: _Table) -> int:
    dimensions = [int(each.table(0).number(1, "<q")) for each in _shape(given).tables(0)]
    if len(dimensions) != 4 or dimensions[1] != dimensions[2] or dimensions[3] != 3:
        raise ModelError(
            f"this network is no face embedder: it takes {dimensions}, not 1 x S x S x 3"
        )
    return dimensions[1]


def _shape(given: _Table) -> _Table:
    return given.table(1).table(1).table(1)  # the type's value, which is a tensor's, has a shape


def _dims(tensor: _Table) -> list[int]:
    dims = [int(each) for each in tensor.numbers(0, "<i8")]
    if len(dims) > 5 or any(each < 1 for each in dims):
        raise ModelCorrupt("the file holds a constant without a shape")
    return dims


def _value(tensor: _Table) -> NDArray[np.float32]:
    """Read a constant as it lies, in a row."""
    kind = np.dtype(_TYPES[tensor.number(1, "<i")])
    count = math.prod(_dims(tensor))
    raw = tensor.numbers(8, "u1", 16).tobytes()
    exponents = tensor.numbers(13, "<i8")
    if len(exponents) > 1 or any(abs(each) > 60 for each in exponents):
        raise ModelError("this network has exponents that are not supported")
    whole = np.frombuffer(raw, kind, count).astype(np.float32)
    return whole * np.float32(2.0 ** int(exponents[0] if len(exponents) else 0))


def _weights(tensor: _Table, *, depthwise: bool) -> NDArray[np.float32]:
    """Read the weights of a convolution, of shape H x W x C x N in the file, as N x C x H x W.

    Sixteen output channels lie together, in each of these the places and inputs; what is left over
    lies channel by channel. Depthwise ones have their channels where others have inputs.
    """
    if not tensor.text(7).endswith("N16HWC16"):
        raise ModelError("this network's weights lie in an order that is not supported")
    height, width, inputs, outputs = _dims(tensor)
    if depthwise:
        inputs, outputs = outputs, inputs
    values = _value(tensor)
    whole = outputs // _BLOCK
    cut = whole * _BLOCK * inputs * height * width
    blocks = values[:cut].reshape(whole, height, width, inputs, _BLOCK)
    rest = values[cut:].reshape(outputs - whole * _BLOCK, height, width, inputs)
    return np.concatenate(
        [
            blocks.transpose(0, 4, 3, 1, 2).reshape(-1, inputs, height, width),
            rest.transpose(0, 3, 1, 2),
        ]
    )


def _attributes(node: _Table) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in node.tables(5):
        kind = each.number(3, "<i")
        if kind == 1:
            found[each.text(0)] = each.number(4, "<f")
        elif kind == 2:
            found[each.text(0)] = each.number(5, "<q")
        elif kind == 3:
            found[each.text(0)] = each.numbers(6, "u1").tobytes().decode()
        elif kind == 7:
            found[each.text(0)] = [int(number) for number in each.numbers(11, "<i8")]
    return found


def _convert_node(
    node: _Table,
    stored: dict[str, _Table],
    constants: dict[str, NDArray[Any]],
    names: dict[str, str],
) -> list[Any]:
    """Return the nodes of ONNX for one of the file, and add their constants."""
    from onnx import helper

    kind, given, (made,) = node.text(3), node.texts(0), node.texts(1)
    options = _attributes(node)
    out = f"n{len(names)}"
    inputs = []
    for at, each in enumerate(given):
        name = names.get(each) or f"{out}_{at}"
        inputs.append(name)
        if each in names:
            continue
        part = stored[each]
        if kind in ("Conv", "Gemm") and at == 1:
            constants[name] = _weights(part, depthwise=options.get("group", 1) > 1)
        else:
            constants[name] = _value(part).reshape(_dims(part))
    if kind == "Transpose" and options["perm"] == _TO_NCHW:  # as the network is written here
        names[made] = inputs[0]
        return []
    if options.get("activation", "Linear") not in ("Linear", "Relu"):
        raise ModelError(f"this network has {options['activation']!r}, which is not supported")
    kept = _list_attributes(kind, options, inputs, constants)
    names[made] = out
    if options.get("activation") != "Relu":
        return [helper.make_node(kind, inputs, [out], **kept)]
    middle = helper.make_node(kind, inputs, [f"{out}_linear"], **kept)
    return [middle, helper.make_node("Relu", [f"{out}_linear"], [out])]


def _list_attributes(
    kind: str, options: dict[str, Any], inputs: list[str], constants: dict[str, NDArray[Any]]
) -> dict[str, Any]:
    """Return the attributes that a node has in ONNX; the weights of a product change their form."""
    if kind == "Conv":
        if options.get("group", 1) not in (1, len(constants[inputs[1]])):
            raise ModelError("this network has convolutions in groups, which are not supported")
        keys = ("dilations", "group", "kernel_shape", "pads", "strides")
        return {key: options[key] for key in keys if key in options}
    if kind == "Gemm":  # stored as a convolution of one place
        weights = constants[inputs[1]]
        constants[inputs[1]] = weights.reshape(weights.shape[:2])
        return {"transB": 1}
    if kind == "Concat":
        return {"axis": _CHANNELS[options["axis"]]}
    if kind not in ("PRelu", "Add", "Relu", "Flatten") or options.get("axis", 1) != 1:
        raise ModelError(f"this network has nodes {kind!r}, which are not supported")
    return {}
