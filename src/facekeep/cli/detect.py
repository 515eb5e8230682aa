"""``facekeep detect``: find the faces in pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from facekeep.cli.command import ExitStatus, Run, command, group
from facekeep.cli.csv_file import csv_option, csv_rows
from facekeep.cli.face_report import COLUMNS, FaceReport, marked_option
from facekeep.cli.options import ENGINE, PATH, images_argument
from facekeep.factory import open_engine

app = group()


@command(
    app,
    "detect",
    uses=ENGINE,
    examples=[
        "facekeep detect party.jpg --out marked.jpg",
        "facekeep detect photos/ --json --min-face 20",
        "facekeep detect photos/ --crops faces/ --csv faces.csv",
        "facekeep detect - < party.jpg",
    ],
)
@images_argument
@marked_option
@click.option(
    "--crops",
    type=PATH,
    metavar="DIR",
    help="Write each face upright as PICTURE-NUMBER.png into this folder, which only you may read.",
)
@csv_option
def detect(
    run: Run, images: tuple[str, ...], out: Path | None, crops: Path | None, csv: str | None
) -> ExitStatus:
    """Find the faces in pictures, with landmarks and quality.

    Faces are numbered in reading order, the same in the table, the marked picture and the names of
    crops. A face is usable as far as detection can tell; only identify, verify, search and cluster
    also notice that it is unclear, or no face at all. Exit status: 0 when there is a face in every
    picture, 1 when one has none, 2 when a picture that was named, or every one of a folder, cannot
    be read. With --json, one line for each picture. --csv writes a row for each face, and one for a
    picture without any, with the columns image, face, x1, y1, x2, y2, score, quality, usable,
    reasons, error; face is its number.
    """
    with (
        csv_rows(csv, (*COLUMNS, "error"), json=run.json) as add,
        open_engine(run.settings) as engine,
    ):
        run = replace(run, muted=csv == "-")
        report = FaceReport(run, images, engine.detect, add, out=out, crops=crops)
        return report.run_all()
