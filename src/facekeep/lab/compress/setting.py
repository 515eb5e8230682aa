"""Which data networks are calibrated and measured on, by their paths."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from facekeep.errors import InputError
from facekeep.lab.compress.faces import Faces, builtin_faces, read_faces
from facekeep.lab.compress.measure import Trial
from facekeep.lab.evaluate.crop_cache import CropCache
from facekeep.lab.evaluate.data import PairSet

__all__ = ["Setting"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The data of a run.

    Attributes:
        data: Faces to calibrate, heal and compare on; see ``read_faces``.
        labels: A table with the columns ``key`` and ``identity``, for ``data`` and ``eval_data``.
        aligned: The images of both are face crops, aligned already.
        count: How many faces of ``data`` to calibrate and compare on.
        eval_data: Known people, not those of ``data``, to measure TAR on.
        lfw_images: The photos of LFW.
        lfw_pairs: Its ``pairs.txt``.
        cache: A folder that keeps the faces found.
    """

    data: Path | None = None
    labels: Path | None = None
    aligned: bool = False
    count: int = 256
    eval_data: Path | None = None
    lfw_images: Path | None = None
    lfw_pairs: Path | None = None
    cache: Path | None = None

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InputError(f"count must be 1 at least, not {self.count}")
        if (self.lfw_images is None) != (self.lfw_pairs is None):
            raise InputError("LFW needs both: --lfw-images DIR and --lfw-pairs FILE")

    def open(self, threads: int = 0) -> tuple[Faces | None, Trial]:
        """Open the data.

        TAR is measured on ``eval_data``; without it on ``data``, where that says who is on it.
        Without ``data`` the embeddings are compared on the demo's portraits, where those are.

        Args:
            threads: CPU threads; see ``Trial``.

        Raises:
            InputError: Something is missing, or not of the kind.
            ImageError: A file or folder cannot be read.
        """
        from facekeep.lab import datasets

        faces = people = None
        if self.data is not None:
            faces = read_faces(
                self.data, labels=self.labels, aligned=self.aligned, count=self.count
            )
            people = faces.people
        if self.eval_data is not None:
            people = datasets.known_people(self.eval_data, labels=self.labels, aligned=self.aligned)
        trial = Trial(
            faces=faces or builtin_faces(),
            people=people,
            lfw=self._lfw(),
            cache=None if self.cache is None else CropCache(self.cache),
            threads=threads,
        )
        return faces, trial

    def _lfw(self) -> PairSet | None:
        from facekeep.lab import datasets

        if self.lfw_images is None or self.lfw_pairs is None:
            return None
        return datasets.lfw(self.lfw_images, self.lfw_pairs)
