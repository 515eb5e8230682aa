"""Which layers suffer most from 8 bits, and how many of them must be spared."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facekeep.errors import InputError, ModelError
from facekeep.lab.compress.layers import Layer, head, layers
from facekeep.lab.compress.made import Made
from facekeep.lab.compress.quantize import static_int8
from facekeep.lab.compress.staging import staged
from facekeep.models import ModelEntry
from facekeep.pipeline.embed import Embedder
from facekeep.runtime import RuntimeOptions

__all__ = ["Mixed", "Sensitivity", "embedded", "search_mix", "sensitivities"]


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What computing one layer in 8 bits does.

    Attributes:
        layer: The layer.
        cosine: Mean cosine to the original's embeddings with this layer alone in 8 bits.
    """

    layer: Layer
    cosine: float


@dataclass(frozen=True, slots=True)
class Mixed:
    """A network of which some layers compute in 8 bits and others in float32.

    Attributes:
        content: Its ONNX file.
        spared: The layers left float32 for the bound's sake, the most sensitive first.
    """

    content: bytes
    spared: tuple[Sensitivity, ...]


def embedded(content: bytes, like: ModelEntry, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Embed crops with a network that is fed as a model of the catalogue is; see ``Embedder``."""
    with tempfile.TemporaryDirectory() as folder:
        made = staged(Made(content, "a trial"), like, Path(folder))
        with Embedder(made, options=RuntimeOptions(threads=1)) as embedder:
            return embedder.embed(crops)


def sensitivities(
    content: bytes,
    ranges: Any,
    like: ModelEntry,
    crops: NDArray[np.uint8],
    *,
    skip: Collection[str] = (),
    reduce_range: bool = False,
    progress: Callable[[int], object] | None = None,
) -> tuple[Sensitivity, ...]:
    """Compute one layer at a time in 8 bits, all others in float32, and compare the embeddings.

    Args:
        content: An ONNX file, its constants folded.
        ranges: Of ``activation_ranges``.
        like: The model that the network is fed like.
        crops: uint8 ``(n, size, size, 3)`` RGB; a few dozen tell the order well.
        skip: Nodes that stay float32 in any case.
        reduce_range: As for ``static_int8``.
        progress: Told how many more layers are done.

    Returns:
        One for each layer, the most sensitive first.
    """
    every = layers(content)
    original = embedded(content, like, crops)
    found = []
    for layer in every:
        if layer.node in skip or layer.node == head(every):
            continue
        others = {other.node for other in every if other.node != layer.node}
        trial = static_int8(
            content, ranges, skip=others, reduce_range=reduce_range, weights="float32"
        )
        rows = embedded(trial, like, crops)
        found.append(Sensitivity(layer, float(np.einsum("ij,ij->i", rows, original).mean())))
        if progress:
            progress(1)
    return tuple(sorted(found, key=lambda each: (each.cosine, each.layer.node)))


def search_mix(
    order: Sequence[Sensitivity],
    make: Callable[[Collection[str]], bytes],
    good: Callable[[bytes], bool],
    *,
    least: int = 0,
) -> Mixed:
    """Find how few of the most sensitive layers must stay float32, by halving.

    Args:
        order: The layers, the most sensitive first.
        make: Makes the network with these nodes left float32.
        good: Tells whether a network is within the bounds.
        least: So many are spared at least.

    Raises:
        ModelError: No mix is within the bounds.
        InputError: There are no layers.
    """
    if not order:
        raise InputError("there are no layers to choose from")
    best: Mixed | None = None
    low, high = least, len(order) - 1  # with all of them spared nothing would be in 8 bits
    while low <= high:
        spare = (low + high) // 2
        content = make({each.layer.node for each in order[:spare]})
        if good(content):
            best, high = Mixed(content, tuple(order[:spare])), spare - 1
        else:
            low = spare + 1
    if best is None:
        raise ModelError(
            "no mix of 8 bits and float32 stays within the bounds; allow a greater loss"
            " (--min-cosine, --max-tar-loss), train it with rounded numbers, or for longer"
            " (--heal), or use --mode packed"
        )
    return best
