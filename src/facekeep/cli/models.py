"""``facekeep models``: list, inspect, verify, pull, import and remove models."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from facekeep.cli.command import ExitStatus, Run, command, group
from facekeep.cli.completion import choices, model_names
from facekeep.cli.hints import add_hint
from facekeep.cli.options import PATH, argument, model_argument
from facekeep.cli.output import BYTES, format_size, format_value
from facekeep.errors import InputError

if TYPE_CHECKING:
    from facekeep.models import ModelEntry
    from facekeep.models.model_entry import Color
    from facekeep.models.resolve import ModelStatus

app = group(
    "models",
    "The models: their licenses, their figures, and whether the files are intact.",
    examples=["facekeep models list", "facekeep models info sface"],
)


_TERMS = (
    "terms: free for any use, as the publisher of the weights states; research: for research only;"
    " disputed: statements contradict each other, or the origin is not clear; own: you imported it."
    " More about a model: facekeep models info NAME"
)

# The tasks in the order of the pipeline, which is that of the list.
_TASKS = ("detect", "orient", "refine", "quality", "embed", "liveness")

_CALIBRATE = (
    "it cannot decide before it is calibrated on photos of many people, a folder each:"
    " facekeep evaluate calibrate DIR --model {name}"
)


@command(app, "list", examples=["facekeep models list", "facekeep models list --json"])
def list_(run: Run) -> None:
    """List the models with their terms and whether they are ready on this machine."""
    from facekeep.models import damaged_models, is_default, list_models, verify

    models = sorted(list_models(), key=lambda m: (_TASKS.index(m.task), not is_default(m)))
    rows = [(model, verify(model).state, is_default(model)) for model in models]
    damaged = damaged_models()
    if run.json:
        documents = [
            {
                "name": model.name,
                "task": model.task,
                "default": default,
                "state": state,
                "terms": model.terms,
                "weights_licence": model.weights_license,
                "training_data": model.training_data,
                "summary": model.summary,
            }
            for model, state, default in rows
        ]
        run.emit({"models": documents, "damaged": [asdict(each) for each in damaged]})
        return
    run.table(
        ["name", "task", "state", "terms", "weights"],
        [
            [m.name + " (default)" * default, m.task, state, m.terms, m.weights_license]
            for m, state, default in rows
        ],
        fold=True,
    )
    run.say(_TERMS)
    for each in damaged:
        run.say(f"damaged: {each.name}: {each.reason}")


@command(app, "info", examples=["facekeep models info sface", "facekeep models info sface --flops"])
@model_argument
@click.option("--flops", is_flag=True, help="Count the operations of one run of the model.")
def info(run: Run, name: str, flops: bool) -> None:
    """Show all that the catalog says about a model."""
    from facekeep.models import entry, model_cost

    facts = _facts(entry(name))
    if flops:
        counted = model_cost(entry(name))
        facts |= {"params": counted.params, "macs": counted.macs, "flops": counted.flops}
        facts["counted_at"] = counted.input_size
    if run.json:
        run.emit(facts)
        return
    rows = _rows(entry(name))
    if flops:
        rows += [(f"{key}, counted", f"{facts[key]:,}") for key in ("params", "macs", "flops")]
        rows += [("counted at", f"{facts['counted_at']} pixels")]
    run.table(["fact", "value"], [row for row in rows if row[1]], fold=True)
    if flops:
        run.say(
            "flops are twice the multiply-accumulates (macs) of one input, as the MFLOPs in the"
            " EdgeFace paper are; some papers call the macs FLOPs"
        )


@command(app, "path", examples=["facekeep models path yunet"])
@model_argument
def path(run: Run, name: str) -> None:
    """Print where the file that is run lies, after checking it; never uses the network."""
    from facekeep.models import entry, locate

    found = locate(entry(name))
    if run.json:
        run.emit({"name": name, "path": found})
    run.say(found)


@command(app, "verify", examples=["facekeep models verify", "facekeep models verify sface"])
@argument(
    "names",
    nargs=-1,
    metavar="[NAME]...",
    help="Models to check. [default: all]",
    shell_complete=model_names(),
)
def verify(run: Run, names: tuple[str, ...]) -> ExitStatus:
    """Compare the models' files with their digests; exit status 1 if one is missing or damaged."""
    from facekeep.models import entry, list_models
    from facekeep.models import verify as check

    models = [entry(name) for name in names] if names else list_models()
    results = [(m.name, _with_hint(check(m))) for m in models if names or not m.offered]
    if run.json:
        run.emit({"models": [{"name": name, **status.to_dict()} for name, status in results]})
    for name, status in results:
        run.say(f"{name}: {status.state}: {status.detail}")
    whole = all(status.state == "ok" for _, status in results)
    return ExitStatus.YES if whole else ExitStatus.NO


