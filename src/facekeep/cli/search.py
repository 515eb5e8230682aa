"""``facekeep search``: the photos of a folder that show a face."""

from __future__ import annotations

from typing import Annotated

import typer

from facekeep.cli.command import ExitStatus, Run, command, group
from facekeep.cli.looking import CacheFlag, check_sheet, open_cache, photo_progress, remarks, terms
from facekeep.cli.opening import open_engine
from facekeep.cli.options import ENGINE, Folder, Image, Out
from facekeep.cli.terms import box

app = group()

Top = Annotated[
    int | None,
    typer.Option(
        "--top", min=1, metavar="N", help="List no more than so many photos.", show_default=False
    ),
]


@command(
    app,
    "search",
    uses=("fmr", "key", *ENGINE),
    examples=[
        "facekeep search ada.jpg photos/",
        "facekeep search ada.jpg photos/ --out found.jpg --top 40",
        "facekeep search ada.jpg photos/ --fmr 1e-5 --json",
    ],
)
def search(
    run: Run,
    probe: Image,
    folder: Folder,
    top: Top = None,
    out: Out = None,
    cache: CacheFlag = True,
) -> ExitStatus:
    """Find the photos of a folder that show a face.

    Looks for the largest face of IMAGE in all pictures of FOLDER and the folders in it, and lists
    the photos that show it, the most similar first; --out writes a contact sheet of the faces
    found. What is found in each photo is remembered, encrypted where a key is set, so that the
    next run is quick and an interrupted one goes on where it stopped. Exit status: 0 when a photo
    shows the face, 1 when none does.
    """
    from facekeep.apps.photos import search_folder
    from facekeep.image import save_image

    if out is not None:
        check_sheet(out, folder, probe)
    with open_engine(run) as engine, open_cache(run, cache) as known, photo_progress(run) as show:
        result = search_folder(engine, probe, folder, top=top, cache=known, progress=show)
    if out is not None:
        from facekeep.apps.sheet import search_sheet

        save_image(out, search_sheet(result, max_pixels=run.settings.max_pixels))
    if run.json:
        found = [
            {"image": each.path, "similarity": each.similarity, "bbox": each.face.bbox}
            for each in result.found
        ]
        run.emit(
            {
                "probe": probe,
                "folder": folder,
                "found": found,
                **terms(result.threshold, result.photos),
                "expected_false": result.expected_false,
            }
        )
    elif result.found:
        rows = [[each.path, f"{each.similarity:.3f}", box(each.face)] for each in result.found]
        run.table(["photo", "similarity", "box (x1 y1 x2 y2)"], rows)
    photos = result.photos
    run.say(
        f"found in {len(result.found)} of {len(photos.photos)} photos with {photos.faces} faces"
        f"{f' ({photos.unusable} unusable)' if photos.unusable else ''};"
        f" about {result.expected_false:.2g} faces of others are expected to be as similar"
    )
    remarks(run, photos, result.threshold)
    return ExitStatus.YES if result.found else ExitStatus.NO
