"""The official weights on real faces: the proof that the networks are the published ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from litert_weights import embeddings
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from facekeep.lab.nn import EdgeFace, edgenext, export_onnx, load_checkpoint, save_checkpoint
from facekeep.lab.nn.litert import read_litert
from facekeep.runtime import RuntimeOptions, open_session

pytestmark = [pytest.mark.slow, pytest.mark.shared]

Array = NDArray[np.float32]
QUANTIZED = {"edgeface-xs": "edgeface_xs_q.pt", "edgeface-xxs": "edgeface_xxs_q.pt"}


def embed(model: EdgeFace, crops: Array) -> Array:
    with torch.inference_mode():
        rows: Array = model(torch.from_numpy(crops.transpose(0, 3, 1, 2).copy())).numpy()
    return rows


def cosines(left: Array, right: Array) -> Array:
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    quotient: Array = (left * right).sum(axis=1) / lengths
    return quotient


def separation(model: EdgeFace, pairs: Array) -> tuple[float, float]:
    """How far mated and other cosines lie apart in their deviations, and the share of rank 1."""
    left, right = (embed(model, pairs[:, side]) for side in (0, 1))
    left, right = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (left, right))
    table = left @ right.T
    mated, others = np.diag(table), table[~np.eye(len(table), dtype=bool)]
    spread = np.sqrt((mated.var() + others.var()) / 2)
    rank_1 = (table.argmax(axis=1) == np.arange(len(table))).mean()
    return float((mated.mean() - others.mean()) / spread), float(rank_1)


@pytest.fixture(scope="module")
def conversion(shared: Path) -> Path:
    pytest.importorskip("ai_edge_litert")
    return shared / "weights" / "edgeface_xs_gamma_06_float16.tflite"


def test_low_rank_network_embeds_as_the_conversion_does(
    conversion: Path, pairs_of_crops: Array
) -> None:
    crops = pairs_of_crops[:16, 0]
    assert cosines(
        embed(read_litert(conversion, "edgeface-xs", gamma=0.6), crops),
        embeddings(conversion, crops),
    ).min() > (0.9999)


def test_what_is_left_are_the_conversions_own_roundings(
    conversion: Path, pairs_of_crops: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It took GELU by tanh, and the epsilon of the norms as float16."""
    crops = pairs_of_crops[:16, 0]
    model = read_litert(conversion, "edgeface-xs", gamma=0.6)
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = float(np.float16(module.eps))
    exact = functional.gelu
    monkeypatch.setattr(edgenext.functional, "gelu", lambda x: exact(x, approximate="tanh"))
    assert cosines(embed(model, crops), embeddings(conversion, crops)).min() > 0.999999


@pytest.mark.parametrize("arch", QUANTIZED)
def test_official_checkpoints_know_real_faces(
    shared: Path, arch: str, pairs_of_crops: Array
) -> None:
    model = load_checkpoint(shared / "weights" / QUANTIZED[arch], arch)
    distance, rank_1 = separation(model, pairs_of_crops)
    assert distance > 3
    assert rank_1 > 0.8
    encoding = model.stages[1].blocks[-1].pos_embd
    encoding.waves = encoding.waves.transpose(2, 3)
    assert separation(model, pairs_of_crops)[0] < distance - 0.2  # rows and columns matter


def test_low_rank_network_knows_real_faces(conversion: Path, pairs_of_crops: Array) -> None:
    distance, rank_1 = separation(read_litert(conversion, "edgeface-xs", gamma=0.6), pairs_of_crops)
    assert distance > 3
    assert rank_1 > 0.8


@pytest.mark.parametrize("source", [*QUANTIZED, "conversion"])
def test_onnx_embeds_200_real_faces_alike(
    shared: Path, tmp_path: Path, source: str, pairs_of_crops: Array, conversion: Path
) -> None:
    if source in QUANTIZED:
        model = load_checkpoint(shared / "weights" / QUANTIZED[source], source)
    else:
        model = read_litert(conversion, "edgeface-xs", gamma=0.6)
    export_onnx(model, tmp_path / "network.onnx")
    crops = pairs_of_crops.reshape(200, 112, 112, 3)
    feed = {"image": crops.transpose(0, 3, 1, 2).copy()}
    (found,) = open_session(tmp_path / "network.onnx", options=RuntimeOptions(threads=1)).run(feed)
    assert cosines(found, embed(model, crops)).min() > 0.99999


def test_official_weights_survive_saving(shared: Path, tmp_path: Path) -> None:
    model = load_checkpoint(shared / "weights" / "edgeface_xs_q.pt", "edgeface-xs")
    save_checkpoint(model, tmp_path / "again.pt")
    again = load_checkpoint(tmp_path / "again.pt", "edgeface-xs").state_dict()
    assert all(torch.equal(value, again[name]) for name, value in model.state_dict().items())
