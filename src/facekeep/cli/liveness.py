"""``facekeep liveness``: whether a living person is before a camera."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from facekeep.cli import output
from facekeep.cli.command import ExitStatus, Run, command, group
from facekeep.cli.completion import file_names, model_names
from facekeep.cli.options import ENGINE
from facekeep.factory import make_runtime_options, open_engine

if TYPE_CHECKING:
    from facekeep.video.camera import Camera

app = group()


@command(
    app,
    "liveness",
    uses=ENGINE,
    examples=[
        "facekeep liveness --camera 0",
        "facekeep liveness --camera 0 --model minifasnet",
        "facekeep liveness --camera film.mp4 --challenge left,right --json",
    ],
)
@click.option(
    "--camera",
    required=True,
    metavar="SOURCE",
    help="The camera: a number, a device, an address (rtsp://, http://), or a video file.",
    shell_complete=file_names,
)
@click.option(
    "--challenge",
    metavar="MOVES",
    help="The moves to ask for, such as left,right; also up and closer. Only for recorded footage:"
    " whoever knows them can prepare a recording. [default: drawn at random]",
)
@click.option(
    "--deadline",
    type=click.FloatRange(0.5, 120),
    default=6.0,
    metavar="SECONDS",
    help="Time to answer each prompt.",
)
@click.option(
    "models",
    "--model",
    multiple=True,
    metavar="NAME",
    help="Also ask this liveness network; may be repeated. What one denies is denied.",
    shell_complete=model_names("liveness"),
)
def liveness(
    run: Run, *, camera: str, challenge: str | None, deadline: float, models: tuple[str, ...]
) -> ExitStatus:
    """Ask a person before a camera to move, and say whether it is a living one.

    Left and right are the person's own. The prompts go to standard error. Pictures that are too
    dark, too far away or full of glare give "cannot tell". Exit status: 0 live; 1 not live, or
    cannot tell.
    """
    from facekeep.liveness.active import PROMPTS, ActiveLiveness
    from facekeep.liveness.checking import SAME_PERSON_FMR, check_liveness
    from facekeep.liveness.passive import LivenessNetwork, PassiveLiveness
    from facekeep.models import entry
    from facekeep.models.terms import require_allowed
    from facekeep.video.camera import Camera

    options = make_runtime_options(run.settings, run.settings.threads)
    moves: Any = None if challenge is None else [each.strip() for each in challenge.split(",")]
    for name in models:
        require_allowed(entry(name), run.settings.terms)
    with ExitStack() as stack:
        engine = stack.enter_context(open_engine(run.settings))
        networks = [stack.enter_context(LivenessNetwork(name, options=options)) for name in models]
        active = ActiveLiveness(
            same_person=engine.threshold(SAME_PERSON_FMR).cosine,
            challenges=moves,
            deadline=deadline,
        )
        source = stack.enter_context(Camera(camera, give_up=deadline))
        result = check_liveness(
            engine,
            _frames_of(source),
            active=active,
            passive=PassiveLiveness(networks) if networks else None,
            on_prompt=lambda prompt, progress: _show(run, PROMPTS[prompt], progress),
        )
    if run.json:
        run.emit({**result.to_dict(), "challenges": list(active.challenges)})
    why = f" ({', '.join(result.reasons)})" if result.reasons else ""
    run.say(f"{result.verdict}{why}")
    return ExitStatus.YES if result.live else ExitStatus.NO


def _frames_of(camera: Camera) -> Iterator[tuple[Any, float]]:
    for frame in camera:
        yield frame.image, frame.position


def _show(run: Run, prompt: str, progress: float) -> None:
    if not run.quiet:
        output.say(f"{prompt} ({100 * progress:.0f} % done)", sys.stderr)
