from __future__ import annotations

import cv2
import numpy as np
import pytest

from facekeep.pipeline.filters import blur, to_gray


def test_gray_is_that_of_opencv(hopper):
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3)).astype(np.uint8)
    for image in (hopper, noise, hopper[100:160, 200:270]):
        theirs = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
        np.testing.assert_array_equal(to_gray(image), theirs)


def test_gray_of_gray_is_the_same():
    levels = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 3, 2)
    np.testing.assert_array_equal(to_gray(levels)[:, 0], np.arange(256))


@pytest.mark.parametrize(
    ("weights", "sigma"), [((1, 2, 1), 0), ((1, 4, 6, 4, 1), 0), ((14, 62, 104, 62, 14), 1)]
)
def test_a_blur_is_that_of_opencv(hopper, weights, sigma):
    theirs = cv2.GaussianBlur(hopper, (len(weights), len(weights)), sigma)
    ours = blur(hopper, weights)
    np.testing.assert_array_equal(ours, theirs)
