"""MiniFASNet: the published pair of networks that tell living faces from pictures of faces.

Two small networks of depthwise convolutions look at the same face, one with less and one with more
of what is around it (2.7 and 4 times its box). The layers are those of the published checkpoints of
Silent-Face-Anti-Spoofing (Apache-2.0): all widths are read from the tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, cast

import torch
from torch import Tensor, nn

from facekeep.errors import ModelError
from facekeep.lab.nn.graph import Graph, as_array

__all__ = ["SIDE", "MiniFasNet", "export_minifasnet", "minifasnet_of"]

SIDE: Final = 80
"""Side of the crops in pixels."""

LIVE: Final = 1
"""Which of the three classes is a living face; the others are attacks on two kinds of media."""

_PREFIX: Final = "module."  # the published networks were trained on several devices


class _Convolution(nn.Module):
    """A convolution and its batch norm, with a PReLU or without."""

    def __init__(self, widths: tuple[int, int], side: int, stride: int, groups: int, act: bool):
        super().__init__()
        padding = 0 if side == 5 else side // 2  # the last one looks at the whole crop once
        self.conv = nn.Conv2d(*widths, side, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(widths[1])
        self.prelu = nn.PReLU(widths[1]) if act else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv(x))
        return x if self.prelu is None else cast(Tensor, self.prelu(x))

    def add_to(self, graph: Graph, x: str) -> str:
        factor = self.bn.weight / (cast(Tensor, self.bn.running_var) + self.bn.eps).sqrt()
        kernel = self.conv.weight * factor[:, None, None, None]
        bias = self.bn.bias - cast(Tensor, self.bn.running_mean) * factor
        weights = [graph.constant(as_array(value)) for value in (kernel, bias)]
        pads = [*cast(Sequence[int], self.conv.padding)] * 2
        form = {"pads": pads, "strides": self.conv.stride, "group": self.conv.groups}
        x = graph.add("Conv", x, *weights, **form)
        if self.prelu is None:
            return x
        slope = self.prelu.weight[:, None, None]
        if slope.max() >= 1:
            return graph.add("PRelu", x, graph.constant(as_array(slope)))
        # The same in two thirds of the time; see `models.onnx_folding.replace_prelu`.
        factors = [graph.constant(as_array(each[:, None])) for each in (slope, 1 - slope)]
        kept, passed = (graph.add("Conv", x, each, group=len(slope)) for each in factors)
        return graph.add("Add", kept, graph.add("Relu", passed))


class _Squeeze(nn.Module):
    """Weighs channels by what all of them hold on average."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.fc1, self.bn1 = nn.Conv2d(width, inner, 1, bias=False), nn.BatchNorm2d(inner)
        self.fc2, self.bn2 = nn.Conv2d(inner, width, 1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn1(self.fc1(x.mean((2, 3), keepdim=True))).relu()
        return x * cast(Tensor, self.bn2(self.fc2(inner))).sigmoid()

    def add_to(self, graph: Graph, x: str) -> str:
        y = graph.add("GlobalAveragePool", x)
        for layer, norm, after in ((self.fc1, self.bn1, "Relu"), (self.fc2, self.bn2, "Sigmoid")):
            factor = norm.weight / (cast(Tensor, norm.running_var) + norm.eps).sqrt()
            kernel = layer.weight * factor[:, None, None, None]
            bias = norm.bias - cast(Tensor, norm.running_mean) * factor
            y = graph.add("Conv", y, *(graph.constant(as_array(each)) for each in (kernel, bias)))
            y = graph.add(after, y)
        return graph.add("Mul", x, y)


class _Bottleneck(nn.Module):
    """Wider by 1 x 1, along each channel by 3 x 3, and back by 1 x 1; plus what came, or not."""

    def __init__(self, inputs: int, inner: int, outputs: int, stride: int, squeeze: int) -> None:
        super().__init__()
        self.conv = _Convolution((inputs, inner), 1, 1, 1, act=True)
        self.conv_dw = _Convolution((inner, inner), 3, stride, inner, act=True)
        self.project = _Convolution((inner, outputs), 1, 1, 1, act=False)
        self.se_module = _Squeeze(outputs, squeeze) if squeeze else None
        self._residual = stride == 1

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.conv_dw(self.conv(x)))
        if self.se_module is not None:
            y = self.se_module(y)
        return cast(Tensor, x + y if self._residual else y)

    def add_to(self, graph: Graph, x: str) -> str:
        y = self.project.add_to(graph, self.conv_dw.add_to(graph, self.conv.add_to(graph, x)))
        if self.se_module is not None:
            y = self.se_module.add_to(graph, y)
        return graph.add("Add", x, y) if self._residual else y


class _Bottlenecks(nn.Module):
    def __init__(self, blocks: Sequence[_Bottleneck]) -> None:
        super().__init__()
        self.model = nn.Sequential(*blocks)


_STAGES: Final = ("conv_23", "conv_3", "conv_34", "conv_4", "conv_45", "conv_5")


