"""``facekeep bench``: how fast each stage is on this machine."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from facekeep.cli.command import Run, command, group

app = group()


@command(
    app,
    "bench",
    uses=("threads",),
    examples=["facekeep bench --threads 1", "facekeep bench detect embed --json"],
)
def bench(
    run: Run,
    stages: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[STAGE]...",
            help="decode, detect, align, embed, identify, start; all when none is named.",
        ),
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option("--image", metavar="PATH", help="A photo with a face to measure with."),
    ] = None,
    repeats: Annotated[
        int, typer.Option("--repeats", min=3, max=100_000, metavar="N", help="Runs of each stage.")
    ] = 50,
) -> None:
    """Measure each stage: median and 95th percentile, beside the bare network where there is one.

    Without --image the demo's portrait is used where it is installed, else a made-up picture.
    """
    threads = run.settings.threads
    if threads:
        # Read by numpy's linear algebra when it is imported, which happens below.
        os.environ.update(OPENBLAS_NUM_THREADS=str(threads), OMP_NUM_THREADS=str(threads))
    from facekeep.bench import STAGES, run_bench

    picture = _picture(image)
    chosen = tuple(stages or STAGES)
    results = []
    with run.progress("Measuring") as advance:
        for result in run_bench(picture, stages=chosen, threads=threads, repeats=repeats):
            results.append(result)
            advance()
    if run.json:
        run.emit(
            {
                "threads": threads,
                "machine": _machine(),
                "stages": [{**asdict(result), "ratio": result.ratio} for result in results],
            }
        )
    run.table(
        ["stage", "median ms", "p95 ms", "bare network ms", "ratio", "peak RSS MB"],
        [
            [
                result.stage,
                f"{result.median_ms:.2f}",
                f"{result.p95_ms:.2f}",
                _number(result.bare_ms),
                _number(result.ratio),
                _number(result.rss_mb),
            ]
            for result in results
        ],
    )
    run.say(f"threads: {threads or 'all'}; {_machine()}")


def _picture(path: Path | None) -> Any:
    from facekeep.apps.demo import bundled_cases
    from facekeep.errors import InputError
    from facekeep.image import load_image

    if path is not None:
        return load_image(path)
    try:
        return bundled_cases()[0].enrol[0]
    except InputError:
        return None


def _machine() -> str:
    """The processor, in words."""
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
