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
from facekeep.lab.train.detector.album import photo_album
from facekeep.lab.train.lessons import Watch
from facekeep.lab.train.quality.damage import damage
from facekeep.pipeline.align import align, template
from facekeep.pipeline.detect import Detector
from facekeep.pipeline.embed import Embedder
from facekeep.pipeline.quality import assess
from facekeep.pipeline.quality_network import FACTS, evidence
from facekeep.runtime import RuntimeOptions
from facekeep.types import Face

__all__ = ["Damaged", "align_main", "damaged", "evidence_of"]

_TOGETHER: Final = 64  # crops that the embedder is shown at a time
# The cosine between a damaged and the clear crop at which a face is as likely usable as not, and
# how fast that changes. Strangers whose faces keep about so much match as often as is stated.
_ENOUGH: Final = 0.7
_SLOPE: Final = 0.07

Crops = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Damaged:
    """Damaged faces, n of them.

    Attributes:
        evidence: float32 ``(n, d + 6)``; see ``quality_network.evidence``.
        recognizability: float32 ``(n,)``, 0 to 1: what the network should say.
    """

    evidence: NDArray[np.float32]
    recognizability: NDArray[np.float32]


def align_main(photos: Path, size: int, *, threads: int, watch: Watch) -> Crops:
    """Align the largest face of each photo; photos in which none is found are left out.

    Args:
        photos: A tar or folder; see `train.data.open_source`.
        size: Side of the crops in pixels.
        threads: CPU threads of the detector; 0 for all cores.
        watch: Shows how far it is.

    Returns:
        uint8 ``(n, size, size, 3)`` RGB.

    Raises:
        InputError: No photo shows a face.
    """
    with Detector(max_faces=1, options=RuntimeOptions(threads=threads)) as detector:
        album = photo_album(photos, detector, watch).showing()
    crops = []
    for place in range(len(album)):
        image, faces = album.photo(place)
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
        count: How many damaged crops to make.
        embedder: The embedder that the network will belong to.
        rng: Decides which crops, and how they are damaged.
        watch: Shows how far it is.
    """
    places = rng.integers(len(clear), size=count)
    with watch("Embedding clear faces", len(clear)) as advance:
        known, rows = evidence_of(iter(clear), embedder, advance)
    worn = (damage(clear[place], rng) for place in places)
    with watch("Embedding damaged faces", count) as advance:
        found, there = evidence_of(worn, embedder, advance)
    cosines = np.r_[np.ones(len(clear)), np.einsum("ij,ij->i", there, rows[places])]
    wanted = 1 / (1 + np.exp((_ENOUGH - cosines) / _SLOPE))
    return Damaged(np.concatenate([known, found]), wanted.astype(np.float32))


def evidence_of(
    crops: Iterator[Crops], embedder: Embedder, advance: Callable[[int], None]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Embed crops; see ``quality_network.evidence``.

    Args:
        crops: Aligned crops of the embedder's size, n of them.
        embedder: The embedder.
        advance: Is told how many more were embedded.

    Returns:
        The evidence, float32 ``(n, d + 6)``, and the embeddings, float32 ``(n, d)``.
    """
    points = template(embedder.size).astype(np.float32)
    face = Face(np.array([0, 0, embedder.size, embedder.size], np.float32), points, 1.0)
    told, embedded = [], []
    while part := list(islice(crops, _TOGETHER)):
        rows, norms = embedder.embed_and_measure(np.stack(part))
        facts = [assess(crop, face, crop=crop) for crop in part]
        told.append(evidence(rows, norms, [[getattr(f, name) for name in FACTS] for f in facts]))
        embedded.append(rows)
        advance(len(part))
    return np.concatenate(told), np.concatenate(embedded)
