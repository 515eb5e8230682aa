"""``facekeep enroll``: people into the gallery, from photos or from a folder for each person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from facekeep.cli.command import ExitStatus, Run, command, group
from facekeep.cli.completion import people_or_file_names
from facekeep.cli.enroll_camera import CaptureOptions, take_pictures
from facekeep.cli.hints import explain_error, explain_rejection
from facekeep.cli.options import ENGINE, GALLERY, PATH, argument, out_option, table_option
from facekeep.cli.output import format_count
from facekeep.config.live import CAMERA
from facekeep.errors import GalleryNotFound, InputError
from facekeep.factory import open_engine

if TYPE_CHECKING:
    from facekeep.engine import FaceEngine
    from facekeep.gallery import Consent
    from facekeep.pipeline.enrollment import Enrollment, Rejection

app = group()

_NAMED: Final = 3
"""So many photos are named that are refused for one reason; the JSON names all."""

meta_option = click.option(
    "--meta",
    multiple=True,
    metavar="KEY=VALUE",
    help="A fact to store with the person; may be repeated.",
)
consent_option = click.option(
    "--consent",
    metavar="TEXT",
    help="Legal basis for storing the person, such as 'signed form 12'.",
)
retain_option = click.option(
    "--retain-days",
    type=click.IntRange(1, 36500),
    metavar="N",
    help="Number of days after which `facekeep gallery purge` erases the person.",
)
largest_option = click.option(
    "--largest", is_flag=True, help="Take the largest face, even if others are about as large."
)
new_person_option = click.option(
    "--new-person",
    is_flag=True,
    help="The person is new, even if the face or the name is like that of somebody enrolled.",
)


@command(
    app,
    "enroll",
    uses=(*GALLERY, "review", "keep_crops", "fmr", "fpir", *ENGINE),
    examples=[
        'facekeep enroll "Ada Lovelace" ada1.jpg ada2.jpg',
        'facekeep enroll "Ada Lovelace" ada/ --consent "signed form 12" --retain-days 365',
        "facekeep enroll people/  # a folder for each person, named after the person",
        'facekeep enroll "Ada Lovelace" --camera 0',
    ],
    options=[table_option(CAMERA["rotate"])],
)
@argument(
    "name",
    metavar="NAME",
    help="Name of the person; or, alone, a folder that holds a folder for each person.",
    shell_complete=people_or_file_names,
)
@argument("images", type=PATH, nargs=-1, metavar="[IMAGE]...", help="Photos, or folders of photos.")
@meta_option
@consent_option
@retain_option
@largest_option
@new_person_option
@click.option(
    "--camera",
    metavar="SOURCE",
    help="Take the photos with a camera, which guides the person: a source as for 'facekeep live'.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=60.0,
    metavar="SECONDS",
    help="With --camera: take what there is after so many seconds.",
)
@click.option("--yes", is_flag=True, help="With --camera: store the pictures without asking.")
@out_option
def enroll(
    run: Run,
    name: str,
    images: tuple[Path, ...],
    meta: tuple[str, ...],
    consent: str | None,
    retain_days: int | None,
    largest: bool,
    new_person: bool,
    *,
    camera: str | None,
    timeout: float,
    yes: bool,
    out: Path | None,
    rotate: str | None,
) -> ExitStatus:
    """Enroll a person from photos; one template for each photo that passes the review.

    All photos must show one person, the same as the photos enrolled before under the name. Where
    a photo shows several faces, one must plainly be the main one. --review off skips these checks.
    Given a folder alone, every folder in it is a person: its name is the person's name, its
    pictures are the photos. Each person is stored at once or not at all, so an interrupted run can
    simply be started again: photos that are enrolled already are not stored twice. With --camera
    pictures are taken while the person is guided, from the front and turned to either side; they
    are shown, in a picture that --out keeps, and stored once you have agreed. Exit status: 0
    when everybody has been enrolled, 1 when somebody had no photo that could be used.
    """
    from facekeep.pipeline.image import is_picture

    if camera is not None:
        return _enroll_seen(
            run,
            name,
            images,
            facts_of(meta, consent, retain_days) | {"new_person": new_person},
            CaptureOptions(camera, timeout, yes, rotate, out),
        )
    if yes or out is not None or rotate is not None:
        raise InputError("--yes, --out and --rotate belong to --camera")
    if images and is_picture(name):
        raise InputError(f"{name} looks like a picture, not a name: give the person's name first")
    facts = facts_of(meta, consent, retain_days) | {"largest": largest, "new_person": new_person}
    people = dict(_list_people(Path(name))) if not images else {name: _expand_folders(images)}
    done: list[Enrollment] = []
    total = sum(len(photos) for photos in people.values())
    with (
        open_engine(run.settings, gallery="write") as engine,
        run.progress("Enrolling", total) as advance,
    ):
        for person, photos in people.items():
            folder = None if images else Path(name, person)
            done.append(add_hints(_enroll_one(engine, person, photos, facts, folder)))
            _print(run, done[-1])
            advance(len(photos))
    if not images:
        _print_summary(run, done)
    documents = [each.to_dict() for each in done]
    if run.json:
        run.emit(documents[0] if images else {"people": documents})
    return ExitStatus.YES if all(map(served, done)) else ExitStatus.NO


def _enroll_seen(
    run: Run, name: str, images: Sequence[Path], facts: dict[str, Any], capture: CaptureOptions
) -> ExitStatus:
    """Enroll one person from a camera."""
    from facekeep.gallery.names import new_name
    from facekeep.pipeline.enrollment import Enrollment

    if images:
        raise InputError("give photos or --camera, not both")
    new_name(name)
    with open_engine(run.settings, gallery="write") as engine, ExitStack() as stack:
        with suppress(GalleryNotFound):  # the first person makes it
            engine.gallery  # noqa: B018 - what keeps it from being used is told before anybody poses
        pictures = stack.enter_context(take_pictures(run, engine, name, capture))
        enrollment = Enrollment(name, 0, (), None)
        if pictures:
            enrollment = add_hints(engine.enroll(name, pictures, **facts))
            _print(run, enrollment)
    if run.json:
        run.emit(enrollment.to_dict())
    return ExitStatus.YES if served(enrollment) else ExitStatus.NO


def _enroll_one(
    engine: FaceEngine,
    person: str,
    photos: list[Path],
    facts: dict[str, Any],
    folder: Path | None,
) -> Enrollment:
    """Enroll one person; of many, each with a folder, what cannot be used is rejected instead."""
    from facekeep.errors import ImageError, NameConflict
    from facekeep.gallery.names import new_name
    from facekeep.pipeline.enrollment import Enrollment, Rejection

    if folder is None:
        return engine.enroll(person, photos, **facts)
    try:
        new_name(person)
    except InputError as error:
        rejection = Rejection(str(folder), "unusable_name", f"{error}; rename the folder")
        return Enrollment(person, 0, (rejection,), None)
    try:
        return engine.enroll(person, photos, **facts)
    except NameConflict as error:
        rejection = Rejection(str(folder), "name_conflict", explain_error(error))
        return Enrollment(person, 0, (rejection,), None)
    except ImageError as error:
        rejections = tuple(
            Rejection(str(photo), "unreadable", explain_error(error)) for photo in photos
        )
        return Enrollment(person, 0, rejections, None)


def served(enrollment: Enrollment) -> bool:
    """Whether the person has been enrolled, now or before."""
    return bool(enrollment.enrolled) or any(
        rejection.reason == "already_enrolled" for rejection in enrollment.rejected
    )


def _print_summary(run: Run, done: Sequence[Enrollment]) -> None:
    """Say at the end of many people who is still missing; the lines above scroll by."""
    missing = [each.name for each in done if not served(each)]
    photos = sum(each.enrolled for each in done)
    enrolled = f"{len(done) - len(missing)} of {len(done)} people enrolled"
    run.say(f"{enrolled}, {format_count(photos, 'new photo')}")
    if missing:
        run.say(f"without a photo that could be used: {', '.join(missing)}")


def _print(run: Run, enrollment: Enrollment) -> None:
    reasons = {rejection.reason for rejection in enrollment.rejected}
    if reasons == {"already_enrolled"} and not enrollment.enrolled:
        run.say(f"{enrollment.name}: enrolled before, nothing new")
        return
    run.say(f"{enrollment.name}: {format_count(enrollment.enrolled, 'photo')} enrolled")
    for each in enrollment.chosen:
        place = " ".join(f"{value:.0f}" for value in each.bbox)
        run.say(f"  {each.image}: took the face at {place}, one of {each.faces}")
    say_rejected(run, enrollment)


def say_rejected(run: Run, enrollment: Enrollment) -> None:
    """Say which photos were refused, those of one reason together."""
    for (reason, detail), alike in _by_reason(enrollment.rejected).items():
        which = ", ".join(alike[:_NAMED])
        more = f" and {len(alike) - _NAMED} more" if len(alike) > _NAMED else ""
        run.say(f"  not enrolled: {which}{more}: {reason}: {detail}")


def _by_reason(rejected: Sequence[Rejection]) -> dict[tuple[str, str], list[str]]:
    """The photos that were refused for one and the same reason, in the order they were given in."""
    found: dict[tuple[str, str], list[str]] = {}
    for each in rejected:
        found.setdefault((each.reason, each.detail), []).append(each.image)
    return found


def add_hints(enrollment: Enrollment) -> Enrollment:
    """Add to the reasons of the photos that were not used what helps on the command line."""
    rejected = (replace(each, detail=explain_rejection(each)) for each in enrollment.rejected)
    return replace(enrollment, rejected=tuple(rejected))


def facts_of(
    meta: Sequence[str] | None, consent: str | None, retain_days: int | None
) -> dict[str, Any]:
    """What is recorded about the person beside the templates."""
    now = datetime.now(UTC)
    return {
        "metadata": metadata_of(meta) if meta else None,
        "consent": consent_of(consent) if consent else None,
        "retain_until": now + timedelta(days=retain_days) if retain_days else None,
    }


def metadata_of(pairs: Sequence[str]) -> Mapping[str, str]:
    """Read ``KEY=VALUE`` pairs."""
    split = [pair.partition("=") for pair in pairs]
    for key, equals, _ in split:
        if not key or not equals:
            raise InputError(f"--meta takes KEY=VALUE, not {key!r}")
    return {key: value for key, _, value in split}


def consent_of(basis: str) -> Consent:
    """Record that consent was given now."""
    from facekeep.gallery import Consent

    return Consent(basis, datetime.now(UTC))


def _expand_folders(images: Sequence[Path]) -> list[Path]:
    """Replace folders by the pictures in them."""
    from facekeep.pipeline.image import list_images

    photos = []
    for image in images:
        found = list_images(image) if image.is_dir() else [image]
        if not found:
            raise InputError(f"the folder {image} holds no pictures: name one that holds photos")
        photos += found
    return photos


def _list_people(people: Path) -> Iterator[tuple[str, list[Path]]]:
    """Give the name and the pictures of each person's folder, sorted by name.

    Raises:
        InputError: The folder holds no such folders, or pictures beside them: whose are those?
    """
    from facekeep._internal.files import printable
    from facekeep.pipeline.image import list_images, list_people

    if not people.is_dir():
        raise InputError(
            f"{people} is no folder: give a name and photos, or a folder with one folder a person"
        )
    named = list(list_people(people))
    loose = list_images(people, recursive=False)
    if not any(photos for _, photos in named):
        hint = f"; if all are of one person: facekeep enroll NAME {people}" if loose else ""
        raise InputError(f"{people} holds no folders with pictures, one for each person{hint}")
    if loose:
        names = ", ".join(printable(each.name) for each in loose[:3])
        more = ", ..." if len(loose) > 3 else ""
        lie = "lies" if len(loose) == 1 else "lie"
        raise InputError(
            f"{format_count(len(loose), 'picture')} in {people} {lie} beside the people's folders"
            f" ({names}{more}), so nobody was enrolled: move each into the folder of its person, or"
            " away"
        )
    yield from ((name, photos) for name, photos in named if photos)
