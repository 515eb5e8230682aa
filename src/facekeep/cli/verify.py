"""``facekeep verify``: whether two pictures show the same person."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from facekeep.cli.command import ExitStatus, Run, command, group
from facekeep.cli.decisions import format_box, say_threshold
from facekeep.cli.inputs import STDIN, name_stdin, read_input
from facekeep.cli.options import ENGINE, image_argument
from facekeep.errors import InputError
from facekeep.factory import open_engine

if TYPE_CHECKING:
    from facekeep.types import Verification

app = group()


@command(
    app,
    "verify",
    uses=("fmr", *ENGINE),
    examples=[
        "facekeep verify id-card.jpg selfie.jpg",
        "facekeep verify a.jpg b.jpg --fmr 1e-5",
        "facekeep verify id-card.jpg party.jpg --any",
        "facekeep verify id-card.jpg - < selfie.jpg",
    ],
)
@image_argument("first")
@image_argument(
    "second", metavar="IMAGE2", help="The other picture; or - for one on standard input."
)
@click.option(
    "any_pair",
    "--any",
    is_flag=True,
    help="Compare every face with every face; the most similar pair decides.",
)
def verify(run: Run, first: str, second: str, any_pair: bool) -> ExitStatus:
    """Say whether two pictures show the same person.

    Where a picture shows several faces the largest is compared, and the output says which one. With
    --any each face is compared with each, and the threshold rises, so that the false-match rate
    still holds. Faces are numbered in reading order, as by detect. Exit status: 0 yes, 1 no, or no
    usable face in one of the pictures.
    """
    if first == second == STDIN:
        raise InputError("- stands for one picture on standard input; name a file for the other")
    with open_engine(run.settings) as engine, name_stdin(STDIN if STDIN in (first, second) else ""):
        sources = [read_input(each, run.settings.max_bytes) for each in (first, second)]
        result = engine.verify(*sources, any_pair=any_pair)
    if run.json:
        found = result.to_dict()
        named = zip((first, second), found["images"], strict=True)
        run.emit({**found, "images": [{"image": image, **side} for image, side in named]})
    _print(run, result, (first, second), any_pair)
    say_threshold(run, result.threshold)
    return ExitStatus.YES if result.match else ExitStatus.NO


def _print(run: Run, result: Verification, images: tuple[str, str], any_pair: bool) -> None:
    if result.compared is None or result.similarity is None:
        run.say(f"no: {_why_none(result, images, any_pair)}")
        return
    from facekeep.types import reading_order

    word = "yes" if result.match else "no"
    run.say(f"{word}: similarity {result.similarity:.3f}, threshold {result.threshold.cosine:.3f}")
    for image, faces, place in zip(images, result.faces, result.compared, strict=True):
        if len(faces) > 1:
            number = reading_order(faces)[place]
            size = ", the largest," if place == 0 else ""
            place_text = f"{number} of {len(faces)}{size} at {format_box(faces[place])}"
            run.say(f"{image}: compared face {place_text}")
    if not any_pair and not result.match and any(len(faces) > 1 for faces in result.faces):
        run.say("to compare each face with each: --any")


def _why_none(result: Verification, images: tuple[str, str], any_pair: bool) -> str:
    """Which picture shows no face, or no usable one, and why."""
    from facekeep.pipeline.quality import reason_words

    sides = list(zip(images, result.faces, strict=True))
    without = [image for image, faces in sides if not faces]
    problems = [f"no face was found in {' and in '.join(without)}"] if without else []
    problems += [
        f"the face in {image} is unusable ({reason_words(faces[0].reasons)})"
        for image, faces in sides
        if faces and not any(face.usable for face in (faces if any_pair else faces[:1]))
    ]
    return " and ".join(problems)
