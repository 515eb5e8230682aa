"""``facekeep cache``: what search and cluster remember of photos."""

from __future__ import annotations

from facekeep.cli.command import Run, command, group
from facekeep.cli.output import format_count, format_size

app = group(
    "cache",
    "What 'search' and 'cluster' remember of photos: biometric templates, no pixels, no names."
    " Photos that no run has read for 90 days are removed.",
    examples=["facekeep cache info", "facekeep cache clear"],
)


@command(app, "info", examples=["facekeep cache info --json"])
def info(run: Run) -> None:
    """Show where the cache is, and what it holds."""
    from facekeep.apps.photo_cache_file import cache_info

    found = cache_info()
    if run.json:
        run.emit(
            {
                "path": found.path,
                "exists": found.exists,
                "bytes": found.size,
                "photos": found.photos,
                "unreadable": found.unreadable,
                "encrypted": found.encrypted,
            }
        )
    elif not found.exists:
        run.say(f"{found.path}: there is no cache yet")
    else:
        secrecy = "encrypted" if found.encrypted else "not encrypted"
        run.say(
            f"{found.path}: templates of {format_count(found.photos, 'photo')}, {secrecy};"
            f" {format_count(found.unreadable, 'unreadable photo')}; {format_size(found.size)}"
        )


@command(app, "clear", examples=["facekeep cache clear"])
def clear(run: Run) -> None:
    """Erase the cache; the next run reads all photos again."""
    from facekeep.apps.photo_cache_file import cache_path, clear_cache

    existed = clear_cache()
    run.say(f"{cache_path()}: {'erased' if existed else 'there is no cache'}")
    if run.json:
        run.emit({"path": cache_path(), "erased": existed})
