"""What the worker asks of a library."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Row = NDArray[np.floating[Any]]
Search = Callable[[Row], int]


class Found(NamedTuple):
    """A face: its box as left, top, right and bottom in pixels, and its embedding."""

    box: tuple[float, float, float, float]
    row: Row


class Settings(NamedTuple):
    """What an adapter is opened with.

    Attributes:
        threads: CPU threads it may use; 0 for as many as it likes.
        home: A folder of its own, where its weights lie.
        options: What the peer's entry says, such as the name of a model.
    """

    threads: int
    home: Path
    options: Mapping[str, str]


class Recognizer:
    """A library at work. An adapter module's ``Adapter`` is one, made from ``Settings``."""

    width = 128
    """How many numbers an embedding has."""

    recipe = ""
    """What besides the library's version decides what is found in an image."""

    def native(self, image: Image) -> Any:
        """Turn an RGB image into what the library takes; not part of any time measured."""
        return image

    def faces(self, image: Any) -> list[Found]:
        """Detect, align and embed all faces of a native image."""
        raise NotImplementedError

    def aligned(self, image: Any) -> Any:
        """Cut a face out of a native image as the library's embedder takes it; not timed."""
        raise NotImplementedError

    def embed(self, crop: Any) -> Row:
        """Embed one aligned face."""
        raise NotImplementedError

    def gallery(self, rows: Row) -> Search:
        """Make templates searchable, and return what finds the nearest one's number.

        Args:
            rows: ``(n, width)`` float32 of unit length, one template a person.
        """
        return lambda probe: int((rows @ probe).argmax())


class Bgr(Recognizer):
    """A library that takes images as OpenCV gives them."""

    def native(self, image: Image) -> Image:
        """Turn the colors round."""
        return np.ascontiguousarray(image[..., ::-1])
