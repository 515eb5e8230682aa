"""What killed processes left beside a gallery, and what earlier versions of facekeep left there."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from facekeep._internal.drafts import DRAFT_NAME, abandoned, is_still

__all__ = ["find_leftovers"]

_DRAFT = re.compile(rf"({DRAFT_NAME})(-wal|-shm|-journal)?")
# What facekeep wrote before drafts had no name.
_OLD_DRAFT = re.compile(r"\.facekeep-[a-z0-9_]{8}\.new(-wal|-shm|-journal)?")
_OLD_PART = re.compile(r"\.[0-9a-f]{16}\.part")
_OLD_EXPORT = b'{"format":"facekeep-export"'


def find_leftovers(gallery: Path) -> Iterator[Path]:
    """Yield the files beside a gallery that may hold faces and that nobody is writing any more.

    While one is given, nobody begins to write it: so it may be removed.
    """
    try:
        files = sorted(gallery.parent.iterdir())
    except OSError:
        return
    for file in files:
        if draft := _DRAFT.fullmatch(file.name):
            yield from _check_draft(file, file.with_name(draft[1]))
        elif _is_old(file, gallery):
            yield file


def _check_draft(file: Path, draft: Path) -> Iterator[Path]:
    """Yield a file that belongs to a draft if the draft's writer is no more."""
    try:
        with abandoned(draft) as left:
            if left:
                yield file
    except FileNotFoundError:
        yield file
    except OSError:  # such as that of another user
        with suppress(OSError):
            if is_still(file.lstat()):
                yield file


def _is_old(file: Path, gallery: Path) -> bool:
    """Whether it is a draft of an earlier facekeep that nobody has written to for a while."""
    old_draft = _OLD_DRAFT.fullmatch(file.name) is not None
    if not (old_draft or _OLD_PART.fullmatch(file.name)):
        return False
    try:
        status = file.lstat()
        if not stat.S_ISREG(status.st_mode):
            return False
        if old_draft:
            return is_still(status) or (gallery.exists() and file.samefile(gallery))
        return is_still(status) and _begins_as_export(file)
    except OSError:
        return False


def _begins_as_export(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(len(_OLD_EXPORT)) == _OLD_EXPORT
