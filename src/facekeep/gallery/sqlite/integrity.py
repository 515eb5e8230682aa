"""Looking through a whole gallery for damage and tampering."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from facekeep._internal.files import one_line, printable
from facekeep.errors import FacekeepError, GalleryCorrupt
from facekeep.gallery.crypto import LockedCipher
from facekeep.gallery.file_errors import RESTORE
from facekeep.gallery.leftovers import find_leftovers
from facekeep.gallery.sqlite.repository import Repository
from facekeep.gallery.sqlite.row_parser import changed_row, parse_person
from facekeep.gallery.sqlite.sqlite_errors import translate_errors
from facekeep.gallery.types import Finding

__all__ = ["check_gallery", "list_leftovers"]

_CONFIRM = "if that was you, confirm it by rekeying the gallery; if not, " + RESTORE


def check_gallery(repo: Repository, path: Path) -> list[Finding]:
    """Return everything that is wrong with the gallery."""
    found: list[Finding] = []
    for check in (_check_structure, _check_people, _check_templates, _check_audit, _check_whole):
        _collect(check, repo, path, found)
    if repo.meta.unswept:
        found.append(Finding("erasure", "erased data may be left in the file: compact the gallery"))
    return found


def _collect(
    check: Callable[[Repository], Iterator[Finding]],
    repo: Repository,
    path: Path,
    found: list[Finding],
) -> None:
    """Add what ``check`` finds; damage that stops it is a finding, a fault of the disk is none."""
    try:
        with translate_errors(path):
            found.extend(check(repo))
    except GalleryCorrupt as error:
        cause = error.__cause__ if isinstance(error.__cause__, sqlite3.Error) else error
        finding = Finding("structure", f"the file is damaged: {one_line(cause)}")
        if finding not in found:
            found.append(finding)


def list_leftovers(path: Path) -> list[Finding]:
    """Return what killed processes left beside the gallery."""
    return [
        Finding(
            "erasure",
            f"{printable(file)} was left by a killed process and may hold faces: compact the"
            " gallery",
        )
        for file in find_leftovers(path)
    ]


def _check_structure(repo: Repository) -> Iterator[Finding]:
    for line in repo.check_structure():
        yield Finding("structure", line)


def _check_people(repo: Repository) -> Iterator[Finding]:
    for columns, vouched in repo.check_rows("people"):
        person_id, name = str(columns[1]), printable(columns[2])
        try:
            if vouched is False:
                raise changed_row("people", columns)
            parse_person((*columns, None, 0, 0))
        except FacekeepError as error:
            yield Finding("person", str(error), person_id)
            continue
        if vouched is None:
            yield Finding("unsigned", f"{name} was written without the key: {_CONFIRM}", person_id)


def _check_templates(repo: Repository) -> Iterator[Finding]:
    locked = isinstance(repo.cipher, LockedCipher)
    if locked:
        yield Finding("key", "the templates are encrypted and were not checked: give the key")
    for columns, vouched in repo.check_rows("templates"):
        template_id = str(columns[1])
        try:
            template = repo.template(template_id)
            if template is None:
                raise changed_row("templates", columns)
            if not locked:
                repo.stored(template)
            if vouched is False:
                raise repo.changed_outside(template_id, template.person_id)
        except FacekeepError as error:
            yield Finding("template", str(error), template_id)
            continue
        if vouched is None:
            message = f"template {template_id} was written without the key: {_CONFIRM}"
            yield Finding("unsigned", message, template_id)


def _check_audit(repo: Repository) -> Iterator[Finding]:
    for columns, vouched in repo.check_rows("audit"):
        if vouched is False:
            yield Finding("audit", str(changed_row("audit", columns)))
        elif vouched is None:
            message = f"line {columns[0]} of the audit table was written without the key"
            yield Finding("unsigned", f"{message}: {_CONFIRM}")


def _check_whole(repo: Repository) -> Iterator[Finding]:
    """Compare the digests of the whole: rows that are gone or too many, and the description."""
    spaces, described = repo.count("spaces"), repo.count("meta")
    if (spaces, described) != (1, 1):
        yield Finding(
            "structure",
            f"the gallery has {described} descriptions and {spaces} embedding spaces, not one of"
            f" each: {RESTORE}",
        )
    if not repo.is_complete():
        yield Finding(
            "structure", f"rows were added, removed or replaced outside facekeep: {RESTORE}"
        )
    if not repo.is_sound():
        yield Finding(
            "structure", f"the description of the gallery was changed outside facekeep: {RESTORE}"
        )
    elif not isinstance(repo.cipher, LockedCipher) and not repo.is_signed():
        yield Finding("unsigned", f"the gallery was changed without its key: {_CONFIRM}")
