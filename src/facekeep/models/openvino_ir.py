"""Read networks of OpenVINO, an ``.xml`` with its ``.bin``, without OpenVINO.

Known are the nodes of which embedders of convolutions are made, as in Intel's open model zoo.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, Final
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from facekeep.errors import ModelCorrupt, ModelError

__all__ = ["read_openvino_ir"]

_MOST: Final = 16 << 20  # characters of the table of nodes
_LAYERS: Final = 10_000  # the most of a network
_CHANNELS: Final = 16_384  # the most of one layer
_TYPES: Final = {"f16": "<f2", "f32": "<f4"}
_SAME: Final = {"Multiply": "Mul", "Add": "Add", "Sigmoid": "Sigmoid", "ReLU": "Relu"}

_Constants = dict[str, NDArray[Any]]
_Layer = ElementTree.Element
_Converter = Callable[[_Layer, list[str], str, _Constants], list[Any]]


def read_openvino_ir(xml: bytes, data: bytes) -> tuple[list[Any], _Constants, int]:
    """Read a network that embeds faces.

    Args:
        xml: The ``.xml`` file, which lists the nodes.
        data: The ``.bin`` file, which holds the constants.

    Returns:
        The nodes of an ONNX graph from ``faces`` to ``embedding``; its constants by name; and the
        side of its square input in pixels.

    Raises:
        ModelCorrupt: A file is damaged, or no network of OpenVINO.
        ModelError: The network holds something that facekeep does not support.
    """
    try:
        root = _parse(xml)
        layers = {_text(each, "id"): each for each in root.iterfind("layers/layer")}
        sources: dict[str, list[tuple[int, str]]] = {}
        for edge in root.iterfind("edges/edge"):
            to = sources.setdefault(_text(edge, "to-layer"), [])
            to.append((int(_text(edge, "to-port")), _text(edge, "from-layer")))
        inputs = {to: [name for _, name in sorted(found)] for to, found in sources.items()}
        return _read_layers(layers, inputs, data)
    except (ValueError, KeyError, IndexError, OverflowError, TypeError) as error:
        raise ModelCorrupt(
            "the network of OpenVINO is damaged; download both files again"
        ) from error


def _parse(xml: bytes) -> _Layer:
    """Parse the list of nodes; entities, by which a short file can fill the memory, are refused."""
    text = xml.decode()
    if len(text) > _MOST or re.search(r"<!(DOCTYPE|ENTITY)", text, re.IGNORECASE):
        raise ModelCorrupt("it is no network of OpenVINO")
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 - without entities
    except ElementTree.ParseError as error:
        raise ModelCorrupt("its .xml is no XML; download both files again") from error
    if root.tag != "net" or len(root.findall("layers/layer")) > _LAYERS:
        raise ModelCorrupt("it is no network of OpenVINO")
    return root


def _text(element: _Layer, key: str) -> str:
    return element.attrib[key]


def _read_layers(
    layers: dict[str, _Layer], inputs: dict[str, list[str]], data: bytes
) -> tuple[list[Any], _Constants, int]:
    (given,) = (name for name, each in layers.items() if each.get("type") == "Parameter")
    side = _side(layers[given])
    constants = _read_constants(layers, data)
    names = {given: "faces", **{name: f"n{name}" for name in constants}}
    values = {names[name]: value for name, value in constants.items()}
    nodes: list[Any] = []
    for name, layer in layers.items():  # in the order in which they can be computed
        kind = layer.get("type", "")
        if kind in ("Parameter", "Const"):
            continue
        sources = [names[each] for each in inputs[name]]
        if kind == "Convert" and sources[0] in values:  # to float32, which constants are here
            names[name] = sources[0]
            continue
        names[name] = "embedding" if kind == "Result" else f"n{name}"
        convert: _Converter = _NODES.get(kind, _unknown)
        nodes += convert(layer, sources, names[name], values)
    return nodes, values, side


def _side(layer: _Layer) -> int:
    sizes = _numbers(_data(layer)["shape"])
    if len(sizes) != 4 or sizes[1] != 3 or sizes[2] != sizes[3]:
        raise ModelError(f"this network is no face embedder: it takes {sizes}, not 1 x 3 x S x S")
    return sizes[2]


def _data(layer: _Layer) -> dict[str, str]:
    found = layer.find("data")
    return {} if found is None else found.attrib


def _numbers(text: str) -> list[int]:
    return [int(each) for each in text.split(",")]


def _read_constants(layers: dict[str, _Layer], data: bytes) -> _Constants:
    found: _Constants = {}
    left = len(data)
    for name, layer in layers.items():
        if layer.get("type") != "Const":
            continue
        facts = _data(layer)
        if facts["element_type"] not in _TYPES:
            raise ModelError(
                f"this network has constants of the type {facts['element_type']!r}, not supported"
            )
        kind = np.dtype(_TYPES[facts["element_type"]])
        shape = _numbers(facts["shape"])
        count, start = math.prod(shape), int(facts["offset"])
        left -= count * kind.itemsize
        if min(shape) < 1 or left < 0 or start < 0:
            raise ModelCorrupt("its .bin is shorter than it says; download both files again")
        found[name] = np.frombuffer(data, kind, count, start).reshape(shape).astype(np.float32)
    return found


def _unknown(layer: _Layer, sources: list[str], out: str, values: _Constants) -> list[Any]:
    raise ModelError(f"this network has nodes {layer.get('type')!r}, which are not supported")


def _same(layer: _Layer, sources: list[str], out: str, _: _Constants) -> list[Any]:
    from onnx import helper

    return [helper.make_node(_SAME[layer.get("type", "")], sources, [out])]


def _read_window(facts: dict[str, str]) -> dict[str, Any]:
    """Return where a window goes, for convolutions and pooling."""
    if facts.get("auto_pad", "explicit") != "explicit":
        raise ModelError("this network pads in a way that is not supported")
    pads = _numbers(facts["pads_begin"]) + _numbers(facts["pads_end"])
    return {"strides": _numbers(facts["strides"]), "pads": pads}


def _convolution(layer: _Layer, sources: list[str], out: str, values: _Constants) -> list[Any]:
    from onnx import helper

    facts, weights, group = _data(layer), values[sources[1]], 1
    if layer.get("type") == "GroupConvolution":
        group = len(weights)
        values[sources[1]] = weights.reshape(-1, *weights.shape[2:])
    options = {**_read_window(facts), "dilations": _numbers(facts["dilations"]), "group": group}
    return [helper.make_node("Conv", sources, [out], **options)]


def _average(layer: _Layer, sources: list[str], out: str, _: _Constants) -> list[Any]:
    from onnx import helper

    facts = _data(layer)
    if (facts["exclude-pad"], facts["rounding_type"]) != ("true", "floor"):
        raise ModelError("this network averages in a way that is not supported")
    window = _numbers(facts["kernel"])
    place = layer.find("input/port")
    sizes = [] if place is None else [int(each.text or "") for each in place.iterfind("dim")]
    if sizes[2:] == window and not any(_read_window(facts)["pads"]):
        return [helper.make_node("GlobalAveragePool", sources, [out])]
    return [
        helper.make_node("AveragePool", sources, [out], kernel_shape=window, **_read_window(facts))
    ]


def _prelu(layer: _Layer, sources: list[str], out: str, values: _Constants) -> list[Any]:
    from onnx import helper

    place = layer.find("input/port")
    sizes = [] if place is None else [int(each.text or "") for each in place.iterfind("dim")]
    if not 0 < sizes[1] <= _CHANNELS:
        raise ModelCorrupt("a node of the network has no channels")
    slopes = np.broadcast_to(values[sources[1]].reshape(-1), sizes[1])
    name = f"{out}_slopes"
    values[name] = slopes.reshape(-1, 1, 1).copy()
    return [helper.make_node("PRelu", [sources[0], name], [out])]


def _result(_: _Layer, sources: list[str], out: str, __: _Constants) -> list[Any]:
    from onnx import helper

    return [helper.make_node("Flatten", sources, [out], axis=1)]


_NODES: Final[dict[str, _Converter]] = {
    **dict.fromkeys(_SAME, _same),
    "Convolution": _convolution,
    "GroupConvolution": _convolution,
    "AvgPool": _average,
    "PReLU": _prelu,
    "Result": _result,
}
