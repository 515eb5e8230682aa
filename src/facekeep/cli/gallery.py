"""``facekeep gallery``: the file itself: facts, checks, keys, retention, audit."""

from __future__ import annotations

from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from facekeep.cli.command import ExitStatus, Run, command, group
from facekeep.cli.hints import explain_finding
from facekeep.cli.options import ENGINE, GALLERY, PATH, argument
from facekeep.cli.output import format_count, format_size
from facekeep.cli.photo_commands import photo_progress
from facekeep.errors import InputError
from facekeep.factory import open_engine, open_gallery, open_key

if TYPE_CHECKING:
    from facekeep.apps.migrate import Migration
    from facekeep.engine import FaceEngine
    from facekeep.gallery import Space
    from facekeep.gallery.types import AuditEntry

app = group(
    "gallery",
    "The gallery's file: facts, checks, encryption, retention, audit.",
    examples=["facekeep gallery info", "facekeep gallery check"],
)


@command(app, "info", uses=GALLERY, examples=["facekeep gallery info --gallery people.db"])
def info(run: Run) -> None:
    """Show what the gallery holds, for which model, and whether it is encrypted."""
    with open_gallery(run.settings, read_only=True) as gallery:
        info = gallery.info()
    if run.json:
        run.emit(info.to_dict())
        return
    facts = asdict(info)
    facts["size"] = format_size(facts["size"])
    space = facts.pop("space")
    facts["model"] = f"{space['model']}, {space['width']} numbers a template"
    run.table(["fact", "value"], [[key.replace("_", " "), value] for key, value in facts.items()])


@command(app, "check", uses=GALLERY, examples=["facekeep gallery check --key file:gallery.key"])
def check(run: Run) -> ExitStatus:
    """Check the whole gallery for damage and tampering; exit status 1 if there is any."""
    from facekeep.errors import GalleryCorrupt
    from facekeep.gallery import Finding

    try:
        with open_gallery(run.settings, read_only=True) as gallery:
            findings = gallery.check()
    except GalleryCorrupt as error:  # so damaged, or changed so much, that it is not opened
        findings = [Finding("structure", str(error))]
    findings = [replace(each, message=explain_finding(each)) for each in findings]
    if run.json:
        run.emit({"ok": not findings, "findings": [each.to_dict() for each in findings]})
    for finding in findings:
        run.say(f"{finding.kind}: {finding.message}")
    if not findings:
        run.say("the gallery is whole")
    return ExitStatus.NO if findings else ExitStatus.YES


@command(
    app,
    "restore",
    uses=GALLERY,
    examples=[
        "facekeep gallery restore backup.db",
        "facekeep gallery restore backup.db --gallery people.db --key file:gallery.key",
    ],
)
@argument("copy", type=PATH, metavar="COPY", help="A copy of the file of a gallery.")
def restore_(run: Run, copy: Path) -> None:
    """Put a copy in the place of the gallery, which may be damaged or missing.

    The copy is checked first; if it is damaged nothing changes. The old gallery goes with all that
    belongs to it (-wal, -shm, -index). Never copy a backup over a gallery by hand: an old -wal
    beside it damages it.
    """
    from facekeep.gallery import restore
    from facekeep.pipeline.image import is_picture

    if is_picture(run.settings.gallery):
        raise InputError(
            f"{run.settings.gallery} has the name of a picture: name the gallery with --gallery"
        )
    done = restore(copy, run.settings.gallery, key=open_key(run.settings))
    if run.json:
        run.emit(
            {
                "gallery": str(done.path),
                "people": done.people,
                "replaced": done.replaced,
                "remarks": list(done.remarks),
            }
        )
    for remark in done.remarks:
        run.say(f"note: {remark}")
    run.say(f"{done.path}: restored, {format_count(done.people, 'person', 'people')}")


