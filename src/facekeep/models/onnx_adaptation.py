"""ONNX networks in other forms than facekeep runs: brought into it where their meaning is clear.

What comes out is one file that takes float32 faces, N x 3 x S x S or N x S x S x 3, and gives one
embedding each. A network that is so already stays as it is, byte for byte.
"""

from __future__ import annotations

import importlib.util
import os
import stat
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.files import open_regular, printable, why
from facekeep.errors import (
    FacekeepError,
    InputError,
    ModelCorrupt,
    ModelError,
    ModelNotFound,
    RuntimeUnavailable,
)
from facekeep.models.embedder_form import as_rows, probe_embedder
from facekeep.models.files import keep, read_model
from facekeep.runtime import RuntimeOptions, open_session

__all__ = ["adapt"]

_LARGEST = 2**31 - 1  # bytes of a protobuf message
_SIDE = 112  # where the network leaves height and width open
_TALL, _NARROW = 112, 96  # the faces of older networks: the middle columns of those of 112 x 112
_INSIDE = "facekeep_inside"
_NO = "this network is no face embedder"


def adapt(source: str, target: str, output: str | None = None) -> dict[str, Any]:
    """Bring an ONNX network into the form that facekeep runs, and run it once.

    Args:
        source: Its file; data outside it must lie in the same folder.
        target: The file to write where something is changed.
        output: The name of the output that is the embedding; None where there is but one.

    Returns:
        ``form``, as `probe.Form` has it; ``changed``, whether the target was written; ``notes``,
        what was changed, in words.

    Raises:
        ModelCorrupt: It is not a network that can be run, or its data are cut short.
        ModelNotFound: Its data are not beside it.
        ModelError: It is no face embedder, or of a form whose meaning is not clear.
        InputError: There is no such output.
        RuntimeUnavailable: It must be changed, and onnx is not installed.
    """
    content = read_model(source)
    if importlib.util.find_spec("onnx") is None:
        return _run_unchanged(content, output)
    model = _parsed(content)
    notes = [
        *_inlined(model, Path(source).parent),
        *_fed_as_float(model.graph),
        *_cut_to_width(model),
        *_giving_floats(model.graph),
    ]
    notes += _one_output(model, output)
    if notes:
        content = _content(model)
    free = _with_free_batch(model, content)
    if free is not None:
        content = free
        notes.append("it takes any number of faces at once")
    form = probe_embedder(content)
    if notes:
        keep(Path(target), content)
    return {"form": asdict(form), "changed": bool(notes), "notes": "; ".join(notes)}


def _run_unchanged(content: bytes, output: str | None) -> dict[str, Any]:
    """Do for a network that needs no change what `adapt` does."""
    reason = "one of its outputs is to be chosen"
    try:
        session = open_session(content, options=RuntimeOptions(threads=1))
        names = [each.name for each in session.outputs]
        session.close()
        if names == [output or names[0]]:
            return {"form": asdict(probe_embedder(content)), "changed": False, "notes": ""}
    except FacekeepError as error:
        reason = str(error)
    raise RuntimeUnavailable(
        f"this network must be changed before it can be run ({reason}), which needs onnx;"
        " install it with: pip install 'facekeep[import]'"
    )


def _parsed(content: bytes) -> Any:
    import onnx

    try:
        model = onnx.load_model_from_string(content)
        for graph in _graphs(model.graph):
            for value in (*graph.input, *graph.output, *graph.initializer):
                str(value.name).encode()
    except UnicodeError as error:
        raise ModelCorrupt("its names are not UTF-8; export it again") from error
    except Exception as error:
        raise ModelCorrupt("it is no ONNX file") from error
    if not model.graph.node:
        raise ModelCorrupt("it holds no network")
    return model


def _content(model: Any) -> bytes:
    if model.ByteSize() > _LARGEST:
        raise ModelError("with its data it has more than 2 GB, and facekeep keeps one file")
    content: bytes = model.SerializeToString(deterministic=True)
    return content


# ---- data outside the file -----------------------------------------------------------------------


def _inlined(model: Any, folder: Path) -> Iterator[str]:
    """Take what lies outside the file into it."""
    import onnx

    files: dict[str, bytes] = {}
    for tensor in _tensors(model):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        facts = {each.key: each.value for each in tensor.external_data}
        location = facts.get("location", "")
        if location not in files:
            files[location] = _outside(folder, location)
        data = files[location]
        try:
            start = int(facts.get("offset", 0))
            size = int(facts.get("length", len(data) - start))
        except ValueError as error:
            raise ModelCorrupt(
                "it says in no number where its data lie; export it again"
            ) from error
        if start < 0 or size < 0 or start + size > len(data):
            raise ModelCorrupt(f"{printable(location)} is shorter than it says; copy both again")
        tensor.raw_data = data[start : start + size]
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
    if files:
        yield "its data were taken into the file"


