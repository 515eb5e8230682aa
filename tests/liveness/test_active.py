from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from head_kit import FLAT, HEAD, ME, SOMEBODY, Actor, Shot, face_at, in_depth, play, project, tilted
from head_kit import turned as turn

from facekeep.errors import InputError
from facekeep.liveness.active import TURN, ActiveLiveness, draw_challenges
from facekeep.liveness.head_motion import nose_parallax
from facekeep.pipeline.detect import Detector
from facekeep.pipeline.image import load_image
from facekeep.types import Observation


def check(*challenges: Any, **options: Any) -> ActiveLiveness:
    return ActiveLiveness(same_person=0.38, challenges=challenges or ("left", "right"), **options)


@pytest.mark.parametrize(
    "challenges",
    [("left",), ("right",), ("right", "left"), ("up", "left"), ("closer", "up", "right", "left")],
)
def test_a_head_that_does_what_is_asked_is_live(challenges: Any) -> None:
    found = check(*challenges)
    assert play(found, Actor()).to_dict() == {"verdict": "live", "reasons": [], "score": None}
    assert found.progress == 1.0


def test_prompts_lead_through_the_challenges() -> None:
    found, actor, seen = check("left", "up"), Actor(), list[str]()
    while found.result is None:
        for shot in actor.answer(found.prompt):
            seen.append(found.prompt)
            found.update(shot.face, shot.image, shot.position)
    assert [a for a, b in zip(seen, [None, *seen], strict=False) if a != b] == [
        "straight",
        "left",
        "straight",
        "up",
        "straight",
    ]


def test_left_is_the_persons_own_left() -> None:
    """It is to the right in a picture that is not mirrored."""
    seen = nose_parallax(project(HEAD), project(turn(HEAD, yaw=25)))
    assert seen[0] > TURN
    assert play(check("left"), Actor(), lambda s, p: s).live
    mirrored = Actor()
    mirrored.answer = lambda prompt: Actor.answer(  # type: ignore[method-assign]
        mirrored, {"left": "right", "right": "left"}.get(prompt, prompt)
    )
    assert play(check("left"), mirrored).reasons == ("wrong_move",)


@pytest.mark.parametrize("angle", [15, 30, 50])
@pytest.mark.parametrize("prompt", ["left", "up"])
def test_a_flat_picture_never_leaves_its_plane(angle: float, prompt: str) -> None:
    yaw, pitch = (angle, 0) if prompt == "left" else (0, -angle)
    moved = project(turn(FLAT, yaw, pitch), 1.3, at=(9, 20))
    assert np.abs(nose_parallax(project(FLAT), moved)).max() < 1e-6


@pytest.mark.parametrize("angle", [20.0, 35.0, 50.0])
def test_a_tilted_picture_is_not_live(angle: float) -> None:
    actor = Actor(FLAT, noise=0.01)
    actor.answer = lambda prompt: Actor.answer(actor, prompt, angle)  # type: ignore[method-assign]
    result = play(check(), actor)
    assert result.verdict == "not live"
    assert set(result.reasons) <= {"flat", "no_response"}


def test_a_picture_that_is_bent_while_it_is_tilted_is_not_live() -> None:
    bent = FLAT.copy()
    bent[:, 2] = 0.25 * bent[:, 0] ** 2
    assert play(check(), Actor(bent, noise=0.01)).verdict == "not live"


def test_a_head_that_does_nothing_gives_no_response() -> None:
    actor = Actor()
    actor.answer = lambda prompt: actor.hold()  # type: ignore[method-assign]
    assert play(check(), actor).to_dict()["reasons"] == ["no_response"]


def test_a_recording_of_other_moves_is_not_live() -> None:
    """It shows a person who nods and turns, but not as asked."""
    actor = Actor()
    moves = iter([{"pitch": -30.0}, {"yaw": -30.0}, {"yaw": 30.0}] * 30)
    actor.answer = lambda prompt: (  # type: ignore[method-assign]
        actor.hold() if prompt == "straight" else actor.go(**next(moves))
    )
    assert play(check("left", "right"), actor).verdict == "not live"


