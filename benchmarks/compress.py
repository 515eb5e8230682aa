r"""Fewer bits, compared: every mode of ``facekeep compress quantize`` on one model, in one run.

    python benchmarks/compress.py edgeface-xs-q --data faces.tar --eval-data people.tar \
        --labels people.tsv --lfw-images lfw/ --lfw-pairs pairs.txt --work bits/

Prints the table of docs/compress.md and writes the picture of the trade-off. What was made and
measured stays in the folder ``--work``; run again, it only times the networks anew.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from facekeep.lab.compress.faces import Faces
from facekeep.lab.compress.measure import Facts, Measuring
from facekeep.lab.compress.options import Quantize
from facekeep.lab.compress.quantize import MODES
from facekeep.lab.compress.setting import Setting
from facekeep.lab.compress.staging import staged
from facekeep.lab.compress.steps import take
from facekeep.lab.compress.tradeoff import draw_tradeoff, measure_of
from facekeep.lab.compress.workfolder import WorkFolder, digest_of
from facekeep.models import ModelEntry, entry


def networks(
    original: ModelEntry, faces: Faces | None, measuring: Measuring, work: WorkFolder
) -> list[ModelEntry]:
    """Make the network of each mode, unless it is there."""
    found = []
    for mode in MODES:
        key = digest_of(mode, original.files[0].sha256)
        made = work.find(mode, key)
        if made is None:
            made = take(Quantize(mode=mode), original, faces, measuring, work.path / "steps")
            work.keep(mode, key, made)
        print(f"{mode}: {made.told}", flush=True)
        found.append(staged(made, original, work.path, mode))
        measuring.accuracy(found[-1])
        work.remember(measuring)
    return found


def line(facts: Facts, original: Facts) -> str:
    """One row of the table."""
    found = facts.accuracy
    cells = [
        f"{facts.bytes / 1e6:.2f}",
        f"{facts.latency_ms / original.latency_ms:.2f}",
        *("" if each is None else f"{each:.4f}" for each in (found.cosine, found.cosine_p01)),
        *(
            "" if each is None else f"{100 * each:.2f}"
            for each in (found.tar, found.lfw, found.lfw_tar)
        ),
    ]
    return f"| {facts.name} | {' | '.join(cells)} |"


def main() -> None:
    """Read the command line, and do it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--count", type=int, default=256)
    parser.add_argument("--picture", type=Path)
    for name in ("data", "eval-data", "labels", "lfw-images", "lfw-pairs", "cache"):
        parser.add_argument(f"--{name}", type=Path)
    given = vars(parser.parse_args())
    original = entry(given.pop("model"))
    work, picture = WorkFolder(given.pop("work")), given.pop("picture")
    faces, trial = Setting(aligned=True, **given).open(threads=1)
    measuring = Measuring(original, trial)
    work.recall(measuring)
    facts = measuring.facts([original, *networks(original, faces, measuring, work)])
    work.remember(measuring)
    print("| | MB | time | cosine | 1st percentile | TAR % | LFW % | LFW TAR % |")
    print("|---|---|---|---|---|---|---|---|")
    for each in facts:
        print(line(each, facts[0]))
    measure = measure_of(facts)
    if picture is not None and measure is not None:
        picture.write_bytes(draw_tradeoff(facts, 0, measure))


if __name__ == "__main__":
    main()
