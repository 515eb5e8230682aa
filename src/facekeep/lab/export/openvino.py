"""OpenVINO's own form, ``.xml`` and ``.bin``, for programs that read no ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from facekeep.errors import InputError
from facekeep.lab.export.running import Run, outputs_of
from facekeep.models import ModelEntry, weights
from facekeep.runtime import RuntimeOptions, open_session
from facekeep.runtime.openvino import import_openvino, read_openvino

BY: Final = "OpenVINO"


def convert(model: ModelEntry, target: Path) -> Run:
    """Write ``target`` (``.xml``) and its ``.bin``; return what runs them."""
    openvino = import_openvino()
    if model.runtime != "onnxruntime":
        raise InputError(f"model {model.name!r} is no ONNX file, so it cannot go to openvino")
    network = read_openvino(openvino.Core(), weights(model))
    openvino.save_model(network, target, compress_to_fp16=False)
    return outputs_of(open_session(target, options=RuntimeOptions(runtime="openvino", threads=1)))
