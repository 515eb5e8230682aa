"""The IJB-C protocol at its full size, on a made-up set whose answer is known.

Writes the lists of the set in their exact format, reads them, pools made-up features of 469,375
images into 23,124 templates, compares 15,658,489 pairs, and checks the rates. Of the mated pairs
100 belong to probes that show another enrolled person exactly, and 500 to probes that resemble
their own least of all; all others have a cosine of 0.9, and other people hardly reach 0.3. So 100
false matches stand above all true ones: TAR is 0 at FMR 1e-6, which allows 15, and that of all but
600 from 1e-5 on. Peak memory is that of the whole process, the features included.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from common import report
from numpy.typing import NDArray

from facekeep.lab import datasets
from facekeep.lab.evaluate import OperatingPoint, pool_templates, verify_templates
from facekeep.lab.evaluate.metrics import count_allowed

SUBJECTS, TEMPLATES, IMAGES = 3_531, 23_124, 469_375
MATED, NON_MATED = 19_557, 15_638_932
IMPOSTORS, LOST = 100, 500
WIDTH = 512
BLOCK = 1 << 16

Rows = NDArray[np.float32]
Ints = NDArray[np.intp]


class Layout(NamedTuple):
    """Which image belongs where: all but the first of a template are frames of one video."""

    template: Ints
    frame: Ints
    frames: Ints

    @property
    def media(self) -> Ints:
        """Number photos and videos."""
        return 2 * self.template + (self.frame > 0)


def layout() -> Layout:
    """Spread the images over the templates."""
    counts = np.full(TEMPLATES, IMAGES // TEMPLATES)
    counts[: IMAGES % TEMPLATES] += 1
    template = np.repeat(np.arange(TEMPLATES), counts)
    frame = np.arange(IMAGES) - np.repeat(np.cumsum(counts) - counts, counts)
    return Layout(template, frame, counts[template] - 1)


def pairs() -> Iterator[tuple[Ints, Ints, int]]:
    """Give the comparisons of enrolled templates, one a subject, with probes."""
    probes = np.arange(TEMPLATES - SUBJECTS)
    yield probes[:MATED] % SUBJECTS, SUBJECTS + probes[:MATED], 1
    left = NON_MATED
    for step in range(1, SUBJECTS):
        some = probes[:left]
        yield (some + step) % SUBJECTS, SUBJECTS + some, 0
        left -= len(some)
        if not left:
            return


def write_lists(root: Path, images: Layout) -> None:
    """Write the lists of the set, and an empty file for each image."""
    for folder in ("meta", "loose_crop"):
        (root / folder).mkdir()
    names = [f"{number}.jpg" for number in range(1, IMAGES + 1)]
    for name in names:
        (root / "loose_crop" / name).touch()
    meta = root / "meta"
    points = "30.5 51.25 65.5 51.0 48.0 71.75 33.5 92.25 62.75 92.0"
    with (meta / "ijbc_face_tid_mid.txt").open("w") as stream:
        rows = zip(names, images.template.tolist(), images.media.tolist(), strict=True)
        stream.writelines(f"{name} {1 + template} {media}\n" for name, template, media in rows)
    with (meta / "ijbc_name_5pts_score.txt").open("w") as stream:
        scores = (0.5 + images.media % 5 / 10).tolist()
        stream.writelines(f"{n} {points} {s:.4f}\n" for n, s in zip(names, scores, strict=True))
    with (meta / "ijbc_template_pair_label.txt").open("w") as stream:
        for left, right, mated in pairs():
            both = zip((1 + left).tolist(), (1 + right).tolist(), strict=True)
            stream.writelines(f"{a} {b} {mated}\n" for a, b in both)


def directions() -> Rows:
    """Return where each template should point."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(TEMPLATES, WIDTH)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    probes = np.arange(TEMPLATES - SUBJECTS)
    own = rows[probes % SUBJECTS]
    aside = rows[SUBJECTS:] - own * (own * rows[SUBJECTS:]).sum(axis=1, keepdims=True)
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    rows[SUBJECTS:] = np.float32(0.9) * own + np.float32(0.19**0.5) * aside
    # The first probes show the next subject, with whom they are compared; then come the lost ones.
    rows[SUBJECTS:][:IMPOSTORS] = rows[1 : 1 + IMPOSTORS]
    rows[SUBJECTS:][IMPOSTORS : IMPOSTORS + LOST] *= -1
    return rows


def features(images: Layout) -> tuple[Rows, Rows]:
    """Return unit rows and lengths of all images; the noise of a video's frames cancels out."""
    towards = directions()
    noise = np.roll(towards, 1, axis=0)
    rows = np.empty((IMAGES, WIDTH), np.float32)
    norms = np.empty(IMAGES, np.float32)
    turn = np.where(images.frame > 0, np.cos(2 * np.pi * images.frame / images.frames), 0)
    for start in range(0, IMAGES, BLOCK):
        here = slice(start, start + BLOCK)
        whose = images.template[here]
        block = 20 * towards[whose] + 15 * turn[here, None].astype(np.float32) * noise[whose]
        norms[here] = np.linalg.norm(block, axis=1)
        rows[here] = block / norms[here, None]
    return rows, norms


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each table")
    args = parser.parse_args()
    images = layout()
    clock: list[tuple[str, float, float]] = []

    def lap(step: str) -> None:
        clock.append((step, time.perf_counter(), time.process_time()))

    with tempfile.TemporaryDirectory() as folder:
        lap("")
        write_lists(Path(folder), images)
        lap("write the set (not part of it)")
        data = datasets.read_ijb(folder, "C")
        lap("read the lists")
    rows, norms = features(images)
    lap("make features up (not part of it)")
    pooled = pool_templates(rows, data.template, data.media, weights=data.faceness * norms)
    lap("pool")
    found = verify_templates(pooled, *data.pairs)
    lap("compare, rates, intervals")
    steps = [
        {"step": step, "seconds": now[0] - before[0], "of the CPU": now[1] - before[1]}
        for (_, *before), (step, *now) in itertools.pairwise(clock)
    ]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    report(args, f"IJB-C's size: peak memory {peak:.2f} GiB", steps)
    table = [
        {
            "FMR": point.fmr,
            "false matches": point.false_matches,
            "TAR": point.tar,
            "from": point.low,
            "to": point.high,
            "known TAR": known,
            "nearest FMR": other.measured_fmr,
            "TAR there": other.tar,
        }
        for point, other, known in zip(found.strict, found.nearest, known_tars(), strict=True)
    ]
    report(args, f"{found.templates} templates of {found.people} people", table)
    return 0 if as_known(found.strict) and peak < 4 else 1


def known_tars() -> list[float]:
    """Return TAR at 1e-2 to 1e-6."""
    return [(MATED - IMPOSTORS - LOST) / MATED] * 4 + [0.0]


def as_known(points: tuple[OperatingPoint, ...]) -> bool:
    """Check every rate."""
    false = [count_allowed(point.fmr, NON_MATED) for point in points]
    return (
        [point.tar for point in points] == known_tars()
        and [(point.mated, point.non_mated) for point in points] == [(MATED, NON_MATED)] * 5
        and [point.false_matches for point in points][:4] == false[:4]
        and points[4].false_matches <= false[4]
    )


if __name__ == "__main__":
    sys.exit(main())
