"""Milliseconds a face of the bare embedder, by how many faces go through it at once.

python benchmarks/embed_batch.py --model sface --threads 1
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from facekeep.models import default_model, entry, weights
from facekeep.runtime import open_session

_SIZES = (1, 2, 4, 8, 16)


def main() -> None:
    """Time the sizes in turns and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=default_model("embed"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    model = entry(options.model)
    session = open_session(weights(model), threads=options.threads)
    random = np.random.default_rng(0)
    side = model.input_size
    stacks = {n: (random.random((n, 3, side, side)) * 255).astype(np.float32) for n in _SIZES}
    times: dict[int, list[float]] = {n: [] for n in _SIZES}
    for turn in range(options.repeats + 2):
        for count, stack in stacks.items():
            start = time.perf_counter()
            session.run({session.inputs[0].name: stack})
            if turn >= 2:
                times[count].append((time.perf_counter() - start) / count * 1e3)
    for count, each in times.items():
        print(f"{count:>3} at once  {np.median(each):6.2f} ms a face")


if __name__ == "__main__":
    main()
