"""ONNX Runtime behind the ``Session`` protocol."""

from __future__ import annotations

import mmap
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

from numpy.typing import NDArray

from facekeep._internal.fork import Forking, watch
from facekeep._internal.memory import give_memory_back, large_blocks_apart
from facekeep.errors import (
    InputError,
    ModelCorrupt,
    ModelError,
    ModelNotFound,
    RuntimeUnavailable,
)
from facekeep.runtime.options import DEVICES, RuntimeOptions
from facekeep.runtime.session import (
    DeviceStatus,
    Opened,
    TensorInfo,
    name_of,
    require_float32,
    short,
)

_DTYPES = {"float": "float32", "double": "float64"}
_FATAL = 4  # ONNX Runtime's quietest log level: its errors reach us as exceptions anyway


# Bytes of input that take hundreds of megabytes to compute with: tiles of photos, not frames.
_LARGE_INPUT = 26_000_000
# Usual runs that let go of it: one alone may stand in the way with what it computes itself.
_RETURNS = 3


class _Arena(Forking):
    """The memory that all networks of the process compute in, in turns."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shared: bool | None = None
        self._returns = 0
        watch(self)

    def after_fork(self, *, child: bool) -> None:
        """Do without in the child: a thread of the parent may have been at work in it."""
        if child:
            self._lock = threading.Lock()
            self._shared = self._shared and False

    def share(self, ort: ModuleType, options: Any) -> None:
        """Let a network to be opened with these options compute in it, where there is one."""
        with self._lock:
            if self._shared is None:
                self._shared = _register_arena(ort)
        if self._shared:
            options.add_session_config_entry("session.use_env_allocators", "1")

    def large_run_ended(self) -> None:
        """Note that there is memory to be given back."""
        with self._lock:
            self._returns = _RETURNS

    def due(self) -> bool:
        """Whether a usual run is to let go of what nothing computes with any more."""
        return bool(self._shared and self._returns)

    def give_back(self) -> None:
        """Give to the system what a run has let go of."""
        with self._lock:
            self._returns = max(0, self._returns - 1)
        give_memory_back()


def _register_arena(ort: ModuleType) -> bool:
    """Register an arena for all of the process; older versions refuse where there is one."""
    kinds = ort.OrtAllocatorType, ort.OrtMemType
    info = ort.OrtMemoryInfo("Cpu", kinds[0].ORT_ARENA_ALLOCATOR, 0, kinds[1].DEFAULT)
    try:
        ort.create_and_register_allocator(info, ort.OrtArenaCfg({}))
    except _failures(ort):
        return False
    return True


_arena = _Arena()


def _size(feeds: Mapping[str, NDArray[Any]]) -> int:
    return sum(getattr(array, "nbytes", 0) for array in feeds.values())


class OnnxSession(Opened):
    """A network opened by ONNX Runtime; see ``Session`` for what it promises."""

    def __init__(self, session: Any) -> None:
        super().__init__(
            tuple(_tensor(node) for node in session.get_inputs()),
            tuple(_tensor(node) for node in session.get_outputs()),
        )
        self._session = session

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Run the network once; see ``Session.run``."""
        session = self._session
        if session is None:
            raise InputError("this session is closed; open a new one")
        ort = _onnxruntime()
        large = _size(feeds) > _LARGE_INPUT
        due = not large and _arena.due()
        options = ort.RunOptions()
        if due:
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        try:
            outputs: list[NDArray[Any]] = session.run(None, dict(feeds), options)
        except (_state(ort).InvalidArgument, ValueError) as error:
            raise InputError(f"the network refuses its input: {short(error)}") from error
        except _failures(ort) as error:
            raise ModelError(f"the network failed to run: {short(error)}") from error
        finally:
            if large:
                _arena.large_run_ended()
        if due:
            _arena.give_back()
        return outputs

    def close(self) -> None:
        """Let go of the network; a run under way in another thread still ends well."""
        self._session = None


# Bytes of a network above which its weights are not kept a second time, rearranged for speed: SFace
# (39 MB in float32) runs no slower without, and takes 26 MB less (docs/architecture.md).
_LARGE = 16 * 2**20
_FLOATS = 4  # how much larger a network is whose weights are stored in 8 bits and run as float32


def open_onnx(model: Path | bytes, run_options: RuntimeOptions) -> OnnxSession:
    """Open an ONNX network; arguments and errors are those of ``open_session``."""
    ort = _onnxruntime()
    device = run_options.device
    provider = _provider(ort, device)
    require_float32("ONNX Runtime", run_options.precision)
    name = name_of(model)
    if isinstance(model, Path) and not model.is_file():
        raise ModelNotFound(f"no model file at {model}")
    source = str(model) if isinstance(model, Path) else model
    options = _options(ort, run_options.threads)
    _arena.share(ort, options)
    size = model.stat().st_size if isinstance(model, Path) else len(model)
    if _stores_weights_only(model):
        # Otherwise each run would compute the weights again.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        size *= _FLOATS
    loading: AbstractContextManager[None] = nullcontext()
    if size > _LARGE:
        options.add_session_config_entry("session.disable_prepacking", "1")
        loading = large_blocks_apart()
    try:
        with loading:
            session = ort.InferenceSession(source, options, providers=[provider], enable_fallback=0)
    except _failures(ort) as error:
        if device != "cpu":
            problem = f"{name} does not open on device {device!r}: {short(error)}"
            raise RuntimeUnavailable(problem) from error
        raise ModelCorrupt(f"ONNX Runtime cannot open {name}: {short(error)}") from error
    if session.get_providers()[0] != provider:
        raise RuntimeUnavailable(
            f"device {device!r} did not start, its driver or libraries are missing;"
            f" working here: {', '.join(_available(ort))}"
        )
    give_memory_back()  # what loading the network freed
    try:
        return OnnxSession(session)
    except UnicodeDecodeError as error:
        raise ModelCorrupt(f"{name} has names that are not UTF-8; export it again") from error


