"""What runs a network how fast, in how much memory, from how large an installation, how exactly.

python benchmarks/runtimes.py --model facekeep-xxs
python benchmarks/runtimes.py --model NAME --tflite NAME.tflite

The runtimes take turns in one process on an aligned face of a portrait that scikit-image brings, so
that a busy machine slows all of them; only ratios are to be believed. ncnn runs what
``facekeep models export NAME --to ncnn`` makes, LiteRT what ``--to tflite`` makes, where it is
given. Memory is the peak of a process that does nothing but open the network and run it ten times.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import arguments, report
from numpy.typing import NDArray

from facekeep._internal.timing import in_turns
from facekeep.errors import FacekeepError
from facekeep.lab.export import export_model
from facekeep.models import default_model, entry, locate
from facekeep.pipeline.align import align
from facekeep.pipeline.detect import Detector
from facekeep.pipeline.embed import Embedder
from facekeep.pipeline.image import load_image
from facekeep.runtime import RuntimeOptions, Session, open_session

PACKAGES = {
    "onnxruntime": ("onnxruntime", "flatbuffers", "protobuf"),
    "openvino": ("openvino",),
    "ncnn": ("ncnn",),
    "litert": ("ai-edge-litert",),
}
_ALONE = """
import sys, numpy as np
from pathlib import Path
from facekeep.runtime import RuntimeOptions, open_session
file, runtime, precision, feed = sys.argv[1:]
options = RuntimeOptions(runtime=runtime, precision=precision, threads=1)
session = open_session(Path(file), options)
feeds = {session.inputs[0].name: np.load(feed)}
for _ in range(10):
    session.run(feeds)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


class Way(NamedTuple):
    """One way to run the network."""

    runtime: str
    precision: str
    file: Path


def main() -> None:
    """Measure each runtime that is installed."""
    parser = arguments(__doc__)
    parser.add_argument("--tflite", type=Path, help="the model as exported to tflite")
    parser.add_argument("--repeats", type=int, default=100, help="turns")
    args = parser.parse_args()
    name = args.model or default_model("embed")
    with tempfile.TemporaryDirectory() as folder:
        feed = Path(folder) / "feed.npy"
        np.save(feed, face(name))
        rows = measure(ways(name, Path(folder), args.tflite), feed, args.repeats, args.threads)
    report(args, f"{name}, {args.threads} thread(s)", rows)


def face(name: str) -> NDArray[np.float32]:
    """Return what the model is fed for an aligned face, 1 x 3 x S x S."""
    place = importlib.metadata.distribution("scikit-image").locate_file(
        "skimage/data/astronaut.png"
    )
    image = load_image(Path(str(place)))
    with (
        Detector(options=RuntimeOptions(threads=1)) as detector,
        Embedder(name, options=RuntimeOptions(threads=1)) as embedder,
    ):
        (largest, *_) = detector.refine(image, detector.detect(image))
        crop = align(image, largest.landmarks, embedder.size)[None]
        return embedder.tensor(crop)


def ways(name: str, folder: Path, tflite: Path | None) -> list[Way]:
    """List the ways to run the model here, ONNX Runtime's first."""
    onnx = locate(entry(name))
    found = [Way("onnxruntime", "float32", onnx), Way("openvino", "float32", onnx)]
    found.append(Way("openvino", "bfloat16", onnx))
    try:
        file = export_model(name, "ncnn", folder / f"{name}.ncnn.param").files[-1]
        found += [Way("ncnn", "float32", file), Way("ncnn", "bfloat16", file)]
    except FacekeepError as error:
        print(f"left out: {error}", file=sys.stderr)
    return found if tflite is None else [*found, Way("litert", "float32", tflite)]


def measure(listed: list[Way], feed: Path, repeats: int, threads: int) -> list[dict[str, Any]]:
    """Run all ways in turns and return a row of the table for each."""
    picture = np.load(feed)
    runs: dict[Way, Callable[[], NDArray[Any]]] = {}
    for way in listed:
        try:
            session = open_session(
                way.file,
                options=RuntimeOptions(
                    runtime=way.runtime, precision=way.precision, threads=threads
                ),
            )
        except FacekeepError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        runs[way] = runner(session, picture)
    times = in_turns(runs, repeats)
    medians = {way: float(np.median(each)) for way, each in times.items()}
    return [row(way, runs, medians, feed) for way in runs]


def runner(session: Session, picture: NDArray[np.float32]) -> Callable[[], NDArray[Any]]:
    """Return a function that runs the session on the picture."""
    tensor = session.inputs[0]
    feeds = {tensor.name: picture.transpose(0, 2, 3, 1) if tensor.channels_last else picture}
    return lambda: session.run(feeds)[0]


def row(
    way: Way,
    runs: dict[Way, Callable[[], NDArray[Any]]],
    medians: dict[Way, float],
    feed: Path,
) -> dict[str, Any]:
    """Return a row of the table; the first way is what the others are compared with."""
    first = next(iter(runs))
    expected, found = (unit(runs[each]()) for each in (first, way))
    return {
        "runtime": way.runtime,
        "precision": way.precision,
        "installed MB": installed(PACKAGES[way.runtime]),
        "ms": medians[way],
        "ratio": medians[way] / medians[first],
        "peak RSS MB": alone(way, feed),
        "largest difference": float(np.abs(expected - found).max()),
    }


def unit(rows: NDArray[Any]) -> NDArray[Any]:
    """Return rows of unit length, as embeddings are compared."""
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def installed(packages: tuple[str, ...]) -> float:
    """Return the megabytes that installed packages take."""
    files = (file for each in packages for file in importlib.metadata.files(each) or [])
    places = (Path(str(file.locate())) for file in files)
    return sum(place.stat().st_size for place in places if place.is_file()) / 2**20


def alone(way: Way, feed: Path) -> float:
    """Return the peak memory, in MB, of a process that only runs the network."""
    command = [sys.executable, "-c", _ALONE, str(way.file), way.runtime, way.precision, str(feed)]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(run.stdout) / 1024


if __name__ == "__main__":
    main()
