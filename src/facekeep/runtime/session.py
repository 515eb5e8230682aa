"""What a runtime promises: named inputs and outputs, and ``run``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from facekeep._files import one_line


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One input or output of a network.

    Attributes:
        name: The tensor's name in the graph.
        shape: Its dimensions; None where the network accepts any size.
        dtype: The numpy name of its element type, such as ``float32``.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str

    @property
    def channels_last(self) -> bool:
        """Whether a picture goes in as N x H x W x 3, as LiteRT has it, not as N x 3 x H x W."""
        return len(self.shape) == 4 and self.shape[3] == 3 and self.shape[1] != 3


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """Whether one device of one runtime can be asked for on this machine.

    Attributes:
        runtime: The runtime's name, as ``open_session`` takes it.
        device: The device's name, as ``open_session`` takes it.
        available: Whether a session can be opened on it.
        detail: The version at work, or what is missing and how to get it.
    """

    runtime: str
    device: str
    available: bool
    detail: str


class Session(Protocol):
    """An opened network. Threads may share one session and run it at the same time."""

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """The tensors that ``run`` must be fed, in the network's order."""
        ...

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """The tensors that ``run`` returns, in this order."""
        ...

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Run the network once.

        Args:
            feeds: One array for each input, by name.

        Returns:
            One array for each of ``outputs``.

        Raises:
            InputError: A feed is missing, or of a shape or dtype that the network refuses, or the
                session is closed.
            ModelError: The runtime failed on good input.
        """
        ...

    def close(self) -> None:
        """Let go of the network's memory; closing twice is fine."""
        ...


def short(error: Exception) -> str:
    """Return a runtime's message as one line of bearable length."""
    text = one_line(error)
    return text if len(text) <= 200 else text[:199] + "…"
