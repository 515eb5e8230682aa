"""Tell how much of who it is a face still shows, by a small network that looks at its aligned crop.

Faces of which little is left all look alike to an embedder: two strangers, blurred alike, match
hundreds of times more often than the stated false-match rate says. The facts of
``facekeep.quality`` tell some of these faces, the network tells the others; where the limit is, and
what it holds on: docs/quality.md.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facekeep._closing import Closing
from facekeep.errors import InputError, ModelError
from facekeep.models import ModelEntry, default_model, entry, open_model

__all__ = ["Judge"]

_BATCH = 16  # crops in a run; bounds the memory of photos of crowds


class Judge(Closing):
    """The network, ready to run. Threads may share one.

    Args:
        model: A name from the catalogue, an entry, or None for the default.
        threads: CPU threads of one run; 0 for all cores.
        device: Where to run; see ``facekeep.runtime.open_session``.
        precision: What to compute in; see ``facekeep.runtime.open_session``.

    Attributes:
        entry: The model's catalogue entry.
        size: The side of the square crops it takes, in pixels.

    Raises:
        ModelNotFound: There is no such model, or its files are not here.
        ModelCorrupt: Its files are not what the catalogue says.
        ModelError: It is made for something else.
        RuntimeUnavailable: The device or precision does not work here.
    """

    def __init__(
        self,
        model: str | ModelEntry | None = None,
        *,
        threads: int = 0,
        device: str = "cpu",
        precision: str = "float32",
    ) -> None:
        chosen = model if isinstance(model, ModelEntry) else entry(model or default_model("judge"))
        if chosen.task != "judge" or chosen.input_size is None:
            raise ModelError(f"{chosen.name} is a model to {chosen.task}, not to judge, faces")
        self.entry = chosen
        self.size = chosen.input_size
        self._session = open_model(chosen, device=device, precision=precision, threads=threads)

    def clarity(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Tell how much of who it is each face shows.

        Args:
            crops: uint8 ``(n, s, s, 3)`` RGB, aligned as by ``align``, of any side; n may be 0.

        Returns:
            float32 ``(n,)``, 0 (nothing) to 1 (all).

        Raises:
            InputError: The crops have another shape or dtype, or the network is closed.
            ModelError: The network gave something else.
        """
        crops = np.asarray(crops)
        if crops.ndim != 4 or crops.shape[3] != 3 or crops.dtype != np.uint8:
            raise InputError(f"expected uint8 crops (n, s, s, 3), got {crops.dtype} {crops.shape}")
        found = np.empty(len(crops), np.float32)
        for start in range(0, len(crops), _BATCH):
            part = slice(start, start + _BATCH)
            feeds = {self._session.inputs[0].name: self._fed(crops[part])}
            (output, *_) = self._session.run(feeds)
            if output.size != len(found[part]) or not np.isfinite(output).all():
                raise ModelError(f"{self.entry.name} gave no clarity; its weights are unusable")
            found[part] = output.reshape(-1)
        return np.clip(found, 0, 1)

    def close(self) -> None:
        """Let go of the network."""
        self._session.close()

    def _fed(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Bring crops to the network's size and normalise them as the catalogue says."""
        import cv2

        if crops.shape[1:3] != (self.size, self.size):
            side = (self.size, self.size)
            shrunk = [cv2.resize(crop, side, interpolation=cv2.INTER_AREA) for crop in crops]
            crops = np.stack(shrunk).astype(np.uint8)
        order = ["rgb".index(colour) for colour in self.entry.colour]
        mean, scale = (
            np.array(each, np.float32).reshape(3, 1, 1)
            for each in (self.entry.mean, self.entry.scale)
        )
        return (crops.transpose(0, 3, 1, 2)[:, order].astype(np.float32) - mean) * scale
