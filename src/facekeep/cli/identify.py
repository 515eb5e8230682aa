"""``facekeep identify``: who the people in pictures are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import click

from facekeep.cli.command import ExitStatus, Run, command, group
from facekeep.cli.csv_file import csv_option, csv_rows
from facekeep.cli.decisions import say_identification
from facekeep.cli.face_report import COLUMNS, FaceReport, marked_option
from facekeep.cli.options import ENGINE, GALLERY, collage_option, images_argument
from facekeep.factory import open_engine

app = group()


_WHO: Final = ("name", "most_like", "similarity", "threshold", "fmr")


@command(
    app,
    "identify",
    uses=(*GALLERY, "fmr", "fpir", *ENGINE),
    examples=[
        "facekeep identify party.jpg --gallery people.db",
        "facekeep identify door.jpg --fmr 1e-5 --json",
        "facekeep identify door.jpg --fpir 0.01  # at most 1 stranger in 100 gets a name",
        "facekeep identify photos/ --out marked/ --csv who.csv",
    ],
)
@images_argument
@click.option(
    "--top",
    type=click.IntRange(1, 1000),
    default=5,
    metavar="N",
    help="Number of candidates for each face in the JSON.",
)
@collage_option
@marked_option
@csv_option
def identify(
    run: Run, images: tuple[str, ...], top: int, collage: bool, out: Path | None, csv: str | None
) -> ExitStatus:
    """Say who the people in pictures are, as far as they are enrolled.

    A face is given a name when its similarity to somebody reaches the threshold for the
    false-match rate; everybody else stays unknown. A face that shows too little is unusable, and
    not compared. Of several faces of a picture that match one person only the most similar gets
    the name, unless with --collage. Faces are numbered in reading order, the same in the table and
    in the marked picture. Exit status: 0 when somebody was recognized in every picture, 1 when
    not, 2 when a picture that was named, or every one of a folder, cannot be read. With --json, one
    line for each picture. --csv writes a row for each face, and one for a picture without any, with
    the columns image, face, x1, y1, x2, y2, score, quality, usable, reasons, name, most_like,
    similarity, threshold, fmr, error; face is its number.
    """
    with (
        csv_rows(csv, (*COLUMNS, *_WHO, "error"), json=run.json) as add,
        open_engine(run.settings, gallery="read") as engine,
    ):
        run = replace(run, muted=csv == "-")
        report = FaceReport(
            run,
            images,
            lambda image: engine.identify(image, top_k=top, collage=collage),
            add,
            out=out,
        )
        status = report.run_all()
        say_identification(run, engine)
    return status
