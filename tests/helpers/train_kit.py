"""Small people to train on: two portraits, each turned into many by color and shape."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from facekeep import save_image
from facekeep.lab.train.recipe import Recipe

SIDE = 64


def write_people(
    folder: Path, portraits: list[NDArray[np.uint8]], people: int, images: int, first: int = 0
) -> Path:
    """Write a folder for each person: one look a person, a little noise and light an image."""
    for person in range(first, first + people):
        look = _paint_person(portraits[person % len(portraits)], np.random.default_rng(person))
        for number in range(images):
            rng = np.random.default_rng((person, number))
            light = look * rng.uniform(0.8, 1.2) + rng.normal(0, 8, look.shape)
            image = np.clip(light, 0, 255).astype(np.uint8)
            target = folder / f"person {person:02}" / f"{number}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            save_image(target, image)
    return folder


def _paint_person(portrait: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float64]:
    side = min(portrait.shape[:2])
    corners = np.float32([[0, 0], [side, 0], [0, side]]) * 0.6 + rng.uniform(0, 0.3 * side, (3, 2))
    warp = cv2.getAffineTransform(
        corners.astype(np.float32), np.float32([[0, 0], [SIDE, 0], [0, SIDE]])
    )
    crop = cv2.warpAffine(np.ascontiguousarray(portrait), warp, (SIDE, SIDE))
    colors = rng.dirichlet([1, 1, 1], 3)
    return np.asarray(crop @ colors.T, np.float64)


def small(data: Path, **values: Any) -> Recipe:
    """A recipe whose run takes seconds."""
    wanted = {
        "arch": "edgeface-xxs",
        "input_size": SIDE,
        "batch": 8,
        "steps": 5,
        "holdout": 3,
        "eval_every": 2,
        "checkpoint_every": 2,
        "workers": 0,
        "device": "cpu",
        **values,
    }
    return Recipe(data=data, **wanted)


def losses(log: Path) -> list[list[str]]:
    """The rows of a log without its speeds."""
    rows = [line.split(",") for line in log.read_text().splitlines()]
    speed = rows[0].index("images_per_second")
    return [row[:speed] + row[speed + 1 :] for row in rows]


def stopping_after(images: int) -> Callable[[int], Any]:
    """A ``watch`` that asks the run to stop once it saw so many images, as Ctrl-C does."""

    @contextmanager
    def watch(what: str, count: int) -> Iterator[Callable[[int], None]]:
        total = 0

        def advance(done: int) -> None:
            nonlocal total
            total += done
            if total == images:
                signal.raise_signal(signal.SIGINT)

        yield advance

    return watch
