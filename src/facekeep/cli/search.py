"""``facekeep search``: the photos of a folder that show a face."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from facekeep.cli.command import ExitStatus, Run, command, group
from facekeep.cli.completion import people_or_file_names
from facekeep.cli.csv_file import csv_option, csv_rows
from facekeep.cli.decisions import format_box
from facekeep.cli.inputs import STDIN, name_stdin, read_input
from facekeep.cli.options import ENGINE, GALLERY, argument, folder_argument, out_option
from facekeep.cli.output import format_value
from facekeep.cli.photo_commands import cache_option, open_cache, photo_progress, say_notes
from facekeep.cli.result_files import check_sheet
from facekeep.errors import GalleryNotFound, ImageError, PersonNotFound
from facekeep.factory import open_engine

if TYPE_CHECKING:
    from facekeep.apps.photo_folders import Search

app = group()


_COLUMNS = ("image", "similarity", "threshold", "x1", "y1", "x2", "y2")


@command(
    app,
    "search",
    uses=("fmr", *GALLERY, *ENGINE),
    examples=[
        "facekeep search ada.jpg photos/",
        'facekeep search "Ada Lovelace" photos/',
        "facekeep search ada.jpg photos/ --out found.jpg --top 40",
        "facekeep search ada.jpg photos/ --fmr 1e-5 --json",
        "facekeep search ada.jpg photos/ --csv found.csv",
    ],
)
@argument(
    "probe",
    metavar="IMAGE|NAME",
    help="A picture, - for one on standard input, or the name of an enrolled person.",
    shell_complete=people_or_file_names,
)
@folder_argument
@click.option(
    "--top", type=click.IntRange(1), metavar="N", help="Maximum number of photos in the list."
)
@out_option
@csv_option
@cache_option
def search(
    run: Run,
    probe: str,
    folder: Path,
    top: int | None,
    out: Path | None,
    csv: str | None,
    cache: bool,
) -> ExitStatus:
    """Find the photos of a folder that show a face, or an enrolled person.

    Looks for the largest face of IMAGE in all pictures of FOLDER and the folders in it, and lists
    the photos that show it, the most similar first. Where there is no file of that name, it is
    taken for the name of an enrolled person, and all templates of that person are looked for. --out
    writes a contact sheet of the faces found. What is found in each photo is remembered, encrypted
    where a key is set, so that the next run is quick and an interrupted one goes on where it
    stopped. Exit status: 0 when a photo shows the face, 1 when none does. --csv writes a row for
    each photo found, with the columns image, similarity, threshold, x1, y1, x2, y2.
    """
    from facekeep.pipeline.image import is_picture, save_image

    if out is not None:
        check_sheet(out, folder, Path(probe))
    with csv_rows(csv, _COLUMNS, json=run.json) as add:
        result = _search(run, probe, folder, top, cache)
        for each in result.found:
            places = (each.path, each.similarity, result.threshold.cosine, *each.face.bbox.tolist())
            add(dict(zip(_COLUMNS, places, strict=True)))
    run = replace(run, muted=csv == "-")
    if out is not None:
        from facekeep.apps.contact_sheets import search_sheet

        save_image(out, search_sheet(result, max_pixels=run.settings.max_pixels))
    if run.json:
        run.emit({"probe": probe, "name": result.name, "folder": folder, **result.to_dict()})
    elif result.found:
        rows = [
            [each.path, f"{each.similarity:.3f}", format_box(each.face)] for each in result.found
        ]
        run.table(["photo", "similarity", "box (x1 y1 x2 y2)"], rows)
    photos = result.photos
    if result.name and not run.quiet:
        run.say(f"looked for {result.name}, who is enrolled")
    elif probe != STDIN and not is_picture(probe) and not run.quiet:
        run.say(f"looked for the face of {probe}, which is a file here, not for a name")
    others = format_value(float(f"{result.expected_false:.2g}"))
    run.say(
        f"found in {len(result.found)} of {len(photos.photos)} photos with {photos.faces} faces"
        f"{f' ({photos.unusable} unusable)' if photos.unusable else ''};"
        f" about {others} faces of others are expected to be as similar"
    )
    say_notes(run, photos, result.threshold)
    return ExitStatus.YES if result.found else ExitStatus.NO


def _search(run: Run, probe: str, folder: Path, top: int | None, cache: bool) -> Search:
    """Look for a face of a file, or else for the person of this name."""
    from facekeep.apps.photo_folders import search_folder, search_person
    from facekeep.pipeline.image import elsewhere

    if where := elsewhere(probe):
        raise ImageError(f"{probe}: {where}")
    named = probe != STDIN and not os.path.lexists(probe)
    try:
        with (
            open_engine(run.settings, gallery="read" if named else "none") as engine,
            open_cache(run, cache) as known,
            photo_progress(run) as show,
            name_stdin(probe),
        ):
            if not named:
                source = read_input(probe, run.settings.max_bytes)
                return search_folder(engine, source, folder, top=top, cache=known, progress=show)
            return search_person(engine, probe, folder, top=top, cache=known, progress=show)
    except (GalleryNotFound, PersonNotFound) as error:
        raise ImageError(f"{probe}: there is no such file, and {error}", error.hint) from error
