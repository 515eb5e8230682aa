"""``facekeep detect`` and ``identify``: who and what is in pictures."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from facekeep.cli.command import ExitStatus, Run, command, group
from facekeep.cli.csv_file import Csv, csv_rows
from facekeep.cli.exit_status import status_of
from facekeep.cli.hints import explain
from facekeep.cli.looking import check_targets
from facekeep.cli.options import ENGINE, GALLERY, Collage, Images
from facekeep.cli.output import counted
from facekeep.cli.pictures import Album, Picture, make_folder
from facekeep.cli.terms import box, say_identification
from facekeep.errors import FacekeepError, ImageError, InputError
from facekeep.factory import open_engine

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from facekeep.types import Candidate, Face

app = group()

_log = logging.getLogger(__name__)

Marked = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        metavar="PATH",
        help="Write the picture with its faces marked: a file, or a folder for several pictures.",
    ),
]
Crops = Annotated[
    Path | None,
    typer.Option(
        "--crops",
        metavar="DIR",
        help="Write each face upright as PICTURE-NUMBER.png into this folder, which only you may"
        " read.",
    ),
]
Top = Annotated[
    int,
    typer.Option(
        "--top", min=1, max=1000, metavar="N", help="Candidates of each face in the JSON."
    ),
]

_COLUMNS: Final = ("image", "face", "x1", "y1", "x2", "y2", "score", "quality", "usable", "reasons")
_WHO: Final = ("name", "most_like", "similarity", "threshold", "fmr")


@command(
    app,
    "detect",
    uses=ENGINE,
    examples=[
        "facekeep detect party.jpg --out marked.jpg",
        "facekeep detect photos/ --json --min-face 20",
        "facekeep detect photos/ --crops faces/ --csv faces.csv",
        "facekeep detect - < party.jpg",
    ],
)
def detect(
    run: Run, images: Images, out: Marked = None, crops: Crops = None, csv: Csv = None
) -> ExitStatus:
    """Find the faces in pictures, with landmarks and quality.

    Faces are numbered in reading order, the same in the table, the marked picture and the names of
    crops. A face is usable as far as detection can tell; only identify, verify, search and cluster
    also notice that it is unclear, or no face at all. Exit status: 0 when there is a face in every
    picture, 1 when one has none, 2 when a picture that was named, or every one of a folder, cannot
    be read. With --json, one line for each picture. --csv writes a row for each face, and one for a
    picture without any, with the columns image, face, x1, y1, x2, y2, score, quality, usable,
    reasons, error; face is its number.
    """
    with (
        csv_rows(csv, (*_COLUMNS, "error"), json=run.json) as add,
        open_engine(run.settings) as engine,
    ):
        run = replace(run, muted=csv == "-")
        return _Looking(run, images, engine.detect, out, crops, add).run_all()


@command(
    app,
    "identify",
    uses=(*GALLERY, "fmr", "fpir", *ENGINE),
    examples=[
        "facekeep identify party.jpg --gallery people.db",
        "facekeep identify door.jpg --fmr 1e-5 --json",
        "facekeep identify door.jpg --fpir 0.01  # at most 1 stranger in 100 gets a name",
        "facekeep identify photos/ --out marked/ --csv who.csv",
    ],
)
def identify(
    run: Run,
    images: Images,
    top: Top = 5,
    collage: Collage = False,
    out: Marked = None,
    csv: Csv = None,
) -> ExitStatus:
    """Say who the people in pictures are, as far as they are enrolled.

    A face is given a name when its similarity to somebody reaches the threshold for the
    false-match rate; everybody else stays unknown. A face that shows too little is unusable, and
    not compared. Of several faces of a picture that match one person only the most similar gets
    the name, unless with --collage. Faces are numbered in reading order, the same in the table and
    in the marked picture. Exit status: 0 when somebody was recognized in every picture, 1 when
    not, 2 when a picture that was named, or every one of a folder, cannot be read. With --json, one
    line for each picture. --csv writes a row for each face, and one for a picture without any, with
    the columns image, face, x1, y1, x2, y2, score, quality, usable, reasons, name, most_like,
    similarity, threshold, fmr, error; face is its number.
    """
    with (
        csv_rows(csv, (*_COLUMNS, *_WHO, "error"), json=run.json) as add,
        open_engine(run.settings, gallery="read") as engine,
    ):
        run = replace(run, muted=csv == "-")
        look = _Looking(
            run,
            images,
            lambda image: engine.identify(image, top_k=top, collage=collage),
            out,
            None,
            add,
        )
        status = look.run_all()
        say_identification(run, engine)
    return status


@dataclass(slots=True)
class _Looking:
    """The way through all pictures: look at each, report it, write what was asked for."""

    run: Run
    words: Sequence[str]
    look: Callable[[Any], list[Face]]
    out: Path | None
    crops: Path | None
    add: Callable[[Mapping[str, Any]], None]
    album: Album = field(init=False)
    unreadable: int = 0
    read: int = 0

    def run_all(self) -> ExitStatus:
        """Look at each picture; one that fails does not keep the others from it."""
        self._prepare()
        status = ExitStatus.YES
        total = len(self.album) if self.album.many else 1
        with self.run.progress("Looking", total=total) as advance:
            for picture in self.album:
                status = max(status, self._settle(picture))
                advance()
        if self.unreadable and not self.read:
            status = ExitStatus.MISUSE
        self._report_skipped()
        return status

    def _prepare(self) -> None:
        """Find out what cannot be done before any picture is read."""
        several = Album(self.words).many or (self.out is not None and self.out.is_dir())
        outputs = [each for each in (self.out if several else None, self.crops) if each is not None]
        self.album = Album(self.words, outputs)
        if self.out is not None and several:
            make_folder(self.out, "--out")
        if self.crops is not None:
            make_folder(self.crops, "--crops", private=True)
        if self.out is not None:
            files = [Path(each) for each in self.album.files]
            named = [each for each in self.album if not each.in_folder] if files else []
            check_targets([_target(self.out, each) for each in named], files)

    def _settle(self, picture: Picture) -> ExitStatus:
        """Report one picture, or why it cannot be read; what a folder holds may be unreadable."""
        try:
            found = self._one(picture)
        except ImageError as error:
            if not self.album.many:
                raise
            self.unreadable += 1
            self.add({"image": picture.name, "error": explain(error)})
            _report_failure(self.run, picture.name, error)
            return ExitStatus.YES if picture.in_folder else status_of(error)
        self.read += 1
        return ExitStatus.YES if found else ExitStatus.NO

    def _one(self, picture: Picture) -> bool:
        """Report one picture; True when there is a face, or a name when names were looked for."""
        from facekeep.pipeline.image import load_image
        from facekeep.types import reading_order

        begun = time.monotonic()
        with _named(picture):
            pixels = load_image(
                picture.source(),
                max_pixels=self.run.settings.max_pixels,
                max_bytes=self.run.settings.max_bytes,
            )
        height, width = pixels.shape[:2]
        faces = self.look(pixels)
        _log.debug(
            "%s: %d x %d pixels, %s, %.2f s",
            picture.name,
            width,
            height,
            counted(len(faces), "face"),
            time.monotonic() - begun,
        )
        numbers = reading_order(faces)
        self._write(picture, pixels, faces, numbers)
        if self.run.json:
            rows = [
                {**_shape(face), "number": number, **_identity(face)}
                for number, face in zip(numbers, faces, strict=True)
            ]
            self.run.emit({"image": picture.name, "width": width, "height": height, "faces": rows})
        ordered = sorted(zip(numbers, faces, strict=True), key=lambda each: each[0])
        for row in [_row(number, face) for number, face in ordered] or [{}]:
            self.add({"image": picture.name, **row})
        _print_faces(self.run, picture.name, ordered)
        return any(face.decision is None or face.name for face in faces)

    def _write(
        self,
        picture: Picture,
        pixels: NDArray[np.uint8],
        faces: Sequence[Face],
        numbers: Sequence[int],
    ) -> None:
        """Write the marked picture and the crops, where they were asked for."""
        if self.out is not None:
            from facekeep.draw import annotate
            from facekeep.pipeline.image import save_image

            target = _target(self.out, picture)
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                save_image(target, annotate(pixels, faces))
            except (OSError, ImageError) as error:  # no fault of the picture that was looked at
                raise InputError(f"--out: {error}") from error
            _log.debug("%s: written", target)
        if self.crops is not None:
            place = self.crops / picture.place
            for face, number in zip(faces, numbers, strict=True):
                _write_crop(place.with_name(f"{place.name}-{number}.png"), pixels, face)

    def _report_skipped(self) -> None:
        """Count what could not be read in folders."""
        if self.album.folders and self.unreadable:
            total = self.unreadable + self.read
            self.run.say(f"{self.unreadable} of {counted(total, 'picture')} could not be read")
        for reason in self.album.unread:
            self.run.warn(f"folder skipped: {reason}")


def _target(out: Path, picture: Picture) -> Path:
    """Where a marked picture goes."""
    return out / picture.place.with_name(f"{picture.place.name}.jpg") if out.is_dir() else out


@contextmanager
def _named(picture: Picture) -> Iterator[None]:
    """Call standard input by its name where it cannot be read."""
    try:
        yield
    except ImageError as error:
        if picture.name != "-":
            raise
        raise ImageError(str(error).replace("image bytes", "standard input", 1)) from error


def _write_crop(target: Path, pixels: NDArray[np.uint8], face: Face) -> None:
    """Cut a face out as the embedder sees it, and write it where nobody else may read it."""
    import cv2

    from facekeep._internal.files import is_full, printable, replacing, why
    from facekeep.errors import StorageFull
    from facekeep.pipeline.align import align

    content = cv2.imencode(".png", align(pixels, face.landmarks)[..., ::-1])[1].tobytes()
    try:
        target.parent.mkdir(0o700, parents=True, exist_ok=True)
        with replacing(target, private=True) as stream:
            stream.write(content)
    except (OSError, ValueError) as error:
        shown = printable(target)
        if is_full(error):
            raise StorageFull(f"{shown}: no room to write it; free some space") from error
        raise InputError(f"{shown}: cannot be written: {why(error)}") from error


def _shape(face: Face) -> dict[str, Any]:
    return {
        "bbox": face.bbox,
        "landmarks": face.landmarks,
        "score": face.score,
        "quality": face.quality.to_dict() if face.quality else None,
        "usable": face.usable,
        "reasons": face.reasons,
    }


def _identity(face: Face) -> dict[str, Any]:
    decision = face.decision
    if decision is None:
        return {}
    match = decision.match
    return {
        "match": {"name": match.name, "similarity": match.similarity} if match else None,
        "candidates": [
            {
                "name": each.name,
                "similarity": each.similarity,
                "threshold": each.threshold,
                "refused": each.refused,
                "elsewhere": each.elsewhere,
            }
            for each in decision.candidates
        ],
        "threshold": decision.threshold.cosine,
        "fmr": decision.threshold.fmr,
        "expected_fpir": decision.expected_fpir,
    }


def _row(number: int, face: Face) -> dict[str, Any]:
    """A row of the CSV table."""
    reasons, decision = face.reasons, face.decision
    row = dict(zip(("x1", "y1", "x2", "y2"), face.bbox.tolist(), strict=True))
    row |= {
        "face": number,
        "score": face.score,
        "quality": face.quality.overall if face.quality else None,
        "usable": not reasons,
        "reasons": " ".join(reasons),
    }
    if decision is None:
        return row
    like = decision.match or next(iter(decision.candidates), None)
    return row | {
        "name": face.name,
        "most_like": like and like.name,
        "similarity": like and like.similarity,
        "threshold": like and like.threshold,
        "fmr": decision.threshold.fmr,
    }


def _print_faces(run: Run, image: str, faces: Sequence[tuple[int, Face]]) -> None:
    """Print one picture; the faces come in the order of their numbers."""
    if not faces:
        run.say(f"{image}: no face")
        return
    run.say(f"{image}: {counted(len(faces), 'face')}")
    if faces[0][1].decision is None:
        rows = [[number, box(face), _facts(face)] for number, face in faces]
        run.table(["face", "box (x1 y1 x2 y2)", "quality"], rows)
        return
    rows = [[_who(face), number, _others(face), box(face)] for number, face in faces]
    run.table(["who", "face", "most like", "box (x1 y1 x2 y2)"], rows)


def _facts(face: Face) -> str:
    from facekeep.pipeline.quality import reason_words

    quality, reasons = face.quality, face.reasons
    if reasons:
        return f"unusable: {reason_words(reasons)}"
    if quality is None:
        return ""
    return (
        f"{quality.overall:.2f} ({quality.size:.0f} px, sharpness {quality.sharpness:.2f},"
        f" yaw {round(quality.yaw)}, pitch {round(quality.pitch)})"
    )


def _who(face: Face) -> str:
    return face.name or ("unusable" if face.reasons else "unknown")


def _others(face: Face) -> str:
    """Whom a face is most like, with what it takes, after those passed over; or why none."""
    from facekeep.pipeline.quality import reason_words

    reasons = face.reasons
    if reasons or face.decision is None:
        return reason_words(reasons)
    passed = list(itertools.takewhile(_passed_over, face.decision.candidates))
    best = face.decision.candidates[len(passed) : len(passed) + 1]
    return ", ".join(map(_likeness, (*passed[:2], *best)))


def _passed_over(candidate: Candidate) -> str:
    """Why a candidate does not count, however alike; empty where it does."""
    if candidate.refused:
        return "refused"
    return "another face" if candidate.elsewhere else ""


def _likeness(candidate: Candidate) -> str:
    similar, needed, why = candidate.similarity, candidate.threshold, _passed_over(candidate)
    note = f" ({why})" if why else ""
    return f"{candidate.name} {similar:.3f} of {needed:.3f} needed{note}"


def _report_failure(run: Run, image: str, error: FacekeepError) -> None:
    if run.json:
        run.emit({"image": image, "error": {"kind": error.kind, "message": explain(error)}})
    else:
        run.say(f"error: {explain(error)}")
