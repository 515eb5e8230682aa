"""What the commands of ``facekeep evaluate`` share: options, the way through, what is printed."""

from __future__ import annotations

import inspect
import json
import os
import shlex
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from facekeep.cli.command import Run, command
from facekeep.cli.completion import model_names
from facekeep.cli.options import Out
from facekeep.cli.output import to_plain
from facekeep.errors import InputError, StorageFull

if TYPE_CHECKING:
    from facekeep.lab.evaluate.crop_cache import CropCache
    from facekeep.lab.evaluate.data import PairSet, PersonSet, TemplateSet
    from facekeep.lab.evaluate.extract import Extracted
    from facekeep.lab.evaluate.facts import Facts
    from facekeep.lab.evaluate.result import Outcome, Result
    from facekeep.lab.evaluate.run import System
    from facekeep.pipeline.detect import Detector
    from facekeep.pipeline.embed import Embedder

__all__ = [
    "AlignedFlag",
    "ConditionsFlag",
    "Report",
    "Work",
    "check_targets",
    "command_line",
    "protocol",
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

AlignedFlag = Annotated[
    bool,
    typer.Option(
        "--aligned/--raw", help="The images are face crops, aligned already; or faces are found."
    ),
]

ConditionsFlag = Annotated[
    bool,
    typer.Option(
        "--conditions/--no-conditions",
        help="Also by size, sharpness, brightness, contrast and turn of the worse face.",
    ),
]

_Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        metavar="NAME",
        autocompletion=model_names("embed"),
        help="Embedder to evaluate; repeat to compare several."
        " [default: the setting embedder: sface]",
    ),
]
_Rates = Annotated[
    list[float] | None,
    typer.Option(
        "--fmr",
        metavar="RATE",
        help="Target rate, such as 1e-4; repeatable. [default: those usual in the protocol]",
    ),
]
_CacheFolder = Annotated[
    Path | None,
    typer.Option(
        "--cache", metavar="DIR", help="Keep the faces found here: the next run is much quicker."
    ),
]
Report = Annotated[
    Path | None,
    typer.Option(
        "--report", metavar="DIR", help="Write report.html with curves and the worst errors here."
    ),
]

_COMMON: Final[tuple[tuple[str, Any], ...]] = (
    ("models", _Models),
    ("rates", _Rates),
    ("cache", _CacheFolder),
    ("report", Report),
    ("out", Out),
)


@dataclass(frozen=True, slots=True)
class _Choices:
    """The common options of a run."""

    models: list[str] | None
    rates: list[float] | None
    cache: Path | None
    report: Path | None
    out: Path | None


@dataclass(frozen=True, slots=True)
class Work:
    """What a command has read, and what becomes of it.

    Attributes:
        data: The test set.
        judge: Makes the outcome of the embeddings.
        norms: The judge needs the lengths of the network's rows.
        check_crops: Aligned crops in which no face is found in its place are failures.
        conditions: The outcome is to be told by conditions of the images too.
        check: Refuses models that the work makes no sense for, before it begins.
        finish: Does what is left to do with each outcome; told the command line.
    """

    data: PairSet | PersonSet | TemplateSet
    judge: Callable[[Extracted, System], Outcome]
    norms: bool = False
    check_crops: bool = False
    conditions: bool = False
    check: Callable[[Sequence[str]], None] = field(default=lambda models: None)
    finish: Callable[[Outcome, str], None] = field(default=lambda outcome, line: None)


def protocol(
    app: typer.Typer, name: str, *, examples: Sequence[str]
) -> Callable[[Callable[..., Work]], Callable[..., Work]]:
    """Add a command by a function that reads its data; the rest is the same for all.

    Args:
        app: From ``group``.
        name: The protocol, as results call it.
        examples: Command lines for the end of the help.
    """

    def decorate(read: Callable[..., Work]) -> Callable[..., Work]:
        def evaluate(run: Run, context: typer.Context, **values: Any) -> None:
            choices = _Choices(**{option: values.pop(option) for option, _ in _COMMON})
            check_targets(choices.report, choices.out)
            _evaluate(run, name, choices, lambda: read(run, **values), command_line(context))

        first, *own = inspect.signature(read, eval_str=True).parameters.values()
        keyword = inspect.Parameter.KEYWORD_ONLY
        evaluate.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [
                first,
                inspect.Parameter("context", keyword, annotation=typer.Context),
                *(each.replace(kind=keyword) for each in own),
                *(inspect.Parameter(n, keyword, default=None, annotation=a) for n, a in _COMMON),
            ]
        )
        evaluate.__doc__ = read.__doc__
        command(app, name, uses=USES, examples=examples)(evaluate)
        return read

    return decorate


def check_targets(report: Path | None, out: Path | None) -> None:
    """Refuse a report and figures that cannot be written before there is anything to write."""
    from facekeep._internal.files import printable

    if out is not None and (out.is_dir() or not os.access(out.absolute().parent, os.W_OK)):
        raise InputError(f"{printable(out)}: cannot be written: name a file in a folder that is")
    if report is not None:
        from facekeep.lab.evaluate.page import check_report

        check_report(report)


def command_line(context: typer.Context) -> str:
    """Return the command line with all that differs from the defaults, however it was typed."""
    words = context.command_path.split()
    for parameter in context.command.params:
        value = context.params.get(str(parameter.name))
        if parameter.name in ("json", "quiet", "verbose", "out") or value in (None, (), []):
            continue
        if value == parameter.default:
            continue
        for each in value if isinstance(value, list | tuple) else [value]:
            if parameter.param_type_name == "argument":
                words.append(os.fspath(each))
            elif isinstance(each, bool):
                words.append((parameter.opts if each else parameter.secondary_opts)[0])
            else:
                words += [parameter.opts[0], str(each)]
    return shlex.join(words)


