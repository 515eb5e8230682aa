"""Heads and pictures of heads before a camera: their landmarks, and portraits that are turned."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from facekeep.types import Face

# A head as seen upright, in distances of the eyes: to the right, down, and away from the camera.
HEAD = np.array(
    [[-0.5, 0, 0], [0.5, 0, 0], [0, 0.62, -0.45], [-0.42, 1.1, 0.02], [0.42, 1.1, 0.02]]
)
FLAT = HEAD * [1, 1, 0]
SIDE = 240
RATE = 25
EYES = 40.0  # pixels

ME = np.eye(1, 128, dtype=np.float32)[0]
SOMEBODY = np.eye(1, 128, 5, dtype=np.float32)[0]


def turned(points: NDArray[Any], yaw: float, pitch: float = 0.0) -> NDArray[Any]:
    """Turn points in space: degrees to the right of the image, and down."""
    y, p = math.radians(yaw), math.radians(pitch)
    side = np.array([[math.cos(y), 0, -math.sin(y)], [0, 1, 0], [math.sin(y), 0, math.cos(y)]])
    down = np.array([[1, 0, 0], [0, math.cos(p), -math.sin(p)], [0, math.sin(p), math.cos(p)]])
    middle = points.mean(axis=0)
    return (points - middle) @ (side @ down).T + middle


def project(points: NDArray[Any], size: float = 1.0, at: tuple[float, float] = (0, 0)) -> Any:
    """Project points by a camera, 12 distances of the eyes away: ``(5, 2)`` pixels."""
    flat = points[:, :2] * (12 / (12 + points[:, 2:]))
    return (flat - flat.mean(axis=0)) * EYES * size + SIDE / 2 + at


def face_at(landmarks: NDArray[Any], embedding: NDArray[np.float32] | None = ME) -> Face:
    """A face with these landmarks."""
    low, high = landmarks.min(axis=0), landmarks.max(axis=0)
    margin = (high - low).max() * 0.5
    bbox = np.concatenate([low - margin, high + margin]).clip(1, SIDE - 2)
    return Face(bbox.astype(np.float32), landmarks.astype(np.float32), 0.9, embedding=embedding)


@dataclass
class Shot:
    """A frame to be judged."""

    face: Face | None
    image: NDArray[np.uint8]
    position: float


class Actor:
    """Gives frames of a head, or of a picture of one, that does what it is told.

    Args:
        points: `HEAD`, or `FLAT` for a picture.
        noise: Of the landmarks, in distances of the eyes.
        tremble: How restless the pictures are in pixels.
    """

    def __init__(self, points: NDArray[Any] = HEAD, noise: float = 0.015) -> None:
        self.points, self.noise = points, noise
        self.rng = np.random.default_rng(7)
        self.texture = cv2.resize(
            self.rng.integers(60, 200, (30, 30, 3), np.uint8), (2 * SIDE, 2 * SIDE)
        )
        self.grain = self.rng.normal(0, 4, (9, 2 * SIDE, SIDE, 3)).astype(np.int8)
        self.time, self.yaw, self.pitch, self.size = 0.0, 0.0, 0.0, 1.0
        self.embedding: NDArray[np.float32] | None = ME

    def shot(self) -> Shot:
        """Take the next frame of the present pose."""
        self.time += 1 / RATE
        marks = project(turned(self.points, self.yaw, self.pitch), self.size)
        marks = marks + self.rng.normal(0, self.noise * EYES, marks.shape)
        x, y = (SIDE / 2 + np.array([self.yaw, self.pitch])).astype(int)
        at, start = self.rng.integers(9), self.rng.integers(SIDE)
        image = self.texture[y : y + SIDE, x : x + SIDE] + self.grain[at, start : start + SIDE]
        return Shot(face_at(marks, self.embedding), image.astype(np.uint8), self.time)

    def hold(self, seconds: float = 0.8) -> Iterator[Shot]:
        """Keep the pose."""
        for _ in range(round(seconds * RATE)):
            yield self.shot()

    def go(self, yaw: float = 0.0, pitch: float = 0.0, size: float = 1.0) -> Iterator[Shot]:
        """Go to another pose in half a second, and keep it."""
        begin, end = (self.yaw, self.pitch, self.size), (yaw, pitch, size)
        for step in np.linspace(0, 1, RATE // 2):
            self.yaw, self.pitch, self.size = (
                a + (b - a) * step for a, b in zip(begin, end, strict=True)
            )
            yield self.shot()
        yield from self.hold()

    def answer(self, prompt: str, angle: float = 30.0) -> Iterator[Shot]:
        """Do what a prompt asks for, and keep it."""
        poses: dict[str, dict[str, float]] = {
            "straight": {},
            "left": {"yaw": angle},
            "right": {"yaw": -angle},
            "up": {"pitch": -angle},
            "closer": {"size": 1.5},
        }
        return self.go(**poses[prompt])


def play(check: Any, actor: Actor, change: Callable[[Shot, str], Shot | None] | None = None) -> Any:
    """Let an actor answer each prompt until there is a judgment.

    Args:
        check: An `ActiveLiveness`.
        actor: Who answers.
        change: What is done to each frame, told the prompt; None leaves the frame out.
    """
    for _ in range(60):
        for shot in actor.answer(check.prompt):
            changed = shot if change is None else change(shot, check.prompt)
            if changed is not None:
                check.update(changed.face, changed.image, changed.position)
            if check.result is not None:
                return check.result
    return check.end()


def in_depth(image: NDArray[np.uint8], face: Face, yaw: float) -> NDArray[np.uint8]:
    """Turn the head of a portrait as if it were an ellipsoid with a nose: no flat picture does so.

    Args:
        image: The portrait.
        face: The face in it, upright.
        yaw: Degrees; above 0 to the right side of the image.
    """
    eyes = float(np.hypot(*(face.landmarks[1] - face.landmarks[0])))
    (x, y), nose = face.landmarks[[0, 1, 3, 4]].mean(axis=0), face.landmarks[2]
    rows, columns = np.indices(image.shape[:2], np.float32)
    side, down = (columns - x) / eyes, (rows - y) / eyes
    head = np.sqrt((1 - (side / 1.25) ** 2 - (down / 1.7) ** 2).clip(min=0))
    away = ((columns - nose[0]) / 0.28 / eyes) ** 2 + ((rows - nose[1]) / 0.38 / eyes) ** 2
    depth = head + 0.45 * np.exp(-away) - 0.9
    angle = np.radians(yaw)
    source = x + eyes * (side - np.sin(angle) * depth) / np.cos(angle)
    places = source.astype(np.float32), rows
    return np.asarray(
        cv2.remap(image, *places, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


def tilted(image: NDArray[np.uint8], yaw: float) -> NDArray[np.uint8]:
    """Show a picture that is tilted about its upright axis by so many degrees."""
    height, width = image.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    places = np.column_stack([corners - [width / 2, height / 2], np.zeros(4)])
    seen = turned(places, yaw)
    seen = seen[:, :2] * (2.5 * width / (2.5 * width + seen[:, 2:])) + [width / 2, height / 2]
    matrix = cv2.getPerspectiveTransform(corners, seen.astype(np.float32))
    return np.asarray(cv2.warpPerspective(image, matrix, (width, height)), np.uint8)
