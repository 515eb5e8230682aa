from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from facekeep.errors import InputError
from facekeep.lab.train.learner import cosine_loss, distill_loss, relational_loss


def rows(count: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def directions(tensor: Tensor) -> np.ndarray:
    array = tensor.double().numpy()
    return array / np.linalg.norm(array, axis=1, keepdims=True)


def test_cosine_loss_by_hand() -> None:
    student, teacher = rows(5, 4), rows(5, 4, 1)
    expected = 1 - np.mean(np.sum(directions(student) * directions(teacher), axis=1))
    assert cosine_loss(student, teacher).item() == pytest.approx(expected, rel=1e-5)
    assert cosine_loss(student, -3 * student).item() == pytest.approx(2)


def test_relational_loss_by_hand() -> None:
    student, teacher = rows(5, 4), rows(5, 9, 1)
    a, b = directions(student), directions(teacher)
    pairs = [(i, j) for i in range(5) for j in range(5) if i != j]
    expected = np.mean([(a[i] @ a[j] - b[i] @ b[j]) ** 2 for i, j in pairs])
    assert relational_loss(student, teacher).item() == pytest.approx(expected, rel=1e-5)


def test_an_equal_of_the_teacher_has_nothing_to_learn() -> None:
    student = rows(6, 4)
    turn, _ = torch.linalg.qr(rows(8, 8, 1))
    wider = torch.cat([student, torch.zeros(6, 4)], 1) @ turn
    assert distill_loss(2 * student, [student]).item() == pytest.approx(0, abs=1e-6)
    assert distill_loss(2 * student, [wider]).item() == pytest.approx(0, abs=1e-6)
    assert distill_loss(student, [rows(6, 4, 2)]).item() > 0.1
    assert distill_loss(student, [rows(6, 8, 2)]).item() > 0.1


@pytest.mark.parametrize("loss", [cosine_loss, relational_loss])
def test_gradients_are_those_of_the_loss(loss: object) -> None:
    teacher = rows(4, 3, 1).double()
    student = rows(4, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, teacher), student)  # type: ignore[operator]


@pytest.mark.parametrize("width", [4, 7])
def test_a_student_learns(width: int) -> None:
    faces, teacher = rows(32, 10), rows(32, 10) @ rows(10, width, 1)
    torch.manual_seed(0)
    student = nn.Linear(10, 4)
    optimizer = torch.optim.AdamW(student.parameters(), lr=0.05)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = distill_loss(student(faces), [teacher])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 5


def test_several_teachers_count_alike() -> None:
    student, same, other = rows(5, 4), rows(5, 4, 1), rows(5, 9, 2)
    near, far = cosine_loss(student, same), relational_loss(student, other)
    torch.testing.assert_close(distill_loss(student, [same, other]), (near + far) / 2)


def test_under_autocast_the_loss_is_computed_in_float32() -> None:
    student, teachers = rows(5, 4).bfloat16(), [rows(5, 4, 1), rows(5, 9, 2)]
    expected = distill_loss(student.float(), teachers)
    with torch.autocast("cpu", torch.bfloat16):
        found = distill_loss(student, teachers)
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("student", "teachers", "message"),
    [
        (rows(3, 4), [rows(2, 4)], "a row for each face from student and teachers: (3, 4)"),
        (rows(3, 4), [rows(3, 4)[0]], "a row for each face"),
        (rows(0, 4), [rows(0, 4)], "a row for each face"),
        (rows(1, 4), [rows(1, 5)], "at least 2 faces a batch"),
    ],
)
def test_what_cannot_be_compared(student: Tensor, teachers: list[Tensor], message: str) -> None:
    with pytest.raises(InputError) as caught:
        distill_loss(student, teachers)
    assert message in str(caught.value)
