"""How fast each stage of the pipeline is on this machine, and what it costs in memory.

Times are medians and 95th percentiles over repeated runs. What is compared (a stage and the bare
network inside it) is measured turn by turn in one run, so that a busy machine slows both.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.timing import in_turns
from facekeep.errors import InputError
from facekeep.gallery import Gallery, NewTemplate, Space
from facekeep.models import open_model
from facekeep.pipeline.align import align_batch, template
from facekeep.pipeline.detect import Detector
from facekeep.pipeline.embed import Embedder
from facekeep.pipeline.image import load_image, save_image
from facekeep.pipeline.warp import resize
from facekeep.runtime import RuntimeOptions

__all__ = ["STAGES", "StageTime", "run_bench"]

Image = NDArray[np.uint8]

_WARM_UP = 3
_GALLERIES = (1_000, 10_000, 100_000)
_STARTS = 5


@dataclass(frozen=True, slots=True)
class StageTime:
    """One row of the benchmark.

    Attributes:
        stage: What was measured.
        median_ms: Median time of one run in milliseconds.
        p95_ms: Time below which 95 of 100 runs stay.
        repeats: How many runs were timed.
        bare_ms: Median time of the bare network on the same input, measured in turns with the
            stage; None where there is no network in it.
        rss_mb: Peak resident memory of a process that does only this; None where not measured.
    """

    stage: str
    median_ms: float
    p95_ms: float
    repeats: int
    bare_ms: float | None = None
    rss_mb: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many times as long as the bare network the stage takes."""
        return None if self.bare_ms is None else self.median_ms / self.bare_ms


