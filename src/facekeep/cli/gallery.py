"""``facekeep gallery``: the file itself: facts, checks, keys, retention, audit."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from facekeep.cli.command import ExitStatus, Run, command, group
from facekeep.cli.opening import open_gallery
from facekeep.cli.options import GALLERY
from facekeep.cli.output import counted, size_text

app = group(
    "gallery",
    "The gallery's file: facts, checks, encryption, retention, audit.",
    examples=["facekeep gallery info", "facekeep gallery check"],
)

KeySpec = Annotated[str, typer.Argument(metavar="SPEC", help="file:PATH or keyring:SERVICE/USER.")]


@command(app, "info", uses=GALLERY, examples=["facekeep gallery info --gallery people.db"])
def info(run: Run) -> None:
    """Say what the gallery holds, for which model, and whether it is encrypted."""
    with open_gallery(run, read_only=True) as gallery:
        facts = asdict(gallery.info())
    if run.json:
        run.emit(facts | {"created_at": facts["created_at"].isoformat()})
        return
    facts["size"] = size_text(facts["size"])
    space = facts.pop("space")
    facts["model"] = f"{space['model']}, {space['width']} numbers a template"
    run.table(["fact", "value"], [[key.replace("_", " "), value] for key, value in facts.items()])


@command(app, "check", uses=GALLERY, examples=["facekeep gallery check --key file:gallery.key"])
def check(run: Run) -> ExitStatus:
    """Look through the whole gallery for damage and tampering; exit status 1 if there is any."""
    with open_gallery(run, read_only=True) as gallery:
        findings = gallery.check()
    if run.json:
        run.emit({"ok": not findings, "findings": [asdict(each) for each in findings]})
    for finding in findings:
        run.say(f"{finding.kind}: {finding.message}")
    if not findings:
        run.say("the gallery is whole")
    return ExitStatus.NO if findings else ExitStatus.YES


@command(app, "compact", uses=GALLERY, examples=["facekeep gallery compact"])
def compact(run: Run) -> None:
    """Give unused space back to the disk and finish erasures that readers held up."""
    with open_gallery(run) as gallery:
        before = gallery.info().size
        gallery.compact()
        after = gallery.info().size
    if run.json:
        run.emit({"before": before, "after": after})
    run.say(f"{size_text(before)} before, {size_text(after)} after")


@command(app, "purge", uses=GALLERY, examples=["facekeep gallery purge"])
def purge(run: Run) -> None:
    """Erase everybody whose time of retention has passed."""
    with open_gallery(run) as gallery:
        erased = gallery.purge(datetime.now(UTC))
    if run.json:
        run.emit({"erased": [person.name for person in erased]})
    run.say(f"{counted(len(erased), 'person', 'people')} erased")


@command(
    app,
    "keygen",
    examples=[
        "facekeep gallery keygen file:gallery.key",
        "facekeep gallery keygen keyring:facekeep/me",
    ],
)
def keygen(run: Run, spec: KeySpec) -> None:
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
def rekey(
    run: Run,
    new_key: Annotated[
        str | None,
        typer.Option(
            "--new-key", metavar="SPEC", help="file:PATH, env:NAME or keyring:SERVICE/USER."
        ),
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Take the encryption off.")] = False,
) -> None:
    """Encrypt templates and crops with another key, at once; the old key opens nothing any more.

    Names and your own facts about people stay readable without the key.
    """
    from facekeep.errors import InputError
    from facekeep.gallery import load_key

    if (new_key is None) == (not plain):
        raise InputError("say either --new-key SPEC or --plain")
    with open_gallery(run) as gallery:
        gallery.rekey(load_key(new_key) if new_key else None)
        encrypted = gallery.info().encrypted
    if run.json:
        run.emit({"encrypted": encrypted})
    run.say("encrypted with the new key" if encrypted else "no longer encrypted")


@command(app, "audit", uses=GALLERY, examples=["facekeep gallery audit --last 20"])
def audit(
    run: Run,
    last: Annotated[
        int, typer.Option("--last", min=1, max=1_000_000, metavar="N", help="How many lines.")
    ] = 100,
) -> None:
    """Show what was done to the gallery, latest first; the lines never hold a name or a face."""
    with open_gallery(run, read_only=True) as gallery:
        entries = gallery.audit(last)
    rows = [{**asdict(each), "at": each.at.isoformat(timespec="seconds")} for each in entries]
    if run.json:
        run.emit({"audit": rows})
        return
    run.table(
        ["at", "action", "person", "detail"],
        [[row["at"], row["action"], row["person_id"], row["detail"] or ""] for row in rows],
    )
