"""Region, mask, motion and exposure."""

from __future__ import annotations

import numpy as np
import pytest
from live_kit import HEIGHT, WIDTH, background

from facekeep import Face, InputError
from facekeep.video.scene import Scene

LEFT = [(0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)]
TRIANGLE = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)]


def face(x: float, y: float) -> Face:
    box = np.array([x - 20, y - 20, x + 20, y + 20], np.float32)
    return Face(box, np.zeros((5, 2), np.float32), 0.9)


def kept(scene: Scene, *centers: tuple[float, float]) -> list[tuple[float, float]]:
    faces = [face(*each) for each in centers]
    left = scene.keep(faces, HEIGHT, WIDTH)
    return [center for center, each in zip(centers, faces, strict=True) if each in left]


def test_a_region_keeps_what_has_its_center_inside() -> None:
    scene = Scene([LEFT])
    assert kept(scene, (100, 100), (319, 300), (321, 300), (600, 10)) == [(100, 100), (319, 300)]
    assert kept(Scene([TRIANGLE]), (50, 50), (600, 400)) == [(50, 50)]
    assert kept(Scene(), (50, 50), (600, 400)) == [(50, 50), (600, 400)]


def test_a_mask_takes_away_also_within_a_region() -> None:
    assert kept(Scene((), [LEFT]), (100, 100), (400, 100)) == [(400, 100)]
    corner = [(0.0, 0.0), (0.25, 0.0), (0.25, 0.25), (0.0, 0.25)]
    assert kept(Scene([LEFT], [corner]), (50, 50), (100, 300), (400, 50)) == [(100, 300)]


def test_only_what_surrounds_the_region_is_looked_at() -> None:
    assert Scene([LEFT]).part(480, 640) == (slice(0, 480), slice(0, 320))
    assert Scene().part(480, 640) == (slice(0, 480), slice(0, 640))
    thin = [(0.999, 0.999), (1.0, 0.999), (1.0, 1.0)]
    rows, columns = Scene([thin]).part(10, 10)
    assert rows.stop > rows.start
    assert columns.stop > columns.start


@pytest.mark.parametrize(
    "polygon",
    [
        [(0, 0), (1, 1), (0.5, 0.5)],
        [(0, 0), (0, 0), (0, 0)],
        [(0, 0), (1, 1)],
        [(0, 0), (2, 0), (0, 1)],
        [1, 2, 3],
        [(0, 0), (1, 0), ("a", 1)],
    ],
)
def test_polygons_that_are_none_are_refused(polygon: list) -> None:
    with pytest.raises(InputError, match="region"):
        Scene([polygon])


def test_noise_is_no_motion_but_somebody_who_enters_is() -> None:
    scene = Scene()
    assert scene.moves(background(0))
    scene.look(background(0))
    assert not scene.moves(background(1))
    walked = background(2)
    walked[200:280, 300:360] = 190
    assert scene.moves(walked)
    scene.look(walked)
    assert not scene.moves(walked)


def test_slow_changes_add_up_until_the_next_look() -> None:
    scene = Scene()
    scene.look(background(0))
    changes = [scene.moves(background(1) + np.uint8(step)) for step in range(15)]
    assert not changes[0]
    assert changes[-1]


def test_another_size_is_motion() -> None:
    scene = Scene()
    scene.look(background(0))
    assert scene.moves(background(0)[:240])
    scene.look(np.zeros((2, 2, 3), np.uint8))
    assert not scene.moves(np.zeros((2, 2, 3), np.uint8))


def test_exposure_changes_with_hysteresis() -> None:
    scene = Scene()
    seen = []
    for light in (0.5, 0.19, 0.17, 0.21, 0.23, 0.05, 0.03, 0.07, 0.09, 0.5):
        scene.look(np.full((48, 64, 3), round(light * 255), np.uint8))
        seen.append(scene.exposure)
    assert seen == [
        *("day", "day", "night", "night", "day"),
        *("night", "dark", "dark", "night", "day"),
    ]
