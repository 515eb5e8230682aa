"""``facekeep detect``, ``identify`` and ``verify``: who and what is in pictures."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facekeep.cli.command import ExitStatus, Run, command, group
from facekeep.cli.looking import check_targets
from facekeep.cli.opening import open_engine
from facekeep.cli.options import ENGINE, GALLERY, Collage, Image, Images
from facekeep.cli.output import counted
from facekeep.cli.terms import box, say_terms
from facekeep.errors import FacekeepError, ImageError, InputError

if TYPE_CHECKING:
    from facekeep.face import Face

app = group()

Pictures = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        metavar="PATH",
        help="Write the picture with its faces marked: a file, or a folder for several pictures.",
    ),
]
Top = Annotated[
    int, typer.Option("--top", min=1, max=1000, metavar="N", help="Candidates to list a face.")
]


@command(
    app,
    "detect",
    uses=ENGINE,
    examples=[
        "facekeep detect party.jpg --out marked.jpg",
        "facekeep detect photos/*.jpg --json --min-face 20",
    ],
)
def detect(run: Run, images: Images, out: Pictures = None) -> ExitStatus:
    """Find the faces in pictures, with landmarks and quality.

    Exit status: 0 when there is a face in every picture, 1 when one has none. With --json, one
    line for each picture.
    """
    with open_engine(run) as engine:
        return _each(run, images, out, engine.detect)


@command(
    app,
    "identify",
    uses=(*GALLERY, "fmr", *ENGINE),
    examples=[
        "facekeep identify party.jpg --gallery people.db",
        "facekeep identify door.jpg --fmr 1e-5 --json",
        "facekeep identify photos/*.jpg --out marked/",
    ],
)
def identify(
    run: Run, images: Images, top: Top = 5, collage: Collage = False, out: Pictures = None
) -> ExitStatus:
    """Say who the people in pictures are, as far as they are enrolled.

    A face is given a name when its similarity to somebody reaches the threshold for the
    false-match rate; everybody else stays unknown. A face that shows too little is unusable, and
    not compared. Of several faces of a picture that match one person only the most similar gets
    the name, unless with --collage. Exit status: 0 when somebody was recognised in
    every picture, 1 when not. With --json, one line for each picture.
    """
    with open_engine(run, gallery="read") as engine:
        status = _each(
            run, images, out, lambda image: engine.identify(image, top_k=top, collage=collage)
        )
        say_terms(run, engine.threshold(), engine.gallery.count())
    return status


@command(
    app,
    "verify",
    uses=("fmr", *ENGINE),
    examples=["facekeep verify id-card.jpg selfie.jpg", "facekeep verify a.jpg b.jpg --fmr 1e-5"],
)
def verify(
    run: Run,
    first: Image,
    second: Annotated[Path, typer.Argument(metavar="IMAGE2", help="Another picture.")],
) -> ExitStatus:
    """Say whether two pictures show the same person; of several faces the largest counts.

    Exit status: 0 yes, 1 no, or no usable face in one of them.
    """
    with open_engine(run) as engine:
        result = engine.verify(first, second)
    limit = result.threshold
    if run.json:
        run.emit(
            {
                "match": result.match,
                "similarity": result.similarity,
                "threshold": limit.cosine,
                "fmr": limit.fmr,
                "reasons": result.reasons,
            }
        )
    elif result.reasons:
        run.say(f"no: the face in one of the pictures is unusable: {_plainest(result.reasons)}")
    elif result.similarity is None:
        run.say("no: one of the pictures shows no face")
    else:
        word = "yes" if result.match else "no"
        run.say(f"{word}: similarity {result.similarity:.3f}, threshold {limit.cosine:.3f}")
    say_terms(run, limit)
    return ExitStatus.YES if result.match else ExitStatus.NO


def _each(
    run: Run,
    images: Sequence[Path],
    out: Path | None,
    look: Callable[[Any], list[Face]],
) -> ExitStatus:
    """Look at each picture and report it; one that fails does not keep the others from it."""
    targets = _targets(images, out)
    status = ExitStatus.YES
    with run.progress("Looking", total=len(images)) as advance:
        for image, target in zip(images, targets, strict=True):
            try:
                found = _one(run, image, target, look)
                status = max(status, ExitStatus.YES if found else ExitStatus.NO)
            except ImageError as error:
                if len(images) == 1:
                    raise
                _report_failure(run, image, error)
                status = max(status, ExitStatus(error.exit_status))
            advance()
    return status


def _one(
    run: Run,
    image: Path,
    target: Path | None,
    look: Callable[[Any], list[Face]],
) -> bool:
    """Report one picture; True when there is a face, or a name when names were looked for."""
    from facekeep.image import load_image

    pixels = load_image(image, max_pixels=run.settings.max_pixels)
    faces = look(pixels)
    if target is not None:
        from facekeep.draw import annotate
        from facekeep.image import save_image

        save_image(target, annotate(pixels, faces))
    height, width = pixels.shape[:2]
    if run.json:
        rows = [{**_shape(face), **_identity(face)} for face in faces]
        run.emit({"image": str(image), "width": width, "height": height, "faces": rows})
    else:
        _print_faces(run, image, faces)
    return any(face.decision is None or face.name for face in faces)


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


def _print_faces(run: Run, image: Path, faces: Sequence[Face]) -> None:
    if not faces:
        run.say(f"{image}: no face")
        return
    run.say(f"{image}: {counted(len(faces), 'face')}")
    boxes = [box(face) for face in faces]
    if faces[0].decision is None:
        rows = [
            [box, f"{face.score:.2f}", _facts(face)] for box, face in zip(boxes, faces, strict=True)
        ]
        run.table(["box (x1 y1 x2 y2)", "score", "quality"], rows)
        return
    rows = [
        [_who(face), _similarity(face), _others(face), box]
        for box, face in zip(boxes, faces, strict=True)
    ]
    run.table(["who", "similarity", "most like", "box (x1 y1 x2 y2)"], rows)


def _who(face: Face) -> str:
    if face.reasons:
        return f"unusable: {_plainest(face.reasons)}"
    return face.name or "unknown"


def _plainest(reasons: Sequence[str]) -> str:
    """The first of a face's reasons, in words."""
    return reasons[0].replace("_", " ")


