"""Compare warping, resizing, gray and blur with OpenCV: the differences, and the time.

    python benchmarks/pixels.py
    python benchmarks/pixels.py --repeats 300 --json

On the two portraits of the demo, with one thread of OpenCV's. ``off`` is the largest difference in
gray levels, ``share`` the share of values that differ at all, in percent; times are those of the
best run of each, ours and theirs in turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import cv2
import numpy as np
from common import arguments, report
from numpy.typing import NDArray

from facekeep._internal.timing import in_turns
from facekeep.pipeline.filters import blur, to_gray
from facekeep.pipeline.warp import resize, scale, shrink, warp
from facekeep.samples import load_portraits

Pixels = NDArray[np.uint8]

ZOOMS = (2.0, 1.0, 0.7, 0.45, 0.3)
SIZES = ((640, 360), (640, 480), (320, 240), (1280, 960))


def about(degrees: float, zoom: float, size: int, center: NDArray[np.floating]) -> Any:
    """The similarity that brings a point of the image into the middle of a crop."""
    cos, sin = zoom * np.cos(np.radians(degrees)), zoom * np.sin(np.radians(degrees))
    turn = np.array([[cos, -sin], [sin, cos]])
    return np.column_stack([turn, (size - 1) / 2 - turn @ center])


def opencv_half(image: Pixels) -> Pixels:
    """The mean of 2 x 2 pixels."""
    height, width = image.shape[0] // 2, image.shape[1] // 2
    even = np.ascontiguousarray(image[: 2 * height, : 2 * width])
    return np.asarray(cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def opencv_warp(image: Pixels, matrix: NDArray[np.floating], size: int) -> Pixels:
    """As many samples for each pixel of the crop as it covers of the image, and their mean."""
    factor = max(1, int(1 / np.hypot(*matrix[:, 0])))
    finer = matrix * factor
    finer[:, 2] += (factor - 1) / 2
    crop = cv2.warpAffine(image, finer, (size * factor, size * factor))
    return np.asarray(cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA), np.uint8)


def opencv_resize(image: Pixels, width: int, height: int) -> Pixels:
    """By area where it shrinks, linearly where it grows."""
    method = cv2.INTER_LINEAR if width > image.shape[1] else cv2.INTER_AREA
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), np.uint8)


def compare(
    what: str, ours: Callable[[], Any], theirs: Callable[[], Any], repeats: int
) -> dict[str, Any]:
    """A row of the table."""
    off = np.abs(ours().astype(int) - theirs())
    times = in_turns({"ours": ours, "theirs": theirs}, repeats, warm_up=3)
    return {
        "what": what,
        "off": int(off.max()),
        "share": round(100 * float((off > 0).mean()), 2),
        "ms": round(min(times["ours"]), 3),
        "OpenCV ms": round(min(times["theirs"]), 3),
    }


def pairs(portrait: Pixels) -> Iterator[tuple[str, Callable[[], Any], Callable[[], Any]]]:
    """Yield what is compared: what it is, ours, and OpenCV's."""
    photo = scale(portrait, 1500 / len(portrait))
    middle = np.array(photo.shape[1::-1]) * [0.45, 0.4] + 0.3
    for zoom in ZOOMS:
        cut = photo, about(11, zoom, 112, middle), 112
        yield f"crop of 112 at {zoom:g}", partial(warp, *cut), partial(opencv_warp, *cut)
    frame = resize(photo, 960, 720)
    yield "half of 960 x 720", partial(shrink, frame, 2), partial(opencv_half, frame)
    for size in SIZES:
        what = f"960 x 720 to {size[0]} x {size[1]}"
        yield what, partial(resize, frame, *size), partial(opencv_resize, frame, *size)
    crop = warp(photo, about(0, 0.3, 112, middle), 112)
    gray, soft = partial(cv2.cvtColor, crop, cv2.COLOR_RGB2GRAY), (14, 62, 104, 62, 14)
    yield "gray of a crop", partial(to_gray, crop), gray
    yield "blur of a crop", partial(blur, crop, soft), partial(cv2.GaussianBlur, crop, (5, 5), 1)


def main() -> None:
    """Compare on both portraits."""
    parser = arguments(__doc__)
    parser.add_argument("--repeats", type=int, default=100, help="runs of each")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    for name, portrait in load_portraits().items():
        report(args, name, [compare(*each, args.repeats) for each in pairs(portrait)])


if __name__ == "__main__":
    main()
