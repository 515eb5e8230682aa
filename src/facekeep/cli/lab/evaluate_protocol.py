"""What the commands of ``facekeep evaluate`` share: options, the way through, what is printed."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from facekeep.cli.command import Run, command
from facekeep.cli.completion import model_names
from facekeep.cli.options import PATH, out_option, parameters_of
from facekeep.cli.output import to_plain
from facekeep.errors import InputError, StorageFull
from facekeep.factory import make_runtime_options

if TYPE_CHECKING:
    from facekeep.lab.datasets.test_sets import PairSet, PersonSet, TemplateSet
    from facekeep.lab.evaluate.crops import CropCache
    from facekeep.lab.evaluate.extract import Embeddings
    from facekeep.lab.evaluate.face_measures import FaceMeasures
    from facekeep.lab.evaluate.protocols import System
    from facekeep.lab.evaluate.result import Evaluation, Result
    from facekeep.pipeline.detect import Detector
    from facekeep.pipeline.embed import Embedder

__all__ = [
    "Experiment",
    "aligned_option",
    "check_report_targets",
    "command_line",
    "conditions_option",
    "protocol",
    "report_option",
    "write_figures",
]

USES: Final = (
    "detector",
    "refiner",
    "min_face",
    "flip",
    "runtime",
    "device",
    "precision",
    "threads",
)

aligned_option = click.option(
    "--aligned/--raw",
    default=False,
    help="The images are aligned face crops; or photos in which faces are detected.",
)
conditions_option = click.option(
    "--conditions/--no-conditions",
    default=False,
    help="Also measure by size, sharpness, brightness, contrast and turn of the worse face.",
)
report_option = click.option(
    "--report",
    type=PATH,
    metavar="DIR",
    help="Write report.html, with curves and the worst errors, to this folder.",
)

_SHARED: Final = parameters_of(
    click.option(
        "models",
        "--model",
        multiple=True,
        metavar="NAME",
        help="Embedder to evaluate; may be repeated, to compare several. [default: the"
        " setting embedder: sface]",
        shell_complete=model_names("embed"),
    ),
    click.option(
        "rates",
        "--fmr",
        multiple=True,
        type=float,
        metavar="RATE",
        help="Target false-match rate, such as 1e-4; may be repeated. [default: those usual"
        " in the protocol]",
    ),
    click.option(
        "--cache",
        type=PATH,
        metavar="DIR",
        help="Keep the faces found in this folder: the next run is much faster.",
    ),
    report_option,
    out_option,
)
"""The options of all protocols."""


@dataclass(frozen=True, slots=True)
class _Choices:
    """The common options of a run."""

    models: tuple[str, ...]
    rates: tuple[float, ...]
    cache: Path | None
    report: Path | None
    out: Path | None


@dataclass(frozen=True, slots=True)
class Experiment:
    """What a command has read, and what becomes of it.

    Attributes:
        data: The test set.
        judge: Makes the evaluation of the embeddings.
        norms: The judge needs the lengths of the network's rows.
        check_crops: Aligned crops in which no face is found in its place are failures.
        conditions: The evaluation is to be measured by conditions of the images too.
        check: Refuses models that the experiment makes no sense for, before it begins.
        finish: Does what is left to do with each evaluation, given the command line.
    """

    data: PairSet | PersonSet | TemplateSet
    judge: Callable[[Embeddings, System], Evaluation]
    norms: bool = False
    check_crops: bool = False
    conditions: bool = False
    check: Callable[[Sequence[str]], None] = field(default=lambda models: None)
    finish: Callable[[Evaluation, str], None] = field(default=lambda evaluation, line: None)


def protocol(
    app: click.Group, name: str, *, examples: Sequence[str]
) -> Callable[[Callable[..., Experiment]], Callable[..., Experiment]]:
    """Add a command by a function that reads its data; the rest is the same for all.

    Args:
        app: From ``group``.
        name: The protocol, as results call it.
        examples: Command lines for the end of the help.
    """

    def decorate(read: Callable[..., Experiment]) -> Callable[..., Experiment]:
        @wraps(read)
        def evaluate(run: Run, **values: Any) -> None:
            choices = _Choices(**{str(each.name): values.pop(each.name) for each in _SHARED})
            check_report_targets(choices.report, choices.out)
            _evaluate(run, name, choices, lambda: read(run, **values), command_line())

        command(app, name, uses=USES, examples=examples, options=_SHARED)(evaluate)
        return read

    return decorate


def check_report_targets(report: Path | None, out: Path | None) -> None:
    """Refuse a report and figures that cannot be written before there is anything to write."""
    from facekeep._internal.files import printable

    if out is not None and (out.is_dir() or not os.access(out.absolute().parent, os.W_OK)):
        raise InputError(f"{printable(out)}: cannot be written: name a file in a folder that is")
    if report is not None:
        from facekeep.lab.evaluate.page import check_report

        check_report(report)


def command_line() -> str:
    """Return the command line with all that differs from the defaults, however it was typed."""
    context = click.get_current_context()
    parts = context.command_path.split()
    for parameter in context.command.params:
        value = context.params.get(parameter.name)
        if parameter.name in ("json", "quiet", "verbose", "out") or value in (None, ()):
            continue
        if value == parameter.get_default(context):
            continue
        for each in value if isinstance(value, tuple) else [value]:
            if parameter.param_type_name == "argument":
                parts.append(os.fspath(each))
            elif isinstance(each, bool):
                parts.append((parameter.opts if each else parameter.secondary_opts)[0])
            else:
                parts += [parameter.opts[0], str(each)]
    return shlex.join(parts)


def _evaluate(
    run: Run, name: str, choices: _Choices, read: Callable[[], Experiment], line: str
) -> None:
    from facekeep.models import default_model

    models = list(dict.fromkeys(choices.models))
    models = models or [run.settings.embedder or default_model("embed")]
    experiment = read()
    experiment.check(models)
    page = None
    with ExitStack() as stack:  # the pictures need the detector once more
        evaluations = _evaluate_models(run, name, choices, experiment, models, stack)
        # The figures are out before anything that could still fail.
        document = _show_results(
            run, [evaluation.result for evaluation in evaluations], choices.out
        )
        if choices.report is not None:
            from facekeep.lab.evaluate.report import write_evaluation_report

            page = write_evaluation_report(choices.report, evaluations, line)
    for evaluation in evaluations:
        experiment.finish(evaluation, line)
    if run.json:
        run.emit(document)
    elif page is not None:
        run.say(f"report: {page}")


def _evaluate_models(
    run: Run,
    name: str,
    choices: _Choices,
    experiment: Experiment,
    models: list[str],
    stack: ExitStack,
) -> list[Evaluation]:
    """Embed the images with each model, and judge what comes of it."""
    from facekeep.lab.evaluate.crops import CropCache, make_cropper
    from facekeep.lab.evaluate.protocols import System
    from facekeep.pipeline.embed import Embedder

    settings = run.settings
    # All are opened first: one that cannot be must not waste the work of those before it.
    embedders = [
        stack.enter_context(
            Embedder(
                model,
                flip=settings.flip,
                options=make_runtime_options(settings, 1),
            )
        )
        for model in models
    ]
    detector = _choose_detector(run, experiment, stack)
    cache = None if choices.cache is None else CropCache(choices.cache)
    measures = _measure_faces(run, experiment, stack) if experiment.conditions else None
    evaluations = []
    for embedder in embedders:
        found = _extract_embeddings(run, experiment, embedder, detector, cache)
        system = System(
            protocol=name,
            model=embedder.entry,
            crop=make_cropper(experiment.data.samples, embedder.size, detector, cache),
            settings=_list_settings(run, experiment, detector),
            rates=tuple(sorted(set(choices.rates), reverse=True)) if choices.rates else None,
            measures=measures,
        )
        evaluations.append(experiment.judge(found, system))
    return evaluations


def _choose_detector(run: Run, experiment: Experiment, stack: ExitStack) -> Detector | None:
    samples = experiment.data.samples
    if samples.landmarks is not None or (samples.aligned and not experiment.check_crops):
        return None
    return _open_detector(run, stack)


def _open_detector(run: Run, stack: ExitStack) -> Detector:
    from facekeep.pipeline.detect import Detector

    settings = run.settings
    return stack.enter_context(
        Detector(
            settings.detector,
            refiner=settings.refiner,
            min_face=settings.min_face,
            options=make_runtime_options(settings, 1),
        )
    )


def _measure_faces(run: Run, experiment: Experiment, stack: ExitStack) -> FaceMeasures:
    """Measure the faces of the images; how old the people were is what a table says."""
    from facekeep.lab.evaluate.face_measures import measure_faces

    samples = experiment.data.samples
    with run.progress("Measuring the faces", len(samples)) as advance:
        measures = measure_faces(
            samples,
            _open_detector(run, stack),
            threads=run.settings.threads,
            progress=_count_steps(advance),
        )
    age = getattr(experiment.data, "age", None)
    return measures if age is None else {**measures, "age": age}


def _count_steps(advance: Callable[..., None]) -> Callable[[int, int], None]:
    """Turn a count of all that is done into steps since the last one."""
    before = 0

    def show(done: int, _: int) -> None:
        nonlocal before
        advance(done - before)
        before = done

    return show


def _list_settings(
    run: Run, experiment: Experiment, detector: Detector | None
) -> dict[str, object]:
    samples = experiment.data.samples
    how = "aligned crops" if samples.aligned else "raw" if detector else "published landmarks"
    return {
        "images": how,
        "detector": detector.entry.name if detector else None,
        "refiner": detector.refiner if detector else None,
        "flip": run.settings.flip,
    }


def _extract_embeddings(
    run: Run,
    experiment: Experiment,
    embedder: Embedder,
    detector: Detector | None,
    cache: CropCache | None,
) -> Embeddings:
    from facekeep.lab.evaluate.extract import extract, require_some

    samples, threads = experiment.data.samples, run.settings.threads
    with run.progress(f"Embedding with {embedder.entry.name}", len(samples)) as advance:
        found = extract(
            samples,
            embedder,
            detector,
            norms=experiment.norms,
            cache=cache,
            threads=threads,
            progress=_count_steps(advance),
        )
    require_some(found)
    return found


def _show_results(run: Run, results: Sequence[Result], out: Path | None) -> dict[str, Any]:
    """Show the figures to people, write them to ``--out``, and return them for JSON."""
    if not run.json:
        _print_results(run, results)
    documents = [result.document() for result in results]
    document = documents[0] if len(documents) == 1 else {"results": documents}
    if out is not None:
        write_figures(out, document)
    return document


def write_figures(out: Path, document: dict[str, Any]) -> None:
    """Write the figures to a file, as JSON."""
    from facekeep._internal.files import is_full, printable, why, write_whole

    text = json.dumps(to_plain(document), indent=2, ensure_ascii=False, allow_nan=False)
    try:
        write_whole(out, f"{text}\n".encode(errors="backslashreplace"))
    except OSError as error:
        if is_full(error):
            raise StorageFull(f"{printable(out)}: no room for the figures") from error
        raise InputError(f"{printable(out)}: cannot be written: {why(error)}") from error


def _print_results(run: Run, results: Sequence[Result]) -> None:
    from facekeep.lab.evaluate import summary

    first = results[0]
    run.say(
        f"{summary.PROTOCOLS[first.protocol][0]}, {first.data}: {summary.describe_counts(first)}"
    )
    for table in summary.list_tables(results):
        if table.caption:
            run.say(table.caption)
        run.table(table.headers, table.rows)
    if not run.quiet:
        for line in summary.explain_terms(results):
            run.say(line)
    for remark in (remark for result in results for remark in summary.list_remarks(result)):
        run.say(remark)
    run.say(f"no face taken from {summary.describe_failures(first)}")
    if not run.quiet:
        for failure in first.failures[:_LISTED]:
            run.say(f"  {failure.name}: {failure.reason}")


_LISTED: Final = 20
"""Failures that are shown to people; JSON and the report have more."""
