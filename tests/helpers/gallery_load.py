"""Work for the processes that the fault tests start and kill; cheap to import."""

from __future__ import annotations

import random
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import SynchronizedArray

import numpy as np
from numpy.typing import NDArray

from facekeep.gallery import Gallery, NewTemplate, Space

SPACE = Space("5bace" + "0" * 59, "model-a", 512)
WRITERS, EACH = 4, 1000


def unit(*seed: int) -> NDArray[np.float32]:
    """The unit vector that belongs to a seed."""
    vector = np.random.default_rng(seed).normal(size=SPACE.width).astype(np.float32)
    return vector / np.linalg.norm(vector)


def three(number: int) -> list[NewTemplate]:
    """Three templates, one with a crop that fills several pages."""
    crop = np.random.default_rng(number).bytes(20_000)
    rest = [NewTemplate(unit(number, k)) for k in (1, 2)]
    return [NewTemplate(unit(number, 0), crop=crop), *rest]


def enroll_for_ever(path: str, first: int, say: Connection) -> None:
    """Enroll one person after the other and acknowledge each."""
    with Gallery.open(path, space=SPACE) as gallery:
        say.send("ready")
        for number in range(first, first + 1000):
            gallery.enroll(f"P{number}", three(number))
            say.send(f"P{number}")


def erase_for_ever(path: str, first: int, say: Connection) -> None:
    """Enroll and erase one person after the other and acknowledge each erasure."""
    with Gallery.open(path, space=SPACE) as gallery:
        say.send("ready")
        for number in range(first, first + 1000):
            name = f"P{number:06}"  # of one length: no name is a part of another
            gallery.enroll(name, three(number))
            gallery.remove(name)
            say.send(name)


def enroll_many(path: str, writer: int, done: SynchronizedArray[int]) -> None:
    """Enroll this writer's templates, two for each person, one by one."""
    with Gallery.open(path, space=SPACE) as gallery:
        for number in range(EACH):
            gallery.enroll(f"W{writer}-{number // 2}", [NewTemplate(unit(writer, number))])
            done[writer] = number + 1


def search_all_the_while(path: str, done: SynchronizedArray[int]) -> None:
    """Search for templates that were acknowledged until all are."""
    luck = random.Random(9)
    searches = 0
    with Gallery.open(path, space=SPACE, read_only=True) as gallery:
        while sum(done) < WRITERS * EACH or searches < 100:
            writer = luck.randrange(WRITERS)
            if not done[writer]:
                continue
            # Mostly the newest ones: they are those that a stale index would not know.
            number = luck.choice([done[writer] - 1, luck.randrange(done[writer])])
            hit = gallery.search(unit(writer, number)[None], 1)[0][0]
            assert hit.name == f"W{writer}-{number // 2}", (hit, writer, number)
            # The mean of two templates that have nothing in common is at 45 degrees to each.
            assert hit.similarity > 0.6
            searches += 1
