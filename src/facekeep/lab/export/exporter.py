"""Exporting a model: convert in a scratch folder, compare, and only then put it in place."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.child import call
from facekeep._internal.drafts import scratch_folder
from facekeep._internal.files import path_text, printable, why, write_whole
from facekeep.errors import InputError, ModelError
from facekeep.lab.export.ncnn import write_ncnn
from facekeep.models import ModelEntry, entry, open_model, weights
from facekeep.models.entry_file import format_entry, parse_entry
from facekeep.models.files import cannot_write, keep
from facekeep.models.model_entry import CHECKPOINTS
from facekeep.runtime import RuntimeOptions, Session, open_session
from facekeep.runtime.openvino import import_openvino, read_openvino
from facekeep.runtime.session import failing_as, imported

if TYPE_CHECKING:
    from facekeep.lab.nn import EdgeFace

__all__ = ["CONVERTERS", "TARGETS", "TOLERANCE", "Exported", "RunExport", "export_model"]

RunExport = Callable[[NDArray[np.float32]], dict[str, NDArray[Any]]]
"""Runs what was exported: takes float32 N x 3 x S x S, and returns the outputs by name."""


def convert_openvino(model: ModelEntry, target: Path) -> RunExport:
    """Write ``target`` (``.xml``) and its ``.bin``, for programs that read no ONNX."""
    openvino = import_openvino()
    if model.runtime != "onnxruntime":
        raise InputError(f"model {model.name!r} is no ONNX file, so it cannot go to openvino")
    network = read_openvino(openvino.Core(), weights(model))
    openvino.save_model(network, target, compress_to_fp16=False)
    return _run_session(open_session(target, options=RuntimeOptions(runtime="openvino", threads=1)))


def convert_ncnn(model: ModelEntry, target: Path) -> RunExport:
    """Write ``target`` (``.ncnn.param``) and its ``.ncnn.bin``."""
    write_ncnn(model, target)
    return _run_session(open_session(target, options=RuntimeOptions(runtime="ncnn", threads=1)))


def convert_tflite(model: ModelEntry, target: Path) -> RunExport:
    """Write ``target``, which takes one picture a run, 1 x 3 x S x S."""
    litert_torch: Any = imported("litert_torch", "litert-torch", "export")
    network, example = _read_network(model)
    litert_torch.convert(network, (example,)).export(str(target))
    session = open_session(target, options=RuntimeOptions(runtime="litert", threads=1))
    return _run_one_by_one(lambda picture: session.run({session.inputs[0].name: picture})[0])


def convert_coreml(model: ModelEntry, target: Path) -> None:
    """Write ``target`` (``.mlpackage``), which only macOS can run; for iOS 16 and later.

    It takes ``image``, 1 x 3 x S x S, and gives ``embedding``.
    """
    coremltools: Any = imported("coremltools", "coremltools", "export")
    converted = coremltools.convert(
        _export_program(model).run_decompositions({}),
        outputs=[coremltools.TensorType(name="embedding")],
        convert_to="mlprogram",
        compute_precision=coremltools.precision.FLOAT32,
        minimum_deployment_target=coremltools.target.iOS16,
    )
    converted.save(str(target))


def convert_executorch(model: ModelEntry, target: Path) -> RunExport:
    """Write ``target`` (``.pte``), one picture a run, for PyTorch's runtime with XNNPACK."""
    xnnpack, exir, runtime = (
        imported(f"executorch.{name}", "ExecuTorch", "export")
        for name in ("backends.xnnpack.partition.xnnpack_partitioner", "exir", "runtime")
    )
    lowered = exir.to_edge_transform_and_lower(
        _export_program(model), partitioner=[xnnpack.XnnpackPartitioner()]
    )
    keep(target, lowered.to_executorch().buffer)
    method = runtime.Runtime.get().load_program(target).load_method("forward")

    def run(picture: NDArray[np.float32]) -> Any:
        import torch

        return method.execute([torch.from_numpy(picture)])[0].numpy()

    return _run_one_by_one(run)


