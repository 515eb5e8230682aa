"""How long a folder of photos takes at first, and how long once its faces are in the cache.

Photos are made from two public-domain portraits (demo extra), each with bytes of its own. Prints
the rate of the first run, the seconds of the second, which hashes nothing, and of a third after all
photos were moved, which hashes everything but analyzes nothing; and the memory of each.

python benchmarks/photos.py --count 10000
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance

from facekeep import FaceEngine
from facekeep.apps.photo_cache import PhotoCache
from facekeep.apps.photo_reader import read_folder
from facekeep.samples import load_portraits


def make(folder: Path, count: int, side: int) -> None:
    """Write photos, each turned, lit and compressed in another way."""
    rng = np.random.default_rng(0)
    portraits = list(load_portraits().values())
    sources = [Image.fromarray(each).crop((40, 0, 440, 400)) for each in portraits]
    for number in range(count):
        photo = sources[number % len(sources)].resize((side, side))
        photo = ImageEnhance.Brightness(photo).enhance(rng.uniform(0.6, 1.2))
        photo = photo.rotate(rng.uniform(-15, 15))
        stream = io.BytesIO()
        photo.save(stream, "JPEG", quality=int(rng.integers(60, 96)))
        path = folder / f"{number // 1000:03}" / f"{number:06}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(stream.getvalue() + number.to_bytes(4, "big"))  # bytes after the end count


def run(folder: Path, cache_file: Path, threads: int) -> dict[str, Any]:
    """Read a folder as search and cluster do, in a process of its own."""
    start = time.perf_counter()
    with FaceEngine(threads=threads) as engine, PhotoCache(cache_file) as cache:
        photos = read_folder(engine, folder, cache=cache)
    seconds = time.perf_counter() - start
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    return {
        "photos": len(photos.photos),
        "faces": photos.faces,
        "analysed": photos.analyzed,
        "seconds": round(seconds, 2),
        "photos/s": round(len(photos.photos) / seconds, 1),
        "MB peak": round(peak),
    }


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=10_000, help="photos (default 10000)")
    parser.add_argument("--side", type=int, default=200, help="their side in pixels (default 200)")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of a network")
    return parser.parse_args()


def main() -> None:
    """Print a JSON document for each run."""
    args = options()
    with tempfile.TemporaryDirectory(prefix="facekeep-photos-") as base:
        folder, moved = Path(base, "photos"), Path(base, "moved")
        folder.mkdir()
        make(folder, args.count, args.side)
        for name in ("first", "second", "moved"):
            if name == "moved":
                folder.rename(moved)
            place = moved if name == "moved" else folder
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                result = pool.apply(run, (place, Path(base, "photos.db"), args.threads))
            print(json.dumps({"run": name, **result}), flush=True)


if __name__ == "__main__":
    main()