def _outside(folder: Path, location: str) -> bytes:
    """Read a file of data: a plain one in the folder of the network or below it, by no link."""
    parts = PurePosixPath(location).parts
    shown = printable(location)
    if not parts or ".." in parts or location.startswith("/") or "\\" in location:
        raise ModelError(f"its data lie outside its folder ({shown}); export it as one file")
    path = folder
    try:
        for part in parts:
            path /= part
            if stat.S_ISLNK(os.lstat(path).st_mode):
                raise ModelError(f"its data are a link ({shown}); put the file itself there")
        with open_regular(path) as stream:
            if os.fstat(stream.fileno()).st_size > _LARGEST:
                raise ModelError(f"{shown} has more than 2 GB, and facekeep keeps one file")
            return stream.read()
    except FileNotFoundError as error:
        raise ModelNotFound(
            f"the data of this network are not here; put {shown} beside it, or export it as one"
            " file (torch.onnx.export(..., external_data=False))"
        ) from error
    except (OSError, ValueError) as error:
        raise ModelError(f"its data in {shown} cannot be read: {why(error)}") from error


def _tensors(model: Any) -> Iterator[Any]:
    for graph in _graphs(model.graph):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
        yield from _attached(graph.node)
    for function in model.functions:
        yield from _attached(function.node)


def _attached(nodes: Any) -> Iterator[Any]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _graphs(graph: Any) -> Iterator[Any]:
    """Yield a graph and those inside its nodes."""
    waiting = [graph]
    while waiting:
        each = waiting.pop()
        yield each
        for node in each.node:
            for attribute in node.attribute:
                waiting += [attribute.g] if attribute.HasField("g") else []
                waiting += attribute.graphs


# ---- input and outputs ---------------------------------------------------------------------------


def _input(graph: Any) -> Any:
    """Return the one input that is no constant."""
    constants = {each.name for each in graph.initializer}
    inputs = [each for each in graph.input if each.name not in constants]
    if len(inputs) != 1:
        raise ModelError(f"{_NO}: it takes {len(inputs)} inputs, not one")
    return inputs[0]


def _sizes(value: Any) -> list[int | None]:
    return [each.dim_value or None for each in value.type.tensor_type.shape.dim]


def _put_first(graph: Any, *nodes: Any) -> None:
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *rest])


def _fed_as_float(graph: Any) -> Iterator[str]:
    """Let a network of other floating numbers be fed float32."""
    from onnx import TensorProto, helper

    value = _input(graph)
    kind = value.type.tensor_type.elem_type
    if kind not in (TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16):
        return
    inside, name = value.name, f"{_INSIDE}_float"
    value.name = name
    value.type.tensor_type.elem_type = TensorProto.FLOAT
    _put_first(graph, helper.make_node("Cast", [name], [inside], to=kind))
    yield f"it is fed float32, which it turns into {TensorProto.DataType.Name(kind).lower()}"


