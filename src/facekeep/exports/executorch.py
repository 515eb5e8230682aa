"""ExecuTorch's form, a ``.pte``, for phones and boards: PyTorch's runtime, here with XNNPACK."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from facekeep.exports.running import Run
from facekeep.exports.torch_program import missing, program
from facekeep.models import ModelEntry
from facekeep.models.files import keep

BY: Final = "ExecuTorch"


def convert(model: ModelEntry, target: Path) -> Run:
    """Write ``target``, which takes one picture a run; return what runs it."""
    try:
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower
        from executorch.runtime import Runtime
    except ImportError as error:
        raise missing(BY, error) from error
    lowered = to_edge_transform_and_lower(program(model), partitioner=[XnnpackPartitioner()])
    keep(target, lowered.to_executorch().buffer)
    method = Runtime.get().load_program(target).load_method("forward")

    def run(pictures: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        import torch

        rows = [method.execute([torch.from_numpy(each[None])])[0].numpy() for each in pictures]
        return {"embedding": np.concatenate(rows)}

    return run
