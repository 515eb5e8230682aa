from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import numpy_helper
from tiny_kit import faces, import_tiny, tensor, tiny_network

from facekeep.errors import InputError, ModelError
from facekeep.lab.compress.calibration import activation_ranges
from facekeep.lab.compress.folding import folded
from facekeep.lab.compress.layers import Layer
from facekeep.lab.compress.sensitivity import Sensitivity, search_mix, sensitivities
from facekeep.lab.compress.tradeoff import front


def order_of(count: int) -> list[Sensitivity]:
    return [Sensitivity(Layer(f"n{i}", f"w{i}", "MatMul", 1), i / 100) for i in range(count)]


@given(count=st.integers(1, 40), needed=st.integers(0, 45), least=st.integers(0, 45))
def test_as_few_layers_as_can_be_are_spared(count: int, needed: int, least: int) -> None:
    tried: list[int] = []

    def make(spared: Collection[str]) -> bytes:
        assert set(spared) == {f"n{i}" for i in range(len(spared))}
        tried.append(len(spared))
        return bytes(len(spared))

    def search() -> int:
        found = search_mix(order_of(count), make, lambda made: len(made) >= needed, least=least)
        assert len(found.content) == len(found.spared)
        return len(found.spared)

    if max(needed, least) < count:
        assert search() == max(needed, least)
    else:
        with pytest.raises(ModelError, match="--min-cosine"):
            search()
    assert len(tried) <= 6  # halving


def test_there_must_be_layers() -> None:
    with pytest.raises(InputError):
        search_mix([], lambda spared: b"", lambda content: True)


def test_the_layer_with_outliers_is_the_most_sensitive(
    hopper: NDArray[np.uint8], collins: NDArray[np.uint8], tmp_path: Path
) -> None:
    model = onnx.load_model_from_string(tiny_network())
    for item in model.graph.initializer:
        if item.name == "stem.weight":  # one channel a thousand times as large as the others
            value = numpy_helper.to_array(item).copy()
            value[3] *= 1000
            item.CopyFrom(numpy_helper.from_array(value, item.name))
        if item.name == "depthwise.weight":
            value = numpy_helper.to_array(item).copy()
            value[3] /= 1000
            item.CopyFrom(numpy_helper.from_array(value, item.name))
    content = folded(model.SerializeToString())
    crops = faces([hopper, collins], 24)
    ranges = activation_ranges(content, tensor(crops), "minmax")
    told: list[int] = []
    found = sensitivities(
        content, ranges, import_tiny(tmp_path), crops, skip={"hidden"}, progress=told.append
    )
    assert {each.layer.node for each in found[:2]} == {"stem", "depthwise"}
    assert [each.cosine for each in found] == sorted(each.cosine for each in found)
    assert "hidden" not in {each.layer.node for each in found}
    assert sum(told) == len(found) == 3


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=30).map(
        lambda pairs: ([float(a) for a, _ in pairs], [float(b) for _, b in pairs])
    )
)
def test_the_front_is_what_none_beats(pairs: tuple[list[float], list[float]]) -> None:
    costs, values = pairs
    chosen = front(costs, values)
    for place in chosen:
        assert not any(
            (c <= costs[place] and v > values[place]) or (c < costs[place] and v >= values[place])
            for c, v in zip(costs, values, strict=True)
        )
    for cost, value in zip(costs, values, strict=True):
        assert any(costs[p] <= cost and values[p] >= value for p in chosen)
    assert [costs[p] for p in chosen] == sorted(costs[p] for p in chosen)