@command(app, "compact", uses=GALLERY, examples=["facekeep gallery compact"])
def compact(run: Run) -> None:
    """Give unused space back to the disk and finish erasures that readers held up."""
    with open_gallery(run.settings) as gallery:
        before = gallery.info().size
        gallery.compact()
        after = gallery.info().size
    if run.json:
        run.emit({"before": before, "after": after})
    run.say(f"{format_size(before)} before, {format_size(after)} after")


@command(app, "purge", uses=GALLERY, examples=["facekeep gallery purge"])
def purge(run: Run) -> None:
    """Erase everybody whose time of retention has passed, also from the event log."""
    from facekeep.cli.people import format_erased_events
    from facekeep.events.event_log import erase_person_events

    now = datetime.now(UTC)
    with open_gallery(run.settings) as gallery:
        due = [p.id for p in gallery.people() if p.retain_until and p.retain_until <= now]
        # First, as they are found by the people's ids: if it fails all can be done again.
        events = erase_person_events(run.settings.gallery, due)
        erased = gallery.purge(now)
    if run.json:
        names = [person.name for person in erased]
        run.emit({"erased": names, "events": events.names, "event_crops": events.crops})
    people = format_count(len(erased), "person", "people")
    run.say(f"{people} erased{format_erased_events(events)}")


@command(
    app,
    "keygen",
    examples=[
        "facekeep gallery keygen file:gallery.key",
        "facekeep gallery keygen keyring:facekeep/me",
    ],
)
@argument("spec", metavar="SPEC", help="Where to keep the key: file:PATH or keyring:SERVICE/USER.")
def keygen(run: Run, spec: str) -> None:
    """Make a new key; an existing one is never overwritten. Without the key nothing is readable."""
    from facekeep.gallery import generate_key

    generate_key(spec)
    if run.json:
        run.emit({"key": spec})
    run.say(f"{spec}: made; keep a copy in a safe place, nothing opens the gallery without it")


@command(
    app,
    "rekey",
    uses=GALLERY,
    examples=[
        "facekeep gallery rekey --new-key file:new.key --key file:old.key",
        "facekeep gallery rekey --new-key file:gallery.key  # encrypts a plain gallery",
    ],
)
@click.option(
    "--new-key", metavar="SPEC", help="The new key: file:PATH, env:NAME or keyring:SERVICE/USER."
)
@click.option("--plain", is_flag=True, help="Remove the encryption.")
def rekey(run: Run, new_key: str | None, plain: bool) -> None:
    """Encrypt templates and crops with another key, at once; the old key opens nothing any more.

    The event log beside the gallery gets the key, too. Names and your own facts about people stay
    readable without the key.
    """
    from facekeep.events.event_log import rekey_event_log
    from facekeep.gallery import load_key

    if (new_key is None) == (not plain):
        raise InputError("say either --new-key SPEC or --plain")
    key = load_key(new_key) if new_key else None
    with open_gallery(run.settings) as gallery:
        rekey_event_log(run.settings.gallery, open_key(run.settings), key)
        gallery.rekey(key)
        encrypted = gallery.info().encrypted
    if run.json:
        run.emit({"encrypted": encrypted})
    run.say("encrypted with the new key" if encrypted else "no longer encrypted")


