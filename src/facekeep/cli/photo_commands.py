"""What the commands on folders of photos share: the cache, the progress, the notes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING

import click

from facekeep.cli.command import Run
from facekeep.cli.decisions import say_threshold
from facekeep.factory import open_key

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from facekeep.apps.photo_cache import PhotoCache
    from facekeep.apps.photo_reader import Photos
    from facekeep.types import Threshold

__all__ = [
    "cache_option",
    "open_cache",
    "photo_progress",
    "say_notes",
]

cache_option = click.option(
    "--cache/--no-cache",
    default=True,
    help="Remember the faces of each photo, so that the next run is fast; see 'facekeep"
    " cache info'.",
)


def open_cache(run: Run, wanted: bool) -> AbstractContextManager[PhotoCache | None]:
    """Open the cache of photos, encrypted where the settings name a key, if it is wanted."""
    from facekeep.apps.photo_cache import PhotoCache

    return PhotoCache(key=open_key(run.settings)) if wanted else nullcontext()


@contextmanager
def photo_progress(run: Run, what: str = "Reading photos") -> Iterator[Callable[[int, int], None]]:
    """Show how many photos are done, as ``facekeep.apps`` reports it."""
    with ExitStack() as stack:
        bar: list[Callable[..., None]] = []

        def show(done: int, total: int) -> None:
            if not bar:  # the number of photos is known only now
                bar.append(stack.enter_context(run.progress(what, total)))
            bar[0](1 if done else 0)

        yield show


def say_notes(run: Run, photos: Photos, limit: Threshold) -> None:
    """Say which threshold was used, and which photos could not be read."""
    if run.quiet:
        return
    say_threshold(run, limit)
    for failed in photos.unreadable:
        run.say(f"unreadable: {failed.path}: {failed.reason}")
    for folder in photos.skipped:
        run.say(f"skipped: {folder.path}: {folder.reason}")