def _stores_weights_only(model: Path | bytes) -> bool:
    """Tell by the names in it whether a network only stores in 8 bits, and computes in float32."""
    try:
        if isinstance(model, bytes):
            return _only_dequantizes(model)
        with (
            Path(model).open("rb") as stream,
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            return _only_dequantizes(content)
    except (OSError, ValueError):  # it is empty, no network, or cannot be read; it will be told
        return False


def _only_dequantizes(content: bytes | mmap.mmap) -> bool:
    names = b"DequantizeLinear", b"QuantizeLinear"
    found = [False, False]
    start = 0
    for end, following in (*_weights(content), (len(content), 0)):
        if end - start > len(names[1]):
            for place, name in enumerate(names):
                found[place] = found[place] or content.find(name, start, end) >= 0
        start = following
    return found == [True, False]


# Numbers of fields in ONNX's protocol buffers, and how the values of a field are laid out.
_GRAPH, _WEIGHTS = 7, (5, 15)
_VARINT, _FIXED, _MESSAGE = 0, {1: 8, 5: 4}, 2


def _weights(content: bytes | mmap.mmap) -> Iterator[tuple[int, int]]:
    """Yield where the weights of a network begin and end, in order."""
    for start, end, field in _fields(content, 0, len(content)):
        if field == _GRAPH:
            inner = _fields(content, start, end)
            yield from (each[:2] for each in inner if each[2] in _WEIGHTS)


def _fields(content: bytes | mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield where the fields of a message begin and end, and their numbers.

    Raises:
        ValueError: It is no message of protocol buffers.
    """
    while start < end:
        key, start = _number(content, start, end)
        kind = key & 7
        if kind == _VARINT:
            length = _number(content, start, end)[1] - start
        elif kind in _FIXED:
            length = _FIXED[kind]
        elif kind == _MESSAGE:
            length, start = _number(content, start, end)
        else:
            raise ValueError("no protocol buffers")
        if length > end - start:
            raise ValueError("no protocol buffers")
        yield start, start + length, key >> 3
        start += length


def _number(content: bytes | mmap.mmap, start: int, end: int) -> tuple[int, int]:
    """Read a whole number of variable length; return it, and where it ends."""
    number = shift = 0
    for place in range(start, min(end, start + 10)):
        number |= (content[place] & 0x7F) << shift
        if content[place] < 0x80:
            return number, place + 1
        shift += 7
    raise ValueError("no protocol buffers")


def device_statuses() -> list[DeviceStatus]:
    """Report each known device: present in the installed ONNX Runtime, or how to get it."""
    ort = _onnxruntime()
    present = _available(ort)
    return [
        DeviceStatus(
            "onnxruntime",
            device,
            available=device in present,
            detail=f"ONNX Runtime {ort.__version__}" if device in present else advice,
        )
        for device, (_, advice) in DEVICES.items()
    ]


def _onnxruntime() -> ModuleType:
    try:
        import onnxruntime
    except ImportError as error:
        raise RuntimeUnavailable(
            f"ONNX Runtime cannot be imported ({short(error)}); install onnxruntime"
        ) from error
    module: ModuleType = onnxruntime
    return module


def _provider(ort: ModuleType, device: str) -> str:
    if device not in DEVICES:
        raise InputError(f"unknown device {device!r}; known: {', '.join(DEVICES)}")
    provider, advice = DEVICES[device]
    available = _available(ort)
    if device not in available:
        raise RuntimeUnavailable(
            f"device {device!r} is not in the installed ONNX Runtime {ort.__version__},"
            f" which has: {', '.join(available)}; {advice}"
        )
    return provider


def _available(ort: ModuleType) -> list[str]:
    present = ort.get_available_providers()
    return [device for device, (provider, _) in DEVICES.items() if provider in present]


def _options(ort: ModuleType, threads: int) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = _FATAL
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = threads
    # A plan of memory for each size of input costs megabytes and saves a hundredth of the time.
    options.enable_mem_pattern = False
    # Waiting threads that spin steal the cores from other sessions and programs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Without it processors that have AVX2 but no VNNI add pairs of 8-bit products in 16 bits, where
    # they overflow: embeddings of networks in 8 bits lose up to four hundredths of their cosine.
    options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def _state(ort: ModuleType) -> Any:
    return ort.capi.onnxruntime_pybind11_state


def _failures(ort: ModuleType) -> tuple[type[Exception], ...]:
    """All that ONNX Runtime raises when it cannot load or run a network."""
    known = vars(_state(ort)).values()
    own = [item for item in known if isinstance(item, type) and issubclass(item, Exception)]
    return (*own, RuntimeError, ValueError)


def _tensor(node: Any) -> TensorInfo:
    kind = str(node.type).removeprefix("tensor(").removesuffix(")")
    shape = tuple(size if isinstance(size, int) else None for size in node.shape)
    return TensorInfo(node.name, shape, _DTYPES.get(kind, kind))
