"""Runs in a peer's own environment and does what the driver asks, one line of JSON after another.

    python -P worker.py MODULE HOME THREADS OPTIONS

Requests come on stdin, answers go to stdout, both as JSON objects; whatever else the library
prints goes to stderr. Arrays are handed over as files. Only NumPy and the library are needed here.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


class Worker:
    """Answers requests: each public method is one, its result the answer."""

    def __init__(self, adapter: Any) -> None:
        self._adapter = adapter
        self._images: dict[str, Any] = {}
        self._crops: dict[str, Any] = {}
        self._search: Callable[[Any], int] | None = None
        self._rows = np.empty((0, 0), np.float32)

    def frame(self, image: str, times: int = 1) -> dict[str, Any]:
        """Detect, align and embed all faces of an image, after a first time that does not count."""
        found = self._adapter.faces(self._native(image))
        return {
            "boxes": [[float(value) for value in face.box] for face in found],
            **_timed(lambda: self._adapter.faces(self._native(image)), times),
        }

    def embed(self, image: str, times: int = 1) -> dict[str, Any]:
        """Embed one aligned face of an image."""
        if image not in self._crops:
            self._crops[image] = self._adapter.aligned(self._native(image))
        crop = self._crops[image]
        self._adapter.embed(crop)
        return _timed(lambda: self._adapter.embed(crop), times)

    def gallery(self, count: int) -> dict[str, Any]:
        """Fill a gallery with made-up templates, one a person."""
        self._search = None
        random = np.random.default_rng(0)
        rows = random.standard_normal((count, self._adapter.width), np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        self._rows = rows[:: max(count // 100, 1)].copy()
        self._step = max(count // 100, 1)
        return _timed(lambda: setattr(self, "_search", self._adapter.gallery(rows)), 1)

    def search(self) -> dict[str, Any]:
        """Search once for somebody enrolled, by a probe whose cosine to the template is 0.6."""
        search = self._search
        assert search is not None, "no gallery was filled"
        random = np.random.default_rng()
        place = int(random.integers(len(self._rows)))
        probe = _similar(self._rows[place], random)
        answers: list[int] = []
        times = _timed(lambda: answers.append(search(probe)), 1)
        return {"right": answers == [place * self._step], **times}

    def embed_files(self, images: str, out: str) -> dict[str, Any]:
        """Embed all faces of each image of a file, and save rows, boxes and whose they are."""
        rows, boxes, owner = [], [], []
        for number, image in enumerate(np.load(images)):
            for face in self._adapter.faces(self._adapter.native(image)):
                rows.append(np.asarray(face.row, np.float64))
                boxes.append(np.asarray(face.box, np.float64))
                owner.append(number)
        width = self._adapter.width
        draft = Path(f"{out}.draft.npz")
        np.savez(
            draft,
            rows=np.reshape(np.array(rows), (len(rows), width)),
            boxes=np.reshape(np.array(boxes), (len(rows), 4)),
            owner=np.array(owner, np.intp),
        )
        draft.replace(out)
        return {"faces": len(rows)}

    def recipe(self) -> dict[str, Any]:
        """What decides, besides the library's version, what is found in an image."""
        return {"recipe": self._adapter.recipe}

    def memory(self) -> dict[str, Any]:
        """Peak resident memory of this process in bytes."""
        status = Path("/proc/self/status").read_text()
        return {"peak": int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024}

    def _native(self, path: str) -> Any:
        if path not in self._images:
            self._images[path] = self._adapter.native(np.load(path))
        return self._images[path]


def _similar(row: Any, random: np.random.Generator) -> Any:
    """A unit vector whose cosine to ``row`` is 0.6."""
    other = random.standard_normal(len(row), np.float32)
    other -= row * (row @ other)
    return 0.6 * row + 0.8 * other / np.linalg.norm(other)


def _timed(function: Callable[[], object], times: int) -> dict[str, list[float]]:
    """Wall-clock and CPU time of each call in milliseconds."""
    wall, cpu = [], []
    for _ in range(times):
        start, began = time.perf_counter(), time.process_time()
        function()
        wall.append((time.perf_counter() - start) * 1e3)
        cpu.append((time.process_time() - began) * 1e3)
    return {"ms": wall, "cpu_ms": cpu}


def _answers() -> Any:
    """Keep stdout for answers, and send what libraries print there to stderr."""
    stream = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return stream


def main(module: str, home: str, threads: str, options: str) -> None:
    """Open the library and answer until the requests end."""
    answers = _answers()
    sys.path.append(str(Path(__file__).parent))  # at the end, where it hides no library
    settings = importlib.import_module("adapters.base").Settings(
        int(threads), Path(home), json.loads(options)
    )
    worker = Worker(importlib.import_module(module).Adapter(settings))
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(worker, request.pop("do"))(**request)
        except Exception as error:  # noqa: BLE001 - whatever it is, the driver must hear of it
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
