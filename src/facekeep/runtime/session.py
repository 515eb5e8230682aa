"""What a runtime promises: named inputs and outputs, and ``run``."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from numpy.typing import NDArray

from facekeep._internal.files import is_full, one_line, open_regular, why
from facekeep._internal.fork import Forking, keep_forever, watch
from facekeep._internal.libraries import broken_library
from facekeep.errors import (
    FacekeepError,
    InputError,
    ModelError,
    ModelNotFound,
    RuntimeUnavailable,
    StorageFull,
)


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One input or output of a network.

    Attributes:
        name: The tensor's name in the graph.
        shape: Its dimensions; None where the network accepts any size.
        dtype: The numpy name of its element type, such as ``float32``.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str

    @property
    def channels_last(self) -> bool:
        """Whether a picture goes in as N x H x W x 3, as LiteRT has it, not as N x 3 x H x W."""
        return len(self.shape) == 4 and self.shape[3] == 3 and self.shape[1] != 3


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """Whether one device of one runtime can be asked for on this machine.

    Attributes:
        runtime: The runtime's name, as ``open_session`` takes it.
        device: The device's name, as ``open_session`` takes it.
        available: Whether a session can be opened on it.
        detail: The version at work, or what is missing and how to get it.
    """

    runtime: str
    device: str
    available: bool
    detail: str


class Session(Protocol):
    """An opened network. Threads may share one session and run it at the same time."""

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """The tensors that ``run`` must be fed, in the network's order."""
        ...

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """The tensors that ``run`` returns, in this order."""
        ...

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Run the network once.

        Args:
            feeds: One array for each input, by name.

        Returns:
            One array for each of ``outputs``.

        Raises:
            InputError: A feed is missing, or of a shape or dtype that the network refuses, or the
                session is closed.
            ModelError: The runtime failed on good input.
        """
        ...

    def close(self) -> None:
        """Let go of the network's memory; closing twice is fine."""
        ...


class Opened:
    """What an opened network is fed and gives: the part of ``Session`` that all runtimes share."""

    def __init__(self, inputs: tuple[TensorInfo, ...], outputs: tuple[TensorInfo, ...]) -> None:
        self._inputs, self._outputs = inputs, outputs

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """The tensors that ``run`` must be fed, in the network's order."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """The tensors that ``run`` returns, in this order."""
        return self._outputs


class Reopened(Opened, Forking):
    """A network that is opened again in a process that was forked since, when it is used there.

    Args:
        opener: Opens the network; at once, and again in each child that uses it.
    """

    def __init__(self, opener: Callable[[], Session]) -> None:
        self._opener = opener
        self._lock = threading.Lock()
        self._closed = False
        session = opener()
        super().__init__(session.inputs, session.outputs)
        self._session: Session | None = session
        watch(self)

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Run the network once; see ``Session.run``."""
        session = self._session
        return (session or self._open_again()).run(feeds)

    def close(self) -> None:
        """Let go of the network; see ``Session.close``."""
        with self._lock:
            self._closed = True
            if self._session is not None:
                self._session.close()

    def after_fork(self, *, child: bool) -> None:
        """In the child, leave the parent's network alone for ever."""
        if child:
            self._lock = threading.Lock()
            keep_forever(self._session)
            self._session = None

    def _open_again(self) -> Session:
        with self._lock:
            if self._closed:
                raise InputError("this session is closed; open a new one")
            if self._session is None:
                self._session = self._opener()
            return self._session


def short(error: Exception) -> str:
    """Return a runtime's message as one line of bearable length."""
    text = one_line(error)
    return text if len(text) <= 200 else text[:199] + "…"


@contextmanager
def failing_as(attempt: str) -> Iterator[None]:
    """Tell of whatever another library raises in one line, which begins with ``attempt``.

    For libraries that raise all there is. What facekeep raises, and want of memory, comes through.

    Raises:
        StorageFull: There is no room for what it writes.
        DependencyError: A library that it needs cannot be loaded.
        ModelError: It failed otherwise.
    """
    try:
        yield
    except (FacekeepError, MemoryError):
        raise
    except Exception as error:
        if broken := broken_library(error):
            raise broken from error
        if is_full(error):
            raise StorageFull(f"{attempt}: no room is left to write; free some space") from error
        raise ModelError(f"{attempt}: {short(error)}") from error


def imported(module: str, title: str, extra: str) -> ModuleType:
    """Import a module that an extra of facekeep's brings.

    Args:
        module: Its name.
        title: What people call the project it belongs to.
        extra: The extra.

    Raises:
        RuntimeUnavailable: It cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise RuntimeUnavailable(
            f"{title} cannot be imported ({short(error)});"
            f" install it with: pip install 'facekeep[{extra}]'"
        ) from error


def content_of(path: Path) -> bytes:
    """Read the file of a network.

    Raises:
        ModelNotFound: There is none, or it cannot be read.
    """
    try:
        with open_regular(path) as stream:
            return stream.read()
    except (OSError, ValueError) as error:
        raise ModelNotFound(f"no model file at {path}: {why(error)}") from error


def name_of(model: Path | bytes) -> str:
    """Return what messages call a network."""
    return model.name if isinstance(model, Path) else "the network in memory"


def check_feeds(feeds: Mapping[str, NDArray[Any]], inputs: tuple[TensorInfo, ...]) -> None:
    """Refuse feeds that a runtime would misread or answer with a lengthy trace.

    Raises:
        InputError: A feed is missing, too many, or of a shape or dtype that the network refuses.
    """
    names = [tensor.name for tensor in inputs]
    if sorted(feeds) != sorted(names):
        given = ", ".join(sorted(feeds)) or "nothing"
        raise InputError(f"the network takes {', '.join(names)}, not {given}")
    for tensor in inputs:
        value = feeds[tensor.name]
        fits = value.ndim == len(tensor.shape) and all(
            size == wanted or (wanted is None and size > 0)
            for size, wanted in zip(value.shape, tensor.shape, strict=True)
        )
        if not fits or value.dtype != tensor.dtype:
            shown = " x ".join("?" if size is None else str(size) for size in tensor.shape)
            raise InputError(
                f"the network refuses its input: {tensor.name} must be {tensor.dtype} {shown},"
                f" not {value.dtype} {' x '.join(map(str, value.shape))}"
            )


def require_float32(runtime: str, precision: str) -> None:
    """Refuse a precision that a runtime does not offer.

    Raises:
        RuntimeUnavailable: It is another than ``float32``.
    """
    if precision != "float32":
        raise RuntimeUnavailable(
            f"{runtime} computes in float32 only, not in {precision};"
            " the runtimes openvino and ncnn offer more"
        )


def require_cpu(runtime: str, device: str) -> None:
    """Refuse a device that a runtime does not offer.

    Raises:
        RuntimeUnavailable: It is another than ``cpu``.
    """
    if device != "cpu":
        raise RuntimeUnavailable(f"{runtime} runs on the device 'cpu' only, not on {device!r}")
