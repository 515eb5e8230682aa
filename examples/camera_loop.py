"""Name people in a stream of frames, as a camera gives them.

OpenCV reads the camera; facekeep does not bring it: pip install opencv-python

python examples/camera_loop.py people.db          the first camera
python examples/camera_loop.py people.db frames/  the pictures of a folder, in order
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import cv2

from facekeep import FaceEngine, from_bgr


def frames(folder: str | None) -> Iterator[cv2.typing.MatLike]:
    """Yield frames as OpenCV gives them: arrays in the color order BGR."""
    if folder is not None:
        yield from (cv2.imread(str(path)) for path in sorted(Path(folder).iterdir()))
        return
    camera = cv2.VideoCapture(0)
    if not camera.isOpened():
        sys.exit("there is no camera 0")
    while (read := camera.read())[0]:
        yield read[1]


if len(sys.argv) < 2:
    sys.exit(__doc__)
with FaceEngine(sys.argv[1], read_only=True, max_faces=20) as engine:
    for number, frame in enumerate(frames(sys.argv[2] if sys.argv[2:] else None), 1):
        names = [face.name or "unknown" for face in engine.identify(from_bgr(frame))]
        print(f"frame {number}: {', '.join(names) or 'nobody'}", flush=True)
