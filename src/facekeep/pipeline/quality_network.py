"""Tell how much of who it is a face still shows, from what its embedder made of it.

Faces of which little is left all look alike to an embedder: two strangers, damaged alike, match
hundreds of times more often than the stated false-match rate says. Their embeddings are short, or
lie where no clear face lies; a network of two small layers tells them from those of clear faces.
It belongs to its embedder. Where the limit is, and what it holds on: docs/quality.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.closing import Closing
from facekeep.errors import InputError, ModelError
from facekeep.models import ModelEntry, entry, open_model
from facekeep.runtime import RuntimeOptions
from facekeep.types import Quality

__all__ = ["FACTS", "QualityNetwork", "evidence"]

FACTS = ("sharpness", "brightness", "contrast", "mouth_covered", "eyes_covered")
"""The facts of ``Quality`` that the network is told besides."""


class QualityNetwork(Closing):
    """The network, ready to run. Threads may share one.

    Args:
        model: A name from the catalogue, or an entry.
        options: How the network is run.

    Attributes:
        entry: The model's catalogue entry.

    Raises:
        ModelNotFound: There is no such model, or its files are not here.
        ModelCorrupt: Its files are not what the catalogue says.
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
    ) -> NDArray[np.float32]:
        """Tell how much of who it is each face shows.

        Args:
            rows: Embeddings by the embedder that the network belongs to, float32 ``(n, d)`` of
                unit length; n may be 0.
            norms: How long the embedder gave them, float32 ``(n,)``.
            qualities: The facts of each face.

        Returns:
            float32 ``(n,)``, 0 (nothing) to 1 (all).

        Raises:
            InputError: The embeddings are another embedder's, or the network is closed.
            ModelError: The network gave something else.
        """
        if not len(rows):
            return np.empty(0, np.float32)
        fed = evidence(rows, norms, [[getattr(q, name) for name in FACTS] for q in qualities])
        (source, *_) = self._session.inputs
        width = (source.shape[1] or 0) - 1 - len(FACTS)
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
    rows: NDArray[np.float32], norms: NDArray[np.float32], facts: object
) -> NDArray[np.float32]:
    """Put together what a quality network is fed.

    Args:
        rows: Embeddings, float32 ``(n, d)`` of unit length.
        norms: How long they were, ``(n,)``.
        facts: The facts named by `FACTS`, ``(n, 5)``.

    Returns:
        float32 ``(n, d + 6)``.
    """
    told = np.asarray(facts, np.float32).reshape(len(rows), len(FACTS))
    return np.concatenate([rows, norms[:, None], told], axis=1, dtype=np.float32)
