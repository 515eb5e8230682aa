"""``gallery`` and ``huge``: people in files, searched by a process that did not write them."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from common import report
from search_compare import anonymous, limit_threads
from search_indexes import Ours, on_disk, timed, use_faiss
from search_people import Exact, Real, people_blocks, real_faces, unit

from facekeep.gallery import Gallery, Space
from facekeep.gallery.sqlite.index.block_file import BlockFile
from facekeep.gallery.sqlite.index.blocks import widen


def gallery(args: argparse.Namespace) -> None:
    """Measure the whole gallery: SQLite file, index file, search by another process."""
    real = real_faces(args)
    for count in args.people:
        with tempfile.TemporaryDirectory(dir=args.cache) as folder:
            fill(Path(folder) / "people.db", real, count)
            np.save(Path(folder) / "probes.npy", real.probes[: args.turns])
            for when, more in (("first", ()), ("second", ()), ("by NumPy", ("--numpy",))):
                row = {"process": when, "people": count} | child(folder, *more)
                report(args, f"One process after another, {args.model}", [row])


def huge(args: argparse.Namespace) -> None:
    """Search an index file of so many people that only the codes fit in memory.

    The people are made up a block at a time, compared exactly with the probes as they go by, and
    written as a gallery writes its index.
    """
    real = real_faces(args)
    for count in args.people:
        exact = Exact(real.probes)
        with tempfile.TemporaryDirectory(dir=args.cache) as folder:
            with (Path(folder) / "index").open("w+b", buffering=0) as file:
                on_disk(file, real.probes.shape[1], exact.watch(people_blocks(real, count)))
            np.save(Path(folder) / "probes.npy", real.probes)
            np.save(Path(folder) / "best.npy", exact.best)
            np.save(Path(folder) / "owner.npy", real.owner)
            for row in child(folder, f"--turns={args.turns}")["rows"]:
                report(args, f"{args.model}, {count} people in a file", [row])


def child(folder: str, *more: str) -> dict[str, Any]:
    """Return what a new process tells of the files in a folder."""
    script = str(Path(__file__).with_name("search.py"))
    command = [sys.executable, script, "in_child", "--cache", folder, *more]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    facts: dict[str, Any] = json.loads(output)
    return facts


def in_child(args: argparse.Namespace) -> None:
    """Search the files in a folder and tell what it took: for ``gallery`` and ``huge``."""
    probes = np.load(args.cache / "probes.npy")
    facts = in_index if (args.cache / "index").exists() else in_gallery
    print(json.dumps(facts(args, probes)))


def in_index(args: argparse.Namespace, probes: np.ndarray) -> dict[str, object]:
    """Search an index file, by NumPy and by faiss."""
    limit_threads()
    path, before = args.cache / "index", anonymous()
    best, owner = np.load(args.cache / "best.npy"), np.load(args.cache / "owner.npy")
    begin = time.process_time()
    with path.open("rb", buffering=0) as file:
        blocks = BlockFile(file, probes.shape[1]).blocks()
    opened, people = time.process_time() - begin, sum(map(len, blocks))
    rows = []
    for name, faiss in (("NumPy", False), ("faiss-cpu", True)):
        searched = len(probes) if faiss else args.turns
        begin = time.perf_counter()
        found, times = timed(Ours(blocks, faiss), probes[:searched])
        waited = (time.perf_counter() - begin) / searched * 1e3
        right, mated = np.array(found) == best[:searched], (best == owner)[:searched]
        rows.append(
            {
                "by": name,
                "mates": int(mated.sum()),
                "recall, mates": float(right[mated].mean()),
                "probes": searched,
                "recall, all": float(right.mean()),
                "open s": opened,
                "ms": float(np.median(times)),
                "p95 ms": float(np.quantile(times, 0.95)),
                "mean wall ms": waited,
                "own bytes a person": (anonymous() - before) / people,
                "file GB": path.stat().st_size / 1e9,
            }
        )
    return {"rows": rows}


def in_gallery(args: argparse.Namespace, probes: np.ndarray) -> dict[str, object]:
    """Search a gallery."""
    begin, before = time.process_time(), anonymous()
    space = Space("0" * 64, "benchmark", probes.shape[1])
    with (
        use_faiss(not args.numpy),
        Gallery.open(args.cache / "people.db", space=space) as opened,
    ):
        opened.search(probes[:1])
        first = time.process_time() - begin
        opened.search(probes[:1])
        after = anonymous()
        times = timed(lambda one: opened.search(one[None]), probes)[1]
        people = opened.count()
        files = {name: Path(f"{opened.path}{name}") for name in ("", "-index")}
        sizes = {name: file.stat().st_size for name, file in files.items() if file.exists()}
        return {
            "first search s": first,
            "ms": float(np.median(times)),
            "p95 ms": float(np.quantile(times, 0.95)),
            "own bytes a person": (after - before) / people,
            "after all searches": (anonymous() - before) / people,
            "gallery MB": sizes[""] / 1e6,
            "index MB": sizes.get("-index", 0) / 1e6,
        }


def fill(path: Path, real: Real, count: int) -> None:
    """Write a gallery of people with a template each, in one transaction."""
    space = Space("0" * 64, "benchmark", real.templates.shape[1])
    person = "INSERT INTO people (uuid, name, metadata, created_at) VALUES (?, ?, '{}', ?)"
    template = (
        "INSERT INTO templates (uuid, person, space, negative, created_at, vector)"
        " VALUES (?, ?, 1, 0, ?, ?)"
    )
    at = datetime.now(UTC).isoformat(timespec="microseconds")
    with Gallery.open(path, space=space, create=True) as opened, opened._session.write() as repo:
        for block in people_blocks(real, count):
            numbers = block.people.tolist()
            vectors = unit(widen(block.vectors))
            people = ((f"{n:032x}", f"Person {n}", at) for n in numbers)
            templates = (
                (f"{n:032x}", n, at, v.tobytes()) for n, v in zip(numbers, vectors, strict=True)
            )
            repo.connection.executemany(person, people)
            repo.connection.executemany(template, templates)
