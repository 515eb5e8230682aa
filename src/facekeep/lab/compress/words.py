"""What is said about networks before and after: tables and remarks for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from facekeep.lab.compress.chain import Done
from facekeep.lab.compress.measure import FMR, Facts

__all__ = ["HEADERS", "remarks", "row"]

HEADERS: Final = (
    "parameters",
    "MMACs",
    "MB",
    "ms",
    "cosine",
    "1st percentile",
    "TAR %",
    "LFW %",
    "LFW TAR %",
)
"""The columns of ``row`` behind the name; TAR is at ``FMR``."""

_FEW: Final = 100  # faces


def row(name: str, facts: Facts) -> list[str]:
    """Return the cells of a network; those that were not measured are empty."""
    found = facts.accuracy
    return [
        name,
        f"{facts.parameters:,}",
        f"{facts.macs / 1e6:.1f}",
        f"{facts.bytes / 1e6:.2f}",
        f"{facts.latency_ms:.2f}",
        *("" if each is None else f"{each:.4f}" for each in (found.cosine, found.cosine_p01)),
        *(
            "" if each is None else f"{100 * each:.2f}"
            for each in (found.tar, found.lfw, found.lfw_tar)
        ),
    ]


def remarks(done: Done) -> Iterator[str]:
    """Say what was not measured and how to have it measured, and what the new model can do."""
    found, entry = done.after.accuracy, done.entry
    if found.cosine is None:
        yield "not compared with the original: there are no faces; name some with --data"
    elif found.faces < _FEW:
        yield (
            f"compared on {found.faces} faces only, enough to see that it works; name more"
            " with --data"
        )
    if found.tar is None and found.lfw is None:
        yield (
            "how well it tells people apart was not measured; name known people with --eval-data,"
            " or LFW with --lfw-images and --lfw-pairs"
        )
    else:
        yield f"TAR is at a false-match rate of {FMR:g}"
    if entry.thresholds:
        lowest = entry.thresholds[-1][0]
        yield (
            f"{entry.name}: in the catalogue, thresholds down to a false-match rate of"
            f" {lowest:g}: {entry.calibrated_on}"
        )
    else:
        yield (
            f"{entry.name}: in the catalogue; it cannot decide before it is calibrated on photos of"
            f" many people, a folder each: facekeep evaluate calibrate DIR --model {entry.name}"
        )
