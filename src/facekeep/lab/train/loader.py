"""Batches for training: shuffled, augmented, and the same whoever makes them."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from numbers import Integral
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.files import one_line, printable
from facekeep.errors import FacekeepError, ImageError, InputError, RuntimeUnavailable
from facekeep.lab.datasets.augment import Augment, augment
from facekeep.lab.datasets.source import Source, decode_crop

if TYPE_CHECKING:
    import torch

__all__ = ["Batch", "BatchMaker", "DecodedBatch", "Loader", "Order", "Part"]

_MOST_TRIES = 64
"""So many images in a row that cannot be used mean that (nearly) all are broken."""

_EPOCHS, _FACES = range(2)  # the random numbers of the two do not meet

Part = tuple[int, NDArray[np.int64]]
"""An epoch, and the images of one batch in it."""


@dataclass(frozen=True, slots=True)
class Order:
    """Deals the images of each epoch to the batches of each process.

    The images are shuffled anew each epoch. Step s takes the next ``batch * world`` of them, and
    the process of rank r the r-th ``batch`` of those. So what the processes get in a step is, in
    the order of their ranks, what one process with a batch of ``batch * world`` would get. What is
    left over at the end of an epoch is left out of it.
    """

    images: int
    batch: int
    seed: int
    rank: int
    world: int

    @property
    def steps(self) -> int:
        """Steps of an epoch, the same in each process."""
        return self.images // (self.batch * self.world)

    def parts(self, epoch: int, start_step: int) -> Iterator[Part]:
        """Yield the epoch and the images, int64 ``(batch,)``, of each step from one on."""
        order = np.random.default_rng((_EPOCHS, self.seed, epoch)).permutation(self.images)
        for step in range(start_step, self.steps):
            first = (step * self.world + self.rank) * self.batch
            yield epoch, order[first : first + self.batch]


@dataclass(frozen=True, slots=True)
class DecodedBatch:
    """A batch in numpy, and what could not be used.

    Attributes:
        images: uint8 ``(n, 3, S, S)``.
        index: int64 ``(n,)``, the images that were used.
        broken: Index and reason of each that could not be; others took their places.
    """

    images: NDArray[np.uint8]
    index: NDArray[np.int64]
    broken: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class BatchMaker:
    """Reads, decodes and augments the images of a batch."""

    source: Source
    size: int
    seed: int
    settings: Augment | None

    def __call__(self, part: Part) -> DecodedBatch | FacekeepError:
        """Make a batch; an error is given back, since a worker's own would lose its class."""
        epoch, wanted = part
        images = np.empty((len(wanted), 3, self.size, self.size), np.uint8)
        index, broken = wanted.copy(), list[tuple[int, str]]()
        try:
            for place, first in enumerate(wanted):
                image, index[place] = self._face(epoch, int(first), broken)
                _planes(image, images[place])
        except FacekeepError as error:
            return error
        return DecodedBatch(images, index, tuple(broken))

    def _face(
        self, epoch: int, first: int, broken: list[tuple[int, str]]
    ) -> tuple[NDArray[np.uint8], int]:
        """Make one face; one that is broken is replaced by another drawn from the same numbers."""
        rng = np.random.default_rng((_FACES, self.seed, epoch, first))
        index, hint = first, None
        for _ in range(_MOST_TRIES):
            try:
                image = decode_crop(self.source.read(index), self.size)
                return self._augmented(image, rng), index
            except ImageError as error:
                broken.append((index, str(error)))
                hint = error.hint
                index = int(rng.integers(len(self.source)))
        where, why = broken[-1]
        raise ImageError(
            f"{self.source.name}: {_MOST_TRIES} images in a row cannot be used; "
            f"{self.source.key(where)}: {why}",
            hint,
        )

    def _augmented(self, image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        return image if self.settings is None else augment(image, rng, self.settings)


def _planes(image: NDArray[np.uint8], planes: NDArray[np.uint8]) -> None:
    """Write ``(S, S, 3)`` as ``(3, S, S)``; OpenCV does it four times as fast as numpy."""
    import cv2

    cv2.split(image, list(planes))


_log = logging.getLogger(__name__)

_AHEAD: Final = 2  # batches that each worker has ready
_PATIENCE: Final = 0.5  # seconds that a worker outlives the main process
_MOST_WARNINGS: Final = 5
_ENOUGH: Final = 1000  # images that tell which share of all is damaged
_SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108 - where PyTorch hands over what workers make
_LARGEST_SEED: Final = (1 << 32) - 1


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """The images of one step.

    Attributes:
        images: uint8 ``(n, 3, S, S)`` RGB.
        labels: int64 ``(n,)``, -1 where nobody knows.
        index: int64 ``(n,)``, where they are in the source.
    """

    images: torch.Tensor
    labels: torch.Tensor
    index: torch.Tensor


class Loader:
    """Gives the batches of any epoch from any step on.

    A batch depends on the source, the settings, the seed, the epoch and the step alone: not on the
    number of workers, nor on whether the run was interrupted before it. Of several processes each
    gets a part of every step; in the order of their ranks the parts are the batch that a single
    process would get (`batch` x `world`). An image that cannot be used is replaced by another one,
    drawn by the seed; what is left over at the end of an epoch is left out.

    Args:
        source: The images.
        batch: Images in a batch of this process.
        size: Side of the images in pixels; others are scaled to it.
        seed: Of order and augmentation.
        augment: How faces are changed at random; None for not at all.
        rank: Which of the processes of a run this is.
        world: How many there are.
        workers: Processes that make batches; 0: this one does.
        max_corrupt: The share of images that may be unusable; looked at from the end of the first
            epoch on, or after a thousand images.

    Attributes:
        source: The images.
        batch: Images in a batch of this process.
        corrupt: How often an image could not be used and another took its place, up to the batch
            given last. A run that goes on sets it to what it was.

    Raises:
        InputError: A number is out of range, or there are fewer images than a step takes.
    """

    def __init__(
        self,
        source: Source,
        *,
        batch: int,
        size: int = 112,
        seed: int = 0,
        augment: Augment | None = None,
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
        max_corrupt: float = 1.0,
    ) -> None:
        _check("batch", batch, 1)
        _check("size", size, 1)
        _check("seed", seed, 0, _LARGEST_SEED)
        _check("workers", workers, 0)
        _check("world", world, 1)
        _check("rank", rank, 0, world - 1)
        self.source = source
        self.batch = batch
        self.corrupt = 0
        self._workers = workers
        self._max_corrupt = max_corrupt
        self._given = self._failed = 0
        self._warnings = 0
        self._order = Order(len(source), batch, seed, rank, world)
        self._maker = BatchMaker(source, size, seed, augment)
        if not self._order.steps:
            raise InputError(
                f"{source.name}: {len(source)} images are fewer than the {batch * world} of one "
                "batch; lower the batch"
            )

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which each image is given once."""
        return self._order.steps

    def require_usable(self) -> None:
        """Make sure before a run begins that it would not end at once.

        Raises:
            ImageError: Nearly all images cannot be used.
        """
        epoch, places = next(self._order.parts(0, 0))
        decoded = self._maker((epoch, places[:1]))
        if isinstance(decoded, FacekeepError):
            raise decoded

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch.

        The workers end with it, also when it is left early.

        Args:
            epoch: Which, from 0.
            start_step: The first step to give.

        Raises:
            InputError: A number is out of range, or there is too little shared memory.
            ImageError: Nearly all images cannot be used, or more than ``max_corrupt`` of them.
            RuntimeUnavailable: PyTorch is not installed, or a worker was killed.
        """
        _check("epoch", epoch, 0, _LARGEST_SEED)
        _check("start_step", start_step, 0)
        torch = _torch()
        for decoded in self._make_batches(self._order.parts(epoch, start_step)):
            if isinstance(decoded, FacekeepError):
                raise decoded
            self._count(decoded)
            index = torch.as_tensor(decoded.index)
            labels = torch.from_numpy(self.source.labels[decoded.index])
            yield Batch(torch.as_tensor(decoded.images), labels, index)

    def _count(self, decoded: DecodedBatch) -> None:
        """Count what could not be used, and tell of the first of them."""
        self.corrupt += len(decoded.broken)
        self._given += len(decoded.index)
        self._failed += len(decoded.broken)
        tried = self._given + self._failed
        enough = self._given >= min(_ENOUGH, self._order.steps * self._order.batch)
        if enough and self._failed > self._max_corrupt * tried:
            index, why = decoded.broken[-1] if decoded.broken else (-1, "see the warnings")
            raise ImageError(
                f"{self.source.name}: {self._failed} of {tried} images looked at cannot be used,"
                f" more than the {self._max_corrupt:.1%} allowed; copy them again"
                f" ({printable(self.source.key(index)) if index >= 0 else 'the last'}: {why})",
                "max_corrupt",
            )
        for index, why in decoded.broken[: _MOST_WARNINGS - self._warnings]:
            self._warnings += 1
            _log.warning("%s: skipped: %s", printable(self.source.key(index)), why)

    def _make_batches(self, parts: Iterator[Part]) -> Iterator[DecodedBatch | FacekeepError]:
        if not self._workers:
            yield from map(self._maker, parts)
            return
        self._check_shared_memory()
        batches = _start(self._maker, parts, self._workers)
        try:
            yield from batches
        except (RuntimeError, OSError, EOFError) as error:
            raise RuntimeUnavailable(
                f"a worker ended unexpectedly ({one_line(error)}); memory may be short: lower the "
                "number of workers"
            ) from error

    def _check_shared_memory(self) -> None:
        """Refuse what would end in a bus error: containers have 64 MB unless told otherwise."""
        side = self._maker.size
        needed = (self._workers * _AHEAD + 1) * self._order.batch * 3 * side * side
        if os.path.isdir(_SHARED_MEMORY):  # noqa: PTH112 - a constant
            free = shutil.disk_usage(_SHARED_MEMORY).free
            if free < needed:
                raise InputError(
                    f"{self._workers} workers need {needed >> 20} MB of shared memory, and "
                    f"{_SHARED_MEMORY} has {free >> 20} MB left; lower the workers or the batch, "
                    "or give the container more (docker run --shm-size)"
                )


class _Batches:
    """The dataset that PyTorch's loader takes: its items are whole batches."""

    def __init__(self, maker: BatchMaker) -> None:
        self._maker = maker

    def __getitem__(self, part: Part) -> Any:
        """Make a batch whose large arrays are tensors, which travel through shared memory."""
        import torch

        decoded = self._maker(part)
        if isinstance(decoded, FacekeepError):
            return decoded
        return torch.from_numpy(decoded.images), torch.from_numpy(decoded.index), decoded.broken


def _start(
    maker: BatchMaker, parts: Iterator[Part], workers: int
) -> Iterator[DecodedBatch | FacekeepError]:
    """Start workers, and give what they make in the order of the parts."""
    from torch.utils.data import DataLoader

    loader: DataLoader[Any] = DataLoader(
        _Batches(maker),  # type: ignore[arg-type]
        batch_size=None,
        sampler=parts,
        num_workers=workers,
        collate_fn=_as_is,
        prefetch_factor=_AHEAD,
        worker_init_fn=partial(_begin, parent=os.getpid()),
        multiprocessing_context="fork",  # they share the index, and start in milliseconds
        generator=_torch().Generator(),  # so that none of the global random numbers are used up
    )
    with _forking():
        batches = iter(loader)
    for each in batches:
        yield each if isinstance(each, FacekeepError) else DecodedBatch(*each)


@contextmanager
def _forking() -> Iterator[None]:
    """Prepare this process for being forked into workers, and put it back as it was.

    They find the decoders imported, and OpenCV without threads: its pool would not be there in a
    fork, and crops are too small to share. Python's warning of forks in a process with threads is
    for locks that those may hold; no thread of facekeep decodes while training begins an epoch.
    """
    import cv2
    from PIL import JpegImagePlugin, PngImagePlugin, WebPImagePlugin  # noqa: F401

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with _kept_handler(signal.SIGCHLD), warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
            yield
    finally:
        cv2.setNumThreads(threads)


@contextmanager
def _kept_handler(number: signal.Signals) -> Iterator[None]:
    """Undo what is done to the handler of a signal meanwhile.

    PyTorch's own for the end of a worker raises wherever the main thread happens to be. Without it
    the loss of a worker is noticed when its next batch is waited for.
    """
    before = signal.getsignal(number)
    yield
    if before is not None and threading.current_thread() is threading.main_thread():
        signal.signal(number, before)


def _as_is(item: Any) -> Any:
    return item


def _begin(worker: int, parent: int) -> None:
    """Leave it to the main process to end a worker, since Ctrl-C reaches all at once.

    PyTorch's workers look for their parent too, but take for it whatever they find when they
    begin: one that starts slowly would outlive a parent that was killed meanwhile.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: int) -> None:
    """End this process soon after its parent."""
    while os.getppid() == parent:
        time.sleep(_PATIENCE)
    os._exit(1)


def _torch() -> Any:
    try:
        import torch
    except ModuleNotFoundError as error:
        raise RuntimeUnavailable(
            "PyTorch is not installed; install it with: pip install 'facekeep[train]'"
        ) from error
    return torch


def _check(name: str, value: int, low: int, high: int | None = None) -> None:
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        most = "" if high is None else f" and {high} at most"
        raise InputError(f"{name} must be a whole number, {low} at least{most}; got {value!r}")
