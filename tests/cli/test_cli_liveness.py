"""``facekeep liveness``, on footage of a real portrait with depth, and of the flat one."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from head_kit import in_depth, tilted

from facekeep.pipeline.detect import Detector

pytestmark = pytest.mark.slow

RATE = 10


def film(path: Path, photo, turn) -> Path:
    """Write footage of somebody who turns left, straight, right, straight."""
    angles = [0] * 8
    for side in (1, -1):
        angles += [*np.linspace(0, 42 * side, 4), *[42 * side] * 6, *[0] * 7]
    rng = np.random.default_rng(0)
    views = {angle: turn(photo, angle) for angle in set(angles)}
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = 320, 320, "yuv420p"
        for angle in angles:
            x, y = rng.integers(0, 5, 2)
            image = views[angle][y : y + 320, x : x + 320].astype(int)
            noisy = (image + rng.normal(0, 3, image.shape)).clip(0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(noisy), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture
def photo(collins, ready_models: None):
    return np.ascontiguousarray(collins[:330, 60:390])


@pytest.fixture
def head(photo, tmp_path: Path) -> Path:
    with Detector(max_faces=1) as detector:
        (face,) = detector.find(photo)
    return film(tmp_path / "head.mp4", photo, lambda image, angle: in_depth(image, face, angle))


@pytest.fixture
def picture(photo, tmp_path: Path) -> Path:
    return film(tmp_path / "picture.mp4", photo, tilted)


def test_a_head_that_turns_as_asked_is_live(cli, head: Path):
    outcome = cli("liveness", "--camera", head, "--challenge", "left,right", "--json")
    assert outcome.status == 0
    assert outcome.json == {
        "verdict": "live",
        "reasons": [],
        "score": None,
        "challenges": ["left", "right"],
    }
    prompts = [line for line in outcome.err.splitlines() if "% done" in line]
    assert [line.rpartition(" (")[0] for line in prompts] == [
        "look straight ahead",
        "turn your head to your left",
        "look straight ahead",
        "turn your head to your right",
        "look straight ahead",
    ]


def test_a_head_that_turns_otherwise_is_not_live(cli, head: Path):
    outcome = cli("liveness", "--camera", head, "--challenge", "right,left")
    assert outcome.status == 1
    assert outcome.out == "not live (wrong_move)\n"


def test_a_picture_that_is_tilted_is_not_live(cli, picture: Path):
    outcome = cli(
        "liveness", "--camera", picture, "--challenge", "left,right", "--deadline", 1.5, "--json"
    )
    assert outcome.status == 1
    assert outcome.json["verdict"] == "not live"


def test_a_challenge_that_is_none_is_refused(cli, picture: Path):
    outcome = cli("liveness", "--camera", picture, "--challenge", "left,wink")
    assert outcome.status == 2
    assert "no challenge 'wink'" in outcome.err
