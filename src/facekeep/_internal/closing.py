"""What holds a file or a network, and lets go of it at the end of its ``with`` block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

__all__ = ["Closing"]


class Closing(ABC):
    """Something with ``close``, for ``with``."""

    __slots__ = ()

    @abstractmethod
    def close(self) -> None:
        """Let go; doing it twice does no harm."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