@command(
    app,
    "pull",
    examples=[
        "facekeep models pull",
        "facekeep models pull espressif-mbf",
        "facekeep models pull edgeface-xs-q --from edgeface_xs_q.pt",
    ],
)
@argument(
    "name",
    required=False,
    metavar="[NAME]",
    help="A model; without it, list what can be pulled.",
    shell_complete=model_names(offered=True),
)
@click.option(
    "source",
    "--from",
    type=PATH,
    metavar="FILE",
    help="Take the model from this file, or from an archive that holds it.",
)
def pull(run: Run, name: str | None, source: Path | None) -> None:
    """Download a model's files if they are missing; the only command that uses the network.

    A model that is published for PyTorch is converted once, which needs the extra 'train'. A model
    in another format than ONNX is converted too, which needs the extra 'import'.
    """
    from facekeep.models import entry
    from facekeep.models import pull as fetch

    if name is None:
        _list_offers(run)
        return
    model = entry(name)
    run.say(f"{model.name}: weights: {model.weights_license}; trained on {model.training_data}")
    size = sum(file.transfer for file in model.files)
    with run.progress(f"Pulling {name}", total=size, unit=BYTES) as advance:
        done = 0

        def report(received: int, _: int) -> None:
            nonlocal done
            advance(max(received - done, 0))
            done = received

        found = fetch(model, source=source, progress=report)
    if run.json:
        run.emit({"name": name, "path": found})
    run.say(f"{name}: ready at {found}")
    if model.task == "embed" and not entry(name).thresholds:
        run.say(_CALIBRATE.format(name=name))


def _list_offers(run: Run) -> None:
    """List what can be pulled, and what is known of it."""
    from facekeep.models import list_models

    offers = [model for model in list_models() if model.offered]
    if run.json:
        documents = [
            {
                "name": model.name,
                "width": model.width,
                "terms": model.terms,
                "bytes": sum(file.transfer for file in model.files),
                "accuracy": model.lfw,
            }
            for model in offers
        ]
        run.emit({"offers": documents})
        return
    rows = [
        [
            model.name,
            model.width,
            model.terms,
            format_size(sum(file.transfer for file in model.files)),
            "-" if model.lfw is None else f"{model.lfw:.2f} %",
            model.weights_license,
        ]
        for model in offers
    ]
    run.table(["name", "numbers", "terms", "size", "LFW", "weights"], rows, fold=True)
    run.say("fetch a model: facekeep models pull NAME; more about it: facekeep models info NAME")


@command(
    app,
    "recommend",
    examples=["facekeep models recommend", "facekeep models recommend --json"],
)
def recommend(run: Run) -> None:
    """Measure the embedders that are on this machine: time and memory, beside accuracy and terms.

    Each runs in a process of its own, on one thread. The time is processor time for one face; the
    memory is what the process needs in addition.
    """
    from facekeep.models import choose_embedders, measure_embedders

    found = list(measure_embedders())
    if run.json:
        run.emit({"models": [each.to_dict() for each in found]})
        return
    rows = [
        [
            each.name,
            each.terms,
            each.width,
            "-" if each.lfw is None else f"{each.lfw:.2f} %",
            f"{1e3 * each.seconds:.1f} ms" if each.seconds else each.failed,
            format_size(each.memory) if each.memory else "-",
            format_size(each.size),
        ]
        for each in found
    ]
    head = ["name", "terms", "numbers", "LFW", "time of a face", "memory", "file"]
    run.table(head, rows, fold=True)
    for reason, each in choose_embedders(found):
        run.say(f"{reason} of those that are free or yours: {each.name}")


