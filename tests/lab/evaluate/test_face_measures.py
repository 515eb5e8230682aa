"""What is measured on the faces of a test set, on real photos."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from facekeep import Detector
from facekeep.errors import ImageError
from facekeep.lab.datasets.test_sets import Samples
from facekeep.lab.evaluate.face_measures import measure_faces
from facekeep.pipeline.align import align
from facekeep.pipeline.quality import assess
from facekeep.runtime import RuntimeOptions


@pytest.fixture
def detector(ready_models: None) -> Iterator[Detector]:
    with Detector(options=RuntimeOptions(threads=1)) as opened:
        yield opened


def test_facts_are_those_of_quality(detector: Detector, hopper, collins):
    photos = [hopper, np.full((90, 90, 3), 120, np.uint8), collins, np.fliplr(hopper).copy()]
    steps: list[tuple[int, int]] = []
    facts = measure_faces(
        Samples(("a", "wall", "c", "d"), photos.__getitem__),
        detector,
        threads=2,
        progress=lambda done, total: steps.append((done, total)),
    )
    for place in (0, 2):
        faces = detector.refine(photos[place], detector.detect(photos[place]))
        expected = assess(photos[place], faces[0])
        for name, values in facts.items():
            assert values[place] == pytest.approx(getattr(expected, name))
    assert all(np.isnan(values[1]) for values in facts.values()), "there is no face on the wall"
    assert facts["yaw"][3] == pytest.approx(-facts["yaw"][0], abs=6), "a mirror image"
    assert steps == [(4, 4)]


def test_of_aligned_crops_the_size_is_unknown(detector: Detector, hopper):
    crop = align(hopper, detector.detect(hopper)[0].landmarks, 112)
    blurred = align(hopper[::8, ::8], detector.detect(hopper)[0].landmarks / 8, 112)

    def load(place: int) -> np.ndarray:
        if place == 2:
            raise ImageError("damaged")
        return (crop, blurred)[place]

    facts = measure_faces(Samples(("a", "b", "c"), load, aligned=True), detector, threads=1)
    assert np.isnan(facts["size"]).all()
    assert facts["sharpness"][1] < facts["sharpness"][0]
    assert abs(facts["yaw"][0]) < 40
    assert all(np.isnan(values[2]) for values in facts.values())
