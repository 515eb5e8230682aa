"""ncnn's form, ``.param`` and ``.bin``, made by pnnx from the ONNX file.

pnnx is Tencent's converter. Its wheel brings a program that needs no PyTorch to read ONNX.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import tempfile
from pathlib import Path

from facekeep.errors import InputError, ModelError, RuntimeUnavailable
from facekeep.exports.running import Run, outputs_of
from facekeep.models import ModelEntry, weights
from facekeep.models.files import keep, read_model
from facekeep.runtime import Session, open_session

_SIZES = (320, 256)  # of pictures, where any size will do: pnnx learns from two what is free
_TIMEOUT = 600


def convert(model: ModelEntry, target: Path) -> Run:
    """Write ``target`` (``.ncnn.param``) and its ``.ncnn.bin``; return what runs them."""
    program = _pnnx()
    if model.runtime != "onnxruntime":
        raise InputError(f"model {model.name!r} is no ONNX file, so it cannot go to ncnn")
    source = weights(model)
    session = open_session(source, threads=1)
    content = source if isinstance(source, bytes) else read_model(source)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "network.onnx"
        made.write_bytes(content)
        _call(program, made, model)
        text = made.with_suffix(".ncnn.param").read_text(encoding="utf-8")
        keep(target, mended(text, session, model.input_size).encode())
        keep(target.with_suffix(".bin"), made.with_suffix(".ncnn.bin").read_bytes())
    return outputs_of(open_session(target, runtime="ncnn", threads=1))


def mended(text: str, session: Session, size: int | None) -> str:
    """Give a ``.param`` the names of the ONNX file and the size of its pictures.

    pnnx calls the inputs ``in0``, ``in1``, ... and the outputs ``out0``, ... Of an L2 norm along
    the last axis it forgets the axis (20261020 does), the only one that such a norm has here.

    Args:
        text: The ``.param`` as pnnx wrote it.
        session: The network, opened from the ONNX file.
        size: The side of its pictures; None where any will do.
    """
    names = {f"in{place}": tensor.name for place, tensor in enumerate(session.inputs)}
    names |= {f"out{place}": tensor.name for place, tensor in enumerate(session.outputs)}
    lines = []
    for line in text.splitlines():
        words = re.split(r"( +)", line)
        words = [names.get(word, word) for word in words]
        if words[0] == "Input" and size is not None:
            words.append(f" 0={size} 1={size} 2=3")
        if words[0] == "Reduction":
            words = ["-23303=1,-1" if word == "-23303=0" else word for word in words]
        lines.append("".join(words))
    return "\n".join(lines) + "\n"


def _pnnx() -> Path:
    """Find the program of pnnx; its module is not imported, for it imports PyTorch."""
    found = importlib.util.find_spec("pnnx")
    program = Path(found.origin).parent / "pnnx" if found and found.origin else None
    if program is None or not program.is_file():
        raise RuntimeUnavailable(
            "pnnx, which converts to ncnn, is not installed;"
            " install it with: pip install 'facekeep[export]'"
        )
    return program


def _call(program: Path, source: Path, model: ModelEntry) -> None:
    shapes = [
        f"{key}=[1,3,{side},{side}]"
        for key, side in zip(("inputshape", "inputshape2"), _sides(model), strict=False)
    ]
    command = [str(program), source.name, *shapes, "fp16=0"]
    try:
        subprocess.run(
            command, cwd=source.parent, check=True, capture_output=True, timeout=_TIMEOUT
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ModelError(f"pnnx cannot convert {model.name!r} to ncnn") from error
    if not source.with_suffix(".ncnn.bin").is_file():
        raise ModelError(f"pnnx cannot convert {model.name!r} to ncnn")


def _sides(model: ModelEntry) -> tuple[int, ...]:
    return _SIZES if model.input_size is None else (model.input_size,)
