"""What stands behind ``mouth_covered`` and ``eyes_covered``: docs/quality.md quotes it.

Crops drawn at random were looked at; occlusion_labels.json holds the keys of those whose mouth or
eyes are covered, and of those that cannot be told. All other drawn crops are free. Three parts:

``fit``   the weights of the hints, by logistic regression on the crops for tuning.
``held``  how well the hints tell covered from free on crops that no weight was fitted to.
``wide``  how many of 6,000 more faces are wrongly flagged, by how bright their cheeks are. Only
          the flagged ones were looked at, so it says nothing of covered faces that were missed.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
import timeit
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from common import arguments, report, tar_members
from numpy.typing import NDArray
from PIL import Image

from facekeep.pipeline.occlusion import covered, features
from facekeep.pipeline.quality import POLICIES

Values = NDArray[np.float64]
Mask = NDArray[np.bool_]
Crop = NDArray[np.uint8]

PARTS = ("mouth", "eyes")
FIRST = {
    "mask": 300,
    "celeba": 250,
    "cs389": 150,
    "glint": 150,
    "utk": 250,
    "genki": 150,
    "hard": 80,
    "santaz": 50,
    "uda": 50,
}
HELD = {"mask": 300, "celeba": 400, "cs389": 500, "glint": 250, "utk": 400, "genki": 150}
MORE = {"celeba": 500, "cs389": 700}
WIDE = dict.fromkeys(("celeba", "cs389", "genki", "glint", "hard", "utk"), 1000)


def draws(index: Path) -> dict[str, dict[str, str]]:
    """The drawn keys of each part with the set each comes from; no key is drawn twice."""
    sets: dict[str, list[str]] = {}
    with index.open(newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            sets.setdefault(row["set"], []).append(row["key"])
    left = {name: np.array(sorted(keys)) for name, keys in sets.items()}

    def take(source: str, keys: NDArray[np.str_]) -> dict[str, str]:
        left[source] = left[source][~np.isin(left[source], keys)]
        return dict.fromkeys(keys.tolist(), source)

    fit: dict[str, str] = {}
    held: dict[str, str] = {}
    wide: dict[str, str] = {}
    rng = np.random.default_rng(11)
    for source, count in FIRST.items():
        fit |= take(source, rng.choice(left[source], count, replace=False))
    rng = np.random.default_rng(12)
    for source, count in HELD.items():
        order = rng.permutation(left[source])
        held |= take(source, order[:count])
        fit |= take(source, order[count : count + MORE.get(source, 0)])
    rng = np.random.default_rng(13)
    for source, count in WIDE.items():
        wide |= take(source, rng.permutation(left[source])[:count])
    return {"fit": fit, "held": held, "wide": wide}


def drawn(args: argparse.Namespace) -> tuple[list[str], list[str], list[Crop]]:
    """Keys, sets and crops of the part asked for."""
    folder = args.shared / "data" / "faces"
    wanted = draws(folder / "index.tsv")[args.part]
    found = {
        key: np.array(Image.open(io.BytesIO(content)).convert("RGB"))
        for archive in sorted(folder.glob("*.tar"))
        for name, content in tar_members(archive)
        if (key := Path(name).stem) in wanted
    }
    return list(found), [wanted[key] for key in found], list(found.values())


def labels(keys: list[str]) -> Iterator[tuple[str, Mask, Mask]]:
    """For mouth and eyes: which crops are covered, and of which that can be told."""
    marked = json.loads(Path(__file__).with_name("occlusion_labels.json").read_text())
    for part in PARTS:
        known, unclear = (set(" ".join(marked[n]).split()) for n in (part, f"{part}_unclear"))
        hidden = np.array([key in known for key in keys])
        yield part, hidden, np.array([key not in unclear for key in keys])


def area_under_curve(values: Values, hidden: Mask) -> float:
    """The chance that a covered face has the higher value than a free one."""
    ranks = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    count = int(hidden.sum())
    total = ranks[hidden].sum() - count * (count - 1) / 2
    return float(total / count / (len(hidden) - count))


def interval(find: Callable[[NDArray[np.int64]], float], count: int) -> str:
    """The middle 95 % of a figure over 1,000 draws with replacement."""
    rng = np.random.default_rng(0)
    found = [find(rng.integers(0, count, count)) for _ in range(1000)]
    low, high = np.percentile(found, [2.5, 97.5])
    return f"{low:.4f} to {high:.4f}"


def share(flags: Mask) -> dict[str, Any]:
    """A share with Wilson's interval of 95 %."""
    n, p, z = len(flags), float(flags.mean()), 1.96
    middle = (p + z * z / 2 / n) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / 4 / n / n)
    low, high = max(middle - half, 0), middle + half
    return {"of": n, "flagged": int(flags.sum()), "share": f"{p:.4f} ({low:.4f} to {high:.4f})"}


