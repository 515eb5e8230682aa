"""``facekeep models export``: a model in the form of another runtime."""

from __future__ import annotations

from pathlib import Path

import click

from facekeep.cli.command import Run, command, group
from facekeep.cli.completion import choices
from facekeep.cli.options import PATH, model_argument
from facekeep.cli.output import format_value

app = group()


@command(
    app,
    "export",
    examples=[
        "facekeep models export facekeep-xxs --to openvino",
        "facekeep models export facekeep-xxs --to ncnn --out board/xxs.ncnn.param",
    ],
)
@model_argument
@click.option(
    "--to",
    required=True,
    metavar="TARGET",
    help="Runtime to write for: openvino, ncnn, tflite, coreml or executorch.",
    shell_complete=choices("openvino", "ncnn", "tflite", "coreml", "executorch"),
)
@click.option(
    "--out",
    "-o",
    type=PATH,
    metavar="PATH",
    help="The file to write. [default: named after the model]",
)
def export(run: Run, name: str, *, to: str, out: Path | None) -> None:
    """Write a model in the form of another runtime, after comparing its numbers.

    Nothing is overwritten. What converts comes with the extra 'export'; docs/runtimes.md says which
    models go where.
    """
    from facekeep.lab.export import export_model

    made = export_model(name, to, out)
    if run.json:
        run.emit({"name": name, "to": to, "files": made.files, "difference": made.difference})
    files = " and ".join(str(file) for file in made.files)
    if made.difference is None:
        run.say(f"{name}: wrote {files}; it cannot be run here, so its numbers were not compared")
    else:
        apart = format_value(float(f"{made.difference:.0e}"))
        run.say(f"{name}: wrote {files}; at most {apart} off ONNX Runtime's numbers")
