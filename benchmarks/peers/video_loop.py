"""Runs in OpenCV's own environment: faces of a video, as its example programs recognize them.

    python -P video_loop.py VIDEO HOME PHOTOS CORE

Each frame of a ``VideoCapture`` goes through ``FaceDetectorYN``, each face through
``FaceRecognizerSF``, and its feature is matched with that of each person by the cosine that OpenCV
recommends. HOME holds the weights, PHOTOS a picture of each person. Prints a JSON line.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path

import cv2

_COSINE = 0.363  # of OpenCV's example programs


def main(video: str, home: str, photos: str, core: str) -> None:
    """Work through the video once."""
    os.sched_setaffinity(0, {int(core)})
    cv2.setNumThreads(1)
    detector = cv2.FaceDetectorYN.create(f"{home}/yunet.onnx", "", (320, 320))
    recognizer = cv2.FaceRecognizerSF.create(f"{home}/sface.onnx", "")

    def features(image):
        detector.setInputSize(image.shape[1::-1])
        faces = detector.detect(image)[1]
        return [
            recognizer.feature(recognizer.alignCrop(image, face)).copy()
            for face in ([] if faces is None else faces)
        ]

    people = {
        path.stem: features(cv2.imread(str(path)))[0] for path in sorted(Path(photos).glob("*.png"))
    }
    capture = cv2.VideoCapture(video)
    frames = found = named = 0
    began, worked = time.monotonic(), time.process_time()
    while True:
        read, image = capture.read()
        if not read:
            break
        frames += 1
        for feature in features(image):
            found += 1
            similar = [
                recognizer.match(feature, person, cv2.FaceRecognizerSF_FR_COSINE)
                for person in people.values()
            ]
            named += max(similar) >= _COSINE
    wall, processor = time.monotonic() - began, time.process_time() - worked
    status = Path("/proc/self/status").read_text()
    peak = int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024
    answer = {"frames": frames, "faces": found, "named": named, "wall": wall}
    print(json.dumps({**answer, "processor": processor, "peak": round(peak, 1)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
