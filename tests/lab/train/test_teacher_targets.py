"""Teachers that are asked about each face once, and what becomes of their answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from train_kit import write_people

from facekeep.errors import ModelCorrupt
from facekeep.lab.datasets.source import Source, decode_crop, select
from facekeep.lab.datasets.training_set import open_source
from facekeep.lab.train.teacher_targets import CachedTargets, _digest, live_targets


class Corners:
    """Embeds a crop as the brightness of its corners, and counts what it is asked about."""

    name = "corners"
    width = 4

    def __init__(self) -> None:
        self.asked = 0

    def embed(self, images: Tensor) -> Tensor:
        self.asked += len(images)
        corners = images.float().mean(1)[:, [0, 0, -1, -1], [0, -1, 0, -1]]
        return functional.normalize(corners + 1)


@dataclass
class One:
    """One of the processes of a run, none of which waits for another."""

    rank: int = 0
    world: int = 1
    device: torch.device = torch.device("cpu")  # noqa: RUF009 - never changed

    def barrier(self) -> None:
        pass


class Shown:
    """A ``watch`` that remembers what it was told."""

    def __init__(self) -> None:
        self.announced: list[tuple[str, int]] = []
        self.done = 0

    def __call__(self, what: str, images: int) -> AbstractContextManager[Callable[[int], None]]:
        self.announced.append((what, images))
        return self._advance()

    @contextmanager
    def _advance(self) -> Iterator[Callable[[int], None]]:
        def advance(done: int) -> None:
            self.done += done

        yield advance


@pytest.fixture
def source(tmp_path: Path, hopper: NDArray[np.uint8], collins: NDArray[np.uint8]) -> Source:
    return open_source(write_people(tmp_path / "people", [hopper, collins], 3, 2))


def expected(source: Source, place: int) -> NDArray[np.float32]:
    face = torch.from_numpy(decode_crop(source.read(place), 112)).permute(2, 0, 1)[None]
    teacher = Corners()
    both = teacher.embed(face) + teacher.embed(face.flip(-1))
    return np.asarray(functional.normalize(both)[0])


def test_every_face_is_asked_about_once_with_its_mirror_image(source: Source, tmp_path: Path):
    teacher, shown = Corners(), Shown()
    lesson = CachedTargets(teacher, source, tmp_path / "teacher-1", One())
    lesson.fill(shown)
    assert teacher.asked == 2 * len(source) == 12
    assert (shown.announced, shown.done) == ([("Asking corners", 6)], 6)
    crops = torch.zeros((3, 3, 64, 64), dtype=torch.uint8)
    rows = lesson(crops, torch.tensor([4, 0, 4]))
    for row, place in zip(rows, (4, 0, 4), strict=True):
        np.testing.assert_allclose(row, expected(source, place), atol=1e-6)
    assert teacher.asked == 12


def test_what_was_answered_before_an_end_is_not_asked_again(source: Source, tmp_path: Path):
    stem = tmp_path / "teacher-1"
    whole = CachedTargets(Corners(), source, stem, One())
    whole.fill(Shown())
    (file,) = tmp_path.glob("teacher-1.????????.0-of-1.f32")
    content = file.read_bytes()
    file.write_bytes(content[: 4 * 4 * 2 + 7])  # two rows and a part of the third
    teacher, shown = Corners(), Shown()
    CachedTargets(teacher, source, stem, One()).fill(shown)
    assert file.read_bytes() == content
    assert (teacher.asked, shown.announced) == (8, [("Asking corners", 4)])


def test_processes_share_the_faces_and_hear_all_answers(source: Source, tmp_path: Path):
    teachers = Corners(), Corners()
    both = [CachedTargets(t, source, tmp_path / "t", One(k, 2)) for k, t in enumerate(teachers)]
    other = Path(f"{tmp_path}/t.{_digest(source)}.1-of-2.f32")
    other.write_bytes(bytes(4 * 4 * 3))  # as if it were done
    both[0].fill(Shown())
    other.unlink()
    both[1].fill(Shown())
    assert [teacher.asked for teacher in teachers] == [6, 6]
    rows = both[1](torch.zeros(1), torch.arange(6))
    for place, row in enumerate(rows):
        np.testing.assert_allclose(row, expected(source, place), atol=1e-6)


def test_a_face_that_nothing_can_be_read_of_leaves_the_others_in_place(
    source: Source, tmp_path: Path
):
    broken = Path(tmp_path, "people", source.key(2))
    broken.write_bytes(b"no picture")
    lesson = CachedTargets(Corners(), source, tmp_path / "t", One())
    lesson.fill(Shown())
    rows = lesson(torch.zeros(1), torch.arange(6))
    assert not rows[2].any()
    np.testing.assert_allclose(rows[3], expected(source, 3), atol=1e-6)


def test_answers_about_other_faces_are_not_taken_for_these(source: Source, tmp_path: Path):
    for faces, asked in ((source, 12), (select(source, [1, 0, 2, 3, 4, 5]), 12), (source, 0)):
        teacher = Corners()
        CachedTargets(teacher, faces, tmp_path / "t", One()).fill(Shown())
        assert teacher.asked == asked


def test_more_answers_than_faces_are_refused(source: Source, tmp_path: Path):
    Path(f"{tmp_path}/t.{_digest(source)}.0-of-1.f32").write_bytes(bytes(4 * 4 * 7))
    with pytest.raises(ModelCorrupt, match="was made from other faces; delete it"):
        CachedTargets(Corners(), source, tmp_path / "t", One()).fill(Shown())


def test_a_live_teacher_sees_what_the_student_sees():
    teacher = Corners()
    crops = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    assert torch.equal(live_targets(teacher)(crops, torch.arange(2)), Corners().embed(crops))
