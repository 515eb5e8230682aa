"""``facekeep demo``: see it work on photos in the public domain, or on your own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from facekeep._internal.files import private_folder
from facekeep.cli.command import ExitStatus, Run, command, group
from facekeep.cli.options import PATH
from facekeep.cli.output import format_value
from facekeep.errors import InputError

if TYPE_CHECKING:
    from facekeep.apps.demo import Trial

app = group()


@command(
    app,
    "demo",
    uses=("fmr", "threads"),
    examples=["facekeep demo", "facekeep demo --photos my-photos/ --out pictures/"],
)
@click.option(
    "--photos",
    type=PATH,
    metavar="FOLDER",
    help="Photos of different people, or a folder for each person with several photos; the"
    " first 20 people and 12 photos count.",
)
@click.option(
    "--out",
    "-o",
    type=PATH,
    default=Path("demo-out"),
    metavar="FOLDER",
    help="Where the pictures go.",
)
def demo(run: Run, photos: Path | None, out: Path) -> ExitStatus:
    """Enroll people, recognize them in changed photos, and see that strangers stay unknown.

    Works in a gallery of its own that is deleted afterward. Writes pictures with the answers.
    Exit status: 0 when every answer was right, 1 when one was wrong.
    """
    from facekeep.apps.demo import Demonstration, bundled_cases, cases_from

    cases = bundled_cases() if photos is None else cases_from(photos)
    try:
        private_folder(out)
    except OSError as error:
        raise InputError(
            f"cannot make the folder {out}: {error.strerror}; name another with --out"
        ) from error
    settings = run.settings
    options = {"fmr": settings.fmr, "threads": settings.threads}
    with run.progress("Recognizing") as advance:
        trials = []
        for trial in Demonstration(cases, out, options).run():
            trials.append(trial)
            advance()
    right = sum(trial.right for trial in trials)
    if run.json:
        documents = [_document(trial) for trial in trials]
        run.emit({"right": right, "trials": documents, "pictures": str(out)})
    run.table(["who is in it", "photo", "answer", "similarity", ""], [_row(t) for t in trials])
    run.say(f"{right} of {len(trials)} right at a false-match rate of {format_value(settings.fmr)}")
    if photos is not None and right < len(trials):
        run.say(
            "wrong answers may be right: several photos of one person belong into a folder with the"
            f" person's name in {photos}; loose photos count as photos of different people"
        )
    run.say(f"pictures with the answers: {out / 'collage.jpg'}, erased.jpg, trials.jpg")
    return ExitStatus.YES if right == len(trials) else ExitStatus.NO


def _document(trial: Trial) -> dict[str, Any]:
    return {
        "who": trial.who,
        "photo": trial.photo,
        "expected": trial.expected,
        "answer": trial.answer,
        "similarity": trial.similarity,
    }


def _row(trial: Trial) -> list[str]:
    return [
        trial.who,
        trial.photo,
        ", ".join(trial.answer) or "no face",
        "" if trial.similarity is None else f"{trial.similarity:.2f}",
        "right" if trial.right else f"WRONG, expected {', '.join(trial.expected)}",
    ]
