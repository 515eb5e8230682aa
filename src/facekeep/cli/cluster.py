"""``facekeep cluster``: the photos of a folder, by person."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from facekeep.cli.command import ExitStatus, Run, command, group
from facekeep.cli.decisions import format_box
from facekeep.cli.enroll import (
    add_hints,
    consent_option,
    facts_of,
    new_person_option,
    retain_option,
    say_rejected,
    served,
)
from facekeep.cli.options import ENGINE, GALLERY, PATH, collage_option, folder_argument, out_option
from facekeep.cli.output import format_count
from facekeep.cli.photo_commands import cache_option, open_cache, photo_progress, say_notes
from facekeep.cli.result_files import check_sheet
from facekeep.errors import FacekeepError, GalleryNotFound, InputError
from facekeep.factory import open_engine, open_gallery, open_key

if TYPE_CHECKING:
    from facekeep.apps.photo_folders import Clustering, Group
    from facekeep.apps.sort_photos import SortedPhotos
    from facekeep.engine import FaceEngine
    from facekeep.gallery import Gallery
    from facekeep.pipeline.enrollment import Enrollment

app = group()

_log = logging.getLogger(__name__)


@command(
    app,
    "cluster",
    uses=("fmr", *GALLERY, "review", "keep_crops", *ENGINE),
    examples=[
        "facekeep cluster photos/ --out people.jpg",
        'facekeep cluster photos/ --name 3fa9c1d2="Ada Lovelace"',
        "facekeep cluster photos/ --sort-into sorted/",
        "facekeep cluster photos/ --min-size 5 --json",
    ],
)
@folder_argument
@click.option(
    "--min-size",
    type=click.IntRange(1),
    default=2,
    metavar="N",
    help="Minimum number of faces in a group.",
)
@collage_option
@out_option
@click.option(
    "names",
    "--name",
    multiple=True,
    metavar="GROUP=NAME",
    help="Enroll the person of a group under this name. GROUP is the id that is printed for the"
    " group, or its beginning; may be repeated.",
)
@consent_option
@retain_option
@new_person_option
@click.option(
    "--sort-into",
    type=PATH,
    metavar="DIR",
    help="Copy the photos into DIR: a folder for each person, and 'unsorted' for photos of"
    " nobody in a group. Nothing is moved or replaced.",
)
@cache_option
def cluster(
    run: Run,
    folder: Path,
    *,
    min_size: int,
    collage: bool,
    out: Path | None,
    names: tuple[str, ...],
    consent: str | None,
    retain_days: int | None,
    new_person: bool,
    sort_into: Path | None,
    cache: bool,
) -> ExitStatus:
    """Group the faces of a folder of photos by person.

    Reads all pictures of FOLDER and the folders in it. The largest group comes first and the
    most typical face first in each; groups of people who are enrolled have their names. Two faces
    of one picture are never one person, unless with --collage; unusable faces are in no group.
    --out writes a contact sheet, a row for each person; --name enrolls the person of a group, from
    all its photos that pass the review; --sort-into copies the photos into folders. What is found
    in each photo is remembered, encrypted where a key is set, so that the next run is quick and an
    interrupted one goes on where it stopped. Exit status: 0 when there is a group, 1 when there is
    none, or a group that was named could not be enrolled.
    """
    from facekeep.apps.photo_folders import cluster_folder
    from facekeep.pipeline.image import save_image

    wanted = _parse_names(names or ())
    facts = facts_of(None, consent, retain_days)
    if out is not None:
        check_sheet(out, folder)
    if sort_into is not None:
        from facekeep.apps.sort_photos import check_folder

        check_folder(sort_into, folder)
    with (
        open_engine(run.settings) as engine,
        _open_people(run, engine) as gallery,
        open_cache(run, cache) as known,
        photo_progress(run) as show,
    ):
        result = cluster_folder(
            engine,
            folder,
            min_size=min_size,
            gallery=gallery,
            collage=collage,
            cache=known,
            progress=show,
        )
        chosen = _choose_groups(result, wanted)
        done = _enroll_groups(run, engine, chosen, facts, new_person=new_person)
    given = {each.id: one.name for (each, _), one in zip(chosen, done, strict=True) if one.enrolled}
    if out is not None:
        from facekeep.apps.contact_sheets import cluster_sheet

        save_image(out, cluster_sheet(result, max_pixels=run.settings.max_pixels, names=given))
    copies = None if sort_into is None else _copy_photos(run, sort_into, result, folder, given)
    _report(
        run, folder, result, list(zip((each.id for each, _ in chosen), done, strict=True)), copies
    )
    return ExitStatus.YES if result.groups and all(map(served, done)) else ExitStatus.NO


def _parse_names(names: Sequence[str]) -> dict[str, str]:
    """Read ``GROUP=NAME`` pairs."""
    wanted: dict[str, str] = {}
    for pair in names:
        number, equals, name = pair.partition("=")
        if not equals or not number or not name.strip():
            raise InputError(
                f"--name takes GROUP=NAME, such as 3fa9c1d2='Ada Lovelace', not {pair!r}"
            )
        if number in wanted:
            raise InputError(f"--name names the group {number} twice")
        wanted[number] = name
    return wanted


def _open_people(run: Run, engine: FaceEngine) -> AbstractContextManager[Gallery | None]:
    """Open the gallery, if there is one that fits the models."""
    from facekeep.gallery import Gallery

    try:
        return Gallery.open(
            run.settings.gallery, space=engine.space, key=open_key(run.settings), read_only=True
        )
    except GalleryNotFound:
        return nullcontext()
    except FacekeepError as error:
        if run.resolved.origins["gallery"].source == "flag":
            raise
        _log.warning("nobody is named, because the gallery cannot be used: %s", error)
        return nullcontext()


def _choose_groups(result: Clustering, wanted: Mapping[str, str]) -> list[tuple[Group, str]]:
    """Find the groups that are to be named."""
    chosen: dict[str, tuple[Group, str]] = {}
    for beginning, name in wanted.items():
        found = [each for each in result.groups if each.id.startswith(beginning)]
        if not re.fullmatch("[0-9a-f]{4,8}", beginning) or not found:
            raise InputError(_no_group(result, beginning))
        if len(found) > 1 or found[0].id in chosen:
            raise InputError(
                f"--name {beginning} stands for several groups, or for one named twice"
            )
        chosen[found[0].id] = (found[0], name)
    return list(chosen.values())


def _no_group(result: Clustering, beginning: str) -> str:
    if beginning.isdecimal() and 0 < int(beginning) <= len(result.groups):
        of_now = result.groups[int(beginning) - 1].id
        return (
            f"person {beginning} has this number only as long as the photos stay the same: say"
            f" which group is meant by its id, which is {of_now} now"
        )
    return (
        f"there is no group {beginning}: the photos or the settings are others than when it was"
        " printed; run it without --name and take the id from there"
    )


def _enroll_groups(
    run: Run,
    engine: FaceEngine,
    chosen: Sequence[tuple[Group, str]],
    facts: dict[str, Any],
    *,
    new_person: bool,
) -> list[Enrollment]:
    """Enroll the people of groups; none where one of the names cannot be used."""
    if not chosen:
        return []
    from facekeep.apps.face_groups import enroll_group

    with open_gallery(run.settings, create=True) as gallery:
        for _, name in chosen:
            gallery.name_for(name, new_person=new_person)
        done = [
            enroll_group(
                engine,
                gallery,
                each,
                name,
                review=run.settings.review,
                keep_crops=run.settings.keep_crops,
                new_person=new_person,
                **facts,
            )
            for each, name in chosen
        ]
    return list(map(add_hints, done))


def _copy_photos(
    run: Run, target: Path, result: Clustering, folder: Path, names: Mapping[str, str]
) -> SortedPhotos:
    from facekeep.apps.sort_photos import sort_into

    with photo_progress(run, "Copying photos") as show:
        return sort_into(target, result, folder, names=names, progress=show)


def _report(
    run: Run,
    folder: Path,
    result: Clustering,
    done: Sequence[tuple[str, Enrollment]],
    copies: SortedPhotos | None,
) -> None:
    """Print all that was found and done."""
    if run.json:
        shown = result.to_dict()
        found = {"folder": folder, "groups": shown["groups"], "alone": shown["alone"]}
        if done:
            found["named"] = [_naming_to_json(group_id, each) for group_id, each in done]
        if copies is not None:
            found["sorted"] = copies.to_dict()
        run.emit({**found, **shown})
        return
    _print(run, result)
    for group_id, each in done:
        count = format_count(each.enrolled, "photo")
        run.say(f"{each.name}: {count} enrolled from group {group_id}")
        say_rejected(run, each)
    if copies is not None:
        _print_copies(run, copies)
    if not done and not run.quiet:
        unknown = next((each.id for each in result.groups if each.name is None), None)
        if unknown:
            run.say(f"to enroll the person of a group: --name {unknown}=NAME")
    say_notes(run, result.photos, result.threshold)


def _naming_to_json(group_id: str, done: Enrollment) -> dict[str, Any]:
    return {
        "group": group_id,
        "name": done.name,
        "enrolled": done.enrolled,
        "rejected": done.to_dict()["rejected"],
    }


def _print(run: Run, result: Clustering) -> None:
    rows = [
        [number, each.path, f"{each.similarity:.3f}", format_box(each.face)]
        for number, found in enumerate(result.groups, 1)
        for each in found.sightings
    ]
    if rows:
        run.table(["person", "photo", "typical", "box (x1 y1 x2 y2)"], rows)
        run.table(
            ["person", "group", "faces", "photos", "name"],
            [
                [number, each.id, len(each.sightings), len(each.photos), _format_name(each)]
                for number, each in enumerate(result.groups, 1)
            ],
        )
    photos = result.photos
    run.say(
        f"people: {len(result.groups)}; photos: {len(photos.photos)}; faces: {photos.faces},"
        f" of which in no group: {result.alone}"
        f"{f', unusable: {photos.unusable}' if photos.unusable else ''}"
    )


def _format_name(found: Group) -> str:
    decision = found.decision
    if decision and decision.match:
        return f"{decision.match.name} ({decision.match.similarity:.3f})"
    best = (
        next((each for each in decision.candidates if not each.refused), None) if decision else None
    )
    if best is None or best.similarity < best.threshold:
        return ""
    return f"like {best.name} ({best.similarity:.3f}), but in one photo with the group of that name"


def _print_copies(run: Run, copies: SortedPhotos) -> None:
    for path, reason in copies.failed:
        run.say(f"not copied: {path}: {reason}")
    run.say(
        f"{copies.folder}: {format_count(copies.copied, 'photo')} copied into"
        f" {format_count(len(copies.folders), 'folder')}, {copies.present} there already"
    )