@command(
    app,
    "import",
    examples=[
        "facekeep models import mine.onnx --name mine",
        "facekeep models import mine.onnx --name mine --color bgr --mean 127.5 --scale 0.0078125",
        "facekeep models import trained.pt --arch edgeface-xs --gamma 0.6 --name mine",
        "facekeep models import mine.tflite --arch tflite --name mine",
        "facekeep models import mine.ncnn.param --name mine",
        "facekeep models import mine.espdl --name mine",
        "facekeep models import spoof.onnx --name spoof --crop-scale 2.7 --live-class 1",
    ],
)
@argument(
    "file",
    type=PATH,
    metavar="FILE",
    help="The file of a network that embeds faces, or tells whether they live.",
)
@click.option("--name", required=True, metavar="NAME", help="Name of the new model.")
@click.option(
    "--arch",
    metavar="ARCH",
    help="The kind of file: onnx, tflite, ncnn, espdl, openvino, openvino-narrow (made for"
    " 112 x 96 pixels, stretched), or the PyTorch weights of an edgeface-base, edgeface-s,"
    " edgeface-xs or edgeface-xxs. [default: what the file looks like]",
    shell_complete=choices(
        "onnx",
        "tflite",
        "ncnn",
        "espdl",
        "openvino",
        "openvino-narrow",
        "edgeface-base",
        "edgeface-s",
        "edgeface-xs",
        "edgeface-xxs",
    ),
)
@click.option(
    "--gamma",
    type=float,
    metavar="X",
    help="Rank of the linear layers of an EdgeFace, 0 to 1. [default: full]",
)
@click.option(
    "--input-size",
    type=int,
    metavar="PIXELS",
    help="Side of the faces of an EdgeFace, in pixels. [default: 112]",
)
@click.option(
    "--color",
    default="rgb",
    metavar="ORDER",
    help="Order of the color channels that it expects: rgb or bgr.",
    shell_complete=choices("rgb", "bgr"),
)
@click.option(
    "--mean",
    default=127.5,
    metavar="X",
    help="Number that is subtracted from the pixels, which are 0 to 255.",
)
@click.option(
    "--scale",
    default=1 / 127.5,
    show_default="1/127.5",
    metavar="X",
    help="Number that the result is multiplied by.",
)
@click.option(
    "license_",
    "--license",
    default="not stated",
    metavar="TEXT",
    help="The license of the weights.",
)
@click.option(
    "--trained-on", default="not stated", metavar="TEXT", help="The training data and its terms."
)
@click.option(
    "--output",
    metavar="NAME",
    help="Name of the ONNX output that is the embedding, if there are several.",
)
@click.option(
    "crop_scales",
    "--crop-scale",
    type=float,
    multiple=True,
    metavar="X",
    help="For a liveness network (ONNX, or the .pth of a MiniFASNet): the size of its crop in boxes"
    " of the face; give it once for each crop.",
)
@click.option(
    "--live-class",
    type=click.IntRange(0, 100),
    metavar="N",
    help="For a liveness network that scores classes: the class of living faces, from 0.",
)
def import_(
    run: Run,
    file: Path,
    *,
    name: str,
    arch: str | None,
    gamma: float | None,
    input_size: int | None,
    color: str,
    mean: float,
    scale: float,
    license_: str,
    trained_on: str,
    output: str | None,
    crop_scales: tuple[float, ...],
    live_class: int | None,
) -> None:
    """Add a network of your own under a name, after running it once; the file is copied."""
    from facekeep.models import import_liveness_network, import_model

    if crop_scales:
        if (arch, gamma, input_size, output) != (None,) * 4:
            raise InputError(
                "a liveness network takes no --arch, --gamma, --input-size or --output"
            )
        made = import_liveness_network(
            file,
            name,
            crop_scales=crop_scales,
            live_class=live_class,
            color=cast("Color", color),
            mean=mean,
            scale=scale,
            weights_license=license_,
            training_data=trained_on,
        )
        if run.json:
            run.emit(_facts(made))
        run.say(f"{name}: imported; measure it with: facekeep evaluate liveness DIR --model {name}")
        return
    if live_class is not None:
        raise InputError("--live-class is for liveness networks, which need --crop-scale")
    made = import_model(
        file,
        name,
        arch=arch,
        gamma=gamma,
        input_size=input_size,
        color=cast("Color", color),
        mean=mean,
        scale=scale,
        weights_license=license_,
        training_data=trained_on,
        output=output,
    )
    if run.json:
        run.emit(_facts(made))
    run.say(f"{made.name}: imported, {made.width} numbers a face")
    if made.notes:
        run.say(f"{made.name}: changed on the way: {made.notes}")
    run.say(_CALIBRATE.format(name=made.name))