class _Bench:
    """What the stages share: the networks and the picture."""

    def __init__(self, image: Image, options: RuntimeOptions, repeats: int) -> None:
        self.image = image
        self.options = options
        self.repeats = repeats

    def decode(self) -> Iterator[StageTime]:
        """A JPEG photo of twelve megapixels and the picture itself, from bytes to RGB."""
        for name, size in (("decode 640x480", (640, 480)), ("decode 12 MP", (4000, 3000))):
            scaled = resize(self.image, *size)
            encoded = _encode_jpeg(scaled)
            yield self._timed(name, lambda data=encoded: load_image(data))  # type: ignore[misc]

    def detect(self) -> Iterator[StageTime]:
        """Detection beside the bare network on the same pixels."""
        with Detector(options=self.options) as detector:
            session = open_model(detector.entry, self.options)
            for width, height in ((320, 256), (640, 480)):
                scaled = resize(self.image, width, height)
                tensor = scaled[..., ::-1].transpose(2, 0, 1)[None].astype(np.float32)
                feeds = {session.inputs[0].name: np.ascontiguousarray(tensor)}
                yield self._timed(
                    f"detect {width}x{height}",
                    lambda image=scaled: detector.detect(image),  # type: ignore[misc]
                    lambda feeds=feeds: session.run(feeds),  # type: ignore[misc]
                )
            faces = detector.detect(scaled)
            if faces:
                yield self._timed("refine a face", lambda: detector.refine(scaled, faces[:1]))
            session.close()

    def align(self) -> Iterator[StageTime]:
        """Cutting one face out of a photo of twelve megapixels."""
        large = resize(self.image, 4000, 3000)
        points = template(600) + np.array([1500, 1200])
        yield self._timed("align a face", lambda: align_batch(large, [points]))

    def embed(self) -> Iterator[StageTime]:
        """Aligning and embedding one face beside the bare network."""
        with Embedder(options=self.options) as embedder:
            session = open_model(embedder.entry, self.options)
            points = template(embedder.size) + 20
            noise = np.random.default_rng(0).random((1, 3, embedder.size, embedder.size))
            tensor = (noise * 255).astype(np.float32)
            feeds = {session.inputs[0].name: tensor}
            yield self._timed(
                f"align + embed ({embedder.entry.name})",
                lambda: embedder.embed(align_batch(self.image, [points], embedder.size)),
                lambda: session.run(feeds),
            )
            session.close()

    def identify(self) -> Iterator[StageTime]:
        """Search for one probe among people with a template of 512 numbers each."""
        random = np.random.default_rng(0)
        space = Space("bench", "bench", 512)
        with tempfile.TemporaryDirectory() as folder:
            for count in _GALLERIES:
                rows = random.standard_normal((count, 512), np.float32)
                rows /= np.linalg.norm(rows, axis=1, keepdims=True)
                with Gallery.open(
                    Path(folder) / f"{count}.db", space=space, create=True
                ) as gallery:
                    _fill_gallery(gallery, rows)
                    probe = rows[count // 2][None]
                    gallery.search(probe)
                    yield self._timed(
                        f"identify among {count:,} people",
                        lambda g=gallery, p=probe: g.search(p, 5),  # type: ignore[misc]
                    )

    def start(self) -> Iterator[StageTime]:
        """New processes: importing the package, and `facekeep identify` from start to answer."""
        with tempfile.TemporaryDirectory() as folder:
            photo, gallery = Path(folder) / "photo.jpg", Path(folder) / "people.db"
            save_image(photo, self.image)
            command = [sys.executable, "-P", "-m", "facekeep"]  # -P: not the folder one is in
            common = ["--gallery", str(gallery), "--threads", str(self.options.threads)]
            enroll = [*command, "enroll", "Somebody", str(photo), *common, "--review", "off"]
            _run_command(enroll)
            yield _time_start("import facekeep", [sys.executable, "-P", "-c", "import facekeep"])
            if gallery.exists():
                arguments = ["identify", str(photo), *common]
                yield _time_start(
                    "identify, cold", [*command, *arguments], _measure_peak_memory(arguments)
                )

    def _timed(
        self,
        stage: str,
        function: Callable[[], object],
        bare: Callable[[], object] | None = None,
    ) -> StageTime:
        """Time a stage, in turns with the bare network inside it."""
        both = {"own": function} if bare is None else {"own": function, "bare": bare}
        times = in_turns(both, self.repeats, warm_up=_WARM_UP)
        bare_ms = None if bare is None else float(np.median(times["bare"]))
        return _make_result(stage, times["own"], bare_ms=bare_ms)


STAGES = ("decode", "detect", "align", "embed", "identify", "start")
"""The groups of stages that can be asked for."""


def run_bench(
    image: Image | None = None,
    *,
    stages: tuple[str, ...] = STAGES,
    threads: int = 1,
    repeats: int = 50,
) -> Iterator[StageTime]:
    """Measure stages on this machine.

    Args:
        image: uint8 ``(H, W, 3)`` RGB with a face; None for a made-up picture without one.
        stages: Which of ``STAGES``.
        threads: CPU threads of the networks; 0 for all cores.
        repeats: How many runs of each stage are timed.

    Yields:
        A result for each thing measured, as soon as it is there.

    Raises:
        InputError: A stage is unknown, or a command that is timed fails.
    """
    unknown = [stage for stage in stages if stage not in STAGES]
    if unknown:
        raise InputError(f"unknown stage {unknown[0]!r}; known: {', '.join(STAGES)}")
    bench = _Bench(
        _make_picture() if image is None else image, RuntimeOptions(threads=threads), repeats
    )
    for stage in stages:
        yield from getattr(bench, stage)()


def _make_result(stage: str, times: list[float], **more: float | None) -> StageTime:
    return StageTime(
        stage, float(np.median(times)), float(np.percentile(times, 95)), len(times), **more
    )


def _time_start(stage: str, command: list[str], rss_mb: float | None = None) -> StageTime:
    """Time new processes from start to end."""
    times = []
    for _ in range(_STARTS):
        start = time.perf_counter()
        _run_command(command)
        times.append((time.perf_counter() - start) * 1e3)
    return _make_result(stage, times, rss_mb=rss_mb)


def _run_command(command: list[str]) -> str:
    """Run a command, and return what it wrote to stderr; the time of one that failed is none."""
    run = subprocess.run(command, check=False, capture_output=True, text=True)
    if run.returncode not in (0, 1):  # 1 is an answer: unknown, rejected
        problem = run.stderr.strip().rpartition("\n")[2]
        raise InputError(f"a command to be measured failed with status {run.returncode}: {problem}")
    return run.stderr


def _measure_peak_memory(arguments: list[str]) -> float | None:
    """Peak resident memory in MB of a command in a new process; None where Linux's /proc is not."""
    # Not the peak that wait4 reports: it counts the memory of this process before the exec.
    code = (
        "import sys; from facekeep.cli.main import main; main(sys.argv[1:]);"
        "print(open('/proc/self/status').read(), file=sys.stderr)"
    )
    found = re.search(
        r"VmHWM:\s+(\d+) kB", _run_command([sys.executable, "-P", "-c", code, *arguments])
    )
    return int(found[1]) / 1024 if found else None


def _make_picture() -> Image:
    """A made-up picture of 640 x 480 with structure at every size."""
    random = np.random.default_rng(0)
    layers = [
        resize(random.integers(0, 256, (3 * n, 4 * n, 3), np.uint8), 640, 480)
        for n in (1, 4, 16, 64)
    ]
    return np.asarray(np.mean(layers, axis=0), np.uint8)


def _encode_jpeg(image: Image) -> bytes:
    from PIL import Image as Pictures

    file = io.BytesIO()
    Pictures.fromarray(image).save(file, "JPEG", quality=90)
    return file.getvalue()


def _fill_gallery(gallery: Gallery, rows: NDArray[np.float32]) -> None:
    """Enroll people with a template each, in one transaction."""
    people = ((f"person {number}", [NewTemplate(row)]) for number, row in enumerate(rows))
    gallery.enroll_many(people)
