"""``facekeep evaluate detect``: how well detectors find faces, and how exact the landmarks are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from facekeep.cli.command import Run
from facekeep.cli.completion import model_names
from facekeep.cli.lab.evaluate_protocol import (
    check_report_targets,
    command_line,
    report_option,
    write_figures,
)
from facekeep.cli.options import PATH, argument, out_option
from facekeep.errors import ImageError, InputError
from facekeep.factory import make_runtime_options

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from facekeep.lab.datasets.source import Source
    from facekeep.lab.evaluate.detection import ComparedDetector, DetectionResult

__all__ = ["detect"]


@argument(
    "photos",
    type=PATH,
    metavar="PHOTOS",
    help="Annotated photos, a .json beside each: a tar, a folder of tars or of pictures.",
)
@click.option(
    "models",
    "--model",
    multiple=True,
    metavar="NAME",
    help="Detector to evaluate; may be repeated, to compare several. [default: the"
    " setting detector: yunet]",
    shell_complete=model_names("detect"),
)
@click.option(
    "--sizes",
    default="20,40,80,160",
    metavar="PIXELS",
    help="Sizes at which faces are shown: their shorter sides, in pixels.",
)
@click.option(
    "--hard/--plain",
    default=False,
    help="Damage the images: dark, pale, blurred, coarse, compressed, partly covered.",
)
@click.option(
    "--scenes",
    type=PATH,
    metavar="PATH",
    help="Photos without annotations, to count false detections in; a folder or a tar.",
)
@click.option(
    "--holdout",
    type=click.IntRange(1),
    metavar="N",
    help="Use only the N people that training with the same --seed keeps out.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Seed of the choice of people, and of the places of the faces.",
)
@report_option
@out_option
def detect(
    run: Run,
    photos: Path,
    *,
    models: tuple[str, ...],
    sizes: str,
    hard: bool,
    scenes: Path | None,
    holdout: int | None,
    seed: int,
    report: Path | None,
    out: Path | None,
) -> None:
    """Find annotated faces at several sizes: average precision, and how exact the landmarks are.

    Each face is cut out with what surrounds it, scaled down to each size that it is not smaller
    than, and set beside others on mosaics of at most 640 pixels. Landmark errors are in
    per cent of the distance of the eyes, as the detector gives them and refined.
    """
    from facekeep.lab.datasets.training_set import open_source
    from facekeep.lab.evaluate.detection import MosaicSet, compare_detectors

    check_report_targets(report, out)
    mosaics = MosaicSet(
        _open_photos(photos, holdout, seed), _parse_sizes(sizes), seed=seed, hard=hard
    )
    backgrounds = None if scenes is None else open_source(scenes)
    with ExitStack() as stack:
        detectors = _open_detectors(run, models, stack)
        total = len(mosaics) + (0 if backgrounds is None else len(backgrounds))
        with run.progress("Detecting", total) as advance:
            results = compare_detectors(
                mosaics,
                detectors,
                data=photos.resolve().name,
                scenes=() if backgrounds is None else _load_photos(backgrounds),
                progress=advance,
            )
    documents = [result.document() for result in results]
    document = documents[0] if len(documents) == 1 else {"results": documents}
    if out is not None:
        write_figures(out, document)
    _print_results(run, results)
    page = None
    if report is not None:
        from facekeep.lab.evaluate.detection.report import write_detection_report

        page = write_detection_report(report, results, command_line())
    if run.json:
        run.emit(document)
    elif page is not None:
        run.say(f"report: {page}")


def _open_photos(photos: Path, holdout: int | None, seed: int) -> Any:
    from facekeep.lab.datasets.annotated import open_annotated, split_by_person

    annotated = open_annotated(photos)
    return (
        annotated if holdout is None else split_by_person(annotated, holdout=holdout, seed=seed)[1]
    )


def _parse_sizes(text: str) -> list[int]:
    try:
        return [int(word) for word in text.split(",")]
    except ValueError as error:
        raise InputError(
            f"--sizes must be whole numbers, such as 20,40,80; not {text!r}"
        ) from error


def _open_detectors(
    run: Run, models: Sequence[str] | None, stack: ExitStack
) -> list[ComparedDetector]:
    """Open the detectors, each with one thread, so that their times can be compared."""
    from facekeep.lab.evaluate.detection import LOWEST_SCORE, ComparedDetector
    from facekeep.models import default_model
    from facekeep.pipeline.detect import Detector

    settings = run.settings
    names = models or [settings.detector or default_model("detect")]
    detectors = [
        stack.enter_context(
            Detector(
                model,
                score=LOWEST_SCORE,
                refiner=settings.refiner,
                options=make_runtime_options(settings, 1),
            )
        )
        for model in dict.fromkeys(names)
    ]
    return [
        ComparedDetector(each.entry.name, each.detect, each.refine, each.refiner)
        for each in detectors
    ]


def _load_photos(source: Source) -> Iterator[NDArray[np.uint8]]:
    from facekeep._internal.files import printable
    from facekeep.pipeline.image import load_image

    for place in range(len(source)):
        try:
            yield load_image(source.read(place))
        except ImageError as error:
            raise ImageError(f"{printable(source.key(place))}: {error}") from error


def _print_results(run: Run, results: Sequence[DetectionResult]) -> None:
    from facekeep.lab.evaluate.detection.report import describe_mosaics, list_detection_tables

    run.say(describe_mosaics(results[0]))
    for table in list_detection_tables(results):
        if table.caption:
            run.say(table.caption)
        run.table(table.headers, table.rows)
