"""A small network of ncnn's: what is above 0, the mean of each channel, then a matrix."""

from __future__ import annotations

from pathlib import Path

import numpy as np

WEIGHT = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


def means(folder: Path, *, sizes: str = "0=8 1=8 2=3") -> Path:
    """Write x (3, 8, 8) above 0 -> y = WEIGHT @ the means of x; return the path of its .param."""
    lines = [
        "7767517",
        "4 4",
        f"Input x 0 1 x {sizes}",
        "ReLU relu 1 1 x above",  # works in place, on the input
        "Pooling mean 1 1 above means 0=1 4=1",
        f"InnerProduct product 1 1 means y 0=4 1=0 2={WEIGHT.size}",
    ]
    path = folder / "means.param"
    path.write_text("\n".join(lines) + "\n")
    path.with_suffix(".bin").write_bytes(bytes(4) + WEIGHT.tobytes())
    return path
