"""``check_liveness``: from pictures of a person to a judgment, by challenges, networks or both."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from facekeep._internal.boxes import overlap, to_box
from facekeep.engine import FaceEngine
from facekeep.errors import InputError
from facekeep.liveness.active import ActiveLiveness
from facekeep.liveness.evidence import LivenessResult, combine_results
from facekeep.liveness.passive import PassiveLiveness
from facekeep.types import Face

__all__ = ["SAME_PERSON_FMR", "check_liveness"]

SAME_PERSON_FMR: Final = 1e-3
"""The false-match rate at which faces of one track must be one person's."""

_PASSIVE_SECONDS: Final = 2.0  # that networks watch, where nothing else is asked
_SAME_FACE: Final = 0.2  # intersection over union with the face of the frame before


def check_liveness(
    engine: FaceEngine,
    frames: Iterable[tuple[NDArray[np.uint8], float]],
    *,
    active: ActiveLiveness | None = None,
    passive: PassiveLiveness | None = None,
    on_prompt: Callable[[str, float], None] = lambda prompt, progress: None,
) -> LivenessResult:
    """Watch one person, the one whose face is largest, until there is a judgment.

    Args:
        engine: Finds and embeds the faces.
        frames: Pictures, uint8 ``(H, W, 3)`` RGB and not mirrored, each with when it was taken in
            seconds. No more are taken than needed.
        active: The challenges; None asks for nothing.
        passive: The networks; None asks none. They see the frames in which nobody moves.
        on_prompt: Called with each new prompt (see ``active.PROMPTS``), and how much is done.

    Returns:
        The judgment of both together: what one denies is denied.

    Raises:
        InputError: There are neither challenges nor networks.
    """
    if active is None and passive is None:
        raise InputError("liveness needs challenges, networks, or both")
    face: Face | None = None
    prompt, begin = "", None
    for image, position in frames:
        begin = position if begin is None else begin
        face = _choose(engine.find(image), face)
        if active is None:
            done = position - begin >= _PASSIVE_SECONDS
        else:
            if active.prompt != prompt:
                prompt = active.prompt
                on_prompt(prompt, active.progress)
            seen = None if face is None else engine.embed([face])[0]
            done = active.update(seen, image, position) is not None
        if passive is not None and prompt in ("", "straight"):
            passive.update(face, image)
        if done:
            break
    results = [] if active is None else [active.end()]
    return combine_results([*results, *([] if passive is None else [passive.result])])


def _choose(faces: list[Face], before: Face | None) -> Face | None:
    """Return the face that was watched before, else the largest; None where there is none."""
    if before is not None:
        box = to_box(before.bbox)
        near = [face for face in faces if overlap(to_box(face.bbox), box) >= _SAME_FACE]
        faces = near or faces
    return max(faces, key=lambda face: face.size, default=None)
