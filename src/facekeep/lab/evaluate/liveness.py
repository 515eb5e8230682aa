"""How well liveness networks tell living faces from attacks, by the terms of ISO/IEC 30107-3.

APCER: the share of attack presentations of one species that are taken for living faces. BPCER: the
share of living (bona fide) presentations that are not. ACER: the mean of BPCER and the APCER of the
worst species. A presentation without a usable face is a non-response: it is counted beside, and is
in none of these rates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.files import printable
from facekeep._internal.listing import is_picture, list_images
from facekeep.errors import InputError
from facekeep.liveness.passive import LivenessNetwork, PassiveLiveness
from facekeep.pipeline.image import load_image
from facekeep.types import FaceDetector

__all__ = [
    "LIVE",
    "LivenessEvaluation",
    "Measured",
    "Presentation",
    "evaluate_liveness",
    "find_presentations",
    "measure_presentations",
]

LIVE: Final = "live"
"""The folder of living faces; attacks are in ``attack/<species>``."""

_ATTACK: Final = "attack"
_VIDEOS: Final = (".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v", ".mjpeg", ".mjpg", ".ts")
_NORMAL: Final = 1.959964  # of 95 %
_FRAMES: Final = 40  # of a track that are looked at

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Presentation:
    """What is shown to the camera once: a picture, or a track.

    Attributes:
        species: `LIVE`, or the species of the attack.
        path: The picture, the folder of pictures or the video.
    """

    species: str
    path: Path

    @property
    def track(self) -> bool:
        """Whether it is a track of many frames."""
        return not is_picture(self.path)


@dataclass(frozen=True, slots=True)
class Measured:
    """What networks said of a presentation.

    Attributes:
        species: Of the presentation.
        track: Whether it is a track.
        frames: How likely each frame shows a living face; None where it shows too little.
        fused: The same for the whole of it.
    """

    species: str
    track: bool
    frames: tuple[float | None, ...]
    fused: float | None


def find_presentations(paths: Sequence[Path]) -> list[Presentation]:
    """Find what is presented in folders: ``live/`` and ``attack/<species>/``.

    In these, a picture or a video is one presentation, and so is a folder of pictures.

    Args:
        paths: Such folders, and single videos that lie in one.

    Raises:
        InputError: There is nothing living, or no attack.
        ImageError: A folder cannot be read.
    """
    found: list[Presentation] = []
    for path in paths:
        if not path.is_dir():
            found.append(Presentation(_species_of(path), path))
            continue
        found += [Presentation(LIVE, each) for each in _list(path / LIVE)]
        for species in _list(path / _ATTACK):
            found += [Presentation(species.name, each) for each in _list(species)]
    if {each.species == LIVE for each in found} != {True, False}:
        raise InputError(
            "there must be living faces and attacks: a folder with live/ and attack/<species>/"
        )
    return found


def _list(folder: Path) -> list[Path]:
    """List what one folder presents: pictures, videos and folders, hidden ones left out."""
    if not folder.is_dir():
        return []
    every = (each for each in folder.iterdir() if not each.name.startswith("."))
    return sorted(each for each in every if each.is_dir() or is_picture(each) or _is_video(each))


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in _VIDEOS


def _species_of(path: Path) -> str:
    """Tell by the folders that a file lies in what it presents."""
    parts = path.absolute().parts
    if not path.exists():
        raise InputError(f"there is no {printable(path)}")
    if parts[-2] == LIVE:
        return LIVE
    if len(parts) > 2 and parts[-3] == _ATTACK:
        return parts[-2]
    raise InputError(f"{printable(path)} lies in no folder live/ or attack/<species>/")


def measure_presentations(
    presentations: Sequence[Presentation],
    networks: Sequence[LivenessNetwork],
    detector: FaceDetector,
    *,
    advance: Callable[[], None] = lambda: None,
) -> list[Measured]:
    """Ask networks about each presentation; a track counts by its best frames.

    Args:
        presentations: What to look at.
        networks: Those that are asked; the lowest answer counts.
        detector: Finds the faces; the largest one counts.
        advance: Called after each.

    Raises:
        FacekeepError: A picture or video cannot be read, or holds none.
    """
    measured = []
    for each in presentations:
        whole, frames = PassiveLiveness(networks), list[float | None]()
        for image in _frames_of(each):
            faces = detector.find(image)
            face = max(faces, key=lambda face: face.size, default=None)
            single = PassiveLiveness(networks)
            single.update(face, image)
            frames.append(single.result.score)
            whole.update(face, image)
        if not frames:
            raise InputError(f"{printable(each.path)} holds no picture")
        measured.append(Measured(each.species, each.track, tuple(frames), whole.result.score))
        advance()
    return measured


def _frames_of(presentation: Presentation) -> Iterator[NDArray[np.uint8]]:
    """Yield the frames of a presentation, of a long one some at equal distances."""
    path = presentation.path
    if not presentation.track:
        yield load_image(path)
    elif path.is_dir():
        paths = list_images(path)
        for image in paths[:: max(1, -(-len(paths) // _FRAMES))]:
            yield load_image(image)
    else:
        yield from _frames_of_video(path)


def _frames_of_video(path: Path) -> Iterator[NDArray[np.uint8]]:
    from facekeep.video.camera import Camera

    with Camera(path) as camera:
        count = sum(1 for _ in camera)
    step = max(1, -(-count // _FRAMES))
    with Camera(path) as camera:
        for number, frame in enumerate(camera):
            if number % step == 0:
                yield frame.image


@dataclass(frozen=True, slots=True)
class _Rate:
    """A share of presentations, with its 95 % interval (Wilson)."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, errors: int, count: int) -> _Rate:
        share, square = errors / count, _NORMAL**2
        middle = (share + square / (2 * count)) / (1 + square / count)
        half = _NORMAL * math.sqrt(share * (1 - share) / count + square / (4 * count**2))
        half /= 1 + square / count
        return cls(share, max(middle - half, 0.0), min(middle + half, 1.0))


