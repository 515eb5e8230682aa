"""Tell how much of who it is a face still shows, from its crop and what its embedder made of it.

Faces of which little is left all look alike to an embedder: two strangers, damaged alike, match
hundreds of times more often than the stated false-match rate says. Their embeddings are short, or
lie where no clear face lies, and their crops have light and edges where a clear face has others, or
none; a network of three small layers tells them from clear faces.
It belongs to its embedder. Where the limit is, and what it holds on: docs/quality.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.closing import Closing
from facekeep.errors import InputError, ModelError
from facekeep.models import ModelEntry, entry, open_model
from facekeep.pipeline.filters import deviation, to_gray
from facekeep.pipeline.warp import resize
from facekeep.runtime import RuntimeOptions
from facekeep.types import Quality

__all__ = ["FACTS", "QualityNetwork", "appearance", "evidence"]

FACTS = ("sharpness", "brightness", "contrast", "mouth_covered", "eyes_covered")
"""The facts of ``Quality`` that the network is told besides."""

_CROP: Final = 112
_INNER: Final = (slice(28, 108), slice(22, 90))  # brows to chin and cheek to cheek
_CELLS: Final = (8, 10, 4, 17)  # 8 x 4 cells of 10 x 17 pixels
_SEEN: Final = 10 + 2 * 8 * 4


class QualityNetwork(Closing):
    """The network, ready to run. Threads may share one.

    Args:
        model: A name from the catalog, or an entry.
        options: How the network is run.

    Attributes:
        entry: The model's catalog entry.

    Raises:
        ModelNotFound: There is no such model, or its files are not here.
        ModelCorrupt: Its files are not what the catalog says.
        ModelError: It is made for something else.
    """

    def __init__(
        self,
        model: str | ModelEntry,
        *,
        options: RuntimeOptions = RuntimeOptions(),  # noqa: B008 - frozen
    ) -> None:
        chosen = model if isinstance(model, ModelEntry) else entry(model)
        if chosen.task != "quality":
            raise ModelError(f"{chosen.name} is a model to {chosen.verb}, not to rate, faces")
        self.entry = chosen
        self._session = open_model(chosen, options)

    def recognizability(
        self,
        rows: NDArray[np.float32],
        norms: NDArray[np.float32],
        qualities: Sequence[Quality],
        crops: NDArray[np.uint8],
    ) -> NDArray[np.float32]:
        """Tell how much of who it is each face shows.

        Args:
            rows: Embeddings by the embedder that the network belongs to, float32 ``(n, d)`` of
                unit length; n may be 0.
            norms: How long the embedder gave them, float32 ``(n,)``.
            qualities: The facts of each face.
            crops: The aligned crops that were embedded, uint8 ``(n, s, s, 3)`` RGB.

        Returns:
            float32 ``(n,)``, 0 (nothing) to 1 (all).

        Raises:
            InputError: The embeddings are another embedder's, or the network is closed.
            ModelError: The network gave something else.
        """
        if not len(rows):
            return np.empty(0, np.float32)
        facts = [[getattr(q, name) for name in FACTS] for q in qualities]
        fed = evidence(rows, norms, facts, crops)
        (source, *_) = self._session.inputs
        width = (source.shape[1] or 0) - 1 - len(FACTS) - _SEEN
        if rows.shape[1] != width:
            name = self.entry.name
            raise InputError(f"{name} takes embeddings of {width} numbers, not {rows.shape[1]}")
        (output, *_) = self._session.run({source.name: fed})
        if output.size != len(rows) or not np.isfinite(output).all():
            raise ModelError(f"{self.entry.name} gave no recognizability; its weights are unusable")
        odds = output.reshape(-1).clip(-50, 50)  # beyond, the exponential would overflow
        return np.asarray(1 / (1 + np.exp(-odds)), np.float32)

    def close(self) -> None:
        """Let go of the network."""
        self._session.close()


def evidence(
    rows: NDArray[np.float32],
    norms: NDArray[np.float32],
    facts: object,
    crops: NDArray[np.uint8],
) -> NDArray[np.float32]:
    """Put together what a quality network is fed.

    Args:
        rows: Embeddings, float32 ``(n, d)`` of unit length.
        norms: How long they were, ``(n,)``.
        facts: The facts named by `FACTS`, ``(n, 5)``.
        crops: The aligned crops, uint8 ``(n, s, s, 3)`` RGB.

    Returns:
        float32 ``(n, d + 80)``.
    """
    values = np.asarray(facts, np.float32).reshape(len(rows), len(FACTS))
    seen = np.stack([appearance(crop) for crop in crops]) if len(crops) else np.empty((0, _SEEN))
    return np.concatenate([rows, norms[:, None], values, seen], axis=1, dtype=np.float32)


def appearance(crop: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Describe how light and edges lie in an aligned crop.

    Args:
        crop: uint8 ``(s, s, 3)`` RGB.

    Returns:
        float32 ``(74,)``: how many of the 256 levels of light occur, and their entropy; the shares
        of pixels that equal their neighbors, are white, are black; the deviations of both colors;
        how much stronger edges are along columns than along rows, and how rough they are; the light
        of 32 cells, and the logarithm of its deviation in each, both beside that of the whole.
    """
    part = resize(crop, _CROP, _CROP)[_INNER]
    levels = to_gray(part)
    luma = levels.astype(np.float32)
    colors = [
        deviation(np.rint((part[..., channel] - luma) * np.float32(scale))) / 50
        for channel, scale in ((0, 0.713), (2, 0.564))
    ]
    shares = np.bincount(levels.ravel(), minlength=256) / levels.size
    some = shares[shares > 0]
    across, down = np.abs(np.diff(luma, axis=1)), np.abs(np.diff(luma, axis=0))
    flat = np.count_nonzero(across[:-1] + down[:, :-1] == 0) / luma.size
    edges = np.array([across.mean(), down.mean()]) + 0.5
    rough = np.array([np.abs(np.diff(luma, 2, axis)).mean() for axis in (1, 0)]) + 0.5
    cells = luma.reshape(_CELLS)
    means, squares = cells.mean((1, 3)), np.square(cells).mean((1, 3))
    spread = np.sqrt(max(float(squares.mean() - means.mean() ** 2), 0.0)) + 1
    spreads = np.sqrt(np.maximum(squares - means**2, 0)) + 1
    return np.concatenate(
        [
            (len(some) / 256, -(some * np.log2(some)).sum() / 8),
            (flat, shares[250:].sum(), shares[:6].sum()),
            colors,
            np.log([edges[1] / edges[0], *(rough / edges)]),
            ((means - means.mean()) / spread).ravel(),
            np.log(spreads / spread).ravel(),
        ],
        dtype=np.float32,
    )
