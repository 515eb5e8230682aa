"""``facekeep models``: what there is, where it comes from, whether it is whole."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from facekeep.cli.command import ExitStatus, Run, command, group

if TYPE_CHECKING:
    from facekeep.models import ModelEntry
    from facekeep.models.schema import Colour

app = group(
    "models",
    "The models: what there is, whose terms, and whether the files are whole.",
    examples=["facekeep models list", "facekeep models info sface"],
)

Model = Annotated[str, typer.Argument(metavar="NAME", help="A model, as `models list` names it.")]


@command(app, "list", examples=["facekeep models list", "facekeep models list --json"])
def list_(run: Run) -> None:
    """List the models with their licences and whether they are ready on this machine."""
    from facekeep.models import damaged_models, default_model, list_models, verify

    defaults = {default_model("detect"), default_model("embed")}
    rows = [(model, verify(model).state, model.name in defaults) for model in list_models()]
    damaged = damaged_models()
    if run.json:
        models = [
            {
                "name": model.name,
                "task": model.task,
                "default": default,
                "state": state,
                "weights_licence": model.weights_licence,
                "training_data": model.training_data,
                "summary": model.summary,
            }
            for model, state, default in rows
        ]
        run.emit({"models": models, "damaged": [asdict(each) for each in damaged]})
        return
    run.table(
        ["name", "task", "state", "licence of the weights", "summary"],
        [
            [
                m.name + (" (default)" if default else ""),
                m.task,
                state,
                m.weights_licence,
                m.summary,
            ]
            for m, state, default in rows
        ],
    )
    for each in damaged:
        run.say(f"damaged: {each.name}: {each.reason}")


@command(app, "info", examples=["facekeep models info sface", "facekeep models info yunet --json"])
def info(run: Run, name: Model) -> None:
    """Show all that the catalogue knows about a model."""
    from facekeep.models import entry

    facts = _facts(entry(name))
    if run.json:
        run.emit(facts)
        return
    run.table(
        ["fact", "value"],
        [[key.replace("_", " "), _text(value)] for key, value in facts.items() if value],
    )


@command(app, "path", examples=["facekeep models path yunet"])
def path(run: Run, name: Model) -> None:
    """Print where the file that is run lies, after checking it; never uses the network."""
    from facekeep.models import entry, locate

    found = locate(entry(name))
    if run.json:
        run.emit({"name": name, "path": found})
    run.say(found)


@command(app, "verify", examples=["facekeep models verify", "facekeep models verify sface"])
def verify(
    run: Run,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Models; all when none is named."),
    ] = None,
) -> ExitStatus:
    """Compare the models' files with their digests; exit status 1 if one is missing or damaged."""
    from facekeep.models import entry, list_models
    from facekeep.models import verify as check

    models = [entry(name) for name in names] if names else list_models()
    results = [(model.name, check(model)) for model in models]
    if run.json:
        run.emit({"models": [{"name": name, **asdict(status)} for name, status in results]})
    for name, status in results:
        run.say(f"{name}: {status.state}: {status.detail}")
    whole = all(status.state == "ok" for _, status in results)
    return ExitStatus.YES if whole else ExitStatus.NO


@command(app, "pull", examples=["facekeep models pull sface"])
def pull(run: Run, name: Model) -> None:
    """Fetch a model's files, if they are not here; the only command that uses the network."""
    from facekeep.models import entry
    from facekeep.models import pull as fetch

    model = entry(name)
    run.say(f"{model.name}: weights: {model.weights_licence}; trained on {model.training_data}")
    size = sum(file.size for file in model.files)
    with run.progress(f"Pulling {name}", total=size) as advance:
        done = 0

        def report(received: int, _: int) -> None:
            nonlocal done
            advance(max(received - done, 0))
            done = received

        found = fetch(model, progress=report)
    if run.json:
        run.emit({"name": name, "path": found})
    run.say(f"{name}: ready at {found}")


@command(
    app,
    "import",
    examples=[
        "facekeep models import mine.onnx --name mine",
        "facekeep models import mine.onnx --name mine --colour bgr --mean 127.5 --scale 0.0078125",
    ],
)
def import_(
    run: Run,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="An ONNX network that embeds faces.")
    ],
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="What to call it.")],
    arch: Annotated[
        str, typer.Option("--arch", metavar="ARCH", help="The kind of file: onnx.")
    ] = "onnx",
    colour: Annotated[
        str, typer.Option("--colour", metavar="ORDER", help="Channels it expects: rgb or bgr.")
    ] = "rgb",
    mean: Annotated[
        float, typer.Option("--mean", metavar="X", help="Subtracted from pixels 0 to 255.")
    ] = 127.5,
    scale: Annotated[
        float, typer.Option("--scale", metavar="X", help="What they are multiplied by then.")
    ] = 1 / 127.5,
    licence: Annotated[
        str, typer.Option("--licence", metavar="TEXT", help="The licence of the weights.")
    ] = "not stated",
    trained_on: Annotated[
        str, typer.Option("--trained-on", metavar="TEXT", help="The training data and its terms.")
    ] = "not stated",
) -> None:
    """Make an embedder of your own known by a name, after running it once; the file is copied."""
    from facekeep.models import import_model

    made = import_model(
        file,
        name,
        arch=arch,
        colour=cast("Colour", colour),
        mean=mean,
        scale=scale,
        weights_licence=licence,
        training_data=trained_on,
    )
    if run.json:
        run.emit(_facts(made))
    run.say(f"{made.name}: imported, {made.width} numbers a face")
    run.say(
        "it cannot decide before it is calibrated: measure thresholds as"
        f" `python benchmarks/calibrate.py --model {made.name}` does and record them with"
        " facekeep.models.set_thresholds (docs/models.md)"
    )


@command(app, "remove", examples=["facekeep models remove mine"])
def remove(run: Run, name: Model) -> None:
    """Remove a model of your own, with its files."""
    from facekeep.models import remove_model

    remove_model(name)
    if run.json:
        run.emit({"removed": name})
    run.say(f"{name}: removed")


def _facts(model: ModelEntry) -> dict[str, Any]:
    from facekeep.models import space_id

    facts = asdict(model)
    if model.task == "embed":
        facts["space"] = space_id(model)
    facts["thresholds"] = [{"fmr": fmr, "cosine": cosine} for fmr, cosine in model.thresholds]
    return facts


def _text(value: object) -> str:
    """One cell for people: lists and tables on one line."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items() if item)
    if isinstance(value, list | tuple):
        return "; ".join(map(_text, value))
    return str(value)