@dataclass(frozen=True, slots=True)
class LivenessEvaluation:
    """The error rates at one threshold.

    Attributes:
        threshold: What a score must reach to count as living.
        bpcer: Of the living presentations.
        apcer: Of each species of attacks, the worst first.
        counts: How many presentations there are of each species, `LIVE` among them.
        silent: How many of these gave no response.
    """

    threshold: float
    bpcer: _Rate
    apcer: dict[str, _Rate]
    counts: dict[str, int]
    silent: dict[str, int]

    @property
    def acer(self) -> float:
        """The mean of BPCER and the APCER of the worst species."""
        return (self.bpcer.value + next(iter(self.apcer.values())).value) / 2

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, for JSON."""
        attacks = [name for name in self.counts if name != LIVE]
        silence = {name: self.silent[name] / self.counts[name] for name in self.counts}
        return {
            "threshold": round(self.threshold, 6),
            "apcer": {name: round(rate.value, 6) for name, rate in self.apcer.items()},
            "bpcer": round(self.bpcer.value, 6),
            "acer": round(self.acer, 6),
            "intervals": {
                "apcer": {name: _span(rate) for name, rate in self.apcer.items()},
                "bpcer": _span(self.bpcer),
            },
            "counts": {LIVE: self.counts[LIVE], _ATTACK: {n: self.counts[n] for n in attacks}},
            "non_response": {
                LIVE: round(silence[LIVE], 6),
                _ATTACK: {name: round(silence[name], 6) for name in attacks},
            },
        }


def _span(rate: _Rate) -> list[float]:
    return [round(rate.low, 6), round(rate.high, 6)]


def evaluate_liveness(
    measured: Sequence[Measured],
    *,
    tracks: bool,
    bpcer: float,
    threshold: float | None = None,
) -> LivenessEvaluation | None:
    """Find the error rates over all frames, or over the tracks.

    Args:
        measured: What networks said.
        tracks: Count each track once, by its best frames, and no single pictures. Otherwise each
            picture and each frame counts.
        bpcer: The share of living presentations that may be refused; it sets the threshold.
        threshold: A threshold that was chosen on other data, in place of that.

    Returns:
        The rates; None over tracks where none is of a living face, or none of an attack.

    Raises:
        InputError: No living presentation, or none of a species, gave a response.
    """
    scores: dict[str, list[float | None]] = {}
    for each in measured:
        if not tracks or each.track:
            given = (each.fused,) if tracks else each.frames
            scores.setdefault(each.species, []).extend(given)
    if tracks and (LIVE not in scores or len(scores) < 2):
        return None
    answered = {
        name: [value for value in values if value is not None] for name, values in scores.items()
    }
    if not answered[LIVE]:
        raise InputError("no living face is clear enough to be judged")
    chosen = _choose(answered[LIVE], bpcer) if threshold is None else threshold
    refused = sum(value < chosen for value in answered[LIVE])
    rates = {
        name: _Rate.of(sum(value >= chosen for value in values), len(values))
        for name, values in answered.items()
        if name != LIVE and values
    }
    if not rates:
        raise InputError("no attack shows a face that is clear enough to be judged")
    worst_first = sorted(rates.items(), key=lambda each: (-each[1].value, each[0]))
    return LivenessEvaluation(
        chosen,
        _Rate.of(refused, len(answered[LIVE])),
        dict(worst_first),
        {name: len(values) for name, values in scores.items()},
        {name: len(scores[name]) - len(answered[name]) for name in scores},
    )


def _choose(living: Sequence[float], bpcer: float) -> float:
    """Return the highest score that refuses no larger share of living presentations."""
    return sorted(living)[int(bpcer * len(living))]
