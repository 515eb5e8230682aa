"""``facekeep people``: list, show, change and erase the people of a gallery."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from facekeep.cli.command import Run, command, group
from facekeep.cli.completion import people_names
from facekeep.cli.enroll import (
    consent_of,
    consent_option,
    largest_option,
    meta_option,
    metadata_of,
    new_person_option,
    retain_option,
)
from facekeep.cli.hints import first_enroll
from facekeep.cli.inputs import name_stdin, read_input
from facekeep.cli.options import ENGINE, GALLERY, PATH, argument, image_argument
from facekeep.cli.output import format_count, format_value
from facekeep.errors import InputError, SpaceMismatch
from facekeep.factory import open_engine, open_gallery, open_key, space_of

if TYPE_CHECKING:
    from facekeep.events.event_log import Erased
    from facekeep.gallery import Key, Person
    from facekeep.gallery.types import OnConflict

app = group(
    "people",
    "The people of a gallery.",
    examples=["facekeep people list", 'facekeep people remove "Ada Lovelace"'],
)

name_argument = argument(
    "name", metavar="NAME", help="The person, by name or id.", shell_complete=people_names
)
new_name_argument = argument("new_name", metavar="NEW_NAME", help="The new name.")
file_argument = argument("file", type=PATH, metavar="FILE", help="The export file.")
file_key_option = click.option(
    "--file-key",
    metavar="SPEC",
    help="Key of the export file, if it is not that of the gallery: file:PATH or env:NAME.",
)

_SOURCE = 20
"""Columns left for the source of a template beside its id."""


@command(
    app, "list", uses=GALLERY, examples=["facekeep people list", "facekeep people list --json"]
)
def list_(run: Run) -> None:
    """List everybody who is enrolled."""
    with open_gallery(run.settings, read_only=True) as gallery:
        people = gallery.people()
    if run.json:
        run.emit({"people": [person.to_dict() for person in people]})
        return
    if not people:
        run.say(f"nobody is enrolled yet; {first_enroll(run.settings.gallery)}")
        return
    rows = [
        [
            p.name,
            f"{p.template_count}{_against(p)}",
            p.created_at.date(),
            p.retain_until and p.retain_until.date(),
        ]
        for p in people
    ]
    run.table(["name", "templates", "enrolled", "kept until"], rows)


@command(app, "show", uses=GALLERY, examples=['facekeep people show "Ada Lovelace"'])
@name_argument
def show(run: Run, name: str) -> None:
    """Show what is kept about a person: facts, consent and each template."""
    with open_gallery(run.settings, read_only=True) as gallery:
        person = gallery.person(name)
    if run.json:
        run.emit(person.to_dict())
        return
    run.say(f"{person.name}, enrolled {person.created_at:%Y-%m-%d %H:%M} UTC, id {person.id[:8]}")
    run.say(f"{format_count(person.template_count, 'template')}{_against(person)}")
    if person.consent:
        run.say(f"consent: {person.consent.basis}, {person.consent.given_at:%Y-%m-%d}")
    if person.retain_until:
        run.say(f"kept until {person.retain_until:%Y-%m-%d %H:%M} UTC")
    for key, value in person.metadata.items():
        run.say(f"{key}: {format_value(value)}")
    rows = [
        [t.id, "is not" if t.negative else "", _number(t.quality), _source(t.source)]
        for t in person.templates or ()
    ]
    run.table(["template", "", "quality", "source"], rows)


@command(
    app,
    "set",
    uses=GALLERY,
    examples=['facekeep people set "Ada Lovelace" --consent "signed form 12" --retain-days 90'],
)
@name_argument
@meta_option
@consent_option
@retain_option
def set_(
    run: Run, name: str, meta: tuple[str, ...], consent: str | None, retain_days: int | None
) -> None:
    """Change the facts, the consent or the retention of a person; what is not given stays."""
    changes: dict[str, Any] = {}
    if meta:
        changes["metadata"] = metadata_of(meta)
    if consent:
        changes["consent"] = consent_of(consent)
    if retain_days:
        changes["retain_until"] = datetime.now(UTC) + timedelta(days=retain_days)
    if not changes:
        raise InputError("say what to change: --meta, --consent or --retain-days")
    with open_gallery(run.settings) as gallery:
        _report(run, gallery.update(name, **changes), "changed")


@command(app, "rename", uses=GALLERY, examples=['facekeep people rename Ada "Ada Lovelace"'])
@name_argument
@new_name_argument
@new_person_option
def rename(run: Run, name: str, new_name: str, new_person: bool) -> None:
    """Give a person another name."""
    with open_gallery(run.settings) as gallery:
        _report(run, gallery.rename(name, new_name, new_person=new_person), "renamed")


@command(app, "merge", uses=GALLERY, examples=['facekeep people merge "Ada L." "Ada Lovelace"'])
@argument(
    "names",
    nargs=-1,
    required=True,
    metavar="NAME...",
    help="People to merge into one; the last one is kept.",
    shell_complete=people_names,
)
def merge(run: Run, names: tuple[str, ...]) -> None:
    """Make one person of several: the templates of all go to the last one named."""
    if len(names) < 2:
        raise InputError("merging takes two names or more: those to merge, then the one that stays")
    from facekeep.events.event_log import erase_person_events

    with open_gallery(run.settings) as gallery:
        *merged, kept = [gallery.person(name).id for name in names]
        if kept not in merged:  # first, so that all can be done again if it fails
            erase_person_events(run.settings.gallery, merged, into=kept)
        _report(run, gallery.merge(names[:-1], names[-1]), "merged")


@command(
    app,
    "split",
    uses=GALLERY,
    examples=['facekeep people split "Ada Lovelace" "Annabella" 7f6c0d0a-...'],
)
@name_argument
@new_name_argument
@argument(
    "templates",
    nargs=-1,
    required=True,
    metavar="TEMPLATE...",
    help="Templates to move: their ids, as `people show` lists them, or the beginnings of these.",
)
@new_person_option
def split(run: Run, name: str, new_name: str, templates: tuple[str, ...], new_person: bool) -> None:
    """Move templates that belong to somebody else to a new person."""
    with open_gallery(run.settings) as gallery:
        _report(run, gallery.split(name, templates, new_name, new_person=new_person), "split off")


@command(
    app,
    "remove",
    uses=GALLERY,
    examples=[
        'facekeep people remove "Ada Lovelace"',
        "facekeep people remove Ada --yes",
        "facekeep people remove Ada --template 7f6c0d0a-...",
    ],
)
@name_argument
@click.option(
    "templates",
    "--template",
    multiple=True,
    metavar="ID",
    help="Erase only this template: its id, as `people show` lists it, or the beginning"
    " of that; may be repeated.",
)
@click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")
def remove(run: Run, name: str, templates: tuple[str, ...], yes: bool) -> None:
    """Erase a person: templates, crops and name leave the file; nothing can bring them back.

    The person's name and crops leave the event log beside the gallery, too. With --template only
    the templates named are erased and the person stays, which takes at least one other template.
    """
    from facekeep.events.event_log import erase_person_events

    with open_gallery(run.settings) as gallery:
        person = gallery.person(name)
        name = person.name
        if not yes:
            some = format_count(len(set(templates)), "template") + " of " if templates else ""
            _confirm(f"Erase {some}{name} for good?")
        if templates:
            _report(run, gallery.remove_templates(name, templates), "still enrolled")
            return
        # First, as it is found by the person's id: if it fails all can be done again.
        events = erase_person_events(run.settings.gallery, [person.id])
        person = gallery.remove(name)
    if run.json:
        run.emit(
            {
                "removed": person.name,
                "template_count": person.template_count,
                "events": events.names,
                "event_crops": events.crops,
            }
        )
    count = format_count(person.template_count, "template")
    run.say(f"{person.name}: erased, {count}{format_erased_events(events)}")


@command(
    app,
    "refuse",
    uses=(*GALLERY, *ENGINE),
    examples=['facekeep people refuse "Ada Lovelace" her-sister.jpg'],
)
@name_argument
@image_argument("image")
@largest_option
def refuse(run: Run, name: str, image: str, largest: bool) -> None:
    """Say "this is not NAME": faces as similar to this picture's are no longer given the name.

    Of several faces in the picture one must plainly be the main one. The picture must not be one
    that the person is enrolled with.
    """
    with open_engine(run.settings, gallery="write") as engine, name_stdin(image):
        source = read_input(image, run.settings.max_bytes)
        person = engine.refuse(name, source, largest=largest)
        _report(run, person, "noted what this person is not")


@command(
    app,
    "export",
    uses=GALLERY,
    examples=["facekeep people export people.jsonl", "facekeep people export x.jsonl --plain"],
)
@file_argument
@file_key_option
@click.option(
    "--plain", is_flag=True, help="Do not encrypt the file, even if the gallery is encrypted."
)
def export(run: Run, file: Path, file_key: str | None, plain: bool) -> None:
    """Write everybody to a file that another gallery can import; encrypted if the gallery is."""
    with open_gallery(run.settings) as gallery:
        gallery.export(file, key=_file_key(file_key), plain=plain)
        count = gallery.count()
    if run.json:
        run.emit({"file": file, "people": count})
    run.say(f"{file}: {format_count(count, 'person', 'people')} exported")


@command(
    app,
    "import",
    uses=(*GALLERY, "embedder"),
    examples=[
        "facekeep people import people.jsonl",
        "facekeep people import x.jsonl --on-conflict merge",
    ],
)
@file_argument
@file_key_option
@click.option(
    "--on-conflict",
    type=click.Choice(["error", "merge", "rename", "skip"]),
    default="error",
    metavar="WAY",
    help="What to do if a name is taken: error, merge, rename or skip.",
)
@new_person_option
def import_(
    run: Run, file: Path, file_key: str | None, on_conflict: OnConflict, new_person: bool
) -> None:
    """Add everybody from an export file, or nobody if anything is wrong with it."""
    key = _file_key(file_key)
    if not run.settings.gallery.exists():
        _rehearse(run, file, key)
    with open_gallery(run.settings, create=True) as gallery:
        done = gallery.import_(file, key=key, on_conflict=on_conflict, new_person=new_person)
    if run.json:
        run.emit({"added": done.added, "merged": done.merged, "skipped": done.skipped})
    added = format_count(done.added, "person", "people")
    run.say(f"{file}: {added} added, {done.merged} merged, {done.skipped} skipped")


def _confirm(question: str) -> None:
    """Ask on the terminal; where there is none nobody can answer."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise InputError("nobody is there to ask, so nothing was erased: confirm with --yes")
    click.confirm(question, abort=True, err=True)


