"""Milliseconds a face of the bare embedder, by how many faces go through it at once.

python benchmarks/embed_batch.py --model sface --threads 1
"""

from __future__ import annotations

import argparse
from functools import partial

import numpy as np

from facekeep._internal.timing import in_turns
from facekeep.models import default_model, entry, weights
from facekeep.runtime import RuntimeOptions, open_session

_SIZES = (1, 2, 4, 8, 16)


def main() -> None:
    """Time the sizes in turns and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=default_model("embed"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    model = entry(options.model)
    session = open_session(weights(model), options=RuntimeOptions(threads=options.threads))
    random = np.random.default_rng(0)
    side = model.input_size
    stacks = {n: (random.random((n, 3, side, side)) * 255).astype(np.float32) for n in _SIZES}
    name = session.inputs[0].name
    runs = {n: partial(session.run, {name: stack}) for n, stack in stacks.items()}
    times = in_turns(runs, options.repeats, warm_up=2)
    for count, each in times.items():
        print(f"{count:>3} at once  {np.median(each) / count:6.2f} ms a face")


if __name__ == "__main__":
    main()