def regression(values: Values, hidden: Mask) -> list[float]:
    """Slopes and level of a logistic regression in which both kinds of face count alike."""
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    rows = np.c_[(values - mean) / deviation, np.ones(len(values))]
    counts = np.where(hidden, 0.5 / hidden.sum(), 0.5 / (~hidden).sum())
    weights, ridge = np.zeros(rows.shape[1]), np.array([1e-3] * values.shape[1] + [1e-9])
    for _ in range(60):
        guess = 1 / (1 + np.exp(-rows @ weights))
        slope = rows.T @ (counts * (guess - hidden)) + ridge * weights
        bend = (rows * (counts * guess * (1 - guess))[:, None]).T @ rows + np.diag(ridge)
        weights -= np.linalg.solve(bend, slope)
    slopes = weights[:-1] / deviation
    return [*slopes.tolist(), float(weights[-1] - (slopes * mean).sum())]


def fit(args: argparse.Namespace) -> None:
    """Print the weights."""
    keys, _, crops = drawn(args)
    found = [features(crop) for crop in crops]
    rows = []
    for place, (part, hidden, labeled) in enumerate(labels(keys)):
        values = np.array([each[place] for each in found])[labeled]
        weights = regression(values, hidden[labeled])
        area = area_under_curve(values @ weights[:-1], hidden[labeled])
        free = int((~hidden[labeled]).sum())
        row = {"part": part, "free": free, "covered": int(hidden[labeled].sum()), "AUC": area}
        rows.append({**row, "weights": " ".join(f"{weight:.1f}" for weight in weights)})
    report(args, "weights fitted on the crops for tuning", rows)
    seconds = timeit.repeat(lambda: covered(crops[0]), number=100)
    report(args, "both hints of one face, best of five", [{"ms": 10 * min(seconds)}])


def held(args: argparse.Namespace) -> None:
    """Print how well covered faces are told from free ones."""
    keys, sources, crops = drawn(args)
    found, masks = np.array([covered(crop) for crop in crops]), np.array(sources) == "mask"
    areas, shares = [], []
    for place, (part, hidden, labeled) in enumerate(labels(keys)):
        for name, chosen in (("all", labeled), ("mask set", labeled & masks)):
            if part == "eyes" and name != "all":
                continue  # too few wear dark glasses there
            area = tested(found[chosen, place], hidden[chosen])
            areas.append({"part": part, "crops": name, **area})
        for policy in ("standard", "strict"):
            limit = getattr(POLICIES[policy], f"max_{part}_covered")
            for kind, chosen in (("covered", labeled & hidden), ("free", labeled & ~hidden)):
                row = {"part": part, "policy": policy, "limit": limit, "faces": kind}
                shares.append({**row, **share(found[chosen, place] > limit)})
    report(args, "area under the curve", areas)
    report(args, "faces flagged, with intervals of 95 %", shares)


def tested(values: Values, hidden: Mask) -> dict[str, Any]:
    """The area under the curve with its interval."""
    area = area_under_curve(values, hidden)
    spread = interval(lambda at: area_under_curve(values[at], hidden[at]), len(values))
    return {"covered": int(hidden.sum()), "of": len(hidden), "AUC": area, "95 %": spread}


def wide(args: argparse.Namespace) -> None:
    """Print the share of faces that are flagged though nothing covers them."""
    keys, _, crops = drawn(args)
    found = np.array([covered(crop) for crop in crops])
    cheeks = np.array(
        [np.median(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[58:76, 28:84]) for crop in crops]
    )
    rows = []
    for place, (part, hidden, labeled) in enumerate(labels(keys)):
        free = labeled & ~hidden
        quarter = np.searchsorted(np.quantile(cheeks[free], [0.25, 0.5, 0.75]), cheeks)
        for policy in ("standard", "strict"):
            flagged = found[:, place] > getattr(POLICIES[policy], f"max_{part}_covered")
            row = {"part": part, "policy": policy}
            rows.append({**row, "cheeks": "all", **share(flagged[free])})
            for number, name in enumerate(("darkest quarter", "second", "third", "brightest")):
                rows.append({**row, "cheeks": name, **share(flagged[free & (quarter == number)])})
    report(args, "free faces flagged, with intervals of 95 %", rows)


def main() -> int:
    """Print the part asked for."""
    parser = arguments(__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    jobs = {"fit": fit, "held": held, "wide": wide}
    parser.add_argument("part", choices=jobs, help="what to print")
    args = parser.parse_args()
    jobs[args.part](args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
