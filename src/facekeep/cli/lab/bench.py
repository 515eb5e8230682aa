"""``facekeep bench``: how fast each stage is on this machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from facekeep.cli.command import Run, command, group
from facekeep.cli.completion import choices, model_names
from facekeep.cli.options import PATH, argument

app = group()


@command(
    app,
    "bench",
    uses=("threads",),
    examples=[
        "facekeep bench --threads 1",
        "facekeep bench detect embed --json",
        "facekeep bench embed --model facekeep-xxs --threads 1",
    ],
)
@argument(
    "stages",
    nargs=-1,
    metavar="[STAGE]...",
    help="decode, detect, align, embed, identify, start; all when none is named.",
    shell_complete=choices("decode", "detect", "align", "embed", "identify", "start"),
)
@click.option("--image", type=PATH, metavar="PATH", help="A photo with a face to measure with.")
@click.option(
    "--model",
    metavar="NAME",
    help="Time this model's bare network beside its export by PyTorch; only with embed.",
    shell_complete=model_names("embed"),
)
@click.option(
    "--repeats",
    type=click.IntRange(3, 100_000),
    default=50,
    metavar="N",
    help="Runs of each stage.",
)
def bench(
    run: Run, stages: tuple[str, ...], image: Path | None, model: str | None, repeats: int
) -> None:
    """Measure each stage: median and 95th percentile, beside the bare network where there is one.

    Without --image the demo's portrait is used where it is installed, else a made-up picture.
    """
    threads = run.settings.threads
    if threads:
        # Read by numpy's linear algebra when it is imported, which happens below.
        os.environ.update(OPENBLAS_NUM_THREADS=str(threads), OMP_NUM_THREADS=str(threads))
    from facekeep.errors import InputError
    from facekeep.lab.bench.stages import STAGES, run_bench

    chosen = tuple(stages or STAGES)
    if model is not None:
        if chosen != ("embed",) or image is not None:
            raise InputError(
                "--model times a network alone; run: facekeep bench embed --model NAME"
            )
        _time_network(run, model, threads, repeats)
        return
    picture = _load_picture(image)
    results = []
    with run.progress("Measuring") as advance:
        for result in run_bench(picture, stages=chosen, threads=threads, repeats=repeats):
            results.append(result)
            advance()
    if run.json:
        run.emit(
            {
                "threads": threads,
                "machine": _describe_machine(),
                "stages": [{**asdict(result), "ratio": result.ratio} for result in results],
            }
        )
    _print_table(
        run,
        ["stage", "median ms", "p95 ms", "bare network ms", "ratio", "peak RSS MB"],
        [
            [
                result.stage,
                f"{result.median_ms:.2f}",
                f"{result.p95_ms:.2f}",
                _format_number(result.bare_ms),
                _format_number(result.ratio),
                _format_number(result.rss_mb),
            ]
            for result in results
        ],
    )
    run.say(f"threads: {threads or 'all'}; {_describe_machine()}")


def _time_network(run: Run, model: str, threads: int, repeats: int) -> None:
    """Time the bare network of one model."""
    from facekeep.lab.bench.network import measure_network

    with run.progress("Measuring"):
        found = measure_network(model, threads=threads, repeats=repeats)
    if run.json:
        where = {"threads": threads, "machine": _describe_machine()}
        run.emit({**asdict(found), "ratio": found.ratio, **where})
    _print_table(
        run,
        ["network", "median ms", "p95 ms", "plain export ms", "ratio", "limit ms"],
        [
            [
                found.model,
                f"{found.median_ms:.2f}",
                f"{found.p95_ms:.2f}",
                _format_number(found.plain_export_ms),
                _format_number(found.ratio),
                _format_number(found.limit_ms),
            ]
        ],
    )
    run.say(f"plain export: {found.plain_export}")
    run.say(f"threads: {threads or 'all'}; {_describe_machine()}")


def _print_table(run: Run, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table without the columns in which nothing stands."""
    kept = [place for place in range(len(headers)) if any(row[place] for row in rows)]
    run.table([headers[i] for i in kept], [[row[i] for i in kept] for row in rows])


def _load_picture(path: Path | None) -> Any:
    from facekeep.errors import InputError
    from facekeep.pipeline.image import load_image
    from facekeep.samples import load_portraits

    if path is not None:
        return load_image(path)
    try:
        return next(iter(load_portraits().values()))
    except InputError:
        return None


def _describe_machine() -> str:
    """The processor, in words."""
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def _format_number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
