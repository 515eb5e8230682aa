"""``facekeep cluster``: the photos of a folder, by person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from facekeep.cli.command import ExitStatus, Run, command, group
from facekeep.cli.looking import CacheFlag, check_sheet, open_cache, photo_progress, remarks, terms
from facekeep.cli.opening import open_engine
from facekeep.cli.options import ENGINE, Collage, Folder, Out
from facekeep.cli.terms import box

if TYPE_CHECKING:
    from facekeep.apps.photos import Clustering, Group

app = group()

MinSize = Annotated[
    int, typer.Option("--min-size", min=1, metavar="N", help="Faces that make a group.")
]


@command(
    app,
    "cluster",
    uses=("fmr", "key", *ENGINE),
    examples=[
        "facekeep cluster photos/ --out people.jpg",
        "facekeep cluster photos/ --min-size 5 --json",
    ],
)
def cluster(
    run: Run,
    folder: Folder,
    min_size: MinSize = 2,
    collage: Collage = False,
    out: Out = None,
    cache: CacheFlag = True,
) -> ExitStatus:
    """Group the faces of a folder of photos by person.

    Looks at all pictures of FOLDER and the folders in it. The largest group comes first and the
    most typical face first in each; --out writes a contact sheet, a row for each person. Two faces
    of one picture are never one person, unless with --collage; unusable faces are in no group.
    What is found in each photo is remembered, encrypted where a key is set, so that the next run is
    quick and an interrupted one goes on where it stopped. Exit status: 0 when there is a group, 1
    when there is none.
    """
    from facekeep.apps.photos import cluster_folder
    from facekeep.image import save_image

    if out is not None:
        check_sheet(out, folder)
    with open_engine(run) as engine, open_cache(run, cache) as known, photo_progress(run) as show:
        result = cluster_folder(
            engine, folder, min_size=min_size, collage=collage, cache=known, progress=show
        )
    if out is not None:
        from facekeep.apps.sheet import cluster_sheet

        save_image(out, cluster_sheet(result, max_pixels=run.settings.max_pixels))
    if run.json:
        groups = [_shape(each) for each in result.groups]
        found = {"folder": folder, "groups": groups, "alone": result.alone}
        run.emit(found | terms(result.threshold, result.photos))
    else:
        _print(run, result)
    remarks(run, result.photos, result.threshold)
    return ExitStatus.YES if result.groups else ExitStatus.NO


def _shape(found: Group) -> dict[str, Any]:
    faces = [
        {"image": each.path, "bbox": each.face.bbox, "similarity": each.similarity}
        for each in found.sightings
    ]
    return {"photos": len(found.photos), "faces": faces}


def _print(run: Run, result: Clustering) -> None:
    rows = [
        [number, each.path, f"{each.similarity:.3f}", box(each.face)]
        for number, found in enumerate(result.groups, 1)
        for each in found.sightings
    ]
    if rows:
        run.table(["person", "photo", "typical", "box (x1 y1 x2 y2)"], rows)
    photos = result.photos
    run.say(
        f"people: {len(result.groups)}; photos: {len(photos.photos)}; faces: {photos.faces},"
        f" of which in no group: {result.alone}"
        f"{f', unusable: {photos.unusable}' if photos.unusable else ''}"
    )