class MiniFasNet(nn.Module):
    """One of the two networks, its attributes called as in the published checkpoints.

    Args:
        state: Tensors by name, from which all widths are read.

    Raises:
        KeyError: A tensor is missing.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        width = len(state["conv1.conv.weight"])
        self.conv1 = _Convolution((3, width), 3, 2, 1, act=True)
        self.conv2_dw = _Convolution((width, width), 3, 1, width, act=True)
        for stage in _STAGES:
            setattr(self, stage, _stage_of(state, stage))
        inputs, outputs = state["conv_6_sep.conv.weight"].shape[1::-1]
        self.conv_6_sep = _Convolution((inputs, outputs), 1, 1, 1, act=True)
        self.conv_6_dw = _Convolution((outputs, outputs), 5, 1, outputs, act=False)
        inner = len(state["linear.weight"])
        self.linear = nn.Linear(outputs, inner, bias=False)
        self.bn = nn.BatchNorm1d(inner)
        self.prob = nn.Linear(inner, len(state["prob.weight"]), bias=False)
        self.load_state_dict(dict(state))

    def forward(self, crops: Tensor) -> Tensor:
        """Return the score of each class, ``(n, 3)``, before the softmax.

        Args:
            crops: float32 ``(n, 3, 80, 80)`` BGR, 0 to 255.
        """
        x: Tensor = self.conv2_dw(self.conv1(crops))
        for block in self._list_blocks():
            x = block(x)
        x = self.conv_6_dw(self.conv_6_sep(x)).flatten(1)
        return cast(Tensor, self.prob(self.bn(self.linear(x))))

    def add_to(self, graph: Graph, x: str) -> str:
        """Add the network to a graph; return the name of its scores."""
        first, last = (self.conv1, self.conv2_dw), (self.conv_6_sep, self.conv_6_dw)
        layers: list[_Convolution | _Bottleneck] = [*first, *self._list_blocks(), *last]
        for layer in layers:
            x = layer.add_to(graph, x)
        x = graph.add("Flatten", x, axis=1)
        factor = self.bn.weight / (cast(Tensor, self.bn.running_var) + self.bn.eps).sqrt()
        bias = self.bn.bias - cast(Tensor, self.bn.running_mean) * factor
        classes: Tensor = self.prob.weight
        weight, rest = classes @ (self.linear.weight * factor[:, None]), classes @ bias
        return graph.add("Gemm", x, *(graph.constant(as_array(each)) for each in (weight.T, rest)))

    def _list_blocks(self) -> list[_Bottleneck]:
        stages = [getattr(self, stage) for stage in _STAGES]
        return [
            cast(_Bottleneck, block)
            for stage in stages
            for block in (stage.model if isinstance(stage, _Bottlenecks) else [stage])
        ]


def _stage_of(state: Mapping[str, Tensor], stage: str) -> nn.Module:
    if f"{stage}.conv.conv.weight" in state:
        return _block_of(state, stage, 2)
    blocks: list[_Bottleneck] = []
    while f"{stage}.model.{len(blocks)}.conv.conv.weight" in state:
        blocks.append(_block_of(state, f"{stage}.model.{len(blocks)}", 1))
    return _Bottlenecks(blocks)


def _block_of(state: Mapping[str, Tensor], name: str, stride: int) -> _Bottleneck:
    inner, inputs = state[f"{name}.conv.conv.weight"].shape[:2]
    outputs = len(state[f"{name}.project.conv.weight"])
    squeeze = state.get(f"{name}.se_module.fc1.weight")
    return _Bottleneck(inputs, inner, outputs, stride, 0 if squeeze is None else len(squeeze))


def minifasnet_of(state: Mapping[str, Tensor], shown: str) -> MiniFasNet:
    """Make the network whose tensors these are.

    Args:
        state: Tensors by name, with the prefix ``module.`` or without.
        shown: What messages call the file.

    Raises:
        ModelError: The tensors are not those of a MiniFASNet.
    """
    plain = {name.removeprefix(_PREFIX): value for name, value in state.items()}
    try:
        network = MiniFasNet(plain).eval()
        with torch.no_grad():
            classes = network(torch.zeros(1, 3, SIDE, SIDE)).shape[1]
    except (KeyError, ValueError, RuntimeError) as error:
        raise ModelError(f"{shown} holds no MiniFASNet") from error
    if classes <= LIVE:
        raise ModelError(f"{shown} holds a MiniFASNet without a class for living faces")
    return network


@torch.no_grad()
def export_minifasnet(networks: Sequence[MiniFasNet]) -> bytes:
    """Make one ONNX file of networks that look at the same face.

    Returns:
        A file whose input ``crops`` is float32, batch x 3 k x 80 x 80, the k crops of a face one
        after the other, BGR 0 to 255; and whose output ``live``, batch x k, is how likely each
        network takes the face for a living one.
    """
    graph, looks = Graph(), list[str]()
    parts = ["crops"]
    if len(networks) > 1:
        sizes = graph.numbers(*[3] * len(networks))
        parts = graph.split("Split", len(networks), "crops", sizes, axis=1)
    for part, network in zip(parts, networks, strict=True):
        shares = graph.add("Softmax", network.add_to(graph, part), axis=1)
        looks.append(graph.add("Gather", shares, graph.numbers(LIVE), axis=1))
    graph.rename(graph.add("Concat", *looks, axis=1), "live")
    count = len(networks)
    return graph.serialize(("crops", ["batch", 3 * count, SIDE, SIDE]), ("live", ["batch", count]))
