"""What ``detect`` and ``identify`` share: the way through the images, and what is reported."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from facekeep.cli.command import ExitStatus, Run
from facekeep.cli.decisions import format_box
from facekeep.cli.exit_status import status_of
from facekeep.cli.hints import explain_error
from facekeep.cli.inputs import InputImage, InputImages, name_stdin
from facekeep.cli.options import PATH
from facekeep.cli.output import format_count
from facekeep.cli.result_files import check_targets, make_folder
from facekeep.errors import FacekeepError, ImageError, InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from facekeep.types import Candidate, Face

__all__ = ["COLUMNS", "FaceReport", "marked_option"]

_log = logging.getLogger(__name__)

marked_option = click.option(
    "--out",
    "-o",
    type=PATH,
    metavar="PATH",
    help="Write the picture with its faces marked: a file, or a folder for several pictures.",
)

COLUMNS: Final = ("image", "face", "x1", "y1", "x2", "y2", "score", "quality", "usable", "reasons")


@dataclass(slots=True)
class FaceReport:
    """The faces of many images: found, printed, and written to what was asked for.

    Args:
        run: The run.
        names: The images, as the command line names them.
        find: Finds the faces of an image.
        add: Adds a row to the CSV table.
        out: The marked image, or the folder for several.
        crops: The folder for the crops.
    """

    run: Run
    names: Sequence[str]
    find: Callable[[Any], list[Face]]
    add: Callable[[Mapping[str, Any]], None]
    out: Path | None = None
    crops: Path | None = None
    images: InputImages = field(init=False)
    unreadable: int = 0
    read: int = 0

    def run_all(self) -> ExitStatus:
        """Report each image; one that fails does not stop the others."""
        self._prepare()
        status = ExitStatus.YES
        total = len(self.images) if self.images.many else 1
        with self.run.progress("Finding faces", total=total) as advance:
            for image in self.images:
                status = max(status, self._report_image(image))
                advance()
        if self.unreadable and not self.read:
            status = ExitStatus.MISUSE
        self._report_skipped()
        return status

    def _prepare(self) -> None:
        """Find out what cannot be done before any picture is read."""
        several = InputImages(self.names).many or (self.out is not None and self.out.is_dir())
        outputs = [each for each in (self.out if several else None, self.crops) if each is not None]
        self.images = InputImages(self.names, outputs)
        if self.out is not None and several:
            make_folder(self.out, "--out")
        if self.crops is not None:
            make_folder(self.crops, "--crops", private=True)
        if self.out is not None:
            files = [Path(each) for each in self.images.files]
            named = [each for each in self.images if not each.in_folder] if files else []
            check_targets([_target(self.out, each) for each in named], files)

    def _report_image(self, image: InputImage) -> ExitStatus:
        """Report one image, or why it cannot be read; what a folder holds may be unreadable."""
        try:
            found = self._report_faces(image)
        except ImageError as error:
            if not self.images.many:
                raise
            self.unreadable += 1
            self.add({"image": image.name, "error": explain_error(error)})
            _report_failure(self.run, image.name, error)
            return ExitStatus.YES if image.in_folder else status_of(error)
        self.read += 1
        return ExitStatus.YES if found else ExitStatus.NO

    def _report_faces(self, image: InputImage) -> bool:
        """Report one picture; True when there is a face, or a name when names were looked for."""
        from facekeep.pipeline.image import load_image
        from facekeep.types import reading_order

        begun = time.monotonic()
        with name_stdin(image.name):
            pixels = load_image(
                image.source(self.run.settings.max_bytes),
                max_pixels=self.run.settings.max_pixels,
                max_bytes=self.run.settings.max_bytes,
            )
        height, width = pixels.shape[:2]
        faces = self.find(pixels)
        _log.debug(
            "%s: %d x %d pixels, %s, %.2f s",
            image.name,
            width,
            height,
            format_count(len(faces), "face"),
            time.monotonic() - begun,
        )
        numbers = reading_order(faces)
        self._write(image, pixels, faces, numbers)
        if self.run.json:
            self.run.emit(
                {
                    "image": image.name,
                    "width": width,
                    "height": height,
                    "faces": list(map(_to_json, numbers, faces)),
                    "truncated": len(faces) >= self.run.settings.max_faces,
                }
            )
        ordered = sorted(zip(numbers, faces, strict=True), key=lambda each: each[0])
        for row in [_row(number, face) for number, face in ordered] or [{}]:
            self.add({"image": image.name, **row})
        _print_faces(self.run, image.name, ordered)
        return any(face.decision is None or face.name for face in faces)

    def _write(
        self,
        image: InputImage,
        pixels: NDArray[np.uint8],
        faces: Sequence[Face],
        numbers: Sequence[int],
    ) -> None:
        """Write the marked picture and the crops, where they were asked for."""
        if self.out is not None:
            from facekeep.draw import annotate
            from facekeep.pipeline.image import save_image

            target = _target(self.out, image)
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                save_image(target, annotate(pixels, faces))
            except (OSError, ImageError) as error:  # no fault of the picture that was looked at
                raise InputError(f"--out: {error}") from error
            _log.debug("%s: written", target)
        if self.crops is not None:
            place = self.crops / image.place
            for face, number in zip(faces, numbers, strict=True):
                _write_crop(place.with_name(f"{place.name}-{number}.png"), pixels, face)

    def _report_skipped(self) -> None:
        """Count what could not be read in folders."""
        if self.images.folders and self.unreadable:
            total = self.unreadable + self.read
            self.run.say(f"{self.unreadable} of {format_count(total, 'picture')} could not be read")
        for reason in self.images.unread:
            self.run.warn(f"folder skipped: {reason}")


def _target(out: Path, image: InputImage) -> Path:
    """Where a marked picture goes."""
    return out / image.place.with_name(f"{image.place.name}.jpg") if out.is_dir() else out


def _write_crop(target: Path, pixels: NDArray[np.uint8], face: Face) -> None:
    """Cut a face out as the embedder sees it, and write it where nobody else may read it."""
    from facekeep._internal.files import is_full, printable, replacing, why
    from facekeep.errors import StorageFull
    from facekeep.pipeline.align import align
    from facekeep.pipeline.image import encode_png

    content = encode_png(align(pixels, face.landmarks))
    try:
        target.parent.mkdir(0o700, parents=True, exist_ok=True)
        with replacing(target, private=True) as stream:
            stream.write(content)
    except (OSError, ValueError) as error:
        shown = printable(target)
        if is_full(error):
            raise StorageFull(f"{shown}: no room to write it; free some space") from error
        raise InputError(f"{shown}: cannot be written: {why(error)}") from error


def _to_json(number: int, face: Face) -> dict[str, Any]:
    """The face, its number, and then who it is."""
    decision = face.decision.to_dict() if face.decision else {}
    return {**face.replace(decision=None).to_dict(), "number": number, **decision}


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
    run.say(f"{image}: {format_count(len(faces), 'face')}")
    if faces[0][1].decision is None:
        rows = [[number, format_box(face), _facts(face)] for number, face in faces]
        run.table(["face", "box (x1 y1 x2 y2)", "quality"], rows)
        return
    rows = [[_who(face), number, _others(face), format_box(face)] for number, face in faces]
    run.table(["who", "face", "most like", "box (x1 y1 x2 y2)"], rows, fold=True)


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
        run.emit({"image": image, "error": {"kind": error.kind, "message": explain_error(error)}})
    else:
        run.say(f"error: {explain_error(error)}")
