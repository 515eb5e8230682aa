"""Passive liveness: networks look at a face and at what is around it, and nobody need do anything.

A network sees the marks of a medium: dots, moire, gloss, a border. Where none are left it is
fooled, and where a living face is blurred or badly lit it is not sure. So no single look decides:
what a network surely denies is never outvoted by what others confirm.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.closing import Closing
from facekeep.errors import InputError, ModelError
from facekeep.liveness.evidence import LivenessResult, describe_evidence, eye_distance, weightiest
from facekeep.models import ModelEntry, entry, open_model
from facekeep.pipeline.image import check_image
from facekeep.runtime import RuntimeOptions
from facekeep.types import Face

__all__ = ["DENIED", "LivenessNetwork", "PassiveLiveness", "cut_crops", "fuse_looks"]

DENIED: Final = 0.1
"""A look at or below this denies: the others no longer count."""

LIVE: Final = 0.5
"""What each network must reach for ``live``; ``facekeep evaluate liveness`` finds other ones."""

_BATCH: Final = 16


class LivenessNetwork(Closing):
    """A network that tells living faces from pictures of faces. Threads may share one.

    Args:
        model: A name from the catalog, or an entry.
        options: How the network is run.

    Attributes:
        entry: The model's catalog entry.

    Raises:
        ModelNotFound: There is no such model, or its files are not here.
        ModelCorrupt: Its files are not what the catalog says.
        ModelError: It is made for something else.
    """

    def __init__(
        self,
        model: str | ModelEntry,
        *,
        options: RuntimeOptions = RuntimeOptions(),  # noqa: B008 - frozen
    ) -> None:
        chosen = model if isinstance(model, ModelEntry) else entry(model)
        if chosen.task != "liveness" or chosen.input_size is None:
            raise ModelError(f"{chosen.name} is a model to {chosen.verb} faces, not for liveness")
        self.entry = chosen
        self._size = chosen.input_size
        self._session = open_model(chosen, options)

    def close(self) -> None:
        """Let go of the network."""
        self._session.close()

    def look(self, image: NDArray[np.uint8], faces: Sequence[Face]) -> NDArray[np.float32]:
        """Tell how likely each face is a living one, by each crop that the network takes.

        Args:
            image: The image that the faces were found in, uint8 ``(H, W, 3)`` RGB.
            faces: The faces, n.

        Returns:
            float32 ``(n, k)``, 0 to 1: k looks at each face.

        Raises:
            InputError: The image is not such an array, or the network is closed.
            ModelError: The network gave something else.
        """
        image = check_image(image)
        scales = self.entry.crop_scales
        cut = [cut_crops(image, face.bbox, scales, self._size) for face in faces]
        most = min(self.entry.max_batch or _BATCH, _BATCH)
        parts = [
            self.look_at(np.stack(cut[start : start + most])) for start in range(0, len(cut), most)
        ]
        return np.concatenate(parts) if parts else np.empty((0, len(scales)), np.float32)

    def look_at(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Do the same for crops that `cut_crops` gave, uint8 ``(n, k, s, s, 3)``."""
        planes = crops.transpose(0, 1, 4, 2, 3)
        if self.entry.color == "bgr":
            planes = planes[:, :, ::-1]
        mean, scale = (
            np.array(each, np.float32).reshape(3, 1, 1)
            for each in (self.entry.mean, self.entry.scale)
        )
        fed = (planes.astype(np.float32) - mean) * scale
        fed = fed.reshape(len(crops), -1, *planes.shape[-2:])
        (output, *_) = self._session.run({self._session.inputs[0].name: fed})
        looks = self._looks_of(output)
        if looks.shape != crops.shape[:2] or not np.isfinite(looks).all():
            raise ModelError(f"{self.entry.name} gave no liveness; its weights are unusable")
        return np.asarray(looks.clip(0, 1), np.float32)

    def score(self, image: NDArray[np.uint8], faces: Sequence[Face]) -> NDArray[np.float32]:
        """Tell how likely each face is a living one, all looks together: float32 ``(n,)``."""
        return fuse_looks(self.look(image, faces))

    def _looks_of(self, output: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn what the network gives into how likely each crop shows a living face."""
        chosen = self.entry.live_class
        if chosen is None:
            return np.asarray(output)
        if output.ndim != 2 or output.shape[1] <= chosen:
            raise ModelError(f"{self.entry.name} has no class {chosen}; import it again")
        if output.min() < 0 or not np.allclose(output.sum(axis=1), 1, atol=1e-3):
            powers = np.exp(output - output.max(axis=1, keepdims=True))
            output = powers / powers.sum(axis=1, keepdims=True)
        return np.asarray(output[:, chosen : chosen + 1])


class PassiveLiveness:
    """Judges the face of one track by its best frames, with one network or several.

    A frame that shows too little is left out; without any other nobody can tell. Each network's
    answer is the median over the frames. Where one network denies (see `DENIED`), the face is not
    living, whatever the others say.

    Args:
        networks: Those that are asked.
        thresholds: What the answer of each must reach for ``live``, in the same order; the lowest
            that a picture of a face seldom reaches is found by ``facekeep evaluate liveness``.
        frames: How many of the best frames count.

    Raises:
        InputError: There is no network, or there are not as many thresholds.
    """

    def __init__(
        self,
        networks: Sequence[LivenessNetwork],
        *,
        thresholds: Sequence[float] | None = None,
        frames: int = 5,
    ) -> None:
        self._thresholds = [LIVE] * len(networks) if thresholds is None else list(thresholds)
        if not networks or len(self._thresholds) != len(networks) or frames < 1:
            raise InputError("passive liveness needs networks, a threshold for each, and a frame")
        self._networks, self._frames = list(networks), frames
        self._best: list[tuple[float, tuple[float, ...]]] = []
        self._poor: list[str] = []

    def update(self, face: Face | None, image: NDArray[np.uint8]) -> None:
        """Take a frame of the track.

        Args:
            face: The face in it; None where it was not found.
            image: The whole frame, uint8 ``(H, W, 3)`` RGB.
        """
        poor = describe_evidence(image, face)
        if face is None or poor:
            self._poor += poor
            return
        rank = eye_distance(face)
        if face.quality is not None:
            rank *= face.quality.sharpness
        if len(self._best) < self._frames or rank > self._best[-1][0]:
            scores = tuple(float(each.score(image, [face])[0]) for each in self._networks)
            self._best = sorted([*self._best, (rank, scores)], reverse=True)[: self._frames]

    @property
    def result(self) -> LivenessResult:
        """The judgment by the frames so far; its score is the lowest of the networks' answers."""
        if not self._best:
            return LivenessResult("cannot tell", weightiest(self._poor) or ("no_face",))
        answers = [
            statistics.median(each) for each in zip(*(s for _, s in self._best), strict=True)
        ]
        pairs = list(zip(answers, self._thresholds, strict=True))
        if all(answer >= threshold for answer, threshold in pairs):
            return LivenessResult("live", score=min(answers))
        denied = any(answer <= min(DENIED, threshold) for answer, threshold in pairs)
        reasons = ("network_denies" if denied else "below_threshold",)
        return LivenessResult("not live", reasons, min(answers))


def fuse_looks(looks: NDArray[np.floating]) -> NDArray[np.float32]:
    """Put several looks at each face together.

    Args:
        looks: ``(n, k)``, 0 to 1.

    Returns:
        float32 ``(n,)``: their mean; or the lowest where one of them denies (see `DENIED`).
    """
    lowest = looks.min(axis=1)
    return np.asarray(np.where(lowest <= DENIED, lowest, looks.mean(axis=1)), np.float32)


def cut_crops(
    image: NDArray[np.uint8], bbox: NDArray[np.floating], scales: Sequence[float], size: int
) -> NDArray[np.uint8]:
    """Cut a face out with more or less of what is around it, as liveness networks take it.

    Each crop is the box, made larger about its middle, stretched to a square. Where it would reach
    past the image it is moved inside, and made smaller where it does not fit. Pixels are
    interpolated linearly, never averaged: the networks were trained so.

    Args:
        image: uint8 ``(H, W, 3)`` RGB.
        bbox: The face's box, ``(4,)``.
        scales: How many times the box each crop is.
        size: The side of the crops in pixels.

    Returns:
        uint8 ``(k, size, size, 3)`` RGB.

    Raises:
        InputError: The box is empty or no numbers, or lies outside of the image.
    """
    height, width = image.shape[:2]
    low, high = np.asarray(bbox, np.float64).reshape(2, 2)
    sides, limit = high - low, np.array([width, height], np.float64) - 1
    if not np.isfinite(sides).all() or min(sides) < 1 or min(high) < 0 or min(limit - low) < 0:
        raise InputError("the box of the face is empty, or lies outside of the image")
    crops = np.empty((len(scales), size, size, 3), np.uint8)
    for crop, scale in zip(crops, scales, strict=True):
        fits = min(scale, *(limit / sides))
        start = ((low + high) / 2 - sides * fits / 2).clip(0, limit - sides * fits)
        first = start.astype(int)
        last = (start + sides * fits).astype(int)
        crop[...] = _stretch(image[first[1] : last[1] + 1, first[0] : last[0] + 1], size)
    return crops


def _stretch(part: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Bring a part to ``(size, size, 3)`` by linear interpolation between pixel centers."""
    (top, bottom, down), (left, right, along) = (_between(side, size) for side in part.shape[:2])
    across = along[None, :, None]
    rows = [
        part[row][:, left] * (1 - across) + part[row][:, right] * across for row in (top, bottom)
    ]
    down = down[:, None, None]
    return (rows[0] * (1 - down) + rows[1] * down + 0.5).astype(np.uint8)


def _between(
    length: int, wanted: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Return between which pixels each new one lies, and how far from the first."""
    places = ((np.arange(wanted) + 0.5) * length / wanted - 0.5).clip(0, length - 1)
    first = places.astype(np.intp)
    return first, (first + 1).clip(max=length - 1), (places - first).astype(np.float32)
