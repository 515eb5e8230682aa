"""What a liveness network learns from: photos as a living face shows, and attacks made of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facekeep.errors import InputError
from facekeep.lab.nn.liveness_network import SCALE, SIDE
from facekeep.lab.train.detector.labels import label_photos
from facekeep.lab.train.liveness.attacks import photograph, simulate
from facekeep.lab.train.loop import Watch
from facekeep.liveness.passive import LivenessNetwork, cut_crops, fuse_looks
from facekeep.pipeline.detect import Detector
from facekeep.runtime import RuntimeOptions

__all__ = ["LIVE", "LivenessCrops", "Portrait", "choose_portraits", "make_crops"]

LIVE: Final = "live"
"""In place of a species: the face itself."""

_LOOKS_LIVE: Final = 0.5


class Portrait(NamedTuple):
    """A photo that looks to the teacher as a living face does.

    Attributes:
        image: uint8 ``(H, W, 3)`` RGB.
        bbox: float32 ``(4,)``: the face's box.
        live: How likely the teacher says it is a living one.
    """

    image: NDArray[np.uint8]
    bbox: NDArray[np.float32]
    live: float


class LivenessCrops(NamedTuple):
    """Crops of faces, n of them.

    Attributes:
        pixels: uint8 ``(n, 80, 80, 3)`` RGB.
        species: What each is: `LIVE`, or a species of attack.
        taught: float32 ``(n,)``: how likely the teacher says that each is a living face.
    """

    pixels: NDArray[np.uint8]
    species: NDArray[np.str_]
    taught: NDArray[np.float32]

    @property
    def live(self) -> NDArray[np.bool_]:
        """Which are living faces."""
        return np.asarray(self.species == LIVE)


def choose_portraits(
    photos: Path, teacher: LivenessNetwork, *, threads: int, watch: Watch
) -> list[Portrait]:
    """Find the photos that look to the teacher as a living face does: no old prints, no drawings.

    Raises:
        InputError: There is none.
    """
    options = RuntimeOptions(threads=threads)
    with Detector(max_faces=1, orienter="none", options=options) as detector:
        found = label_photos(photos, detector, watch).with_faces()
    chosen = []
    with watch("Choosing", len(found)) as advance:
        for place in range(len(found)):
            image, faces = found.photo(place)
            bbox = faces.boxes[0]
            looks = teacher.look_at(_cut(teacher, image, bbox)[None])
            if (live := float(fuse_looks(looks)[0])) > _LOOKS_LIVE:
                chosen.append(Portrait(image, bbox, live))
            advance(1)
    if not chosen:
        raise InputError("no photo shows a face that looks like a living one to the teacher")
    return chosen


def make_crops(
    portraits: Sequence[Portrait],
    species: Sequence[str],
    count: int,
    teacher: LivenessNetwork,
    rng: np.random.Generator,
    watch: Watch,
) -> LivenessCrops:
    """Show each portrait as a living face and as attacks, half as often living.

    Args:
        portraits: The faces.
        species: Of the attacks; taken in turn.
        count: How many attacks to make of each portrait.
        teacher: Says how likely each is a living face.
        rng: Decides.
        watch: Shows how far it is.
    """
    kinds = [LIVE] * -(-count // 2) + [""] * count
    pixels, names, taught = [], list[str](), list[float]()
    with watch("Making attacks", len(portraits) * len(kinds)) as advance:
        for place, portrait in enumerate(portraits):
            for number, kind in enumerate(kinds):
                attack = ""
                if kind == LIVE:
                    frame = photograph(portrait.image, portrait.bbox, rng)
                    taught.append(portrait.live)
                else:
                    attack = species[(place * count + number) % len(species)]
                    other = portraits[int(rng.integers(len(portraits)))].image
                    frame = simulate(attack, portrait.image, portrait.bbox, other, rng)
                    looks = teacher.look_at(_cut(teacher, *frame)[None])
                    taught.append(float(fuse_looks(looks)[0]))
                names.append(attack or LIVE)
                pixels.append(cut_crops(*frame, (SCALE,), SIDE)[0])
                advance(1)
    return LivenessCrops(np.stack(pixels), np.array(names), np.array(taught, np.float32))


def _cut(
    network: LivenessNetwork, image: NDArray[np.uint8], bbox: NDArray[np.float32]
) -> NDArray[np.uint8]:
    scales, size = network.entry.crop_scales, network.entry.input_size
    return cut_crops(image, bbox, scales, size or SIDE)
