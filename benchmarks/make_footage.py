"""Footage with the truth beside it, for ``facekeep evaluate live``, and a gallery of who is known.

    python benchmarks/make_footage.py visits.mp4 --people lfw --minutes 10 --gallery people.db
    python benchmarks/make_footage.py cross.mp4 --scene cross

Beside the video stand ``visits.csv`` (start, end and name of each visit, in seconds) and
``visits.boxes.csv`` (each face in each frame). LFW is for tests only: no bound may be chosen by it.
``--people video`` shows frames of one video for each person, who may also be in training sets.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "helpers"))

import footage


def pick_people(options: argparse.Namespace) -> list[footage.Person]:
    """Return the people who are shown."""
    if options.people == "portraits":
        return footage.portrait_people()
    take = footage.lfw_people if options.people == "lfw" else footage.video_people
    return take(options.shared, options.known, options.strangers, seed=options.seed)


def enroll(people: Sequence[footage.Person], gallery: Path, model: str | None) -> None:
    """Enroll the known people by photos that are not shown."""
    from facekeep import FaceEngine

    with FaceEngine(gallery, embedder=model, threads=1) as engine:
        for person in people:
            if person.known:
                engine.enroll(person.name, list(person.photos), largest=True)


def main() -> None:
    """Make the footage."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    shared = Path(os.environ.get("FACEKEEP_SHARED", "../shared"))
    parser.add_argument("video", type=Path, help="to write: .mp4 or .mkv")
    parser.add_argument("--people", choices=["lfw", "video", "portraits"], default="portraits")
    parser.add_argument("--scene", choices=sorted(footage.SCENES), help="one scene, not visits")
    parser.add_argument("--known", type=int, default=20, help="people to enroll")
    parser.add_argument("--strangers", type=int, default=20, help="others")
    parser.add_argument("--minutes", type=float, default=2.0, help="length of random visits")
    parser.add_argument("--every", type=float, default=4.0, help="seconds between visits")
    parser.add_argument("--fps", type=int, default=footage.FPS, help="frames a second")
    parser.add_argument("--seed", type=int, default=0, help="decides who comes when")
    parser.add_argument("--gallery", type=Path, help="enroll the known people here")
    parser.add_argument("--model", help="embedder of the gallery")
    parser.add_argument("--codec", choices=["h264", "mjpeg"], default="h264")
    parser.add_argument("--shared", type=Path, default=shared, help="folder with the test data")
    options = parser.parse_args()
    people = pick_people(options)
    if options.gallery:
        enroll(people, options.gallery, options.model)
    if options.scene:
        shown = footage.draw_scene(options.scene, people)
    else:
        shown = footage.draw_visits(
            people,
            60 * options.minutes,
            seed=options.seed,
            every=options.every,
            fps=options.fps,
            backgrounds=[] if options.people == "portraits" else _backgrounds(options.shared),
        )
    table = footage.write_footage(options.video, shown, codec=options.codec)
    print(f"{options.video}: {shown.seconds:.0f} s, {len(shown.walks)} visits; truth: {table}")


def _backgrounds(shared: Path) -> list[footage.Pixels]:
    return [footage.scene_background(shared, number) for number in range(5)]


if __name__ == "__main__":
    main()
