"""What the commands over photos share: where results go, the cache, the progress, the remarks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facekeep.cli.command import Run
from facekeep.cli.terms import say_terms
from facekeep.errors import InputError
from facekeep.factory import open_key

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from facekeep.apps.cache import PhotoCache
    from facekeep.apps.folder import Photos
    from facekeep.types import Threshold

__all__ = [
    "CacheFlag",
    "check_sheet",
    "check_targets",
    "open_cache",
    "photo_progress",
    "remarks",
    "terms",
]

CacheFlag = Annotated[
    bool,
    typer.Option(
        "--cache/--no-cache",
        help="Remember the faces of each photo, so that the next run is quick; see 'facekeep cache"
        " info'.",
    ),
]


def check_targets(targets: Iterable[Path], read: Iterable[Path]) -> None:
    """Refuse to write a picture where none can be, or over one of those to be read."""
    from facekeep.pipeline.image import check_output

    kept = {os.path.realpath(image) for image in read}
    for target in targets:
        if os.path.realpath(target) in kept:
            raise InputError(f"{target} is itself a picture to look at: name another with --out")
        check_output(target)


def check_sheet(out: Path, folder: Path, *probes: Path) -> None:
    """Refuse a contact sheet likewise; the photos of ``folder`` and below it are read."""
    from facekeep.pipeline.image import list_images

    photos = list_images(folder, on_skip=lambda *_: None) if os.path.lexists(out) else []
    check_targets([out], [*probes, *photos])


def open_cache(run: Run, wanted: bool) -> AbstractContextManager[PhotoCache | None]:
    """Open the cache of photos, encrypted where the settings name a key, if it is wanted."""
    from facekeep.apps.cache import PhotoCache

    return PhotoCache(key=open_key(run.settings)) if wanted else nullcontext()


@contextmanager
def photo_progress(run: Run, what: str = "Reading photos") -> Iterator[Callable[[int, int], None]]:
    """Show how many photos are done, as ``facekeep.apps`` tells it."""
    with ExitStack() as stack:
        bar: list[Callable[..., None]] = []

        def show(done: int, total: int) -> None:
            if not bar:  # the number of photos is known only now
                bar.append(stack.enter_context(run.progress(what, total)))
            bar[0](1 if done else 0)

        yield show


def terms(limit: Threshold, photos: Photos) -> dict[str, Any]:
    """What was decided by and what was looked at, for JSON."""
    return {
        "threshold": limit.cosine,
        "fmr": limit.fmr,
        "photos": len(photos.photos),
        "faces": photos.faces,
        "unusable": photos.unusable,
        "analysed": photos.analysed,
        "unreadable": [{"image": e.path, "reason": e.reason} for e in photos.unreadable],
        "skipped": [{"folder": each.path, "reason": each.reason} for each in photos.skipped],
    }


def remarks(run: Run, photos: Photos, limit: Threshold) -> None:
    """Say on what terms was decided, and which photos could not be read."""
    if run.quiet:
        return
    say_terms(run, limit)
    for failed in photos.unreadable:
        run.say(f"unreadable: {failed.path}: {failed.reason}")
    for folder in photos.skipped:
        run.say(f"skipped: {folder.path}: {folder.reason}")
