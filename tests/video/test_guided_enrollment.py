"""Guided enrollment: what the person is told, and which frames are taken."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from facekeep import Face, Quality
from facekeep.types import Threshold
from facekeep.video.guided_enrollment import Guidance, GuidedEnrollment

GOOD = Quality(
    size=160,
    eye_distance=60,
    sharpness=0.35,
    brightness=0.5,
    contrast=0.25,
    yaw=0,
    pitch=0,
    roll=0,
    score=0.95,
    outside=0,
    mouth_covered=0,
    eyes_covered=0,
    blockiness=0.2,
    recognizability=1,
    overall=0.9,
)
IMAGE = np.zeros((480, 640, 3), np.uint8)


@dataclass
class Frame:
    """The part of ``facekeep.Frame`` that is looked at."""

    position: float

    @property
    def image(self) -> Any:
        return IMAGE


class Engine:
    """Stands in for the engine: its faces are those that the test puts there."""

    def __init__(self) -> None:
        self.faces: list[Face] = []
        self.person = 0
        self.reasons: tuple[str, ...] = ()

    def threshold(self) -> Threshold:
        return Threshold(0.5, 1e-4, 10**6)

    def find(self, image: Any) -> list[Face]:
        return self.faces

    def embed(self, faces: list[Face]) -> list[Face]:
        row = np.eye(4, dtype=np.float32)[self.person]
        return [face.replace(embedding=row, reasons=self.reasons) for face in faces]


class Scene:
    """A person before the camera, ten frames a second."""

    def __init__(self) -> None:
        self.engine = Engine()
        self.guided = GuidedEnrollment(self.engine)  # type: ignore[arg-type]
        self.now = 0.0

    def see(self, seconds: float, *facts: dict[str, float], person: int = 0) -> list[Guidance]:
        """Show faces for a while; returns what was said."""
        self.engine.person = person
        self.engine.faces = [
            Face(
                np.array([200 + 200 * n, 100, 360 + 200 * n, 300], np.float32),
                np.zeros((5, 2), np.float32),
                0.9,
                replace(GOOD, **each),
            )
            for n, each in enumerate(facts)
        ]
        said = []
        for _ in range(round(seconds * 10)):
            self.now += 0.1
            said.append(self.guided.add(Frame(self.now)))  # type: ignore[arg-type]
        return [each for each in said if each is not None]

    @property
    def views(self) -> list[str]:
        return [shot.view for shot in self.guided.shots]


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.mark.parametrize(
    ("facts", "advice"),
    [
        ({"size": 50}, "move closer"),
        ({"sharpness": 0.1}, "hold still and focus"),
        ({"brightness": 0.05}, "add light"),
        ({"brightness": 0.95}, "use less light"),
        ({"outside": 0.5}, "get the whole face into the picture"),
        ({"mouth_covered": 1.0}, "uncover mouth and nose"),
        ({"yaw": 60}, "look at the camera"),
        ({"pitch": 35}, "look at the camera"),
    ],
)
def test_what_is_wrong_is_said_and_not_taken(
    scene: Scene, facts: dict[str, float], advice: str
) -> None:
    assert {each.advice for each in scene.see(2, facts)} == {advice}
    assert scene.views == []


def test_without_a_face_and_with_several_nothing_is_taken(scene: Scene) -> None:
    assert {each.advice for each in scene.see(1)} == {"no face is seen: come before the camera"}
    assert {each.advice for each in scene.see(1, {}, {})} == {
        "several people are seen: only one, please"
    }
    assert scene.views == []


def test_it_wants_the_front_twice_and_both_sides(scene: Scene) -> None:
    scene.see(1, {})
    assert scene.views == ["straight", "straight"]
    assert scene.see(1, {})[-1].advice == "turn your head a little to your left"
    scene.see(0.5, {"yaw": 25})
    assert scene.views[2:] == ["left"], "the nose points to the right side of the picture"
    assert scene.see(1, {})[-1].advice == "turn your head a little to your right"
    assert not scene.see(1, {"yaw": 25})[-1].taken
    said = scene.see(1, {"yaw": -25})
    assert [each.advice for each in said if each.taken] == ["picture 4 of 4: right"]
    assert scene.guided.wanted == []
    assert scene.see(1, {}) == [], "it has ended"
    assert all(shot.face.embedding is not None for shot in scene.guided.shots)


def test_pictures_are_apart_and_of_a_face_that_stays(scene: Scene) -> None:
    assert not any(each.taken for each in scene.see(0.2, {})), "it may only pass by"
    taken_at = []
    for _ in range(20):
        taken_at += [scene.now + 0.1 for each in scene.see(0.1, {}) if each.taken]
    assert len(taken_at) == 2
    assert taken_at[1] - taken_at[0] >= 0.59


def test_a_face_that_only_the_embedding_tells_to_be_bad_is_not_taken(scene: Scene) -> None:
    scene.engine.reasons = ("unclear",)
    assert scene.see(1, {})[-1].advice == "the face is not usable: unclear"
    assert scene.views == []


def test_somebody_else_is_not_mixed_in(scene: Scene) -> None:
    scene.see(0.5, {})
    said = scene.see(1.5, {"yaw": 25}, person=1)
    assert said[-1].advice == "this is not the person of the pictures before"
    assert scene.views == ["straight"]
    scene.see(0.5, {"yaw": 25})
    assert scene.views == ["straight", "left"]


def test_somebody_else_who_stays_begins_anew(scene: Scene) -> None:
    scene.see(0.5, {})
    advice = [each.advice for each in scene.see(4.5, {}, person=1)]
    assert "this is somebody else: it begins anew" in advice
    rows = [shot.face.embedding for shot in scene.guided.shots]
    assert len(rows) == 2
    assert all(row is not None and row[1] == 1 for row in rows)
