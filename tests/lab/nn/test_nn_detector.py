"""The face detector as a network: YuNet's arithmetic, new weights, and the ONNX file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from facekeep import Detector
from facekeep.errors import ModelError
from facekeep.lab.nn.detector import (
    HEADS,
    STRIDES,
    DetectorNetwork,
    begin_evenly,
    export_detector,
    load_yunet,
)
from facekeep.models import FileEntry, ModelEntry, entry, weights


@pytest.fixture(scope="module")
def begun() -> DetectorNetwork:
    return load_yunet(weights(entry("yunet")))


@pytest.fixture(scope="module")
def exported(begun: DetectorNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("detector") / "detector.onnx"
    export_detector(begun, path)
    return path


def pixels(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)


def known_as(path: Path, color: str = "rgb") -> ModelEntry:
    content = path.read_bytes()
    return ModelEntry(
        name="own",
        task="detect",
        architecture="facekeep-detector",
        summary="",
        files=(FileEntry(path.name, hashlib.sha256(content).hexdigest(), len(content)),),
        weights_license="",
        training_data="",
        color=color,
        mean=(0.0,) * 3,
        scale=(1.0,) * 3,
        folder=path.parent,
    )


def test_it_is_small_and_takes_any_multiple_of_32():
    model = DetectorNetwork()
    assert sum(each.numel() for each in model.parameters()) < 100_000
    rows = model(torch.zeros(2, 3, 64, 96))
    assert [tuple(each.shape) for each in rows] == [(2, 96, 16), (2, 24, 16), (2, 6, 16)]


def test_with_yunets_weights_it_gives_yunets_numbers(exported: Path):
    image = pixels(1, 3, 96, 128)
    source = weights(entry("yunet"))
    theirs = onnxruntime.InferenceSession(source)
    own = onnxruntime.InferenceSession(exported)
    wanted = theirs.run(None, {theirs.get_inputs()[0].name: image[:, ::-1].copy()})
    expected = {info.name: value for info, value in zip(theirs.get_outputs(), wanted, strict=True)}
    found = own.run(None, {"image": image})
    assert {info.name for info in own.get_outputs()} == expected.keys()
    for info, value in zip(own.get_outputs(), found, strict=True):
        np.testing.assert_allclose(value, expected[info.name], rtol=1e-4, atol=1e-5)


def test_the_file_says_what_the_network_says(begun: DetectorNetwork, exported: Path):
    image = pixels(2, 3, 64, 96)
    session = onnxruntime.InferenceSession(exported)
    names = [info.name for info in session.get_outputs()]
    found = dict(zip(names, session.run(None, {"image": image}), strict=True))
    with torch.no_grad():
        rows = begun(torch.from_numpy(image))
    for stride, row in zip(STRIDES, rows, strict=True):
        parts = row.split(list(HEADS.values()), dim=2)
        for kind, part in zip(HEADS, parts, strict=True):
            said = part.sigmoid() if kind in ("cls", "obj") else part
            np.testing.assert_allclose(found[f"{kind}_{stride}"], said, rtol=1e-4, atol=1e-5)


def test_the_detector_runs_the_file(exported: Path, hopper: NDArray[np.uint8]):
    with Detector() as theirs, Detector(known_as(exported)) as own:
        (wanted,), (found,) = theirs.detect(hopper), own.detect(hopper)
    np.testing.assert_allclose(found.bbox, wanted.bbox, atol=0.05)
    np.testing.assert_allclose(found.landmarks, wanted.landmarks, atol=0.05)
    assert found.score == pytest.approx(wanted.score, abs=1e-4)


def test_equal_weights_give_equal_bytes(begun: DetectorNetwork, exported: Path, tmp_path: Path):
    export_detector(begun, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == exported.read_bytes()


def test_another_network_is_refused(exported: Path):
    with pytest.raises(ModelError, match="small YuNet"):
        load_yunet(exported)


def test_new_weights_pass_on_an_even_spread_and_claim_nothing():
    model = DetectorNetwork()
    images = torch.from_numpy(pixels(4, 3, 64, 64))
    torch.manual_seed(0)
    begin_evenly(model, images)
    spreads: list[float] = []
    for layer in model.convolutions():
        layer.register_forward_hook(lambda *seen: spreads.append(float(seen[2].std())))
    with torch.no_grad():
        rows = torch.cat(model(images), dim=1)
    assert spreads == pytest.approx([1.0] * 29, rel=1e-3)
    assert float(rows[..., 1].sigmoid().max()) < 0.1
    assert float(rows.std()) > 0.01


def test_fine_layers_can_be_kept():
    model = DetectorNetwork()
    model.keep_fine()
    sum(row.square().mean() for row in model(torch.ones(1, 3, 32, 32))).backward()
    learning = {name for name, each in model.named_parameters() if each.grad is not None}
    kept = {name for name, _ in model.named_parameters()} - learning
    assert all(name.startswith(("stem.", "stages.0.", "stages.1.")) for name in kept)
    assert not any(name.startswith(("stem.", "stages.0.", "stages.1.")) for name in learning)
