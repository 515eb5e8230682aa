"""Whether pictures come from a camera as they happen: not frozen, not in a loop, in their order."""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["StreamCheck"]

_ROWS, _COLUMNS = 24, 32  # cells of a picture that are compared
_SAMPLES: Final = 4  # a side, in each cell

# Gray levels by which the most different cell may differ. A camera's noise alone makes more.
_SAME: Final = 0.5
_ALIKE: Final = 1.5

_FROZEN_AFTER: Final = 2.0  # seconds without any change
_LOOP_AFTER: Final = 0.5  # seconds after which a picture cannot come again
_LOOP_FRAMES: Final = 8  # that come again in their order
_MOTION: Final = (
    3.0  # gray levels from picture to picture in a loop; less is somebody who sits still
)
_KEPT: Final = 1800  # pictures


class StreamCheck:
    """Looks at each picture of a stream for signs that it is no live one.

    A camera never gives the same picture twice: its noise and the smallest motion differ. A stopped
    stream does, and so does a recording that is played again and again.
    """

    def __init__(self) -> None:
        self._position: float | None = None
        self._still: tuple[float, NDArray[np.float32]] | None = None
        self._count = 0  # of the pictures before
        self._times = np.full(_KEPT, np.inf)
        self._seen = np.empty((_KEPT, _ROWS * _COLUMNS), np.float32)
        self._means = np.zeros(_KEPT, np.float32)
        self._runs: dict[int, int] = {}  # how many pictures in a row came again so many later
        self._motion: deque[float] = deque(maxlen=_LOOP_FRAMES)

    def update(self, image: NDArray[np.uint8], position: float) -> str | None:
        """Take the next picture.

        Args:
            image: uint8 ``(H, W, 3)`` RGB, the whole picture.
            position: When it was taken, in seconds.

        Returns:
            What is wrong with the stream: ``time_stamps`` that do not rise, ``frozen`` for two
            seconds, or ``looped``; None where nothing is.
        """
        if self._position is not None and not position > self._position:
            return "time_stamps"
        self._position = position
        cells = _cells_of(image)
        frozen = self._is_frozen(cells, position)
        looped = self._is_looped(cells, position)
        return "frozen" if frozen else "looped" if looped else None

    def _is_frozen(self, cells: NDArray[np.float32], position: float) -> bool:
        if self._still is None or _apart(cells, self._still[1]) > _SAME:
            self._still = (position, cells)
        return position - self._still[0] >= _FROZEN_AFTER

    def _is_looped(self, cells: NDArray[np.float32], position: float) -> bool:
        now, before = self._count % _KEPT, (self._count - 1) % _KEPT
        if self._count:
            self._motion.append(_apart(cells, self._seen[before]))
        near = np.abs(self._means - cells.mean()) <= _ALIKE  # few need to be compared in full
        places = np.flatnonzero((self._times <= position - _LOOP_AFTER) & near)
        apart = np.abs(self._seen[places] - cells).max(axis=1)
        later = (now - places[apart <= _ALIKE]) % _KEPT
        self._runs = {each: self._runs.get(each, 0) + 1 for each in later.tolist()}
        self._times[now], self._seen[now], self._means[now] = position, cells, cells.mean()
        self._count += 1
        moving = bool(self._motion) and float(np.mean(self._motion)) >= _MOTION
        return moving and max(self._runs.values(), default=0) >= _LOOP_FRAMES


def _apart(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(np.abs(one - other).max())


def _cells_of(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the mean gray of some pixels of each cell of a picture, ``(768,)``."""
    height, width = image.shape[:2]
    rows = (np.arange(_ROWS * _SAMPLES) * height) // (_ROWS * _SAMPLES)
    columns = (np.arange(_COLUMNS * _SAMPLES) * width) // (_COLUMNS * _SAMPLES)
    green = image[rows[:, None], columns, 1].astype(np.float32)
    return np.asarray(green.reshape(_ROWS, _SAMPLES, _COLUMNS, _SAMPLES).mean(axis=(1, 3)).ravel())