def with_face(shot: Shot, **changes: Any) -> Shot:
    assert shot.face is not None
    return replace(shot, face=shot.face.replace(**changes))


def test_another_person_who_looks_straight_is_not_live() -> None:
    found = check()

    def swap(shot: Shot, prompt: str) -> Shot:
        return with_face(shot, embedding=SOMEBODY) if found.progress > 0.3 else shot

    assert play(found, Actor(), swap).reasons == ("another_person",)


def test_another_person_who_only_turns_is_not_live() -> None:
    """A living head turns for the picture of somebody else."""

    def swap(shot: Shot, prompt: str) -> Shot:
        return with_face(shot, embedding=SOMEBODY if prompt == "left" else ME)

    assert play(check("left"), Actor(), swap).reasons == ("another_person",)


def test_a_face_that_is_never_embedded_is_never_live() -> None:
    result = play(check(), Actor(), lambda shot, _: with_face(shot, embedding=None))
    assert result.verdict == "cannot tell"


def test_a_broken_track_is_not_live() -> None:
    def gap(shot: Shot, prompt: str) -> Shot:
        return replace(shot, face=None) if prompt == "left" else shot

    assert play(check("left"), Actor(), gap).reasons == ("track_broken",)


def test_a_face_that_jumps_breaks_the_track() -> None:
    def jump(shot: Shot, prompt: str) -> Shot:
        assert shot.face is not None
        moved = shot.face.bbox + np.float32(150 if prompt == "left" else 0)
        return with_face(shot, bbox=moved)

    assert play(check("left"), Actor(), jump).reasons == ("track_broken",)


def test_another_track_breaks_it_though_it_lies_in_the_same_place() -> None:
    found, actor = check("left"), Actor()
    while found.result is None:
        for shot in actor.answer(found.prompt):
            track = 1 if found.prompt == "straight" else 2
            seen = Observation(shot.face, track, "door", datetime.now(UTC))  # type: ignore[arg-type]
            found.update(seen, shot.image, shot.position)
    assert found.result.reasons == ("track_broken",)


def test_a_track_that_breaks_before_anything_is_proven_begins_anew() -> None:
    found, actor = check("left"), Actor()
    for shot in list(actor.hold(0.12)):
        found.update(shot.face, shot.image, shot.position)
    for shot in list(actor.hold(1.0)):
        found.update(None, shot.image, shot.position)
    assert play(found, actor).live


def test_a_frozen_stream_is_not_live() -> None:
    kept = list[Shot]()

    def freeze(shot: Shot, prompt: str) -> Shot:
        kept.append(shot)
        return replace(kept[10], position=shot.position) if len(kept) > 10 else shot

    assert play(check(), Actor(), freeze).reasons == ("frozen",)


def test_a_looped_stream_is_not_live() -> None:
    """Somebody who moves a little, again and again the same way."""
    actor = Actor()
    recorded = [*actor.hold(0.5), *actor.go(yaw=6), *actor.go()]
    found = check("right", "left", deadline=60.0)
    for number in range(len(recorded) * 4):
        shot = recorded[number % len(recorded)]
        found.update(shot.face, shot.image, number / 25)
        if found.result:
            break
    assert found.result is not None
    assert found.result.reasons == ("looped",)


def test_time_stamps_that_do_not_rise_are_not_live() -> None:
    result = play(check(), Actor(), lambda s, _: replace(s, position=min(s.position, 2.0)))
    assert result.reasons == ("time_stamps",)


def test_gaps_between_frames_leave_room_for_tricks() -> None:
    result = play(check(), Actor(), lambda s, _: replace(s, position=s.position * 20))
    assert result.verdict == "cannot tell"


