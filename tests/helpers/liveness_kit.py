"""Liveness networks for tests: small ones, and a pair in the form of the published checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from facekeep.lab.nn.liveness_network import (
    SCALE,
    SIDE,
    FaceLivenessNetwork,
    export_liveness_network,
)
from facekeep.models import ModelEntry
from facekeep.models.importing import add_model
from facekeep.types import Face


def brightness_network(path: Path, *, sure: float = 40.0) -> Path:
    """Write a network that takes bright crops for living faces: 0.5 at the gray level 127.5."""
    model = FaceLivenessNetwork().eval()
    with torch.no_grad():
        for layer in model.layers:
            layer[0].weight.zero_()
            layer[0].weight[0, 0, 1, 1] = 1.0  # red passes, where it is bright
        model.head.weight.zero_()
        model.head.weight[0, 0] = sure
        model.head.bias.fill_(-0.1 * sure)
    export_liveness_network(model, path)
    return path


def add_brightness(name: str, folder: Path) -> ModelEntry:
    """Put such a network into the catalog."""
    made = ModelEntry(
        name=name,
        task="liveness",
        architecture="facekeep-liveness",
        files=(),
        weights_license="of the tests",
        training_data="none",
        color="rgb",
        mean=(127.5,) * 3,
        scale=(1 / 127.5,) * 3,
        input_size=SIDE,
        crop_scales=(SCALE,),
    )
    return add_model(brightness_network(folder / f"{name}-source.onnx").read_bytes(), made)


def minifasnet_state(*, squeeze: bool, seed: int = 0, classes: int = 3) -> dict[str, Tensor]:
    """Random tensors of a narrow MiniFASNet, called as in the published checkpoints."""
    rng = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}

    def norm(name: str, width: int) -> None:
        state[f"{name}.weight"] = torch.rand(width, generator=rng) + 0.5
        state[f"{name}.bias"] = torch.randn(width, generator=rng) * 0.1
        state[f"{name}.running_mean"] = torch.randn(width, generator=rng) * 0.1
        state[f"{name}.running_var"] = torch.rand(width, generator=rng) + 0.5
        state[f"{name}.num_batches_tracked"] = torch.tensor(5)

    def convolution(name: str, out: int, inputs: int, side: int, act: bool = True) -> None:
        state[f"{name}.conv.weight"] = torch.randn(out, inputs, side, side, generator=rng) * 0.3
        norm(f"{name}.bn", out)
        if act:
            state[f"{name}.prelu.weight"] = torch.rand(out, generator=rng) * 0.5

    def block(name: str, inner: int, inputs: int, out: int, squeezed: bool = False) -> None:
        convolution(f"{name}.conv", inner, inputs, 1)
        convolution(f"{name}.conv_dw", inner, 1, 3)
        convolution(f"{name}.project", out, inner, 1, act=False)
        if squeezed:
            state[f"{name}.se_module.fc1.weight"] = torch.randn(2, out, 1, 1, generator=rng)
            norm(f"{name}.se_module.bn1", 2)
            state[f"{name}.se_module.fc2.weight"] = torch.randn(out, 2, 1, 1, generator=rng)
            norm(f"{name}.se_module.bn2", out)

    convolution("conv1", 4, 3, 3)
    convolution("conv2_dw", 4, 1, 3)
    block("conv_23", 6, 4, 5)
    for place in range(2):
        block(f"conv_3.model.{place}", 3, 5, 5, squeezed=squeeze and place == 1)
    block("conv_34", 7, 5, 6)
    block("conv_4.model.0", 4, 6, 6, squeezed=squeeze)
    block("conv_45", 8, 6, 6)
    block("conv_5.model.0", 3, 6, 6)
    convolution("conv_6_sep", 9, 6, 1)
    convolution("conv_6_dw", 9, 1, 5, act=False)
    state["linear.weight"] = torch.randn(7, 9, generator=rng)
    norm("bn", 7)
    state["prob.weight"] = torch.randn(classes, 7, generator=rng)
    return state


def face_in(image: np.ndarray) -> Face:
    """A face in the middle of an image."""
    height, width = image.shape[:2]
    marks = np.array([[0.4, 0.4], [0.6, 0.4], [0.5, 0.5], [0.42, 0.6], [0.58, 0.6]])
    low = np.array([width, height]) * 0.3
    high = np.array([width, height]) * 0.7
    return Face(
        np.concatenate([low, high]).astype(np.float32),
        (marks * [width, height]).astype(np.float32),
        0.9,
    )
