"""ncnn, Tencent's runtime for small boards and phones, behind the ``Session`` protocol: optional.

A network of ncnn's is two files: ``NAME.param``, the layers as text, and ``NAME.bin``, the weights.
ncnn knows no batches: the pictures of one go through it one after another.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facekeep.errors import (
    InputError,
    ModelCorrupt,
    ModelError,
    ModelNotFound,
    RuntimeUnavailable,
)
from facekeep.runtime.options import RuntimeOptions
from facekeep.runtime.quiet import quiet
from facekeep.runtime.session import (
    DeviceStatus,
    Opened,
    TensorInfo,
    check_feeds,
    content_of,
    imported,
    name_of,
    require_cpu,
)

_MAGIC = "7767517"  # the first line of every .param
_AXES = ("2", "1", "0")  # an Input's channels, height and width among its parameters
_CHATTER = (  # of why a file cannot be opened, which an error of ours says
    b"ModelBin ",
    b"ParamDict ",
    b"create overwritten layer ",
    b"fopen ",
    b"invalid ",
    b"layer ",
    b"param is too old",
    b"parse ",
    b"too many blobs ",
)
_HALVES = ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic")


class NcnnSession(Opened):
    """A network opened by ncnn; see ``Session`` for what it promises.

    The file does not say what shapes come out, so those of the outputs are empty.
    """

    def __init__(self, network: Any, inputs: tuple[TensorInfo, ...]) -> None:
        names = network.output_names()
        super().__init__(inputs, tuple(TensorInfo(name, (), "float32") for name in names))
        self._network = network

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Run the network once; see ``Session.run``."""
        network = self._network
        if network is None:
            raise InputError("this session is closed; open a new one")
        check_feeds(feeds, self._inputs)
        _require_one_batch(feeds)
        rows = [
            self._run_one(network, [np.ascontiguousarray(each) for each in pictures])
            for pictures in zip(*(feeds[tensor.name] for tensor in self._inputs), strict=True)
        ]
        return [np.stack(each) for each in zip(*rows, strict=True)]

    def close(self) -> None:
        """Let go of the network; a run under way in another thread still ends well."""
        self._network = None

    def _run_one(self, network: Any, pictures: list[NDArray[Any]]) -> list[NDArray[Any]]:
        ncnn = _ncnn()
        results = []
        with network.create_extractor() as extractor:
            for tensor, picture in zip(self._inputs, pictures, strict=True):
                # A copy: a layer that works in place crashes on memory that is not ncnn's own.
                extractor.input(tensor.name, ncnn.Mat(picture).clone())
            for tensor in self._outputs:
                status, result = extractor.extract(tensor.name)
                if status != 0:
                    raise ModelError(f"the network failed to run: ncnn's status is {status}")
                results.append(np.array(result))
        return results


def open_ncnn(model: Path | bytes, options: RuntimeOptions) -> NcnnSession:
    """Open a ``.param`` with its ``.bin`` beside it; the rest is as for ``open_session``."""
    ncnn = _ncnn()
    require_cpu("ncnn", options.device)
    if not isinstance(model, Path):
        raise InputError("a network of ncnn's is two files; give the path of its .param")
    try:
        text = content_of(model).decode()
    except UnicodeDecodeError as error:
        raise ModelCorrupt(
            f"ncnn cannot open {model.name}: it is no text, or has names that are not UTF-8"
        ) from error
    inputs = _inputs(text, model)
    weights = model.with_suffix(".bin")
    if not weights.is_file():
        raise ModelNotFound(f"no model file at {weights}: it belongs to {model.name}")
    network = ncnn.Net()
    _set(ncnn, network.opt, options)
    with quiet(*_CHATTER):
        opened = network.load_param(str(model)) == 0 and network.load_model(str(weights)) == 0
    if not opened:
        raise ModelCorrupt(f"ncnn cannot open {name_of(model)}: it or its .bin is damaged")
    return NcnnSession(network, inputs)


def device_statuses() -> list[DeviceStatus]:
    """Report the one device that ncnn has here.

    Raises:
        RuntimeUnavailable: ncnn is not installed.
    """
    detail = f"ncnn {_ncnn().__version__}"
    return [DeviceStatus("ncnn", "cpu", available=True, detail=detail)]


def _ncnn() -> ModuleType:
    return imported("ncnn", "ncnn", "ncnn")


def _require_one_batch(feeds: Mapping[str, NDArray[Any]]) -> None:
    """Refuse inputs that are not of the same pictures.

    Raises:
        InputError: One has more than another.
    """
    if len({len(value) for value in feeds.values()}) > 1:
        counts = ", ".join(f"{name} has {len(value)}" for name, value in feeds.items())
        raise InputError(f"the network refuses its input: each must be of one batch, but {counts}")


def _set(ncnn: ModuleType, target: Any, options: RuntimeOptions) -> None:
    """Set what the network computes in, and the threads, before it is loaded.

    Raises:
        RuntimeUnavailable: The processor does not have the precision.
    """
    halves = options.precision == "float16"
    if halves and not ncnn.cpu_support_arm_asimdhp():
        raise RuntimeUnavailable(
            "ncnn computes in float16 on ARMv8.2 processors only; ask for another precision",
            "precision",
        )
    for name in _HALVES:
        setattr(target, name, halves)
    target.use_bf16_storage = options.precision == "bfloat16"
    target.num_threads = options.threads


def _inputs(text: str, path: Path) -> tuple[TensorInfo, ...]:
    """Read the inputs from a ``.param``; before ncnn does, which trusts what it reads."""
    lines = [line.split() for line in text.splitlines()]
    found = [words for words in lines if len(words) > 4 and words[0] == "Input"]
    counts = lines[1] if len(lines) > 1 else []
    whole = len(counts) == 2 and counts[0] == str(len([words for words in lines[2:] if words]))
    if lines[:1] != [[_MAGIC]] or not whole or not found:
        raise ModelCorrupt(f"ncnn cannot open {path.name}: it is no whole .param of ncnn's")
    return tuple(_input(words) for words in found)


def _input(words: list[str]) -> TensorInfo:
    """Read ``Input NAME 0 1 BLOB 0=width 1=height 2=channels``; a size not given is free."""
    sizes: dict[str, int] = {}
    for word in words[5:]:
        key, _, value = word.partition("=")
        with contextlib.suppress(ValueError):
            sizes[key] = int(value)
    shape = (None, *(sizes.get(axis) or None for axis in _AXES))
    return TensorInfo(words[4], shape, "float32")