def _cut_to_width(model: Any) -> Iterator[str]:
    """Let a network for faces of 112 x 96 take those of 112 x 112, of which they are the middle."""
    from onnx import helper, numpy_helper

    graph = model.graph
    value = _input(graph)
    sizes = _sizes(value)
    axis = next((at for at in (3, 2) if sizes[at - 1 : at + 1] == [_TALL, _NARROW]), None)
    if len(sizes) != 4 or axis is None:
        return
    inside, name = value.name, f"{_INSIDE}_square"
    begin = (_TALL - _NARROW) // 2
    bounds: dict[str, Any] = {"starts": [begin], "ends": [begin + _NARROW], "axes": [axis]}
    version = max(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
    if version < 10:
        node = helper.make_node("Slice", [name], [inside], **bounds)
    else:
        names = [f"{name}_{each}" for each in bounds]
        graph.initializer.extend(
            numpy_helper.from_array(np.array(numbers, np.int64), each)
            for each, numbers in zip(names, bounds.values(), strict=True)
        )
        node = helper.make_node("Slice", [name, *names], [inside])
    value.name = name
    value.type.tensor_type.shape.dim[axis].dim_value = _TALL
    _put_first(graph, node)
    yield f"it looks at the middle {_NARROW} columns of the aligned face"


def _giving_floats(graph: Any) -> Iterator[str]:
    """Let outputs of other floating numbers be float32."""
    from onnx import TensorProto, helper

    for value in graph.output:
        kind = value.type.tensor_type.elem_type
        if kind in (TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16):
            inside = value.name
            value.name = f"{inside}_float32"
            value.type.tensor_type.elem_type = TensorProto.FLOAT
            graph.node.append(
                helper.make_node("Cast", [inside], [value.name], to=TensorProto.FLOAT)
            )
            yield f"its output {printable(inside)} is turned into float32"


def _one_output(model: Any, wanted: str | None) -> Iterator[str]:
    """Leave the embedding alone among the outputs."""
    outputs = list(model.graph.output)
    names = [each.name for each in outputs]
    if wanted is not None and not {wanted, f"{wanted}_float32"} & set(names):
        raise InputError(f"it has no output {printable(wanted)}; it has {_listed(names)}")
    if len(outputs) == 1:
        return
    if wanted is not None:
        chosen = next(each for each in names if each in (wanted, f"{wanted}_float32"))
    else:
        chosen = _embedding(model)
    del model.graph.output[:]
    model.graph.output.extend(each for each in outputs if each.name == chosen)
    yield f"of its outputs {printable(chosen)} is the embedding"


def _embedding(model: Any) -> str:
    """Tell which output is one row of numbers a face, if only one is."""
    found = {name: value.shape for name, value in _run(_content(model)).items() if _is_rows(value)}
    if not found:
        raise ModelError(f"{_NO}: none of its outputs is N x width")
    if len(found) > 1:
        shown = _listed(
            [f"{name} ({' x '.join(map(str, shape))})" for name, shape in found.items()]
        )
        raise ModelError(f"several outputs could be the embedding: {shown}; name it", "output")
    return next(iter(found))


def _run(content: bytes) -> dict[str, NDArray[Any]]:
    """Run a network on noise, in a batch that tells faces from other axes."""
    session = open_session(content, options=RuntimeOptions(threads=1))
    try:
        (entry,) = session.inputs
        defaults = (2, 3, _SIDE, _SIDE)
        shape = [size or default for size, default in zip(entry.shape, defaults, strict=False)]
        noise = np.random.default_rng(0).random(shape, dtype=np.float32)
        results = session.run({entry.name: noise})
        return {each.name: value for each, value in zip(session.outputs, results, strict=True)}
    except FacekeepError as error:
        raise ModelError(f"{_NO}: {error}") from error
    finally:
        session.close()


def _is_rows(value: NDArray[Any]) -> bool:
    return as_rows(value).ndim == 2 and value.dtype == np.float32 and as_rows(value).shape[1] > 1


def _listed(names: list[str]) -> str:
    return ", ".join(printable(each) for each in names)


# ---- batch ---------------------------------------------------------------------------------------


def _with_free_batch(model: Any, content: bytes) -> bytes | None:
    """Free a batch that is fixed above one, where the network gives the same numbers then."""
    from onnx import ModelProto

    batch = (_sizes(_input(model.graph)) or [None])[0]
    if batch is None or batch == 1:
        return None
    expected = next(iter(_run(content).values()))
    free = ModelProto()
    free.CopyFrom(model)
    del free.graph.value_info[:]
    for value in (_input(free.graph), *free.graph.output):
        dims = value.type.tensor_type.shape.dim
        if len(dims):
            dims[0].dim_param = "N"
    freed = _content(free)
    try:
        singles = _singles(freed, batch)
    except FacekeepError:
        return None
    scale = float(np.abs(expected).max()) or 1.0
    same = singles.shape == expected.shape and np.allclose(
        singles, expected, rtol=1e-3, atol=1e-3 * scale
    )
    return freed if same else None


def _singles(content: bytes, count: int) -> NDArray[Any]:
    """Run a network on the noise of `_run`, a face at a time."""
    session = open_session(content, options=RuntimeOptions(threads=1))
    try:
        (entry,) = session.inputs
        defaults = (count, 3, _SIDE, _SIDE)
        shape = [size or default for size, default in zip(entry.shape, defaults, strict=True)]
        noise = np.random.default_rng(0).random(shape, dtype=np.float32)
        rows = [session.run({entry.name: noise[at : at + 1]})[0] for at in range(count)]
        return np.concatenate(rows)
    finally:
        session.close()
