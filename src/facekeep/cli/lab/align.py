"""``facekeep align``: from photos of people to the crops that training takes."""

from __future__ import annotations

from pathlib import Path

import click

from facekeep.cli.command import ExitStatus, Run, command, group
from facekeep.cli.options import PATH, argument
from facekeep.cli.output import format_count

app = group()


@command(
    app,
    "align",
    uses=("detector", "refiner", "terms", "min_face", "threads"),
    examples=["facekeep align photos/ --out people/"],
)
@argument("photos", type=PATH, metavar="DIR", help="A folder that holds a folder for each person.")
@click.option(
    "--out", "-o", required=True, type=PATH, metavar="PATH", help="Write the crops to this folder."
)
@click.option(
    "--size",
    type=click.IntRange(16, 1024),
    default=112,
    metavar="N",
    help="Side of a crop, in pixels.",
)
def align(run: Run, photos: Path, out: Path, size: int) -> ExitStatus:
    """Cut the main face out of each photo, aligned: what training takes.

    Crops that are there already are left as they are, so an interrupted run goes on. Look through
    them before you train: a crop of the wrong person teaches the wrong thing.
    """
    from facekeep.errors import InputError
    from facekeep.factory import require_terms
    from facekeep.lab.datasets import read_person_folder
    from facekeep.lab.train.photos import crop_people
    from facekeep.pipeline.detect import Detector
    from facekeep.runtime import RuntimeOptions

    if out.resolve().is_relative_to(photos.resolve()):
        raise InputError(f"{out} lies in {photos}, whose folders are people; choose another folder")
    data = read_person_folder(photos)
    settings = run.settings
    require_terms(settings)
    with (
        Detector(
            settings.detector,
            refiner=settings.refiner,
            min_face=settings.min_face,
            options=RuntimeOptions(threads=settings.threads),
        ) as detector,
        run.progress("Aligning", len(data.samples), unit="photos") as advance,
    ):
        done = crop_people(data, out, detector, size=size, advance=advance)
    if run.json:
        failures = [{"image": each.name, "reason": each.reason} for each in done.failures]
        run.emit({"out": out, "saved": done.saved, "known": done.known, "failures": failures})
    for each in done.failures:
        run.say(f"{each.name}: {each.reason}")
    run.say(
        f"{out}: {format_count(done.saved, 'face')} saved, {done.known} there already,"
        f" {format_count(len(done.failures), 'photo')} without a crop"
    )
    return ExitStatus.YES if done.saved + done.known else ExitStatus.NO
