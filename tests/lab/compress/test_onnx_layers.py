from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from session_kit import product
from tiny_kit import LAYERS, faces, tensor, tiny_network

from facekeep.errors import InputError, ModelCorrupt
from facekeep.lab.compress.onnx_layers import (
    find_head,
    fold_constants,
    list_layers,
    match_layers,
)
from facekeep.models import entry, locate
from facekeep.models.weight_packing import pack_weights
from facekeep.runtime import RuntimeOptions, open_session

Crops = NDArray[np.uint8]


def test_folding_leaves_no_node_that_reads_constants_only(hopper: Crops, collins: Crops) -> None:
    source, fed = tiny_network(), tensor(faces([hopper, collins], 4))
    for numbers in ("float32", "float16", "int8"):
        packed = pack_weights(source, numbers)
        made = fold_constants(packed)
        graph = onnx.load_model_from_string(made).graph
        constants = {item.name for item in graph.initializer}
        assert not [node for node in graph.node if constants.issuperset(node.input)]
        (rows,), (others,) = (
            open_session(each, options=RuntimeOptions(threads=1)).run({"image": fed})
            for each in (packed, made)
        )
        assert np.allclose(rows, others, atol=1e-5)
        assert [each.node for each in list_layers(made)] == list(LAYERS)


@given(st.binary(max_size=200))
def test_folding_refuses_what_is_no_network(content: bytes) -> None:
    with pytest.raises(ModelCorrupt):
        fold_constants(content)


def test_the_last_layer_is_the_head() -> None:
    assert find_head(list_layers(fold_constants(tiny_network()))) == "head"
    assert find_head(()) == ""


@pytest.mark.slow
def test_a_factor_for_each_channel_is_no_layer() -> None:
    assert len(list_layers(fold_constants(tiny_network()))) == len(LAYERS)
    sface = fold_constants(locate(entry("sface")).read_bytes())
    kinds = [node.op_type for node in onnx.load_model_from_string(sface).graph.node]
    assert len(list_layers(sface)) == 28 < kinds.count("Conv")
    column = product(np.ones((4, 1), np.float32))
    assert [each.numbers for each in list_layers(column)] == [4]


def test_patterns_name_layers_by_node_or_weights() -> None:
    layers = list_layers(fold_constants(tiny_network()))
    assert match_layers(layers, ["st*", "hidden.weight"]) == {"stem", "hidden"}
    assert match_layers(layers, []) == frozenset()
    with pytest.raises(InputError, match="no layer is called 'nothing'; the first are stem,"):
        match_layers(layers, ["stem", "nothing"])
