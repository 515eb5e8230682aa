"""Core ML's form, an ``.mlpackage``, for macOS and iOS. Only macOS can run it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from facekeep.lab.export.torch_program import program
from facekeep.models import ModelEntry
from facekeep.runtime.session import imported

BY: Final = "coremltools"


def convert(model: ModelEntry, target: Path) -> None:
    """Write ``target``: takes ``image``, 1 x 3 x S x S, gives ``embedding``; for iOS 16 and on."""
    coremltools: Any = imported("coremltools", BY, "export")
    made = coremltools.convert(
        program(model).run_decompositions({}),
        outputs=[coremltools.TensorType(name="embedding")],
        convert_to="mlprogram",
        compute_precision=coremltools.precision.FLOAT32,
        minimum_deployment_target=coremltools.target.iOS16,
    )
    made.save(str(target))
