"""What a quality network learns from: embeddings of damaged faces, and what is left of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from facekeep.errors import InputError
from facekeep.lab.train.detector.labels import label_photos
from facekeep.lab.train.loop import Watch
from facekeep.lab.train.quality.damage import damage, distort
from facekeep.pipeline.align import align, template
from facekeep.pipeline.detect import Detector
from facekeep.pipeline.embed import Embedder
from facekeep.pipeline.quality import assess
from facekeep.pipeline.quality_network import FACTS, evidence
from facekeep.runtime import RuntimeOptions
from facekeep.types import Face

__all__ = ["Damaged", "align_main", "damaged", "evidence_of", "likely_usable"]

_TOGETHER: Final = 64  # crops that the embedder is shown at a time
_ALIKE: Final = 8  # different people who are damaged alike
_DISTORTED: Final = 6  # groups that are damaged for one that is distorted
# Where a face is as likely usable as not, and how fast that changes: by the cosine between the
# damaged and the clear crop, and by how many standard deviations the cosines of strangers who are
# damaged alike lie below the threshold. Of clear strangers they lie _RARE below: one in 10,000
# matches.
_ENOUGH, _SLOPE = 0.65, 0.07
_APART, _APART_SLOPE = 3.3, 0.25
_RARE: Final = 3.72

Crops = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Damaged:
    """Damaged faces, n of them.

    Attributes:
        evidence: float32 ``(n, d + 80)``; see ``quality_network.evidence``.
        recognizability: float32 ``(n,)``, 0 to 1: what the network should say.
    """

    evidence: NDArray[np.float32]
    recognizability: NDArray[np.float32]


def align_main(photos: Path, size: int, *, threads: int, watch: Watch) -> Crops:
    """Align the largest face of each photo; photos in which none is found are left out.

    Args:
        photos: A tar or folder; see `datasets.training_set.open_source`.
        size: Side of the crops in pixels.
        threads: CPU threads of the detector; 0 for all cores.
        watch: Shows how far it is.

    Returns:
        uint8 ``(n, size, size, 3)`` RGB.

    Raises:
        InputError: No photo shows a face.
    """
    with Detector(max_faces=1, options=RuntimeOptions(threads=threads)) as detector:
        labeled = label_photos(photos, detector, watch).with_faces()
    crops = []
    for place in range(len(labeled)):
        image, faces = labeled.photo(place)
        crops.append(align(image, faces.landmarks[0], size))
    if not crops:
        raise InputError("no face was found in the photos to learn from")
    return np.stack(crops)


def damaged(
    clear: Crops, count: int, embedder: Embedder, rng: np.random.Generator, watch: Watch
) -> Damaged:
    """Damage clear crops, and see what the embedder still makes of each; the clear ones come too.

    Args:
        clear: Aligned crops of the embedder's size.
        count: How many damaged crops to make; a sixth more are distorted.
        embedder: The embedder that the network will belong to.
        rng: Decides which crops, and how they are damaged.
        watch: Shows how far it is.
    """
    size = min(_ALIKE, len(clear))
    groups = -(-count // size)
    ways = [damage] * groups + [distort] * (groups // _DISTORTED)
    drawn = [(rng.choice(len(clear), size, replace=False), rng.integers(2**32)) for _ in ways]
    places = np.stack([place for place, _ in drawn])
    with watch("Embedding clear faces", len(clear)) as advance:
        known, rows = evidence_of(iter(clear), embedder, advance)
    worn = (
        way(clear[place], np.random.default_rng(state))
        for way, (group, state) in zip(ways, drawn, strict=True)
        for place in group
    )
    with watch("Embedding damaged faces", places.size) as advance:
        found, there = evidence_of(worn, embedder, advance)
    wanted = np.r_[np.ones(len(clear)), likely_usable(there, rows, places)]
    return Damaged(np.concatenate([known, found]), wanted.astype(np.float32))


def likely_usable(
    worn: NDArray[np.float32], clear: NDArray[np.float32], places: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Tell how likely each damaged face is usable.

    Args:
        worn: Embeddings of damaged faces, ``(g * n, d)``: g groups of n people damaged alike.
        clear: Embeddings of the clear faces.
        places: Which of them were damaged, ``(g, n)``.

    Returns:
        ``(g * n,)``, 0 to 1.
    """
    groups, size = places.shape
    before, after = clear[places], worn.reshape(groups, size, -1)
    kept = _logistic((np.einsum("gnd,gnd->gn", before, after) - _ENOUGH) / _SLOPE)
    if size < 2:
        return kept.ravel()
    others = ~np.eye(size, dtype=bool)
    cosines = np.stack([before @ before.mT, after @ after.mT])[:, :, others]
    cosines = cosines.reshape(2, groups, size, size - 1)
    usual, spread = cosines[0].mean(), cosines[0].std()
    # Who resembles many as a clear face does so damaged, too; only what is new counts.
    near = cosines[1].mean(2) - cosines[0].mean(2) + usual
    wide = np.maximum(cosines[1].std((1, 2)), 0.3 * spread)[:, None]
    apart = (usual + _RARE * spread - near) / wide
    return (kept * _logistic((apart - _APART) / _APART_SLOPE)).ravel()


def _logistic(odds: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-np.clip(odds, -50, 50))))


def evidence_of(
    crops: Iterator[Crops], embedder: Embedder, advance: Callable[[int], None]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Embed crops; see ``quality_network.evidence``.

    Args:
        crops: Aligned crops of the embedder's size, n of them.
        embedder: The embedder.
        advance: Is told how many more were embedded.

    Returns:
        The evidence, float32 ``(n, d + 80)``, and the embeddings, float32 ``(n, d)``.
    """
    points = template(embedder.size).astype(np.float32)
    face = Face(np.array([0, 0, embedder.size, embedder.size], np.float32), points, 1.0)
    evidences, embedded = [], []
    while part := list(islice(crops, _TOGETHER)):
        rows, norms = embedder.embed_and_measure(np.stack(part))
        facts = [assess(crop, face, crop=crop) for crop in part]
        measured = [[getattr(fact, name) for name in FACTS] for fact in facts]
        evidences.append(evidence(rows, norms, measured, np.stack(part)))
        embedded.append(rows)
        advance(len(part))
    return np.concatenate(evidences), np.concatenate(embedded)