def _facts(face: Face) -> str:
    quality = face.quality
    if quality is None:
        return ""
    poor = f"unusable: {_plainest(face.reasons)}; " if face.reasons else ""
    return (
        f"{poor}{quality.overall:.2f} (size {quality.size:.0f} px, "
        f"sharpness {quality.sharpness:.3f}, brightness {quality.brightness:.2f}, "
        f"yaw {quality.yaw:.0f}, pitch {quality.pitch:.0f}, roll {quality.roll:.0f})"
    )


def _similarity(face: Face) -> str:
    return "" if face.similarity is None else f"{face.similarity:.3f}"


def _others(face: Face) -> str:
    candidates = face.decision.candidates if face.decision else ()
    return ", ".join(
        f"{each.name} {each.similarity:.2f}"
        + (" (refused)" if each.refused else " (another face)" if each.elsewhere else "")
        for each in candidates[:3]
    )


def _report_failure(run: Run, image: Path, error: FacekeepError) -> None:
    if run.json:
        run.emit({"image": str(image), "error": {"kind": error.kind, "message": str(error)}})
    else:
        run.say(f"error: {error}")


def _targets(images: Sequence[Path], out: Path | None) -> list[Path | None]:
    """Where each marked picture goes: the file asked for, or files of a folder."""
    if out is None:
        return [None] * len(images)
    targets = [out] if len(images) == 1 and not out.is_dir() else _in_folder(images, out)
    check_targets(targets, images)
    return list(targets)


def _in_folder(images: Sequence[Path], out: Path) -> list[Path]:
    """Name a file of a folder, which is made where it is missing, for each picture."""
    from facekeep.image import is_picture

    if not out.is_dir():
        if is_picture(out):
            raise InputError(f"{out} is one picture: name a folder with --out for several")
        if out.exists():
            raise InputError(f"{out} is a file: name a folder with --out for several pictures")
        try:
            out.mkdir()
        except OSError as error:
            raise InputError(f"cannot make the folder {out} for --out: {error.strerror}") from error
    targets: list[Path] = []
    for image in images:
        endings = itertools.chain([""], (f"-{number}" for number in itertools.count(2)))
        names = (out / f"{image.stem}{ending}.jpg" for ending in endings)
        targets.append(next(name for name in names if name not in targets))
    return targets
