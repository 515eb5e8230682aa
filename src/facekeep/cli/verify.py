"""``facekeep verify``: whether two pictures show the same person."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facekeep.cli.command import ExitStatus, Run, command, group
from facekeep.cli.options import ENGINE, Image
from facekeep.cli.terms import box, say_terms
from facekeep.factory import open_engine

if TYPE_CHECKING:
    from facekeep.types import Face, Verification

app = group()


@command(
    app,
    "verify",
    uses=("fmr", *ENGINE),
    examples=[
        "facekeep verify id-card.jpg selfie.jpg",
        "facekeep verify a.jpg b.jpg --fmr 1e-5",
        "facekeep verify id-card.jpg party.jpg --any",
    ],
)
def verify(
    run: Run,
    first: Image,
    second: Annotated[Path, typer.Argument(metavar="IMAGE2", help="Another picture.")],
    any_pair: Annotated[
        bool,
        typer.Option(
            "--any", help="Compare each face with each, and decide by the most similar pair."
        ),
    ] = False,
) -> ExitStatus:
    """Say whether two pictures show the same person.

    Where a picture shows several faces the largest is compared, and the output says which one. With
    --any each face is compared with each, and the threshold rises, so that the false-match rate
    still holds. Faces are numbered in reading order, as by detect. Exit status: 0 yes, 1 no, or no
    usable face in one of the pictures.
    """
    with open_engine(run.settings) as engine:
        result = engine.verify(first, second, any_pair=any_pair)
    images = [_side(result, side, image) for side, image in enumerate((first, second))]
    if run.json:
        run.emit(
            {
                "match": result.match,
                "similarity": result.similarity,
                "threshold": result.threshold.cosine,
                "fmr": result.threshold.fmr,
                "reasons": result.reasons,
                "images": images,
            }
        )
    _print(run, result, (first, second), any_pair)
    say_terms(run, result.threshold)
    return ExitStatus.YES if result.match else ExitStatus.NO


def _side(result: Verification, side: int, image: Path) -> dict[str, Any]:
    """What was seen in one of the pictures; ``face`` is a number in reading order, from 1."""
    faces = result.faces[side]
    numbers = _numbers(faces)
    place = result.compared[side] if result.compared else None
    ordered = sorted(zip(numbers, faces, strict=True), key=lambda each: each[0])
    return {
        "image": image,
        "faces": len(faces),
        "face": None if place is None else numbers[place],
        "bbox": None if place is None else faces[place].bbox,
        "boxes": [face.bbox for _, face in ordered],
    }


def _numbers(faces: Sequence[Face]) -> list[int]:
    """The numbers that ``detect`` gives these faces."""
    from facekeep.types import reading_order

    return reading_order(faces)


def _print(run: Run, result: Verification, images: tuple[Path, Path], any_pair: bool) -> None:
    if result.compared is None or result.similarity is None:
        run.say(f"no: {_why_none(result, images, any_pair)}")
        return
    word = "yes" if result.match else "no"
    run.say(f"{word}: similarity {result.similarity:.3f}, threshold {result.threshold.cosine:.3f}")
    for image, faces, place in zip(images, result.faces, result.compared, strict=True):
        if len(faces) > 1:
            number = _numbers(faces)[place]
            size = ", the largest," if place == 0 else ""
            run.say(f"{image}: compared face {number} of {len(faces)}{size} at {box(faces[place])}")
    if not any_pair and not result.match and any(len(faces) > 1 for faces in result.faces):
        run.say("to compare each face with each: --any")


def _why_none(result: Verification, images: tuple[Path, Path], any_pair: bool) -> str:
    """Which picture shows no face, or no usable one, and why."""
    from facekeep.pipeline.quality import reason_words

    sides = list(zip(images, result.faces, strict=True))
    without = [str(image) for image, faces in sides if not faces]
    told = [f"no face was found in {' and in '.join(without)}"] if without else []
    told += [
        f"the face in {image} is unusable ({reason_words(faces[0].reasons)})"
        for image, faces in sides
        if faces and not any(face.usable for face in (faces if any_pair else faces[:1]))
    ]
    return " and ".join(told)
