"""ExecuTorch's form, a ``.pte``, for phones and boards: PyTorch's runtime, here with XNNPACK."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from facekeep.lab.export.running import Run
from facekeep.lab.export.torch_program import program
from facekeep.models import ModelEntry
from facekeep.models.files import keep
from facekeep.runtime.session import imported

BY: Final = "ExecuTorch"


def convert(model: ModelEntry, target: Path) -> Run:
    """Write ``target``, which takes one picture a run; return what runs it."""
    xnnpack = _part("backends.xnnpack.partition.xnnpack_partitioner")
    exir, runtime = _part("exir"), _part("runtime")
    lowered = exir.to_edge_transform_and_lower(
        program(model), partitioner=[xnnpack.XnnpackPartitioner()]
    )
    keep(target, lowered.to_executorch().buffer)
    method = runtime.Runtime.get().load_program(target).load_method("forward")

    def run(pictures: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        import torch

        rows = [method.execute([torch.from_numpy(each[None])])[0].numpy() for each in pictures]
        return {"embedding": np.concatenate(rows)}

    return run


def _part(name: str) -> Any:
    return imported(f"executorch.{name}", BY, "export")
