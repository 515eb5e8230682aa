"""``facekeep enroll NAME --camera``: pictures of a person whom the camera guides."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from facekeep.cli.command import Run
from facekeep.cli.live_cameras import choose_cameras, open_camera
from facekeep.cli.output import format_count, say
from facekeep.errors import CameraError, InputError

if TYPE_CHECKING:
    from facekeep.engine import FaceEngine
    from facekeep.video.camera import Camera
    from facekeep.video.guided_enrollment import Shot

__all__ = ["CaptureOptions", "take_pictures"]

_REPEAT: Final = 5.0  # seconds after which the same advice is given once more


@dataclass(frozen=True)
class CaptureOptions:
    """How pictures are taken.

    Attributes:
        source: The camera.
        timeout: Seconds after which what there is must do.
        yes: Store it without asking.
        rotate: What ``--rotate`` says, if it was given.
        out: Where the pictures are kept for the user to see; None for a file that goes away.
    """

    source: str
    timeout: float
    yes: bool
    rotate: str | None
    out: Path | None


@contextmanager
def take_pictures(
    run: Run, engine: FaceEngine, name: str, capture: CaptureOptions
) -> Iterator[Sequence[Any]]:
    """Take pictures of a person, show them, and ask; yields none where there are none to store.

    Raises:
        CameraError: The camera gives no pictures.
        InputError: Nobody is there to ask.
    """
    if not capture.yes and (sys.stdin is None or not sys.stdin.isatty()):
        raise InputError("nobody is there to ask whether the pictures are good: add --yes")
    ((named, table),) = choose_cameras(run, [capture.source], capture.rotate)
    with open_camera(named, table) as camera:
        shots = _watch(run, engine, camera, capture.timeout)
    if not shots:
        run.say("no picture could be taken, so nobody was enrolled")
        yield []
        return
    with _show(run, name, shots, capture.out):
        question = f"Store {format_count(len(shots), 'picture')} as {name}?"
        if capture.yes or click.confirm(question, err=True):
            yield [shot.image for shot in shots]
        else:
            run.say("nothing was stored")
            yield []


def _watch(run: Run, engine: FaceEngine, camera: Camera, timeout: float) -> Sequence[Shot]:
    """Guide the person until all pictures were taken, the time is over, or the source has ended."""
    from facekeep.video.guided_enrollment import GuidedEnrollment

    guided = GuidedEnrollment(engine)
    guide = _Guide(run)
    deadline = time.monotonic() + timeout
    while guided.wanted and (left := deadline - time.monotonic()) > 0:
        frame = camera.read(min(left, 0.5))
        if frame is not None:
            found = guided.add(frame)
            if found is not None:
                guide.say(found.advice, now=found.taken)
        elif camera.state == "ended":
            break
        elif camera.state == "lost":
            guide.say(f"the camera is lost: {camera.error}")
    if camera.frames == 0:
        raise CameraError(f"{camera.source}: {camera.error or 'it gave no picture'}")
    return guided.shots


class _Guide:
    """Says what to do: when it changes, or again after a while; not faster than one can read."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._last = ""
        self._said = 0.0

    def say(self, advice: str, *, now: bool = False) -> None:
        waited = time.monotonic() - self._said
        if now or (waited > 1.0 and advice != self._last) or waited > _REPEAT:
            self._last, self._said = advice, time.monotonic()
            if self._run.json and not self._run.quiet:
                say(advice, sys.stderr)
            self._run.say(advice)
            sys.stdout.flush()


@contextmanager
def _show(run: Run, name: str, shots: Sequence[Shot], out: Path | None) -> Iterator[None]:
    """Write the faces as one picture for the user to see; without ``out`` it then goes away."""
    from facekeep.draw import contact_sheet
    from facekeep.pipeline.image import save_image

    crops = [shot.face.crop for shot in shots if shot.face.crop is not None]
    sheet = contact_sheet([(name, crops)], captions=[[s.view for s in shots]], tile=224, columns=4)
    if out is not None:
        save_image(out, sheet)
        run.say(f"the pictures: {out}")
        yield
        return
    with tempfile.TemporaryDirectory(prefix="facekeep-") as folder:
        path = Path(folder) / "pictures.png"
        save_image(path, sheet)
        run.say(f"the pictures, until you have answered: {path}")
        yield
