from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from facekeep.errors import InputError
from facekeep.lab.train.partial_fc import RowAdamW, sample_classes


@given(
    labels=st.lists(st.integers(-1, 29), min_size=1, max_size=40),
    rate=st.floats(0.01, 1),
    step=st.integers(0, 10**9),
)
def test_a_sample_holds_the_batch_and_is_filled_up(
    labels: list[int], rate: float, step: int
) -> None:
    known = {label for label in labels if label >= 0}
    chosen = sample_classes(torch.tensor(labels), 30, rate, seed=0, step=step).tolist()
    assert chosen == sorted(set(chosen))
    assert known <= set(chosen) <= set(range(30))
    assert len(chosen) == max(math.ceil(rate * 30), len(known))


@pytest.mark.slow
def test_every_class_is_drawn_equally_often() -> None:
    labels = torch.tensor([3])
    drawn = torch.zeros(40)
    for step in range(2000):
        drawn[sample_classes(labels, 40, 0.25, seed=1, step=step)] += 1
    assert drawn[3] == 2000
    others = torch.cat([drawn[:3], drawn[4:]])
    expected = 2000 * 9 / 39
    assert (others - expected).abs().max() < 5 * math.sqrt(expected * 30 / 39)


def test_a_draw_depends_on_seed_and_step_alone() -> None:
    def draw(seed: int, step: int) -> list[int]:
        labels = torch.tensor([1, 2])
        return sample_classes(labels, 1000, 0.1, seed=seed, step=step).tolist()

    assert draw(1, 2) == draw(1, 2)
    assert len({tuple(draw(seed, step)) for seed in range(3) for step in range(3)}) == 9


def use(matrix: Tensor, rows: list[int], step: int) -> None:
    """Give some rows the gradient of a step, in the sparse form."""
    random = torch.Generator().manual_seed(step)
    slopes = torch.randn(len(rows), matrix.shape[1], generator=random)
    used = functional.embedding(torch.tensor(rows), matrix, sparse=True)
    (used * slopes).sum().backward()


def test_with_every_row_in_use_it_is_adamw() -> None:
    matrix = nn.Parameter(torch.randn(4, 3))
    dense = nn.Parameter(matrix.detach().clone())
    settings = {"lr": 0.03, "betas": (0.8, 0.95), "weight_decay": 0.2}
    ours, theirs = RowAdamW([matrix], **settings), torch.optim.AdamW([dense], **settings)
    for step in range(8):
        for group in (*ours.param_groups, *theirs.param_groups):
            group["lr"] = 0.03 / (step + 1)
        use(matrix, [0, 1, 2, 3], step)
        assert matrix.grad is not None
        dense.grad = matrix.grad.to_dense()
        ours.step()
        theirs.step()
        ours.zero_grad()
        torch.testing.assert_close(matrix, dense)


def test_a_row_goes_the_way_of_adamw_through_its_own_steps() -> None:
    matrix = nn.Parameter(torch.randn(5, 3))
    lone = nn.Parameter(matrix.detach()[2:3].clone())
    ours = RowAdamW([matrix], lr=0.1, weight_decay=0.3)
    theirs = torch.optim.AdamW([lone], lr=0.1, weight_decay=0.3)
    for step in range(12):
        rows = [1, 2] if step % 3 == 0 else [0, 4]
        use(matrix, rows, step)
        assert matrix.grad is not None
        if 2 in rows:
            lone.grad = matrix.grad.to_dense()[2:3]
            theirs.step()
        ours.step()
        ours.zero_grad()
        torch.testing.assert_close(matrix[2:3], lone)


def test_gradients_of_several_calls_are_added() -> None:
    matrix = nn.Parameter(torch.zeros(3, 2))
    once = nn.Parameter(torch.zeros(3, 2))
    use(matrix, [0, 1], 1)
    use(matrix, [1, 2], 1)
    once.grad = torch.sparse_coo_tensor(
        torch.tensor([[0, 1, 2]]),
        torch.stack([matrix.grad.to_dense()[row] for row in range(3)]),  # type: ignore[union-attr]
        check_invariants=True,
    )
    for parameter in (matrix, once):
        RowAdamW([parameter], lr=0.1).step()
    torch.testing.assert_close(matrix, once)


def test_its_state_dict_resumes_to_the_bit() -> None:
    matrix = nn.Parameter(torch.randn(5, 3))
    optimizer = RowAdamW([matrix], lr=0.1)
    use(matrix, [0, 3], 0)
    optimizer.step()
    again = nn.Parameter(matrix.detach().clone())
    fresh = RowAdamW([again], lr=0.5)
    fresh.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for parameter, chosen in ((matrix, optimizer), (again, fresh)):
        chosen.zero_grad()
        use(parameter, [3, 4], 1)
        chosen.step()
    assert torch.equal(matrix, again)


def test_a_step_can_compute_the_loss_itself() -> None:
    matrix = nn.Parameter(torch.ones(2, 2))
    optimizer = RowAdamW([matrix], lr=0.1)

    def loss() -> float:
        use(matrix, [1], 0)
        return 7.0

    assert optimizer.step() is None
    assert matrix.tolist()[1] == [1, 1]
    assert optimizer.step(loss) == 7
    assert matrix.tolist()[0] == [1, 1]
    assert matrix.tolist()[1] != [1, 1]


def test_a_dense_gradient_is_refused() -> None:
    matrix = nn.Parameter(torch.ones(2, 2))
    matrix.sum().backward()
    with pytest.raises(InputError, match="sparse gradients; use"):
        RowAdamW([matrix]).step()
