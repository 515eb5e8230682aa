"""A ``.tflite`` file for LiteRT, made by litert-torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from facekeep.lab.export.running import Run
from facekeep.lab.export.torch_program import network
from facekeep.models import ModelEntry
from facekeep.runtime import RuntimeOptions, open_session
from facekeep.runtime.session import imported

BY: Final = "litert-torch"


def convert(model: ModelEntry, target: Path) -> Run:
    """Write ``target``, which takes one picture a run, 1 x 3 x S x S; return what runs it."""
    litert_torch: Any = imported("litert_torch", BY, "export")
    made, example = network(model)
    litert_torch.convert(made, (example,)).export(str(target))
    session = open_session(target, options=RuntimeOptions(runtime="litert", threads=1))

    def run(pictures: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        name = session.inputs[0].name
        return {
            "embedding": np.concatenate([session.run({name: each[None]})[0] for each in pictures])
        }

    return run
