"""Accuracy on Labeled Faces in the Wild, from the photos as they are, by one protocol for all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facekeep import Face
from facekeep.lab.datasets.test_sets import PairSet
from facekeep.lab.evaluate.crops import choose_central_face
from facekeep.lab.evaluate.metrics import FAILED, measure_folds, measure_tar
from facekeep.lab.evaluate.pairs import score_pairs

from .driver import Runner, Worker
from .roster import Peer

_BLOCK = 100
_FMR = 1e-3


def measure_lfw(
    peer: Peer, runner: Runner, data: PairSet, folder: Path, versions: Mapping[str, str]
) -> dict[str, Any]:
    """Embed the main face of every photo, and verify the pairs.

    What was embedded is kept, so that a run that was stopped goes on where it was.

    Args:
        peer: Who.
        runner: Its environment.
        data: The pairs.
        folder: Where embeddings are kept.
        versions: What is installed in the environment; others have other embeddings.

    Returns:
        Accuracy over the ten folds and TAR in percent, and how many photos gave no face.
    """
    store = folder / f"{peer.name}-{_key(peer, runner, versions)}"
    rows = np.concatenate(list(_blocks(runner, data, store)))
    scores = scores_of(rows, data.left, data.right, distance=peer.distance)
    assert data.fold is not None, "LFW's pairs come in folds"
    result = measure_folds(scores, data.mated, data.fold)
    (point,) = measure_tar(scores[data.mated], scores[~data.mated], (_FMR,))
    return {
        "lfw": 100 * result.accuracy,
        "lfw_sd": 100 * result.sd,
        "lfw_tar": 100 * (point.tar or 0.0),
        "lfw_failed": int((~rows.any(axis=1)).sum()),
    }


def _key(peer: Peer, runner: Runner, versions: Mapping[str, str]) -> str:
    """Digest all that decides what is embedded."""
    adapter = (Path(__file__).parent / f"{peer.adapter.replace('.', '/')}.py").read_text()
    with Worker(runner, threads=1) as worker:
        recipe = worker.ask("recipe")["recipe"]
    key = json.dumps([adapter, versions, dict(peer.options), recipe], sort_keys=True)
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def _blocks(runner: Runner, data: PairSet, store: Path) -> Iterator[NDArray[np.float32]]:
    """Yield the rows of some photos after others, embedded now or before."""
    store.mkdir(parents=True, exist_ok=True)
    names = range(0, len(data.samples), _BLOCK)
    missing = [start for start in names if not (store / f"{start}.npz").exists()]
    if missing:
        with Worker(runner, threads=1) as worker:
            for start in missing:
                images = np.stack([data.samples.load(place) for place in _places(data, start)])
                np.save(store / "images.npy", images)
                target = store / f"{start}.npz"
                worker.ask("embed_files", images=str(store / "images.npy"), out=str(target))
        (store / "images.npy").unlink()
    for start in names:
        shape = data.samples.load(start).shape[1::-1]
        with np.load(store / f"{start}.npz") as found:
            yield main_rows(dict(found), len(_places(data, start)), np.array(shape) / 2)


def _places(data: PairSet, start: int) -> range:
    return range(start, min(start + _BLOCK, len(data.samples)))


def main_rows(
    found: dict[str, NDArray[Any]], count: int, center: NDArray[np.floating[Any]]
) -> NDArray[np.float32]:
    """Choose the face that each photo is about, as facekeep's own evaluation does.

    Args:
        found: ``rows``, ``boxes`` and ``owner`` of all faces, the latter the number of the photo.
        count: How many photos there were.
        center: Where they are centered, x and y in pixels.

    Returns:
        float32 ``(count, d)``, zeros where no face was found.
    """
    chosen = np.zeros((count, found["rows"].shape[1]), np.float32)
    for photo in np.unique(found["owner"]):
        places = np.flatnonzero(found["owner"] == photo)
        faces = [Face(found["boxes"][place], np.zeros((5, 2)), 1.0) for place in places]
        best = places[[face is choose_central_face(faces, center) for face in faces].index(True)]
        chosen[photo] = found["rows"][best]
    return chosen


def scores_of(
    rows: NDArray[np.float32], left: NDArray[np.intp], right: NDArray[np.intp], *, distance: bool
) -> NDArray[np.float32]:
    """Compare pairs of rows by their cosine, or by the distance d that the library compares by.

    The latter is told as 1 - d / 2, which has the order and the bounds of a cosine.
    """
    lengths = np.linalg.norm(rows, axis=1)
    if not distance:
        return score_pairs(rows / np.where(lengths > 0, lengths, 1)[:, None], left, right)
    scores = 1 - np.linalg.norm(rows[left] - rows[right], axis=1) / 2
    return np.where((lengths[left] > 0) & (lengths[right] > 0), scores, FAILED).astype(np.float32)
