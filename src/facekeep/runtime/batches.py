"""Networks that take one number of pictures a run and no other, behind the ``Session`` protocol."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facekeep.errors import ModelError
from facekeep.runtime.session import Opened, Session, TensorInfo, check_feeds

__all__ = ["InBatches"]


class InBatches(Opened):
    """A network with a fixed batch that takes any number of pictures; see ``Session``.

    They are run in batches; the last one is filled up with its last picture.

    Args:
        session: The network.
        batch: How many pictures each of its runs takes.
    """

    def __init__(self, session: Session, batch: int) -> None:
        super().__init__(_free(session.inputs), _free(session.outputs))
        self._session = session
        self._batch = batch

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Run the network as often as the pictures need; see ``Session.run``."""
        check_feeds(feeds, self._inputs)
        count = min(len(value) for value in feeds.values())
        parts = [
            self._run_some(
                {name: value[start : start + self._batch] for name, value in feeds.items()}
            )
            for start in range(0, count, self._batch)
        ]
        return [np.concatenate(each) for each in zip(*parts, strict=True)]

    def close(self) -> None:
        """Let go of the network."""
        self._session.close()

    def _run_some(self, feeds: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        count = min(len(value) for value in feeds.values())
        filled = {
            name: np.concatenate([value, np.repeat(value[-1:], self._batch - len(value), axis=0)])
            for name, value in feeds.items()
        }
        results = self._session.run(filled)
        for value in results:
            if value.ndim == 0 or len(value) != self._batch:
                raise ModelError(f"the network gives {value.shape} for {self._batch} pictures")
        return [value[:count] for value in results]


def _free(tensors: tuple[TensorInfo, ...]) -> tuple[TensorInfo, ...]:
    """Return tensors whose first axis takes any size."""
    return tuple(dataclasses.replace(each, shape=(None, *each.shape[1:])) for each in tensors)