def _rehearse(run: Run, file: Path, key: Key | None) -> None:
    """Read an export to its end, so that a bad one does not leave a new, empty gallery behind."""
    from facekeep.gallery.transfer import read_export

    own = space_of(run.settings)
    with read_export(file, key or open_key(run.settings)) as source:
        if source.space != own:
            raise SpaceMismatch(
                f"{file} holds templates of {source.space.model}, not of {own.model}: "
                "name the model that made them with --embedder"
            )
        for _ in source:
            pass


def _file_key(spec: str | None) -> Key | None:
    from facekeep.gallery import load_key

    return load_key(spec) if spec else None


def _report(run: Run, person: Person, what: str) -> None:
    if run.json:
        run.emit(person.to_dict())
    count = format_count(person.template_count, "template")
    run.say(f"{person.name}: {what}, {count}{_against(person)}")


def _against(person: Person) -> str:
    """How many templates say "this is not the person", if any do."""
    return f" + {person.negative_count} refused" if person.negative_count else ""


def format_erased_events(events: Erased) -> str:
    """How many events of the log lost a name and a crop, if any did."""
    names = f", the name in {format_count(events.names, 'event')}" if events.names else ""
    return names + (f", the crop in {format_count(events.crops, 'event')}" if events.crops else "")


def _source(source: str | None) -> str:
    """Write where a template came from on few columns: the file's name, without its digest."""
    name = (source or "").partition(" sha256:")[0]
    return name if len(name) <= _SOURCE else f"{name[: _SOURCE // 2 - 2]}...{name[-_SOURCE // 2 :]}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
