"""The networks against the published counts, and each part against the paper written plainly."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from networks_kit import crops, lively
from torch import nn

from facekeep.errors import InputError
from facekeep.lab.nn import MODELS, create_model
from facekeep.lab.nn.edgenext import ChannelNorm, CrossCovariance, PositionEncoding, SplitBlock
from facekeep.lab.nn.lora import LoRaLin, linear_factory, rank_of


@pytest.mark.parametrize(
    ("name", "gamma", "count"),
    [
        ("edgeface-base", None, 18_225_812),
        ("edgeface-s", 0.5, 3_652_520),
        ("edgeface-s", None, 5_437_992),
        ("edgeface-xs", 0.6, 1_770_492),
        ("edgeface-xs", None, 2_242_620),
        ("edgeface-xxs", None, 1_244_744),
    ],
)
def test_parameter_counts(name: str, gamma: float | None, count: int) -> None:
    model = create_model(name, gamma=gamma)
    assert sum(weight.numel() for weight in model.parameters()) == count


def test_every_linear_layer_of_a_low_rank_network_is_of_low_rank() -> None:
    model = create_model("edgeface-xs", gamma=0.6)
    thin = [module for module in model.modules() if isinstance(module, LoRaLin)]
    assert len(thin) == 43
    assert sum(isinstance(module, nn.Linear) for module in model.modules()) == 2 * 43
    assert {layer.linear1.out_features for layer in thin} == {19, 38, 60, 115}
    assert all(layer.linear1.bias is None and layer.linear2.bias is not None for layer in thin)


def test_low_rank_layer() -> None:
    layer = LoRaLin(6, 4, rank_of(6, 4, 0.01))
    assert layer.linear1.out_features == 2
    x = torch.randn(5, 3, 6)
    product = layer.linear2.weight @ layer.linear1.weight
    assert torch.allclose(layer(x), x @ product.T + layer.linear2.bias, atol=1e-6)
    assert LoRaLin(6, 4, 2, bias=False).linear2.bias is None


@pytest.mark.parametrize("gamma", [None, 0.3, 1.0])
def test_linear_layers_start_with_the_papers_spread(gamma: float | None) -> None:
    torch.manual_seed(0)
    layer = linear_factory(gamma)(300, 400)
    product = layer(torch.eye(300)).detach()
    assert product.mean().abs() < 1e-3
    assert math.isclose(product.std(), 0.02, rel_tol=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_embeds_every_size(name: str) -> None:
    for size in (64, 80, 96, 112):
        assert create_model(name, gamma=0.4, input_size=size)(crops(2, size)).shape == (2, 512)
    assert create_model(name, width=128)(crops(1)).shape == (1, 128)


def test_a_crops_embedding_does_not_depend_on_the_batch() -> None:
    model, x = lively(), crops(4)
    alone = torch.cat([model(crop[None]) for crop in x])
    assert torch.allclose(model(x), alone, atol=1e-5)
    assert torch.allclose(model.train()(x), model.eval()(x))


def test_every_weight_learns() -> None:
    model = lively(gamma=0.6)
    model(crops(3)).square().sum().backward()
    idle = [name for name, weight in model.named_parameters() if not weight.grad.abs().sum() > 0]
    assert idle == []


def test_at_the_published_layer_scale_the_blocks_begin_as_identity() -> None:
    torch.manual_seed(0)
    model = create_model("edgeface-xxs")
    x = torch.randn(1, 24, 28, 28)
    assert torch.allclose(model.stages[0](x), x, atol=1e-4)
    assert not torch.allclose(create_model("edgeface-xxs", layer_scale=0.1).stages[0](x), x)


def test_low_precision_stays_close() -> None:
    model, x = lively(), crops(4)
    with torch.autocast("cpu", torch.bfloat16):
        low = model(x).float()
    assert torch.cosine_similarity(low, model(x)).min() > 0.999


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "edgeface-m"}, "edgeface-base, edgeface-s"),
        ({"gamma": 0}, "gamma"),
        ({"gamma": 1.5}, "gamma"),
        ({"gamma": math.nan}, "gamma"),
        ({"gamma": "0.6"}, "gamma"),
        ({"input_size": 100}, "multiple of 16"),
        ({"input_size": 16}, "multiple of 16"),
        ({"input_size": "112"}, "multiple of 16"),
        ({"width": 0}, "width"),
        ({"width": True}, "width"),
    ],
)
def test_refuses_what_makes_no_network(options: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        create_model(**{"name": "edgeface-xs", **options})
    assert "\n" not in str(caught.value)


def test_refuses_crops_of_another_size() -> None:
    with pytest.raises(InputError, match="N x 3 x 112 x 112, not 1 x 3 x 96 x 96"):
        lively()(crops(1, 96))


def test_channel_norm_norms_each_place() -> None:
    norm = ChannelNorm(5)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(2, 5, 3, 4)
    place = x[1, :, 2, 3]
    unit = (place - place.mean()) / (place.var(unbiased=False) + 1e-6).sqrt()
    assert torch.allclose(norm(x)[1, :, 2, 3], unit * norm.weight + norm.bias, atol=1e-5)


def test_position_encoding_as_written_in_the_paper() -> None:
    side = 5
    encoding = PositionEncoding(64, side)
    nn.init.eye_(encoding.token_projection.weight.data[:, :, 0, 0])
    values = encoding()[0].detach().numpy()
    for wave in range(32):
        turn = math.sin if wave % 2 == 0 else math.cos
        slow = 10_000 ** (2 * (wave // 2) / 32)
        for y in range(side):
            for x in range(side):
                row, column = ((place + 1) / side * 2 * math.pi / slow for place in (y, x))
                assert math.isclose(values[wave, y, x], turn(row), abs_tol=1e-5)
                assert math.isclose(values[32 + wave, y, x], turn(column), abs_tol=1e-5)


def test_attention_as_written_in_the_paper() -> None:
    torch.manual_seed(0)
    places, width, heads = 7, 6, 2
    layer = CrossCovariance(width, heads, linear_factory(None))
    nn.init.normal_(layer.temperature)
    nn.init.normal_(layer.qkv.weight)
    nn.init.eye_(layer.proj.weight)
    x = torch.randn(1, places, width)
    q, k, v = np.split(layer.qkv(x)[0].detach().double().numpy(), 3, axis=1)
    for head in range(heads):
        part = slice(head * 3, head * 3 + 3)
        q_unit, k_unit = (m[:, part] / np.linalg.norm(m[:, part], axis=0) for m in (q, k))
        scores = np.exp(q_unit.T @ k_unit * layer.temperature[head].item())
        attention = scores / scores.sum(axis=1, keepdims=True)
        wanted = v[:, part] @ attention.T
        np.testing.assert_allclose(layer(x)[0, :, part].detach(), wanted, atol=1e-5)


def test_split_groups_are_convolved_in_a_chain() -> None:
    torch.manual_seed(0)
    block = SplitBlock(11, 3, 1, linear_factory(None), 0.0, None)
    x = torch.randn(2, 11, 6, 6)
    first = block.convs[0](x[:, :4])
    second = block.convs[1](x[:, 4:8] + first)
    wanted = torch.cat((first, second, x[:, 8:]), dim=1)
    assert torch.allclose(block._convolve(x), wanted)
    assert torch.allclose(block(x), x)


def test_state_holds_weights_only() -> None:
    model = create_model("edgeface-xs")
    assert set(model.state_dict()) == {name for name, _ in model.named_parameters()}
