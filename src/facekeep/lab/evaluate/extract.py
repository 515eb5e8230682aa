"""From the images of a test set to embeddings; what cannot be embedded is counted, not hidden."""

from __future__ import annotations

import contextlib
import re
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.files import printable
from facekeep.errors import ImageError, ModelError
from facekeep.lab.datasets.test_sets import Samples
from facekeep.lab.evaluate.crops import CropCache, make_cropper
from facekeep.pipeline.detect import Detector
from facekeep.pipeline.embed import Embedder
from facekeep.runtime import RuntimeOptions, usable_cores

__all__ = [
    "CHUNK",
    "Embeddings",
    "Failure",
    "Progress",
    "describe_reasons",
    "extract",
    "require_some",
    "run_in_threads",
]

CHUNK = 8
"""Images that a thread takes at once: two batches of the embedder, and few enough to hold."""

Progress = Callable[[int, int], object]
"""Called with the number of images done, at first 0, and of all images."""

_NUMBER = re.compile(r"[0-9]+")
_T = TypeVar("_T")


class Failure(NamedTuple):
    """A failure to acquire: an image that gave no embedding, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """The embeddings of n samples.

    Attributes:
        rows: float32 ``(n, d)``, each of unit length, or zero where none could be had.
        found: bool ``(n,)``: the sample has an embedding.
        norms: float32 ``(n,)``, how long the network's own rows are (``Embedder.features``), zero
            where there is none; None when they were not asked for.
        failures: The samples without an embedding, in their order.
    """

    rows: NDArray[np.float32]
    found: NDArray[np.bool_]
    norms: NDArray[np.float32] | None
    failures: tuple[Failure, ...]


class _Part(NamedTuple):
    """What came of a few samples: the places of those found, their rows, and the other samples."""

    places: list[int]
    rows: NDArray[np.float32]
    failures: list[Failure]


def extract(
    samples: Samples,
    embedder: Embedder,
    detector: Detector | None = None,
    *,
    norms: bool = False,
    cache: CropCache | None = None,
    threads: int = 0,
    progress: Progress | None = None,
) -> Embeddings:
    """Take the main face of each sample, and embed it.

    Images are worked on side by side, a thread each, which is faster than a network that runs on
    several cores: open embedder and detector with ``threads=1``. Of the pixels only those at work
    are in memory. The result does not depend on the number of threads.

    Args:
        samples: The images; faces are looked for, or not, as they say.
        embedder: Embeds the crops, mirrored ones too when it was opened with ``flip``.
        detector: Finds the faces; None for the default one, opened if it is needed. Aligned crops
            are taken as they are with None, and else only where a face is found in its place.
        norms: Keep the lengths of the network's own rows too. With ``flip`` the rows of crop and
            mirror image then weigh by their length, as is published for IJB.
        cache: Remembers crops, so that a second model need not look for faces again.
        threads: How many images to work on at once; 0 for as many as there are cores.
        progress: Told after each few images.

    Raises:
        ModelError: The network gave something that is not an embedding.
    """
    with contextlib.ExitStack() as stack:
        if detector is None and not samples.aligned and samples.landmarks is None:
            detector = stack.enter_context(Detector(options=RuntimeOptions(threads=1)))
        crop = make_cropper(samples, embedder.size, detector, cache)

        def work(places: range) -> _Part:
            return _embed_part(samples, crop, embedder, places, norms=norms)

        chunks = [
            range(start, min(start + CHUNK, len(samples)))
            for start in range(0, len(samples), CHUNK)
        ]
        parts = run_in_threads(work, chunks, threads or usable_cores())
        # Before the detector is closed, whatever happens: threads may be using it.
        stack.enter_context(contextlib.closing(parts))
        return _gather(parts, len(samples), embedder.width, norms, progress)


def describe_reasons(failures: Sequence[Failure], most: int = 3) -> str:
    """Say why images gave no embedding: the most frequent reasons, each with its count.

    Args:
        failures: The images.
        most: How many reasons to name. Such that differ in their numbers alone are one.
    """
    examples: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for failure in failures:
        kind = _NUMBER.sub("#", failure.reason)
        examples.setdefault(kind, failure.reason)
        counts[kind] += 1
    parts = [f"{count} x {examples[kind]}" for kind, count in counts.most_common(most)]
    rest = len(failures) - sum(count for _, count in counts.most_common(most))
    return "; ".join([*parts, *([f"{rest} x something else"] if rest else [])])


def require_some(extracted: Embeddings) -> None:
    """Make sure that there is an embedding to compare.

    Raises:
        ImageError: All images failed; the message says why.
    """
    failures = extracted.failures
    if failures and not extracted.found.any():
        raise ImageError(
            f"none of {len(failures)} images gave an embedding: {describe_reasons(failures)}"
        )


def _embed_part(
    samples: Samples,
    crop: Callable[[int], NDArray[np.uint8]],
    embedder: Embedder,
    places: range,
    *,
    norms: bool,
) -> _Part:
    """Embed a few samples; their rows are of unit length unless the norms are wanted."""
    crops: list[NDArray[np.uint8]] = []
    found: list[int] = []
    failures: list[Failure] = []
    for place in places:
        try:
            crops.append(crop(place))
            found.append(place)
        except ImageError as error:
            name = samples.names[place]
            reason = printable(error).removeprefix(f"{printable(name)}: ")
            failures.append(Failure(name, reason))
    if not crops:
        return _Part([], np.empty((0, embedder.width), np.float32), failures)
    stacked = np.stack(crops)
    rows = embedder.features(stacked) if norms else embedder.embed(stacked)
    return _Part(found, rows, failures)


def _gather(
    parts: Iterable[_Part], count: int, width: int, norms: bool, progress: Progress | None
) -> Embeddings:
    """Put the parts into their places."""
    rows = np.zeros((count, width), np.float32)
    found = np.zeros(count, np.bool_)
    failures: list[Failure] = []
    done = 0
    if progress:
        progress(0, count)
    for part in parts:
        rows[part.places] = part.rows
        found[part.places] = True
        failures += part.failures
        done += len(part.places) + len(part.failures)
        if progress:
            progress(done, count)
    lengths = _normalize(rows, found) if norms else None
    return Embeddings(rows, found, lengths, tuple(failures))


def _normalize(rows: NDArray[np.float32], found: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Bring the rows to unit length in place, and return how long they were."""
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    if not (np.isfinite(lengths).all() and (lengths[found] > 0).all()):
        raise ModelError("the network gave a vector without direction; its weights are unusable")
    rows /= np.where(found, lengths, 1)[:, None]
    return np.asarray(lengths, np.float32)


def run_in_threads(
    work: Callable[[range], _T], chunks: Iterable[range], threads: int
) -> Generator[_T]:
    """Do the work in threads, a little ahead of its use; yield what comes of it in order."""
    queue: deque[Future[_T]] = deque()
    pool = ThreadPoolExecutor(threads, "facekeep-extract")
    try:
        for chunk in chunks:
            queue.append(pool.submit(work, chunk))
            if len(queue) > 2 * threads:
                yield queue.popleft().result()
        while queue:
            yield queue.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