def _evaluate(run: Run, name: str, choices: _Choices, read: Callable[[], Work], line: str) -> None:
    from facekeep.models import default_model

    models = list(dict.fromkeys(choices.models or ()))
    models = models or [run.settings.embedder or default_model("embed")]
    work = read()
    work.check(models)
    page = None
    with ExitStack() as stack:  # the pictures need the detector once more
        outcomes = _outcomes(run, name, choices, work, models, stack)
        # The figures are out before anything that could still fail.
        document = _told(run, [outcome.result for outcome in outcomes], choices.out)
        if choices.report is not None:
            from facekeep.lab.evaluate.report import write_report

            page = write_report(choices.report, outcomes, line)
    for outcome in outcomes:
        work.finish(outcome, line)
    if run.json:
        run.emit(document)
    elif page is not None:
        run.say(f"report: {page}")


def _outcomes(
    run: Run, name: str, choices: _Choices, work: Work, models: list[str], stack: ExitStack
) -> list[Outcome]:
    """Embed the images with each model, and judge what comes of it."""
    from facekeep.lab.evaluate.crop_cache import CropCache
    from facekeep.lab.evaluate.crops import cropper
    from facekeep.lab.evaluate.run import System
    from facekeep.pipeline.embed import Embedder
    from facekeep.runtime import RuntimeOptions

    settings = run.settings
    # All are opened first: one that cannot be must not waste the work of those before it.
    embedders = [
        stack.enter_context(
            Embedder(
                model,
                flip=settings.flip,
                options=RuntimeOptions(
                    threads=1,
                    device=settings.device,
                    precision=settings.precision,
                    runtime=settings.runtime,
                ),
            )
        )
        for model in models
    ]
    detector = _detector(run, work, stack)
    cache = None if choices.cache is None else CropCache(choices.cache)
    facts = _facts(run, work, stack) if work.conditions else None
    outcomes = []
    for embedder in embedders:
        found = _extracted(run, work, embedder, detector, cache)
        system = System(
            protocol=name,
            model=embedder.entry,
            crop=cropper(work.data.samples, embedder.size, detector, cache),
            settings=_settings(run, work, detector),
            rates=tuple(sorted(set(choices.rates), reverse=True)) if choices.rates else None,
            facts=facts,
        )
        outcomes.append(work.judge(found, system))
    return outcomes


def _detector(run: Run, work: Work, stack: ExitStack) -> Detector | None:
    samples = work.data.samples
    if samples.landmarks is not None or (samples.aligned and not work.check_crops):
        return None
    return _opened(run, stack)


def _opened(run: Run, stack: ExitStack) -> Detector:
    from facekeep.pipeline.detect import Detector
    from facekeep.runtime import RuntimeOptions

    settings = run.settings
    return stack.enter_context(
        Detector(
            settings.detector,
            refiner=settings.refiner,
            min_face=settings.min_face,
            options=RuntimeOptions(
                threads=1,
                device=settings.device,
                precision=settings.precision,
                runtime=settings.runtime,
            ),
        )
    )


def _facts(run: Run, work: Work, stack: ExitStack) -> Facts:
    """Measure the faces of the images; how old the people were is what a table says."""
    from facekeep.lab.evaluate.facts import measure_facts

    samples = work.data.samples
    with run.progress("Measuring the faces", len(samples)) as advance:
        facts = measure_facts(
            samples,
            _opened(run, stack),
            threads=run.settings.threads,
            progress=_steps(advance),
        )
    age = getattr(work.data, "age", None)
    return facts if age is None else {**facts, "age": age}


def _steps(advance: Callable[..., None]) -> Callable[[int, int], None]:
    """Turn a count of all that is done into steps since the last one."""
    before = 0

    def show(done: int, _: int) -> None:
        nonlocal before
        advance(done - before)
        before = done

    return show


def _settings(run: Run, work: Work, detector: Detector | None) -> dict[str, object]:
    samples = work.data.samples
    how = "aligned crops" if samples.aligned else "raw" if detector else "published landmarks"
    return {
        "images": how,
        "detector": detector.entry.name if detector else None,
        "refiner": detector.refiner if detector else None,
        "flip": run.settings.flip,
    }


def _extracted(
    run: Run, work: Work, embedder: Embedder, detector: Detector | None, cache: CropCache | None
) -> Extracted:
    from facekeep.lab.evaluate.extract import extract, require_some

    samples, threads = work.data.samples, run.settings.threads
    with run.progress(f"Embedding with {embedder.entry.name}", len(samples)) as advance:
        found = extract(
            samples,
            embedder,
            detector,
            norms=work.norms,
            cache=cache,
            threads=threads,
            progress=_steps(advance),
        )
    require_some(found)
    return found


def _told(run: Run, results: Sequence[Result], out: Path | None) -> dict[str, Any]:
    """Show the figures to people, write them to ``--out``, and return them for JSON."""
    if not run.json:
        _tell_people(run, results)
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


def _tell_people(run: Run, results: Sequence[Result]) -> None:
    from facekeep.lab.evaluate import words

    first = results[0]
    run.say(f"{words.PROTOCOLS[first.protocol][0]}, {first.data}: {words.counts_text(first)}")
    for table in words.tables(results):
        if table.caption:
            run.say(table.caption)
        run.table(table.headers, table.rows)
    if not run.quiet:
        for line in words.explanations(results):
            run.say(line)
    for remark in (remark for result in results for remark in words.remarks(result)):
        run.say(remark)
    run.say(f"no face taken from {words.failures_text(first)}")
    if not run.quiet:
        for failure in first.failures[:_LISTED]:
            run.say(f"  {failure.name}: {failure.reason}")


_LISTED: Final = 20
"""Failures that are shown to people; JSON and the report have more."""
