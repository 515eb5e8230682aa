"""The user's own models: brought in, calibrated, removed."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import get_args

from msgspec import structs

from facekeep._internal.child import call
from facekeep._internal.drafts import scratch_folder
from facekeep._internal.files import path_text, printable, why
from facekeep.errors import Hint, InputError, ModelCorrupt, ModelError, ModelNotFound
from facekeep.models.catalog import entry, is_builtin, list_models, own_folder
from facekeep.models.checkpoints import find_converter
from facekeep.models.entry_file import ENTRY_FILE, check_name, write_entry
from facekeep.models.files import cannot_write, keep, read_model
from facekeep.models.foreign_network import record_conversion
from facekeep.models.model_entry import (
    EDGEFACE,
    FOREIGN,
    LARGEST_INPUT,
    MINIFASNET,
    Color,
    FileEntry,
    ModelEntry,
    Runtime,
)
from facekeep.models.paths import models_dir
from facekeep.models.resolve import pull_hint

# arch: the ending of its files, and what runs them.
_KINDS: dict[str, tuple[str, Runtime]] = {
    "onnx": (".onnx", "onnxruntime"),
    "tflite": (".tflite", "litert"),
    "ncnn": (".param", "ncnn"),
    "espdl": (".espdl", "onnxruntime"),
    "openvino": (".xml", "onnxruntime"),
    "openvino-narrow": (".xml", "onnxruntime"),
    **dict.fromkeys(EDGEFACE, (".pt", "onnxruntime")),
}
_ENDINGS = {".tflite": "tflite", ".param": "ncnn", ".espdl": "espdl", ".xml": "openvino"}
_NOT_STATED = "not stated"
_TFLITE = b"TFL3"  # what a TFLite file says of itself after its first four bytes


def import_model(  # noqa: PLR0913 - what cannot be found out from the file, all by keyword
    file: str | Path,
    name: str,
    *,
    arch: str | None = None,
    gamma: float | None = None,
    input_size: int | None = None,
    color: Color = "rgb",
    mean: float | Sequence[float] = 127.5,
    scale: float | Sequence[float] = 1 / 127.5,
    summary: str = "",
    weights_license: str = _NOT_STATED,
    training_data: str = _NOT_STATED,
    output: str | None = None,
) -> ModelEntry:
    """Make a network of the user's own known by a name, after running it once.

    The file is copied. The model has no thresholds until it is calibrated. A foreign network is
    tried in a process of its own, so that one that crashes or never ends does no harm. The file of
    a model of the catalog stays under the terms of that model.

    Args:
        file: The network: one that takes aligned faces as float32 N x 3 x S x S, or N x S x S x 3,
            and gives one embedding each. ONNX networks of some other forms are brought into this
            one: with data beside the file, with a fixed batch, of float16 or float64, for faces of
            112 x 96, with other outputs besides the embedding. For ``edgeface-*`` its PyTorch
            state dict, or a TFLite conversion of it, whose weights are taken back into one.
        name: What it will be called: 1 to 64 characters a-z, 0-9, ``.``, ``_`` and ``-``.
        arch: The kind of file: ``onnx``; ``tflite``; ``ncnn``, whose ``.bin`` lies beside it;
            ``espdl`` of Espressif; ``openvino``, an ``.xml`` with its ``.bin`` beside it;
            ``openvino-narrow``, the same for a network that was trained on the middle 96 of 112
            columns, stretched to its square;
            ``edgeface-base``, ``-s``, ``-xs`` or ``-xxs``, which is converted to ONNX here, and
            must have been trained by ``gamma``. None goes by the file's ending, and tells an
            EdgeFace by its tensors.
        gamma: The share of the full rank that an EdgeFace's linear layers keep; None where they
            are full.
        input_size: The side of the faces that an EdgeFace takes; None for 112.
        color: The channel order it expects.
        mean: What is subtracted from the pixel values 0 to 255: one number, or one a channel.
        scale: What they are multiplied by afterward.
        summary: One line for lists.
        weights_license: The license of the weights.
        training_data: What they were trained on, and on whose terms.
        output: The output of an ONNX network that is the embedding, where several could be.

    Raises:
        InputError: The name is taken or malformed, or another argument makes no sense.
        ModelNotFound: There is no such file.
        ModelCorrupt: The file is not a network that can be run.
        ModelError: The network is no face embedder or not of this ``arch`` and ``gamma``, or its
            folder cannot be written.
        RuntimeUnavailable: What must convert or run it is not installed.
        StorageFull: There is no room for it.
    """
    folder = free_folder(name)
    if arch is None:
        arch, gamma = _kind_of(file, name, gamma)
    _check_kind(arch, gamma, input_size, color)
    if output is not None and arch != "onnx":
        raise InputError(f"output is for ONNX networks, not for {arch!r}")
    contents = _read_files(file, name, arch)
    made = ModelEntry(
        name=name,
        task="embed",
        architecture=arch,
        summary=summary,
        files=tuple(_describe_file(*each) for each in contents.items()),
        weights_license=weights_license,
        training_data=training_data,
        color=color,
        mean=_triple("mean", mean),
        scale=_triple("scale", scale),
        input_size=input_size,
        gamma=gamma,
        runtime=_KINDS[arch][1],
        alignment="arcface-112",
        folder=folder,
    )
    if arch in EDGEFACE:
        converter = find_converter(name)
        ((called, content),) = contents.items()
        if content[4:8] == _TFLITE:
            contents[called] = content = converter.restore_checkpoint(Path(file), made)
            made = structs.replace(made, files=(_describe_file(called, content),))
    made = _with_known_terms(made)
    with _scratch(folder) as scratch:
        for called, content in contents.items():
            keep(scratch / called, content)
        made = _complete(made, scratch, path_text(file), output)
        write_entry(made, scratch)
        _publish(scratch, folder)
    return made


def import_liveness_network(
    file: str | Path,
    name: str,
    *,
    crop_scales: Sequence[float],
    live_class: int | None = None,
    color: Color = "rgb",
    mean: float | Sequence[float] = 127.5,
    scale: float | Sequence[float] = 1 / 127.5,
    weights_license: str = _NOT_STATED,
    training_data: str = _NOT_STATED,
) -> ModelEntry:
    """Make a network of the user's own that tells living faces from pictures known by a name.

    The file is copied, and run once in a process of its own.

    Args:
        file: An ONNX network from float32 N x 3 k x S x S, the k crops of a face one after the
            other; or the PyTorch checkpoint of a MiniFASNet (``.pth``), of whose arguments only
            the scale of its one crop counts.
        name: What it will be called; see `import_model`.
        crop_scales: How many times the size of a face's box each crop is.
        live_class: Which of the classes that it scores is a living face, from 0; None where it
            gives how likely each crop shows one, N x k.
        color: The channel order it expects.
        mean: What is subtracted from the pixel values 0 to 255: one number, or one a channel.
        scale: What they are multiplied by afterward.
        weights_license: The license of the weights.
        training_data: What they were trained on, and on whose terms.

    Raises:
        InputError: The name is taken or malformed, or another argument makes no sense.
        ModelNotFound: There is no such file.
        ModelCorrupt: The file is not a network that can be run.
        ModelError: It is no such network, or its folder cannot be written.
        RuntimeUnavailable: PyTorch is needed and not installed.
        StorageFull: There is no room for it.
    """
    folder, shown = free_folder(name), printable(path_text(file))
    published = Path(path_text(file)).suffix.lower() in (".pt", ".pth")
    ending = ".pth" if published else ".onnx"
    if published and len(crop_scales) != 1:
        raise InputError("a checkpoint of a MiniFASNet takes one crop: give one scale")
    content = read_model(file)
    made = ModelEntry(
        name=name,
        task="liveness",
        architecture=MINIFASNET if published else "onnx",
        files=(_describe_file(name + ending, content),),
        weights_license=weights_license,
        training_data=training_data,
        color="bgr" if published else color,
        mean=_triple("mean", 0 if published else mean),
        scale=_triple("scale", 1 if published else scale),
        crop_scales=tuple(float(each) for each in crop_scales),
        live_class=None if published else live_class,
        folder=folder,
    )
    with _scratch(folder) as scratch:
        path = scratch / made.files[0].name
        keep(path, content)
        if published:
            made = find_converter(name).export_checkpoint(made, path, scratch / f"{name}.onnx")
        probe = "facekeep.models.liveness_form:probe_liveness_network"
        form = call(shown, probe, str(scratch / f"{name}.onnx"), len(crop_scales), made.live_class)
        made = structs.replace(made, **form)
        write_entry(made, scratch)
        _publish(scratch, folder)
    return made


def add_model(content: bytes, made: ModelEntry) -> ModelEntry:
    """Make a network that facekeep trained known by the name in its entry.

    Args:
        content: Its ONNX file.
        made: All that is known about it but its file.

    Returns:
        The entry with the file.

    Raises:
        InputError: The name is taken or malformed.
        ModelError: Its folder cannot be written.
        StorageFull: There is no room for it.
    """
    folder = free_folder(made.name)
    file = _describe_file(f"{made.name}.onnx", content)
    made = structs.replace(made, files=(file,), folder=folder)
    with _scratch(folder) as scratch:
        keep(scratch / file.name, content)
        write_entry(made, scratch)
        _publish(scratch, folder)
    return made


def _read_files(file: str | Path, name: str, arch: str) -> dict[str, bytes]:
    """Read the files of a model, and call them by its name; the first is the network."""
    contents = {f"{name}{_KINDS[arch][0]}": read_model(file)}
    if arch in ("ncnn", "openvino", "openvino-narrow"):
        contents[f"{name}.bin"] = read_model(Path(path_text(file)).with_suffix(".bin"))
    return contents


def _describe_file(name: str, content: bytes) -> FileEntry:
    return FileEntry(name, hashlib.sha256(content).hexdigest(), len(content))


def _kind_of(file: str | Path, name: str, gamma: float | None) -> tuple[str, float | None]:
    """Tell the kind of a file by its ending; of a checkpoint also the gamma, if it is not given."""
    ending = Path(path_text(file)).suffix.lower()
    if ending not in (".pt", ".pth"):
        return _ENDINGS.get(ending, "onnx"), gamma
    arch, its_gamma = find_converter(name).identify_checkpoint(Path(file))
    return arch, its_gamma if gamma is None else gamma


def _check_kind(arch: str, gamma: float | None, input_size: int | None, color: str) -> None:
    if arch not in _KINDS:
        raise InputError(f"unknown architecture {arch!r}; known: {', '.join(_KINDS)}")
    if arch not in EDGEFACE and (gamma, input_size) != (None, None):
        raise InputError(f"gamma and input_size are for EdgeFace checkpoints, not for {arch!r}")
    if input_size is not None and not 0 < input_size <= LARGEST_INPUT:
        raise InputError(f"input_size must be from 1 to {LARGEST_INPUT}, not {input_size}")
    if color not in get_args(Color):
        raise InputError(f"color must be {' or '.join(get_args(Color))}, not {color!r}")


def _with_known_terms(made: ModelEntry) -> ModelEntry:
    """Keep the terms of a model of the catalog whose file this is, whatever it is called now."""
    digests = {file.sha256 for file in made.files}
    for known in list_models():
        if not digests.isdisjoint(file.published for file in known.files) or not (
            digests.isdisjoint(file.sha256 for file in known.files)
        ):
            unsaid = {
                key: getattr(known, key)
                for key in ("weights_license", "training_data")
                if getattr(made, key) == _NOT_STATED
            }
            return structs.replace(made, terms=known.terms, **unsaid)
    return made


def _complete(made: ModelEntry, scratch: Path, file: str, output: str | None) -> ModelEntry:
    """Complete an entry by running its network, which is exported first where it is a checkpoint.

    Args:
        made: The entry so far.
        scratch: The folder that its file lies in.
        file: The file that was named.
        output: The output that is the embedding; None where only one can be.
    """
    path, shown = scratch / made.files[0].name, printable(file)
    if made.architecture in EDGEFACE:
        try:
            return find_converter(made.name).export_checkpoint(
                made, path, scratch / f"{made.name}.onnx"
            )
        except ModelError as error:
            raise type(error)(str(error).replace(str(path), shown)) from error
    if made.architecture in FOREIGN:
        return _convert_foreign(made, scratch, shown)
    try:
        if made.runtime != "onnxruntime":
            form = call(shown, "facekeep.models.embedder_form:probe_file", str(path), made.runtime)
        else:
            adapted = call(shown, "facekeep.models.onnx_adaptation:adapt", file, str(path), output)
            form = adapted["form"]
            if adapted["changed"]:
                file_entry = _describe_file(path.name, path.read_bytes())
                made = structs.replace(made, files=(file_entry,), notes=adapted["notes"])
    except ModelCorrupt as error:
        kind = {"onnxruntime": "ONNX", "litert": "LiteRT", "ncnn": "ncnn"}[made.runtime]
        raise ModelCorrupt(
            f"{shown} is no network that can be run ({error}); export it to {kind} again,"
            " or name its kind",
            "arch",
        ) from error
    return structs.replace(made, **form)


def _convert_foreign(made: ModelEntry, scratch: Path, shown: str) -> ModelEntry:
    """Convert a network of another format, and run the result once."""
    target = scratch / f"{made.name}.onnx"
    files = [str(scratch / file.name) for file in made.files]
    convert = "facekeep.models.foreign_network:convert_file"
    try:
        call(shown, convert, made.architecture, str(target), *files)
        form = call(shown, "facekeep.models.embedder_form:probe_file", str(target), made.runtime)
    except ModelCorrupt as error:
        raise ModelCorrupt(f"{shown} is no network that can be run ({error})", "arch") from error
    return record_conversion(structs.replace(made, **form), target.read_bytes())


def set_thresholds(
    name: str,
    thresholds: Sequence[tuple[float, float]],
    *,
    comparisons: int,
    calibrated_on: str,
    command: str,
) -> ModelEntry:
    """Record a calibration in the entry of a model of the user's own.

    Args:
        name: The model's name.
        thresholds: Pairs (FMR, cosine), from the highest rate to the lowest.
        comparisons: The number of non-mated comparisons behind them.
        calibrated_on: The data behind them.
        command: The command that measured them.

    Raises:
        InputError: The model is built in, so that its entry cannot change.
        ModelNotFound: No model has this name.
        ModelError: The thresholds make no sense, or the entry cannot be read or written.
    """
    known = entry(name)
    if known.offered:
        raise ModelNotFound(f"model {name!r} is not here yet; pull it first", pull_hint(known))
    if known.folder is None:
        raise InputError(f"model {name!r} is built in; its thresholds come with facekeep")
    changed = structs.replace(
        known,
        thresholds=tuple((float(fmr), float(cosine)) for fmr, cosine in thresholds),
        comparisons=comparisons,
        calibrated_on=calibrated_on,
        calibration_command=command,
    )
    write_entry(changed, known.folder)
    return changed


def remove_model(name: str) -> None:
    """Remove a model of the user's own, damaged or not, with all its files.

    Raises:
        InputError: The model is built in.
        ModelNotFound: No model has this name.
        ModelError: The folder of models cannot be written.
    """
    if is_builtin(name) and not entry(name).offered:
        raise InputError(f"model {name!r} is built in and cannot be removed")
    folder = own_folder(name)
    if folder is None:
        raise ModelNotFound(f"no model of your own is called {name!r}")
    try:
        if folder.is_symlink():
            folder.unlink()
            return
        # Renamed first, so that nobody finds a model half removed.
        with scratch_folder(folder.parent, ".removed-") as gone:
            folder.replace(gone / folder.name)
            shutil.rmtree(gone)
    except OSError as error:
        raise ModelError(f"cannot remove {printable(folder)}: {why(error)}") from error


def free_folder(name: str) -> Path:
    """Return where the folder of a new model will be.

    Raises:
        InputError: The name is malformed or taken.
    """
    try:
        folder = models_dir() / check_name(name)
    except ValueError as error:
        raise InputError(f"a model's name {error}") from error
    if is_builtin(name) and entry(name).offered:
        raise InputError(
            f"the catalog offers a model called {name!r}; choose another name, or pull it from the"
            " file",
            Hint("pull_from", {"model": name}),
        )
    if is_builtin(name) or folder.is_symlink() or (folder / ENTRY_FILE).exists():
        raise InputError(f"a model is already called {name!r}; choose another name")
    return folder


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """Make a hidden folder beside the model's own, gone afterward unless it was published."""
    with ExitStack() as stack:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            # Not of tempfile's: its folders stay closed to others who share the models.
            scratch = stack.enter_context(scratch_folder(folder.parent, ".import-"))
        except OSError as error:
            raise cannot_write(folder, error) from error
        yield scratch


def _publish(scratch: Path, folder: Path) -> None:
    try:
        scratch.rename(folder)
    except OSError as error:
        if folder.exists():
            taken = f"{folder} exists already; choose another name, or remove the folder"
            raise InputError(taken) from error
        raise cannot_write(folder, error) from error


def _triple(what: str, value: float | Sequence[float]) -> tuple[float, float, float]:
    try:
        numbers = [
            float(item) for item in ([value] * 3 if isinstance(value, int | float) else value)
        ]
        red, green, blue = numbers
    except (TypeError, ValueError) as error:
        raise InputError(f"{what} must be a number or three of them, not {value!r}") from error
    return (red, green, blue)
