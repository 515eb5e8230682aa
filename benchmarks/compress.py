r"""Fewer bits, compared: every mode of ``facekeep compress quantize`` on one model, in one run.

    python benchmarks/compress.py edgeface-xs-q --data faces.tar --eval-data people.tar \
        --labels people.tsv --lfw-images lfw/ --lfw-pairs pairs.txt --work bits/

Prints the table of docs/compress.md and writes the picture of the trade-off. What was made and
measured stays in the folder ``--work``; run again, it only times the networks anew.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from facekeep.lab.compress.chain import run_step
from facekeep.lab.compress.data import DataOptions, FaceSet
from facekeep.lab.compress.int8 import MODES
from facekeep.lab.compress.measure import Evaluator, NetworkProfile
from facekeep.lab.compress.options import Quantize
from facekeep.lab.compress.report import choose_measure, draw_tradeoff
from facekeep.lab.compress.workspace import Workspace, compute_digest, write_model
from facekeep.models import ModelEntry, entry


def make_networks(
    original: ModelEntry, faces: FaceSet | None, evaluator: Evaluator, work: Workspace
) -> list[ModelEntry]:
    """Make the network of each mode, unless it is there."""
    found = []
    for mode in MODES:
        key = compute_digest(mode, original.files[0].sha256)
        result = work.load(mode, key)
        if result is None:
            result = run_step(Quantize(mode=mode), original, faces, evaluator, work.path / "steps")
            work.save(mode, key, result)
        print(f"{mode}: {result.summary}", flush=True)
        found.append(write_model(result, original, work.path, mode))
        evaluator.accuracy(found[-1])
        evaluator.save_known(work.path)
    return found


def format_line(profile: NetworkProfile, original: NetworkProfile) -> str:
    """Return one row of the table."""
    found = profile.accuracy
    cells = [
        f"{profile.bytes / 1e6:.2f}",
        f"{profile.latency_ms / original.latency_ms:.2f}",
        *("" if each is None else f"{each:.4f}" for each in (found.cosine, found.cosine_p01)),
        *(
            "" if each is None else f"{100 * each:.2f}"
            for each in (found.tar, found.lfw, found.lfw_tar)
        ),
    ]
    return f"| {profile.name} | {' | '.join(cells)} |"


def main() -> None:
    """Read the command line, and run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--count", type=int, default=256)
    parser.add_argument("--picture", type=Path)
    for name in ("data", "eval-data", "labels", "lfw-images", "lfw-pairs", "cache"):
        parser.add_argument(f"--{name}", type=Path)
    given = vars(parser.parse_args())
    original = entry(given.pop("model"))
    work, picture = Workspace(given.pop("work")), given.pop("picture")
    faces, data = DataOptions(aligned=True, **given).open(threads=1)
    evaluator = Evaluator(original, data)
    evaluator.load_known(work.path)
    profiles = evaluator.profile([original, *make_networks(original, faces, evaluator, work)])
    evaluator.save_known(work.path)
    print("| | MB | time | cosine | 1st percentile | TAR % | LFW % | LFW TAR % |")
    print("|---|---|---|---|---|---|---|---|")
    for profile in profiles:
        print(format_line(profile, profiles[0]))
    measure = choose_measure(profiles)
    if picture is not None and measure is not None:
        picture.write_bytes(draw_tradeoff(profiles, 0, measure))


if __name__ == "__main__":
    main()