@command(
    app,
    "migrate",
    uses=(*GALLERY, *ENGINE),
    examples=[
        "facekeep gallery migrate --embedder espressif-mbf",
        "facekeep gallery migrate --embedder sface --photos photos/ --backup old.db",
        'facekeep gallery migrate --embedder sface --drop "Ada Lovelace"',
    ],
)
@click.option(
    "--photos",
    type=PATH,
    multiple=True,
    metavar="DIR",
    help="Also search this folder for the photos that people were enrolled from, even if"
    " these were renamed; may be repeated.",
)
@click.option(
    "--drop",
    multiple=True,
    metavar="NAME",
    help="Erase the templates of this person that cannot be carried over; may be repeated.",
)
@click.option("--drop-all", is_flag=True, help="Erase all templates that cannot be carried over.")
@click.option("--backup", type=PATH, metavar="FILE", help="Write the old gallery to this new file.")
def migrate(
    run: Run, photos: tuple[Path, ...], drop: tuple[str, ...], drop_all: bool, backup: Path | None
) -> ExitStatus:
    """Recompute all templates with another model, the one that --embedder names: all or nothing.

    Templates are made from kept crops (--keep-crops) and from the photos, which are known by their
    content. Names, facts, consent, retention and history stay. If something cannot be carried over
    the gallery stays as it is, and a table says what and why. Exit status: 0 when the gallery is of
    the new model, 1 when it stays as it was.
    """
    from facekeep.apps.migrate import migrate_gallery
    from facekeep.events.event_log import erase_person_events

    with (
        open_gallery(run.settings) as gallery,
        open_engine(run.settings) as engine,
        _engine_of(run, gallery.space) as old_engine,
        photo_progress(run, "Migrating") as show,
    ):
        result = migrate_gallery(
            gallery,
            engine,
            old_engine=old_engine,
            photos=photos or (),
            drop=drop or (),
            drop_all=drop_all,
            backup=backup,
            progress=show,
        )
    if result.done:
        left = {each.person_id for each in result.lost if each.person in result.erased}
        erase_person_events(run.settings.gallery, sorted(left))
    _print_migration(run, result)
    return ExitStatus.YES if result.done else ExitStatus.NO


def _engine_of(run: Run, space: Space) -> AbstractContextManager[FaceEngine | None]:
    """Make an engine with the model of a space, if it is on this machine."""
    from facekeep.errors import ModelError
    from facekeep.models import entry, space_id, verify

    try:
        model = entry(space.model)
        if space_id(model) == space.id and verify(model).state == "ok":
            return open_engine(run.settings, embedder=space.model)
    except ModelError:
        pass
    return nullcontext()


def _print_migration(run: Run, result: Migration) -> None:
    if run.json:
        run.emit(result.to_dict())
        return
    if result.lost:
        table = Counter((each.person, each.reason) for each in result.lost)
        rows = [[name, count, reason] for (name, reason), count in table.items()]
        run.table(["person", "templates", "cannot be carried over, because"], rows)
    if not result.done:
        names = {each.person_id for each in result.lost}
        people = format_count(len(names), "person", "people")
        run.say(
            f"nothing was changed: {people} cannot be carried over"
            " whole; name folders of photos (--photos), or go on without (--drop NAME, --drop-all)"
        )
        return
    if result.old == result.new:
        run.say(f"the gallery is of {result.new.model} already")
        return
    made = f"{result.from_crops} templates from crops, {result.from_photos} from photos"
    run.say(f"migrated from {result.old.model} to {result.new.model}: {made}")
    if result.lost:
        people = format_count(len(result.erased), "person", "people")
        run.say(f"{format_count(len(result.lost), 'template')} erased, and {people} with them")


@command(app, "audit", uses=GALLERY, examples=["facekeep gallery audit --last 20"])
@click.option(
    "--last",
    type=click.IntRange(1, 1_000_000),
    default=100,
    metavar="N",
    help="Maximum number of lines.",
)
def audit(run: Run, last: int) -> None:
    """Show what was done to the gallery, latest first; the lines never hold a name or a face."""
    with open_gallery(run.settings, read_only=True) as gallery:
        entries = gallery.audit(last)
    if run.json:
        run.emit({"audit": [each.to_dict() for each in entries]})
        return
    run.table(
        ["at", "action", "person", "detail"],
        [
            [
                f"{each.at:%Y-%m-%d %H:%M:%S}",
                each.action,
                (each.person_id or "")[:8],
                _to_text(each),
            ]
            for each in entries
        ],
    )


def _to_text(entry: AuditEntry) -> str:
    """Write the detail of a line of the audit table; ids as their beginnings."""
    words = {True: "yes", False: "no"}
    facts = ((k, words[v] if isinstance(v, bool) else str(v)) for k, v in entry.detail.items())
    return ", ".join(f"{key} {value[:8] if len(value) == 36 else value}" for key, value in facts)
