"""Small ``.espdl`` files and networks of OpenVINO, written independently of what reads them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
from numpy.typing import NDArray

_FLOAT, _INT, _STRING, _INTS = 1, 2, 3, 7


class Writer:
    """Writes the tables of esp-dl's schema; a field is its number and what it holds."""

    def __init__(self) -> None:
        self.builder = flatbuffers.Builder(0)

    def table(self, **fields: Any) -> int:
        made = {}
        for name, value in fields.items():
            kind, number = name.split("_")
            made[int(number)] = (kind, getattr(self, f"make_{kind}", lambda each: each)(value))
        self.builder.StartObject(1 + max(made))
        for number, (kind, value) in made.items():
            if kind == "i32":
                self.builder.PrependInt32Slot(number, value, 0)
            elif kind == "long":
                self.builder.PrependInt64(value)
                self.builder.Slot(number)
            else:
                self.builder.PrependUOffsetTRelativeSlot(number, value, 0)
        return self.builder.EndObject()

    def make_text(self, value: str) -> int:
        return self.builder.CreateString(value)

    def make_texts(self, values: Sequence[str]) -> int:
        return self.make_refs([self.builder.CreateString(each) for each in values])

    def make_refs(self, values: Sequence[int]) -> int:
        self.builder.StartVector(4, len(values), 4)
        for each in reversed(values):
            self.builder.PrependUOffsetTRelative(each)
        return self.builder.EndVector()

    def make_longs(self, values: Sequence[int]) -> int:
        return self.builder.CreateNumpyVector(np.array(values, np.int64))

    def make_raw(self, value: bytes) -> int:
        whole = value + bytes(-len(value) % 16)
        self.builder.StartVector(16, len(whole) // 16, 16)
        self.builder.head -= len(whole)
        self.builder.Bytes[self.builder.head : self.builder.head + len(whole)] = whole
        return self.builder.EndVector()

    def tensor(
        self, name: str, values: NDArray[Any], kind: int, dims: Sequence[int], e: int
    ) -> int:
        return self.table(
            longs_0=dims,
            i32_1=kind,
            text_6=name,
            text_7="layout ==> N16HWC16" if len(dims) == 4 else "layout ==> UNK",
            raw_8=values.tobytes(),
            longs_13=[e],
        )

    def node(self, kind: str, inputs: Sequence[str], out: str, **options: Any) -> int:
        attributes = []
        for name, value in {**options, "activation": "Linear"}.items():
            if isinstance(value, str):
                raw = self.builder.CreateByteVector(value.encode())
                attributes.append(self.table(text_0=name, i32_3=_STRING, ref_6=raw))
            elif isinstance(value, int):
                attributes.append(self.table(text_0=name, i32_3=_INT, long_5=value))
            else:
                attributes.append(self.table(text_0=name, i32_3=_INTS, longs_11=value))
        return self.table(texts_0=inputs, texts_1=[out], text_3=kind, refs_5=attributes)

    def value(self, name: str, dims: Sequence[int]) -> int:
        each = [self.table(ref_0=self.table(long_1=size)) for size in dims]
        shape = self.table(refs_0=each)
        tensor = self.table(i32_0=3, ref_1=shape)
        return self.table(text_0=name, ref_1=self.table(ref_1=tensor))


def blocked(weights: NDArray[np.int8]) -> bytes:
    """Lay out weights N x C x H x W: sixteen output channels together, the rest one by one."""
    outputs, inputs, height, width = weights.shape
    raw = bytearray()
    whole = outputs - outputs % 16
    for start in range(0, whole, 16):
        for y in range(height):
            for x in range(width):
                for channel in range(inputs):
                    raw += weights[start : start + 16, channel, y, x].tobytes()
    for output in range(whole, outputs):
        for y in range(height):
            for x in range(width):
                raw += weights[output, :, y, x].tobytes()
    return bytes(raw)


def espdl(weights: dict[str, NDArray[Any]], side: int = 112) -> bytes:
    """A network of one ordinary and one depthwise convolution, PRelu and a product.

    ``weights`` are whole numbers: ``conv`` N x 3 x 3 x 3, ``slope`` N, ``deep`` N x 1 x 3 x 3,
    ``product`` M x N, ``bias`` M; each is times 2 to the power of -6, the bias to that of -9.
    """
    make = Writer()
    n, m = len(weights["conv"]), len(weights["product"])
    conv, deep = weights["conv"], weights["deep"]
    product = weights["product"][:, :, None, None]
    stored = [
        make.tensor("conv", np.frombuffer(blocked(conv), np.int8), 3, [3, 3, 3, n], -6),
        make.tensor("slope", weights["slope"], 3, [n, 1, 1], -6),
        make.tensor("deep", np.frombuffer(blocked(deep), np.int8), 3, [3, 3, n, 1], -6),
        make.tensor("product", np.frombuffer(blocked(product), np.int8), 3, [1, 1, n, m], -6),
        make.tensor("bias", weights["bias"].astype("<i4"), 6, [m], -9),
    ]
    place = {"dilations": [1, 1], "kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    far = side // 2
    nodes = [
        make.node("Conv", ["in", "conv"], "a", **place, strides=[2, 2], group=1),
        make.node("PRelu", ["a", "slope"], "b"),
        make.node(
            "Conv",
            ["b", "deep"],
            "c",
            **{**place, "pads": [0, 0, 0, 0]},
            strides=[far, far],
            group=n,
        ),
        make.node("Transpose", ["c"], "d", perm=[0, 3, 1, 2]),
        make.node("Flatten", ["d"], "e", axis=1),
        make.node("Gemm", ["e", "product", "bias"], "out", transB=0),
    ]
    graph = make.table(
        refs_0=nodes,
        refs_2=stored,
        refs_4=[make.value("in", [1, side, side, 3])],
        refs_5=[make.value("out", [1, m])],
    )
    make.builder.Finish(make.table(ref_7=graph))
    body = bytes(make.builder.Output())
    return b"EDL2" + struct.pack("<III", 0, len(body), 0) + body


def openvino(weights: dict[str, NDArray[np.float16]], side: int = 112) -> tuple[bytes, bytes]:
    """A network of one convolution, one slope, the mean of all places, and a sigmoid."""
    data = b"".join(each.tobytes() for each in weights.values())
    n = len(weights["conv"])
    layers, at = [], 0
    for number, (name, each) in enumerate(weights.items(), 1):
        shape = ",".join(map(str, each.shape))
        layers.append(
            f'<layer id="{number}" name="{name}" type="Const"><data element_type="f16"'
            f' shape="{shape}" offset="{at}" size="{each.nbytes}"/></layer>'
        )
        at += each.nbytes

    def dims(*sizes: int) -> str:
        ports = "".join(f"<dim>{size}</dim>" for size in sizes)
        return f'<input><port id="0">{ports}</port></input>'

    window = 'strides="2,2" pads_begin="1,1" pads_end="1,1" auto_pad="explicit"'
    half = side // 2
    kinds = [
        ("Parameter", f'shape="1,3,{side},{side}" element_type="f32"', ""),
        ("Convolution", f'{window} dilations="1,1"', dims(1, 3, side, side)),
        ("PReLU", "", dims(1, n, half, half)),
        (
            "AvgPool",
            f'kernel="{half},{half}" strides="1,1" pads_begin="0,0" pads_end="0,0"'
            ' exclude-pad="true" auto_pad="explicit" rounding_type="floor"',
            dims(1, n, half, half),
        ),
        ("Sigmoid", "", ""),
        ("Result", "", ""),
    ]
    ids = [0, 10, 11, 12, 13, 14]
    layers += [
        f'<layer id="{number}" name="x" type="{kind}"><data {facts}/>{ports}</layer>'
        for number, (kind, facts, ports) in zip(ids, kinds, strict=True)
    ]
    edges = [(0, 10, 0), (1, 10, 1), (10, 11, 0), (2, 11, 1), (11, 12, 0), (12, 13, 0), (13, 14, 0)]
    lines = "".join(
        f'<edge from-layer="{a}" from-port="0" to-layer="{b}" to-port="{port}"/>'
        for a, b, port in edges
    )
    xml = f"<net><layers>{''.join(layers)}</layers><edges>{lines}</edges></net>"
    return xml.encode(), data
