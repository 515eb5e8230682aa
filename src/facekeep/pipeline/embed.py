"""Turn aligned crops into unit vectors whose cosine says how alike two faces are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.closing import Closing
from facekeep.errors import InputError, ModelError
from facekeep.models import ModelEntry, default_model, entry, open_model, space_id
from facekeep.runtime import RuntimeOptions

__all__ = ["Embedder"]

# Crops that go through a small network at once: what more of them compute no longer fits the
# processor's caches (benchmarks/embed_batch.py).
_BATCH = 4
_LONGEST = 1e6  # vectors beyond count as so long


class Embedder(Closing):
    """An embedding network, ready to run. Threads may share one.

    Args:
        model: A name from the catalog, an entry, or None for the default embedder.
        flip: Average each embedding with that of the mirrored crop: twice the time, a little more
            accuracy, the same space.
        options: How the network is run.

    Attributes:
        entry: The model's catalog entry.
        size: The side of the square crops it takes, in pixels.
        width: How many numbers one embedding has.

    Raises:
        ModelNotFound: There is no such model, or its files are not here.
        ModelCorrupt: Its files are not what the catalog says.
        ModelError: It is not an embedder.
        InputError: The runtime cannot run its file.
        RuntimeUnavailable: The runtime, device or precision does not work here.
    """

    def __init__(
        self,
        model: str | ModelEntry | None = None,
        *,
        flip: bool = False,
        options: RuntimeOptions = RuntimeOptions(),  # noqa: B008 - frozen
    ) -> None:
        chosen = model if isinstance(model, ModelEntry) else entry(model or default_model("embed"))
        if chosen.task != "embed":
            raise ModelError(f"{chosen.name} is a model to {chosen.verb}, not to embed, faces")
        if chosen.input_size is None or chosen.width is None:
            raise ModelError(f"the catalog entry of {chosen.name} lacks input_size or width")
        self.entry = chosen
        self.size = chosen.input_size
        self.width = chosen.width
        self.flip = flip
        self._session = open_model(chosen, options)
        self._batch = chosen.batch or min(chosen.max_batch or _BATCH, _BATCH)

    @property
    def name(self) -> str:
        """The model's name."""
        return self.entry.name

    @property
    def thresholds(self) -> tuple[tuple[float, float], ...]:
        """Pairs of a false-match rate and its cosine."""
        return self.entry.thresholds

    @property
    def comparisons(self) -> int:
        """How many non-mated comparisons are behind the thresholds."""
        return self.entry.comparisons

    @property
    def space(self) -> str:
        """The digest of weights and preprocessing: only embeddings of one space compare."""
        return space_id(self.entry)

    def embed(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed aligned crops.

        Args:
            crops: uint8 ``(n, size, size, 3)`` RGB, aligned as by ``align``; n may be 0.

        Returns:
            float32 ``(n, width)``, each row of unit length.

        Raises:
            InputError: The crops have another shape or dtype, or the embedder is closed.
            ModelError: The network gave something that is not an embedding.
        """
        return self.embed_and_measure(crops)[0]

    def embed_and_measure(
        self, crops: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Embed aligned crops, and tell how long the network gave the rows.

        Args:
            crops: As for ``embed``.

        Returns:
            The rows of ``embed``, and float32 ``(n,)``: with ``flip`` the mean of both lengths.

        Raises:
            InputError: As ``embed``.
            ModelError: As ``embed``.
        """
        crops = self._checked(crops)
        rows = self._forward(crops)
        norms = _lengths(rows)
        if self.flip:
            mirrored = self._forward(crops[:, :, ::-1])
            norms = (norms + _lengths(mirrored)) / 2
            rows = _unit(rows) + _unit(mirrored)
        return _unit(rows), norms.clip(max=_LONGEST).astype(np.float32)

    def features(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed aligned crops, leaving the rows as long as the network gives them.

        The length tells how clearly a network sees a face; templates of many images are pooled by
        it (IJB-B, IJB-C). With ``flip`` the rows of a crop and of its mirror image are added.

        Args:
            crops: As for ``embed``.

        Returns:
            float32 ``(n, width)``.

        Raises:
            InputError: As ``embed``.
            ModelError: As ``embed``.
        """
        crops = self._checked(crops)
        rows = self._forward(crops)
        return rows + self._forward(crops[:, :, ::-1]) if self.flip else rows

    def close(self) -> None:
        """Let go of the network."""
        self._session.close()

    def _checked(self, crops: object) -> NDArray[np.uint8]:
        expected = f"expected uint8 crops of shape (n, {self.size}, {self.size}, 3)"
        try:
            array = np.asarray(crops)
        except ValueError as error:
            raise InputError(f"{expected}, got crops of several shapes") from error
        shape = array.shape[1:] if array.ndim == 4 else None
        if shape != (self.size, self.size, 3) or array.dtype != np.uint8:
            raise InputError(f"{expected}, got {array.dtype} {array.shape}")
        return array

    def _forward(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        rows = np.empty((len(crops), self.width), np.float32)
        for start in range(0, len(crops), self._batch):
            part = slice(start, start + self._batch)
            feeds = {self._session.inputs[0].name: self.tensor(crops[part])}
            (output, *_) = self._session.run(feeds)
            if output.size != rows[part].size:
                raise ModelError(
                    f"{self.entry.name} gave {output.shape} for {len(rows[part])} crops, "
                    f"not {self.width} numbers each"
                )
            rows[part] = output.reshape(-1, self.width)
        return rows

    def tensor(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return crops as the network is fed them: float32, normalized as the catalog says.

        Args:
            crops: As for ``embed``.
        """
        if self.entry.color == "bgr":
            crops = crops[..., ::-1]
        last = self._session.inputs[0].channels_last
        channels = (3,) if last else (3, 1, 1)
        tensor = np.ascontiguousarray(crops if last else crops.transpose(0, 3, 1, 2), np.float32)
        if any(self.entry.mean):
            tensor -= np.array(self.entry.mean, np.float32).reshape(channels)
        if self.entry.scale != (1.0, 1.0, 1.0):
            tensor *= np.array(self.entry.scale, np.float32).reshape(channels)
        return tensor


def _lengths(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(np.linalg.norm(rows.astype(np.float64), axis=1), np.float64)


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = _lengths(rows)[:, None]
    if not (np.isfinite(norms).all() and (norms > 0).all()):
        raise ModelError("the network gave a vector without direction; its weights are unusable")
    return np.asarray(rows / norms, np.float32)