@pytest.mark.parametrize(
    ("reason", "spoil"),
    [
        ("too_dark", lambda shot: replace(shot, image=shot.image // 10)),
        ("too_bright", lambda shot: replace(shot, image=shot.image // 16 * 2 + 228)),
        ("no_face", lambda shot: replace(shot, face=None)),
    ],
)
def test_pictures_that_show_too_little_are_never_judged(reason: str, spoil: Any) -> None:
    result = play(check(), Actor(), lambda shot, _: spoil(shot))
    assert result.verdict == "cannot tell"
    assert result.reasons[0] == reason


def test_a_face_that_is_too_far_is_never_judged() -> None:
    def far(shot: Shot, prompt: str) -> Shot:
        assert shot.face is not None
        small = 120 + (shot.face.landmarks - 120) * 0.4
        return replace(shot, face=face_at(small))

    result = play(check(), Actor(), far)
    assert result.verdict == "cannot tell"
    assert result.reasons == ("too_far",)


def test_glare_in_glasses_is_never_judged() -> None:
    def glare(shot: Shot, prompt: str) -> Shot:
        assert shot.face is not None
        image = shot.image.copy()
        for x, y in shot.face.landmarks[:2].astype(int):
            image[y - 8 : y + 8, x - 8 : x + 8] = 255
        return replace(shot, image=image)

    result = play(check(), Actor(), glare)
    assert result.to_dict() == {"verdict": "cannot tell", "reasons": ["glare"], "score": None}


def test_darkness_after_a_good_start_is_no_proof_either_way() -> None:
    found = check("left")

    def darken(shot: Shot, prompt: str) -> Shot:
        return replace(shot, image=shot.image // 10) if prompt == "left" else shot

    assert play(found, Actor(), darken).verdict == "cannot tell"


def test_footage_that_ends_early_proves_nothing() -> None:
    found = check()
    for shot in Actor().hold(1.0):
        found.update(shot.face, shot.image, shot.position)
    assert found.end().verdict == "cannot tell"
    assert found.end() is found.result


def test_challenges_are_drawn_at_random_with_a_turn_among_them() -> None:
    drawn = {draw_challenges() for _ in range(400)}
    assert len(drawn) > 30
    assert all({"left", "right"} & set(each) and len(set(each)) == len(each) for each in drawn)
    assert {len(each) for each in drawn} == {2, 3, 4}
    assert {each[0] for each in drawn} == {"left", "right", "up", "closer"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"challenges": ("wink",)}, "no challenge 'wink'"),
        ({"challenges": ("up", "closer")}, "left or right"),
        ({"challenges": ()}, "left or right"),
        ({"deadline": 0}, "deadline"),
        ({"deadline": float("nan")}, "deadline"),
    ],
)
def test_challenges_that_prove_nothing_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        ActiveLiveness(same_person=0.38, **options)


def test_landmarks_in_one_line_are_no_motion() -> None:
    line = np.column_stack([np.arange(5.0), np.zeros(5)])
    with pytest.raises(InputError, match="landmarks"):
        nose_parallax(line, line)


def motion(detector: Detector, before: Any, after: Any) -> float:
    """How far the nose of a portrait left its plane along the eyes."""
    first, second = (detector.find(each)[0].landmarks for each in (before, after))
    return float(nose_parallax(first, second)[0])


@pytest.mark.parametrize("side", [-1, 1])
def test_a_real_portrait_with_depth_leaves_its_plane(side: int, collins_path: Path) -> None:
    image = load_image(collins_path)
    with Detector(max_faces=1) as detector:
        seen = in_depth(image, detector.find(image)[0], 40.0 * side)
        assert motion(detector, image, seen) * side > TURN


@pytest.mark.parametrize("name", ["hopper", "collins"])
def test_a_real_portrait_that_is_tilted_stays_in_its_plane(
    name: str, request: pytest.FixtureRequest
) -> None:
    image = load_image(request.getfixturevalue(f"{name}_path"))
    with Detector(max_faces=1) as detector:
        seen = [motion(detector, image, tilted(image, yaw)) for yaw in (-45, -25, 25, 45)]
    assert np.abs(seen).max() < TURN / 2
