"""The bare detection network on stacked images against one after another: time per image."""

from __future__ import annotations

import sys
import time

import numpy as np
from common import arguments, report

from facekeep.models import default_model, entry, weights
from facekeep.runtime import RuntimeOptions, open_session

SIZES = ((128, 128), (256, 320), (480, 640))
BATCHES = (1, 2, 4, 8)


def main() -> int:
    """Run from the command line."""
    parser = arguments(__doc__)
    parser.add_argument("--runs", type=int, default=30, help="runs of each; the median counts")
    args = parser.parse_args()
    session = open_session(
        weights(entry(default_model("detect"))), options=RuntimeOptions(threads=args.threads)
    )
    name = session.inputs[0].name
    rows = []
    for height, width in SIZES:
        inputs = [np.full((n, 3, height, width), 128, np.float32) for n in BATCHES]
        times = np.empty((args.runs, len(inputs)))
        # In turns, so that a busy moment of the machine meets all alike; the first only warms up.
        for run in range(-1, args.runs):
            for column, images in enumerate(inputs):
                start = time.perf_counter()
                session.run({name: images})
                times[run, column] = (time.perf_counter() - start) / len(images)
        medians = 1000 * np.median(times, axis=0)
        rows.append(
            {"image": f"{width} x {height}"}
            | {f"stacks of {n}": float(ms) for n, ms in zip(BATCHES, medians, strict=True)}
        )
    report(args, f"milliseconds per image, {args.threads} thread(s), median of {args.runs}", rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
