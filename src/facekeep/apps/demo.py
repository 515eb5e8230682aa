"""The demonstration: enroll a few people, recognize them in changed photos, and nobody else."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facekeep.draw import annotate, contact_sheet
from facekeep.engine import FaceEngine
from facekeep.errors import ImageError, InputError
from facekeep.pipeline.image import list_images, list_people, load_image, save_image
from facekeep.pipeline.warp import scale
from facekeep.samples import change_photo, load_portraits

__all__ = ["UNKNOWN", "Case", "Demonstration", "Trial", "bundled_cases", "cases_from"]

Image = NDArray[np.uint8]

_log = logging.getLogger(__name__)

UNKNOWN = "unknown"
# So many photos of a person, so many people and such a longest side, in pixels, keep all that is
# shown in memory; and so many people fit into the collage.
_PHOTOS = 12
_PEOPLE = 20
_SIDE = 1280
_COLLAGE = 4
_TILE, _COLUMNS = 280, 4  # of the sheet, wide enough for a name under each photo


@dataclass(frozen=True, slots=True)
class Case:
    """Somebody in the demonstration.

    Attributes:
        name: The person.
        enroll: Photos to enroll; empty for a stranger, who must stay unknown.
        probes: Photos to recognize the person in, by what they are.
    """

    name: str
    enroll: tuple[Image, ...]
    probes: tuple[tuple[str, Image], ...]


@dataclass(frozen=True, slots=True)
class Trial:
    """One photo and what was made of it.

    Attributes:
        who: Who is in it.
        photo: Which photo.
        expected: The names that must be found, "unknown" for strangers, sorted.
        answer: The names that were found, sorted.
        similarity: Cosine of the best candidate of the largest face, where there is one.
    """

    who: str
    photo: str
    expected: tuple[str, ...]
    answer: tuple[str, ...]
    similarity: float | None

    @property
    def right(self) -> bool:
        """Whether everybody was recognized, and nobody else given a name."""
        expected, answer = (
            [name for name in names if name != UNKNOWN] for names in (self.expected, self.answer)
        )
        return expected == answer


def bundled_cases() -> list[Case]:
    """Make cases of the two portraits that come with the demo extra.

    Raises:
        InputError: The extra is not installed.
    """
    try:
        portraits = load_portraits()
    except InputError as error:
        raise InputError(f"{error}; or take photos of yours", "photos") from error
    return [Case(name, (photo,), change_photo(photo)) for name, photo in portraits.items()]


def cases_from(folder: Path) -> list[Case]:
    """Make cases of a user's photos.

    In a folder with a folder for each person, the first photo of each is enrolled and the others
    are probes; somebody with a single photo is a stranger. In a folder of photos each shows
    somebody else: all but the last are enrolled, and changed versions of all are the probes.

    Only the first 20 people and the first 12 photos, of each or of all, are used; photos are made
    smaller to fit 1280 pixels.

    Raises:
        InputError: There are too few photos.
    """
    named = [(name, photos) for name, photos in list_people(folder) if photos]
    cases = _people(named) if named else _photos(list_images(folder))
    if len(cases) < 2 or not any(case.enroll for case in cases):
        raise InputError(
            f"{folder} holds too few photos: the demo needs two of somebody, each person in a "
            "folder, or photos of two people"
        )
    return cases


class Demonstration:
    """Enrolls, recognizes, erases, and shows that strangers stay unknown.

    Args:
        cases: The people.
        out: An existing folder for the pictures.
        options: Arguments for ``FaceEngine``.
    """

    def __init__(
        self, cases: Sequence[Case], out: Path, options: Mapping[str, Any] | None = None
    ) -> None:
        self._cases = cases
        self._out = out
        self._options = options or {}
        self._shown: list[tuple[Trial, Image]] = []

    def run(self) -> Iterator[Trial]:
        """Yield each trial as soon as it was made; the pictures are written along the way."""
        with (
            tempfile.TemporaryDirectory() as folder,
            FaceEngine(Path(folder) / "demo.db", **self._options) as engine,
        ):
            known: list[str] = []
            for case in self._cases:
                if known:
                    photo = (case.enroll or (case.probes[0][1],))[0]
                    yield self._trial(engine, case.name, "not enrolled", photo, [UNKNOWN])
                if case.enroll and engine.enroll(case.name, list(case.enroll)).enrolled:
                    known.append(case.name)
            for case in self._cases:
                for what, photo in case.probes:
                    expected = case.name if case.name in known else UNKNOWN
                    yield self._trial(engine, case.name, what, photo, [expected])
            yield from self._together(engine, known)
            save_image(self._out / "trials.jpg", _sheet(self._shown))

    def _together(self, engine: FaceEngine, known: Sequence[str]) -> Iterator[Trial]:
        """Everybody in one picture; then the last one who was enrolled is erased."""
        cases = [case for case in self._cases if case.name in known][-_COLLAGE:]
        collage = _collage([case.enroll[0] for case in cases])
        names = [case.name for case in cases]
        yield self._trial(engine, "everybody", "a collage", collage, names)
        save_image(self._out / "collage.jpg", annotate(collage, engine.identify(collage)))
        engine.gallery.remove(names[-1])
        names[-1] = UNKNOWN
        yield self._trial(engine, "everybody", f"{cases[-1].name} erased", collage, names)
        save_image(self._out / "erased.jpg", annotate(collage, engine.identify(collage)))

    def _trial(
        self, engine: FaceEngine, who: str, what: str, photo: Image, expected: Sequence[str]
    ) -> Trial:
        faces = engine.identify(photo)
        answer = sorted(face.name or UNKNOWN for face in faces)
        trial = Trial(
            who,
            what,
            tuple(sorted(expected)),
            tuple(answer),
            faces[0].similarity if faces else None,
        )
        self._shown.append((trial, annotate(photo, faces)))
        return trial


def _sheet(shown: Sequence[tuple[Trial, Image]]) -> Image:
    """A row of marked photos for each person, with the answer under each."""
    rows: dict[str, list[tuple[Trial, Image]]] = {}
    for trial, picture in shown:
        rows.setdefault(trial.who, []).append((trial, picture))
    groups = [(who, [picture for _, picture in row]) for who, row in rows.items()]
    captions = [[_caption(trial) for trial, _ in row] for row in rows.values()]
    return contact_sheet(groups, captions=captions, tile=_TILE, columns=_COLUMNS)


def _caption(trial: Trial) -> str:
    """What is under a photo: what it is, the answer, and whether that was right."""
    alone = len(trial.answer) == 1 and trial.similarity is not None
    similar = f" {trial.similarity:.2f}" if alone else ""
    answer = ", ".join(trial.answer) or "no face"
    verdict = "right" if trial.right else f"WRONG: {', '.join(trial.expected)}"
    return f"{trial.photo}: {verdict}\n{answer}{similar}"


def _collage(photos: Sequence[Image]) -> Image:
    """Put photos side by side at one height."""
    return np.hstack([scale(photo, 480 / len(photo)) for photo in photos])


def _people(named: Sequence[tuple[str, list[Path]]]) -> list[Case]:
    """Cases of a folder with a folder for each person."""
    cases = []
    for name, paths in named[:_PEOPLE]:
        loaded = _loaded(paths)
        if len(loaded) > 1:
            cases.append(Case(name, (loaded[0][1],), tuple(loaded[1:])))
        elif loaded:
            cases.append(Case(name, (), tuple(loaded)))
    return cases


def _photos(paths: Sequence[Path]) -> list[Case]:
    """Cases of a folder of photos, each of somebody else; the last one stays a stranger."""
    loaded = [(Path(name).stem, photo) for name, photo in _loaded(paths)]
    cases = [Case(name, (photo,), change_photo(photo)) for name, photo in loaded[:-1]]
    return cases + [Case(name, (), change_photo(photo)) for name, photo in loaded[-1:]]


def _loaded(paths: Sequence[Path]) -> list[tuple[str, Image]]:
    """Load photos by name; one that cannot be read is left out, with a warning."""
    loaded = []
    for path in paths[:_PHOTOS]:
        try:
            loaded.append((path.name, _load(path)))
        except ImageError as error:
            _log.warning("%s", error)
    return loaded


def _load(path: Path) -> Image:
    image = load_image(path)
    return scale(image, min(_SIDE / max(image.shape[:2]), 1))
