"""What the accuracy scripts share: arguments, data, cached embeddings, tables."""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

import facekeep.pipeline.align
import facekeep.pipeline.detect
import facekeep.pipeline.refine
import facekeep.pipeline.warp
from facekeep.models import default_model, entry
from facekeep.pipeline.embed import Embedder
from facekeep.pipeline.image import load_image
from facekeep.runtime import RuntimeOptions

Crops = NDArray[np.uint8]
Rows = NDArray[np.float32]


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the arguments that all scripts take."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    home = Path(tempfile.gettempdir()) / "facekeep-benchmarks"
    shared = Path(os.environ.get("FACEKEEP_SHARED", "../shared"))
    parser.add_argument("--shared", type=Path, default=shared, help="folder with the test data")
    parser.add_argument("--cache", type=Path, default=home, help="folder for crops and embeddings")
    parser.add_argument("--model", default=None, help="embedder, by its name in the catalog")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of a network")
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each table")
    return parser


def report(args: argparse.Namespace, title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Print the rows as one line of JSON or as a plain table."""
    if args.json:
        print(json.dumps({"title": title, "rows": rows}))
        return
    print(title)
    names = list(rows[0])
    cells = [names, *([_cell(row.get(name)) for name in names] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(names))]
    for line in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)


def cached(
    folder: Path, label: str, settings: Sequence[object], compute: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Return arrays computed before with these settings, or compute and keep them."""
    path = folder / f"{label}-{hashlib.sha256(repr(settings).encode()).hexdigest()[:16]}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        whole = path.with_suffix(f".{os.getpid()}.npz")
        np.savez(whole, **compute())
        whole.replace(path)
    with np.load(path) as arrays:
        return dict(arrays)


def cropping_code() -> str:
    """Digest the code between an image and a crop, so that a change makes cached crops stale."""
    modules: tuple[ModuleType, ...] = (
        facekeep.pipeline.detect,
        facekeep.pipeline.refine,
        facekeep.pipeline.align,
        facekeep.pipeline.warp,
    )
    code = b"".join(Path(str(module.__file__)).read_bytes() for module in modules)
    weights = [file.sha256 for file in entry(default_model("refine")).files]
    return hashlib.sha256(code + repr(weights).encode()).hexdigest()


def embed_all(args: argparse.Namespace, label: str, crops: Crops) -> Rows:
    """Embed crops with the model asked for; once for the same crops and model."""
    with Embedder(args.model, options=RuntimeOptions(threads=args.threads)) as embedder:
        content = hashlib.sha256(np.ascontiguousarray(crops)).hexdigest()
        settings = [embedder.space, content]
        rows: Rows = cached(args.cache, label, settings, lambda: {"rows": embedder.embed(crops)})[
            "rows"
        ]
        return rows


def tar_members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of the files in a tar."""
    with tarfile.open(path) as archive:
        for member in archive:
            stream = archive.extractfile(member)
            if stream is not None:
                yield member.name, stream.read()


def labeled_faces(shared: Path, sources: Sequence[str]) -> tuple[Crops, NDArray[np.str_]]:
    """Load the aligned crops whose person is known, and who it is, by source of the labels."""
    folder = shared / "data" / "faces"
    with (folder / "index.tsv").open(newline="") as stream:
        index = {row["key"]: row["identity"] for row in csv.DictReader(stream, delimiter="\t")}
    wanted = {key: who for key, who in index.items() if who.split("/")[0] in sources}
    crops = {
        key: load_image(content)
        for path in sorted(folder.glob("faces-*.tar"))
        for name, content in tar_members(path)
        if (key := Path(name).stem) in wanted
    }
    keys = sorted(crops)
    return np.stack([crops[key] for key in keys]), np.array([wanted[key] for key in keys])


def landmark_frames(
    shared: Path,
) -> tuple[list[NDArray[np.uint8]], NDArray[np.float64], NDArray[np.str_]]:
    """Load the frames with annotated faces: images, ``(n, 68, 2)`` points, and who they show."""
    content = dict(tar_members(shared / "data" / "landmarks" / "faces68.tar"))
    keys = sorted(name.removesuffix(".json") for name in content if name.endswith(".json"))
    notes = [json.loads(content[f"{key}.json"]) for key in keys]
    frames = [load_image(content[f"{key}.webp"]) for key in keys]
    points = np.array([note["points68"] for note in notes])
    return frames, points, np.array([note["person"] for note in notes])