@command(app, "remove", examples=["facekeep models remove mine"])
@model_argument
def remove(run: Run, name: str) -> None:
    """Remove a model of your own, with its files."""
    from facekeep.models import remove_model

    remove_model(name)
    if run.json:
        run.emit({"removed": name})
    run.say(f"{name}: removed")


app.add_module(
    "export",
    "lab.models",
    "Write a model in the form of another runtime, after comparing its numbers.",
)


def _with_hint(status: ModelStatus) -> ModelStatus:
    return replace(status, detail=add_hint(status.detail, status.hint))


def _facts(model: ModelEntry) -> dict[str, Any]:
    from facekeep.models import space_id

    facts = model.to_dict()
    if model.task == "embed":
        facts["space"] = space_id(model)
    return facts


def _rows(model: ModelEntry) -> list[tuple[str, str]]:
    """What people want to know about a model, the terms first; JSON has all of it."""
    from facekeep.models import is_default, verify

    state = verify(model).state + ", the default" * is_default(model)
    mean = format_value(model.mean[0])
    size = f"{model.input_size} x {model.input_size} pixels" if model.input_size else "any"
    rows = [
        ("name", model.name),
        ("summary", model.summary),
        ("terms", model.terms),
        ("weights license", model.weights_license),
        ("trained on", model.training_data),
        ("caution", model.caution),
        ("task", model.task),
        ("state", state),
        *(("file", f"{file.name}, {format_size(file.size)}") for file in model.files),
        ("runs with", model.runtime),
        ("parameters", f"{model.params:,}" if model.params else ""),
        ("input", f"{size}, {model.color}, (pixel - {mean}) * {_scale(model)}"),
    ]
    if model.task == "embed":
        rates = [f"{format_value(fmr)} at cosine {cosine:.4f}" for fmr, cosine in model.thresholds]
        rows += [
            ("embedding", f"{model.width} numbers" if model.width else ""),
            ("false-match rates", ", ".join(rates) or "not calibrated"),
            ("comparisons", f"{model.comparisons:,}" if model.comparisons else ""),
            ("calibrated on", model.calibrated_on),
            ("calibrated by", model.calibration_command),
        ]
    for each in model.accuracy:
        rows += [
            ("measured", f"{format_value(each.value)}: {each.name}"),
            ("measured by", each.command),
        ]
    return [*rows, ("notes", model.notes), ("folder", format_value(model.folder))]


def _scale(model: ModelEntry) -> str:
    """The scale of pixels; as a fraction where it is one."""
    inverse = 1 / model.scale[0] if model.scale[0] else 0.0
    rounded = round(2 * inverse) / 2
    near = abs(inverse - rounded) < 1e-6 * abs(inverse) and inverse > 1
    return f"1/{format_value(rounded)}" if near else format_value(model.scale[0])
