"""Running what was exported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facekeep.runtime import Session

Run = Callable[[NDArray[np.float32]], dict[str, NDArray[Any]]]
"""Takes pictures, float32 N x 3 x S x S, and returns the outputs by name."""


def outputs_of(session: Session) -> Run:
    """Run a session on its one input."""

    def run(pictures: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        results = session.run({session.inputs[0].name: pictures})
        names = [tensor.name for tensor in session.outputs]
        return dict(zip(names, results, strict=True))

    return run