CONVERTERS: Final[dict[str, tuple[str, Callable[[ModelEntry, Path], RunExport | None]]]] = {
    "openvino": ("OpenVINO", convert_openvino),
    "ncnn": ("pnnx", convert_ncnn),
    "tflite": ("litert-torch", convert_tflite),
    "coreml": ("coremltools", convert_coreml),
    "executorch": ("ExecuTorch", convert_executorch),
}
"""By target: what converts, and the function; it returns what runs the result, if anything here."""


def _run_session(session: Session) -> RunExport:
    def run(pictures: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        results = session.run({session.inputs[0].name: pictures})
        return {tensor.name: value for tensor, value in zip(session.outputs, results, strict=True)}

    return run


def _run_one_by_one(run: Callable[[NDArray[np.float32]], Any]) -> RunExport:
    return lambda pictures: {"embedding": np.concatenate([run(each[None]) for each in pictures])}


def _read_network(model: ModelEntry) -> tuple[EdgeFace, Any]:
    """Return the network and one picture as an example of its input.

    Raises:
        ModelError: The model is no EdgeFace of facekeep's.
        RuntimeUnavailable: PyTorch is not installed.
    """
    import torch

    from facekeep.lab.nn import read_network

    network = read_network(model).eval()
    return network, torch.zeros(1, 3, network.input_size, network.input_size)


def _export_program(model: ModelEntry) -> Any:
    """Return the ``torch.export.ExportedProgram``; its batch is one."""
    import torch

    network, example = _read_network(model)
    return torch.export.export(network, (example,))


TARGETS = {
    "openvino": (".bin", ".xml"),
    "ncnn": (".ncnn.bin", ".ncnn.param"),
    "tflite": (".tflite",),
    "coreml": (".mlpackage",),
    "executorch": (".pte",),
}
"""What can be exported to, and its files: the last is the one to open."""

TOLERANCE = 1e-3
"""How far outputs may lie from ONNX Runtime's, as a share of the largest number in them."""

_ANY_SIZE = 320  # the side of the pictures that a network of any size is compared with
_PATIENCE = 3600  # seconds that a conversion may take
_ROOM = 2**20  # a disk with fewer bytes left is full


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export made.

    Attributes:
        files: The files, the one that is opened last.
        difference: The largest difference to ONNX Runtime's outputs, as a share of the largest
            number in them; None where the result cannot be run on this machine.
    """

    files: tuple[Path, ...]
    difference: float | None


def export_model(model: str | ModelEntry, target: str, out: str | Path | None = None) -> Exported:
    """Write a model in the form of another runtime.

    Args:
        model: A name from the catalog, or an entry.
        target: One of ``TARGETS``.
        out: The file to write, with the target's ending; files that belong to it go beside it.
            None for one called like the model in the working folder. Nothing is overwritten.

    Raises:
        InputError: The target is unknown, a file is already there, the ending is not the target's,
            or the model cannot be exported to it.
        RuntimeUnavailable: What converts is not installed.
        StorageFull: There is no room.
        ModelError: The conversion failed, or its result gives other numbers; nothing is written.
    """
    chosen = model if isinstance(model, ModelEntry) else entry(model)
    if target not in TARGETS:
        raise InputError(f"unknown target {target!r}; known: {', '.join(TARGETS)}")
    files = _name_files(chosen, target, out)
    with _make_scratch(files[-1]) as folder:
        drafts = [folder / file.name for file in files]
        with _report_full_disk(folder, files[-1]):
            difference = _convert_safely(chosen, target, drafts[-1])
        if difference is not None and difference > TOLERANCE:
            raise ModelError(
                f"the export of {chosen.name!r} to {target} gives other numbers: they differ by"
                f" {difference:.1e}, more than {TOLERANCE}; nothing was written"
            )
        _place_files(drafts, files)
    return Exported(files, difference)


def _name_files(model: ModelEntry, target: str, out: str | Path | None) -> tuple[Path, ...]:
    """Name the files to write, none of which may be there."""
    endings = TARGETS[target]
    final = path_text(out) if out is not None else f"{model.name}{endings[-1]}"
    if not final.endswith(endings[-1]):
        raise InputError(f"a file for {target} must end in {endings[-1]}: {printable(final)}")
    stem = final.removesuffix(endings[-1])
    files = tuple(Path(f"{stem}{ending}") for ending in endings)
    for file in files:
        _require_free(file)
    return files


def _require_free(file: Path) -> None:
    if os.path.lexists(file):
        raise InputError(f"{printable(file)} is already there; name another", "out")


@contextmanager
def _make_scratch(beside: Path) -> Iterator[Path]:
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(scratch_folder(beside.parent, ".export-"))
        except (OSError, ValueError) as error:
            raise InputError(f"cannot write {printable(beside)}: {why(error)}") from error
        yield folder


def _convert_safely(model: ModelEntry, target: str, draft: Path) -> float | None:
    """Convert a model and compare the result; a foreign one in a process of its own.

    Returns:
        The largest difference; None where the result cannot be run here.
    """
    if model.folder is None or model.architecture in CHECKPOINTS:
        return _convert(model, target, draft)
    found: float | None = call(
        f"model {model.name!r}",
        "facekeep.lab.export.exporter:convert_entry",
        *(model.name, format_entry(model), str(model.folder), target, str(draft)),
        seconds=_PATIENCE,
    )
    return found


def convert_entry(name: str, toml: str, folder: str, target: str, draft: str) -> float | None:
    """Do what `_convert_safely` does, for a model that is given as text."""
    model = parse_entry(name, tomllib.loads(toml), f"model {name!r}", Path(folder))
    return _convert(model, target, Path(draft))


def _convert(model: ModelEntry, target: str, draft: Path) -> float | None:
    converter, convert = CONVERTERS[target]
    with failing_as(f"{converter} cannot convert {model.name!r} to {target}"):
        run = convert(model, draft)
        return None if run is None else _measure_difference(model, run)


@contextmanager
def _report_full_disk(folder: Path, final: Path) -> Iterator[None]:
    """Tell of a full disk as such: converters do not name it."""
    try:
        yield
    except ModelError:
        _require_room(folder, final)
        raise


def _require_room(folder: Path, final: Path) -> None:
    """Find out whether there is room for more than the largest file in a folder.

    Raises:
        StorageFull: There is none.
    """
    largest = max((each.stat().st_size for each in folder.rglob("*")), default=0)
    try:
        write_whole(folder / "room", bytes(largest + _ROOM))
    except OSError as error:
        raise cannot_write(final, error) from error


def _place_files(drafts: list[Path], files: tuple[Path, ...]) -> None:
    """Move the files into place, the one that is opened last; all of them or none."""
    with ExitStack() as undoing:
        for source, file in zip(drafts, files, strict=True):
            _require_free(file)  # a conversion takes minutes, in which others write
            try:
                source.rename(file)
            except OSError as error:
                raise cannot_write(file, error) from error
            undoing.callback(file.rename, source)
        undoing.pop_all()


def _measure_difference(model: ModelEntry, run: RunExport) -> float:
    """Compare on pictures of noise, fed as the catalog says.

    Args:
        model: The model.
        run: Takes N x 3 x S x S float32 and returns the outputs by name.
    """
    session = open_model(model, options=RuntimeOptions(threads=1))
    try:
        pictures = _make_pictures(model)
        outputs = session.run({session.inputs[0].name: pictures})
        expected = {
            tensor.name: value for tensor, value in zip(session.outputs, outputs, strict=True)
        }
    finally:
        session.close()
    found = run(pictures)
    apart = max(_measure_distance(value, found[name]) for name, value in expected.items())
    largest = max(float(np.abs(value).max()) for value in expected.values())
    return apart / largest if 0 < largest < float("inf") else apart


def _make_pictures(model: ModelEntry) -> NDArray[np.float32]:
    size = model.input_size or _ANY_SIZE
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, size, size)).astype(np.float32)
    mean, scale = (
        np.array(each, np.float32).reshape(3, 1, 1) for each in (model.mean, model.scale)
    )
    return (pixels - mean) * scale


def _measure_distance(expected: NDArray[Any], found: NDArray[Any]) -> float:
    if expected.shape != found.shape or not np.isfinite([expected, found]).all():
        return float("inf")
    return float(np.abs(expected - found).max())
