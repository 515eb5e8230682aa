"""A face detector of 53,104 parameters: boxes, five landmarks and scores at three strides.

The backbone and neck are laid out as those of YuNet (Wu, Peng, Yu 2023), so that a run may begin
with its weights. Where YuNet has four heads a stride, each a pair of convolutions of its own, here
one pair gives all sixteen numbers of a cell: the same arithmetic in less time. The outputs of its
ONNX file are named and laid out as those of YuNet.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from facekeep.errors import ModelError
from facekeep.lab.nn.graph import Graph, as_array
from facekeep.models.files import keep

__all__ = [
    "HEADS",
    "STRIDES",
    "WHITE",
    "DetectorNetwork",
    "begin_evenly",
    "export_detector",
    "load_yunet",
]

_TO_PLACES = (0, 2, 3, 1)  # N x C x H x W to N x H x W x C


def export_detector(model: DetectorNetwork, path: str | os.PathLike[str]) -> None:
    """Write a detector as an ONNX file, whole or not at all.

    Its input is ``image``, float32, batch x 3 x H x W, RGB, 0 to 255; batch, H and W are free, the
    last two multiples of 32. For each stride it gives ``cls``, ``obj``, ``bbox`` and ``kps``,
    batch x cells x 1, 1, 4 and 10, the first two from 0 to 1; see ``nn.detector.HEADS``.

    Raises:
        StorageFull: There is no room for it.
        ModelError: The file cannot be written.
    """
    graph = Graph()
    results = [
        (name, ["batch", f"cells_{name.split('_')[1]}", HEADS[name.split("_")[0]]])
        for name in _network(graph, "image", model)
    ]
    content = graph.serialize(("image", ["batch", 3, "height", "width"]), *results)
    keep(Path(path), content)


def _network(graph: Graph, x: str, model: DetectorNetwork) -> list[str]:
    x = graph.add("Relu", _convolution(graph, x, model.stem, 1 / WHITE))
    found: list[str] = []
    for stage in model.stages:
        if found:
            x = graph.add("MaxPool", x, kernel_shape=(2, 2), strides=(2, 2))
        for unit in stage.children():
            x = _unit(graph, x, unit)
        found.append(x)
    seen, coarser = found[-len(STRIDES) :], ""
    names: list[str] = []
    for index in reversed(range(len(STRIDES))):
        x = seen[index]
        if coarser:
            x = graph.add("Add", x, _add_double(graph, coarser))
        coarser = _unit(graph, x, model.neck[index])
        names += _cells(graph, _unit(graph, coarser, model.heads[index]), STRIDES[index])
    return names


def _unit(graph: Graph, x: str, unit: nn.Module) -> str:
    mixed, spread, end = unit.children()
    x = _convolution(graph, _convolution(graph, x, mixed), spread)
    return graph.add("Relu", x) if isinstance(end, nn.ReLU) else x


def _cells(graph: Graph, x: str, stride: int) -> list[str]:
    """Lay what the cells say out row by row, and name its parts."""
    rows = graph.add("Transpose", x, perm=_TO_PLACES)
    rows = graph.add("Reshape", rows, graph.numbers(0, -1, sum(HEADS.values())))
    parts = graph.split("Split", len(HEADS), rows, graph.numbers(*HEADS.values()), axis=-1)
    named = []
    for kind, part in zip(HEADS, parts, strict=True):
        chance = graph.add("Sigmoid", part) if kind in ("cls", "obj") else part
        named.append(graph.rename(chance, f"{kind}_{stride}"))
    return named


def _add_double(graph: Graph, x: str) -> str:
    scales = graph.constant(np.array([1, 1, 2, 2], np.float32))
    how = {"mode": "nearest", "nearest_mode": "floor"}
    return graph.add("Resize", x, "", scales, coordinate_transformation_mode="asymmetric", **how)


def _convolution(graph: Graph, x: str, module: nn.Module, scale: float = 1.0) -> str:
    layer = cast(Any, module)
    weights = (layer.weight * scale, layer.bias)
    constants = [graph.constant(as_array(value)) for value in weights]
    pads, strides = layer.padding * 2, layer.stride
    return graph.add("Conv", x, *constants, group=layer.groups, pads=pads, strides=strides)


STRIDES: Final = (8, 16, 32)
HEADS: Final = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
"""What a cell says, in order, and in how many numbers: how well the box fits and whether there is a
face, before the sigmoid; the box's center from the cell and the logarithms of its sides; five
landmarks from the cell; all lengths in strides."""

_CELL: Final = sum(HEADS.values())
WHITE: Final = 255.0


class Unit(nn.Sequential):
    """Mix the channels of each place, then each channel with its neighbors; then ReLU or not."""

    def __init__(self, inputs: int, outputs: int, *, last: bool = False) -> None:
        mixed = nn.Conv2d(inputs, outputs, 1)
        spread = nn.Conv2d(outputs, outputs, 3, padding=1, groups=outputs)
        super().__init__(mixed, spread, nn.Identity() if last else nn.ReLU())


class DetectorNetwork(nn.Module):
    """The network; sides of images must be multiples of 32.

    Attributes:
        stem: Halves the image.
        stages: Each but the first halves what it gets; the last three feed the neck.
        neck: Mixes what coarser strides found into each stride, 8, 16 and 32.
        heads: What the cells of each stride say.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        widths = [(16, 16), (16, 16, 32, 32, 64), (64, 64, 64), (64, 64, 64), (64, 64, 64)]
        self.stages = nn.ModuleList(
            nn.Sequential(*(Unit(*pair) for pair in pairwise(stage))) for stage in widths
        )
        self.neck = nn.ModuleList(Unit(64, 64) for _ in STRIDES)
        self.heads = nn.ModuleList(Unit(64, _CELL, last=True) for _ in STRIDES)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Look at images.

        Args:
            pixels: ``(n, 3, h, w)`` RGB, 0 to 255.

        Returns:
            For each stride ``(n, cells, 16)``, cells row by row, as `HEADS` says.
        """
        x = functional.relu(self.stem(pixels.float() / WHITE))
        found: list[Tensor] = []
        for stage in self.stages:
            x = stage(functional.max_pool2d(x, 2) if found else x)
            found.append(x)
        seen, coarser = found[-len(STRIDES) :], None
        rows: list[Tensor] = []
        for x, mix, head in reversed(list(zip(seen, self.neck, self.heads, strict=True))):
            coarser = mix(x if coarser is None else x + _double(coarser))
            rows.insert(0, head(coarser).flatten(2).transpose(1, 2))
        return rows

    def keep_fine(self) -> None:
        """Leave the layers before stride 8 as they are, which are two thirds of the work."""
        for layer in (self.stem, *self.stages[: -len(STRIDES)]):
            layer.requires_grad_(False)

    def convolutions(self) -> Iterator[nn.Conv2d]:
        """Give the convolutions before the heads, in the order in which they are run."""
        yield self.stem
        for unit in (*(unit for stage in self.stages for unit in _units(stage)), *self.neck[::-1]):
            yield from (unit[0], unit[1])


@torch.no_grad()
def begin_evenly(model: DetectorNetwork, pixels: Tensor) -> None:
    """Make new weights such that every convolution passes on a spread of one (LSUV).

    Without normalization a deep network of random weights learns slowly; so each layer is scaled
    to what it does on real images (Mishkin and Matas 2016). No cell claims a face at first.

    Args:
        model: New.
        pixels: A few images, as `DetectorNetwork.forward` takes them.
    """
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.orthogonal_(layer.weight.flatten(1))
            layer.bias.zero_()  # type: ignore[union-attr]

    def even_out(layer: Any, inputs: Any, output: Tensor) -> Tensor:
        spread = output.std() + 1e-6
        layer.weight /= spread
        return output / spread

    hooks = [layer.register_forward_hook(even_out) for layer in model.convolutions()]
    model(pixels)
    for hook in hooks:
        hook.remove()
    for head in model.heads:
        head[1].weight *= 0.1  # type: ignore[index]
        head[1].bias[1] = -4.0  # type: ignore[index]


def load_yunet(file: Path | bytes) -> DetectorNetwork:
    """Make a detector with the weights of a YuNet in ONNX; it finds what that finds.

    Args:
        file: The small YuNet, whose convolutions hold their normalization: OpenCV's of March 2023.

    Raises:
        ModelError: It is another network.
    """
    layers = _onnx_convolutions(file)
    model = DetectorNetwork()
    own = list(model.convolutions())
    count = len(own)
    if len(layers) != count + 2 * len(STRIDES) * len(HEADS):
        raise ModelError("only the weights of the small YuNet can be begun with; give its name")
    pairs = list(zip(own, layers[:count], strict=True))
    places = {"cls": 0, "bbox": 1, "obj": 2, "kps": 3}  # as YuNet's are stored
    for index, head in enumerate(model.heads):
        for step in (0, 1):
            parts = [layers[count + 6 * places[kind] + 2 * index + step] for kind in HEADS]
            merged = tuple(np.concatenate(each) for each in zip(*parts, strict=True))
            pairs.append((head[step], merged))  # type: ignore[index, arg-type]
    try:
        for layer, (weight, bias) in pairs:
            _set(layer, weight, bias)
    except (RuntimeError, ValueError) as error:
        raise ModelError("this YuNet's layers are of other sizes than the small one's") from error
    with torch.no_grad():  # it takes blue, green, red from 0 to 255
        model.stem.weight.copy_(model.stem.weight.flip(1) * WHITE)
    return model


def _double(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


def _units(stage: nn.Module) -> list[nn.Module]:
    return list(stage.children())


def _onnx_convolutions(file: Path | bytes) -> list[tuple[Any, Any]]:
    """Weights and biases of a file's convolutions, in the order of its nodes."""
    import onnx
    from onnx import numpy_helper

    loaded = onnx.load_from_string(file) if isinstance(file, bytes) else onnx.load(file)
    graph = loaded.graph
    values = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    nodes = [node for node in graph.node if node.op_type == "Conv" and len(node.input) == 3]
    found = [(values.get(node.input[1]), values.get(node.input[2])) for node in nodes]
    return [each for each in found if each[0] is not None and each[1] is not None]


@torch.no_grad()
def _set(layer: nn.Conv2d, weight: Any, bias: Any) -> None:
    if tuple(weight.shape) != tuple(layer.weight.shape):
        raise ValueError
    layer.weight.copy_(torch.tensor(weight))
    layer.bias.copy_(torch.tensor(bias))  # type: ignore[union-attr]
