from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from facekeep.errors import InputError
from facekeep.lab.train.heads import Head, make_head
from facekeep.lab.train.parallel import Parallel
from facekeep.lab.train.partial_fc import RowAdamW, sample_classes

KINDS = ("softmax", "cosface", "arcface")
LABELS = torch.tensor([0, 4, -1, 2, 4])


def embeddings(count: int = 5, width: int = 6, seed: int = 0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def head_of(kind: str = "cosface", **changed: Any) -> Head:
    """A head whose classes are far enough apart to matter."""
    head = make_head(kind, **{"width": 6, "classes": 7, "scale": 8.0, "seed": 3, **changed})
    with torch.no_grad():
        head.weight.mul_(100)
    return head


def arrays(*tensors: Tensor) -> list[NDArray[np.float64]]:
    return [tensor.detach().double().numpy() for tensor in tensors]


def by_hand(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """The mean cross-entropy over the known labels, term by term."""
    terms = [
        math.log(sum(math.exp(value) for value in row)) - row[label]
        for row, label in zip(logits.tolist(), labels.tolist(), strict=True)
        if label >= 0
    ]
    return sum(terms) / len(terms)


def cosines(head: Head, rows: Tensor) -> NDArray[np.float64]:
    faces, classes = arrays(rows, head.weight)
    faces /= np.linalg.norm(faces, axis=1, keepdims=True)
    classes /= np.linalg.norm(classes, axis=1, keepdims=True)
    return faces @ classes.T


def test_softmax_is_the_cross_entropy_of_a_linear_classifier() -> None:
    head = head_of("softmax", scale=123.0)
    faces, classes = arrays(embeddings(), head.weight)
    expected = by_hand(faces @ classes.T, LABELS.numpy())
    assert head(embeddings(), LABELS).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("given", "margin"), [(None, 0.4), (0.1, 0.1)])
def test_cosface_by_hand(given: float | None, margin: float) -> None:
    head = head_of("cosface", margin=given)
    logits = cosines(head, embeddings())
    for row, label in enumerate(LABELS.tolist()):
        if label >= 0:
            logits[row, label] -= margin
    expected = by_hand(8 * logits, LABELS.numpy())
    assert head(embeddings(), LABELS).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("given", "margin"), [(None, 0.5), (1.2, 1.2)])
def test_arcface_by_hand(given: float | None, margin: float) -> None:
    head = head_of("arcface", margin=given)
    rows = embeddings()
    with torch.no_grad():
        head.weight[2] = -rows[3] + 0.1  # its angle and the margin pass 180 degrees
    logits = cosines(head, rows)
    for row, label in enumerate(LABELS.tolist()):
        if label >= 0:
            angle = math.acos(logits[row, label])
            far = angle + margin > math.pi
            assert far or row != 3
            logits[row, label] -= 1 - math.cos(margin)
            if not far:
                logits[row, label] = math.cos(angle + margin)
    expected = by_hand(8 * logits, LABELS.numpy())
    assert head(rows, LABELS).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", ["cosface", "arcface"])
def test_without_a_margin_it_is_the_normalized_softmax(kind: str) -> None:
    head, rows = head_of(kind, margin=0.0, scale=64.0), embeddings()
    logits = 64 * functional.normalize(rows) @ functional.normalize(head.weight).T
    expected = functional.cross_entropy(logits, LABELS, ignore_index=-1)
    torch.testing.assert_close(head(rows, LABELS), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_the_loss(kind: str) -> None:
    head = head_of(kind).double()

    def loss(rows: Tensor, weight: Tensor) -> Tensor:
        found: Tensor = functional_call(head, {"weight": weight}, (rows, LABELS))
        return found

    rows = embeddings().double().requires_grad_()
    assert torch.autograd.gradcheck(loss, (rows, head.weight.detach().clone().requires_grad_()))


def test_the_length_of_an_embedding_matters_to_softmax_alone() -> None:
    rows = embeddings()
    for kind in KINDS:
        head = head_of(kind)
        same = torch.allclose(head(rows, LABELS), head(3 * rows, LABELS))
        assert same == (kind != "softmax")


@pytest.mark.parametrize("kind", KINDS)
def test_under_autocast_the_loss_is_computed_in_float32(kind: str) -> None:
    head, rows = head_of(kind, scale=64.0), embeddings().bfloat16()
    expected = head(rows.float(), LABELS)
    with torch.autocast("cpu", torch.bfloat16):
        found = head(rows, LABELS)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


@pytest.mark.parametrize("kind", ["cosface", "arcface"])
def test_faces_on_and_opposite_their_class_have_finite_gradients(kind: str) -> None:
    head = head_of(kind, scale=64.0)
    rows = torch.cat([head.weight[:1], -head.weight[1:2]]).detach().requires_grad_()
    loss = head(rows, torch.tensor([0, 1]))
    loss.backward()
    assert loss.isfinite()
    assert rows.grad is not None
    assert rows.grad.isfinite().all()
    assert head.weight.grad is not None
    assert head.weight.grad.isfinite().all()


@pytest.mark.parametrize("rate", [1.0, 0.3])
def test_unknown_faces_alone_teach_nothing(rate: float) -> None:
    head, rows = head_of(sample_rate=rate), embeddings().requires_grad_()
    loss = head(rows, torch.full((5,), -1))
    loss.backward()
    assert loss.item() == 0
    assert rows.grad is not None
    assert not rows.grad.any()
    assert head.weight.grad is not None
    assert not head.weight.grad.to_dense().any()


def test_unknown_faces_change_nothing_for_the_others() -> None:
    head, rows = head_of(), embeddings()
    known = LABELS >= 0
    torch.testing.assert_close(head(rows, LABELS), head(rows[known], LABELS[known]))


@pytest.mark.parametrize("kind", KINDS)
def test_sampled_the_loss_is_that_of_the_sampled_classes(kind: str) -> None:
    head = head_of(kind, classes=20, sample_rate=0.4)
    head.step.fill_(9)
    chosen = sample_classes(LABELS, 20, 0.4, seed=3, step=9)
    assert len(chosen) == 8
    smaller = head_of(kind, classes=8)
    with torch.no_grad():
        smaller.weight.copy_(head.weight[chosen])
    places = torch.tensor([chosen.tolist().index(x) if x >= 0 else -1 for x in LABELS.tolist()])
    found, expected = head(embeddings(), LABELS), smaller(embeddings(), places)
    torch.testing.assert_close(found, expected)
    found.backward()
    expected.backward()
    gradient = head.weight.grad
    assert gradient is not None
    assert gradient.coalesce().indices()[0].tolist() == chosen.tolist()
    torch.testing.assert_close(gradient.coalesce().values(), smaller.weight.grad)
    assert head.step.item() == 10


def test_sampling_is_for_training() -> None:
    head, whole = head_of(classes=20, sample_rate=0.4), head_of(classes=20)
    head.eval()
    assert torch.equal(head(embeddings(), LABELS), whole(embeddings(), LABELS))
    assert head.step.item() == 0


def test_sampling_everything_is_the_whole_head() -> None:
    found = []
    for rate in (1.0, 0.999):  # rounds up to all 7 classes
        head, rows = head_of(sample_rate=rate), embeddings().requires_grad_()
        optimizer = head.optimizer(lr=0.1, weight_decay=0.05)
        for _ in range(5):
            optimizer.zero_grad()
            head(rows, LABELS).backward()
            optimizer.step()
        assert rows.grad is not None
        found.append((head.weight.detach(), rows.grad))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)


def test_rows_outside_the_sample_rest() -> None:
    head = head_of(classes=50, sample_rate=0.2)
    before = head.weight.detach().clone()
    chosen = sample_classes(LABELS, 50, 0.2, seed=3, step=0)
    optimizer = head.optimizer(lr=0.1, weight_decay=0.5)
    assert isinstance(optimizer, RowAdamW)
    head(embeddings(), LABELS).backward()
    optimizer.step()
    moved = (head.weight != before).any(1).nonzero()[:, 0]
    assert moved.tolist() == chosen.tolist()
    for moment in optimizer.state[head.weight].values():
        touched = moment.reshape(50, -1).any(1).nonzero()[:, 0]
        assert touched.tolist() == chosen.tolist()


@pytest.mark.parametrize("rate", [1.0, 0.3])
def test_a_resumed_head_goes_on_to_the_bit(rate: float) -> None:
    def steps(head: Head, optimizer: torch.optim.Optimizer, which: range) -> list[float]:
        losses = []
        for step in which:
            optimizer.zero_grad()
            loss = head(embeddings(seed=step), LABELS)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    head = head_of(classes=30, sample_rate=rate)
    optimizer = head.optimizer(lr=0.1, weight_decay=0.05)
    steps(head, optimizer, range(4))
    file = io.BytesIO()
    torch.save(head.full_state(optimizer), file)
    expected = steps(head, optimizer, range(4, 9))

    again = head_of(classes=30, sample_rate=rate)
    fresh = again.optimizer(lr=0.1, weight_decay=0.05)
    steps(again, fresh, range(20, 22))  # what it knew before must not matter
    file.seek(0)
    again.load_full_state(torch.load(file, weights_only=True), fresh)
    assert steps(again, fresh, range(4, 9)) == expected
    assert torch.equal(again.weight, head.weight)


@pytest.mark.parametrize("rate", [1.0, 0.3])
def test_a_saved_state_is_a_copy(rate: float) -> None:
    head = head_of(sample_rate=rate)
    optimizer = head.optimizer(lr=0.1, weight_decay=0.05)
    empty = head.full_state(optimizer)
    assert empty["moments"] == {}
    head(embeddings(), LABELS).backward()
    optimizer.step()
    saved = head.full_state(optimizer)
    kept = {name: value.clone() for name, value in saved["moments"].items()}
    optimizer.step()
    assert not torch.equal(saved["weight"], head.weight)
    for name, value in kept.items():
        assert torch.equal(saved["moments"][name], value)
    head.load_full_state(saved, optimizer)
    optimizer.step()
    for name, value in kept.items():
        assert torch.equal(saved["moments"][name], value)
    head.load_full_state(empty, optimizer)
    assert torch.equal(head.weight, empty["weight"])
    assert not optimizer.state[head.weight]


def test_a_state_without_a_head_is_refused() -> None:
    head = head_of()
    with pytest.raises(InputError, match="the saved run had no head"):
        head.load_full_state({}, head.optimizer(lr=0.1, weight_decay=0.0))


def test_a_state_of_another_head_is_refused() -> None:
    head, larger = head_of(), head_of(classes=8)
    state = larger.full_state(larger.optimizer(lr=0.1, weight_decay=0.0))
    with pytest.raises(InputError, match=r"saved head has \(8, 6\) .* this one \(7, 6\)"):
        head.load_full_state(state, head.optimizer(lr=0.1, weight_decay=0.0))


@pytest.mark.parametrize(("before", "after"), [(1.0, 0.3), (0.3, 1.0)])
def test_a_state_of_the_other_optimizer_is_refused(before: float, after: float) -> None:
    head, other = head_of(sample_rate=before), head_of(sample_rate=after)
    optimizer = head.optimizer(lr=0.1, weight_decay=0.0)
    head(embeddings(), LABELS).backward()
    optimizer.step()
    with pytest.raises(InputError, match="keep sample_rate"):
        other.load_full_state(head.full_state(optimizer), other.optimizer(lr=0.1, weight_decay=0.0))


def test_first_values_do_not_depend_on_the_number_of_processes() -> None:
    whole = make_head("cosface", width=2, classes=10_000, seed=1).weight
    parts = [
        make_head("cosface", width=2, classes=10_000, seed=1, parallel=Parallel(rank, 3)).weight
        for rank in range(3)
    ]
    assert torch.equal(torch.cat(parts), whole)
    assert whole.std().item() == pytest.approx(0.01, rel=0.05)
    assert len(whole.unique(dim=0)) == 10_000
    assert not torch.equal(make_head("cosface", width=2, classes=10_000, seed=2).weight, whole)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kind": "sphereface"}, "unknown head 'sphereface'; known: softmax, cosface, arcface"),
        ({"kind": "softmax", "margin": 0.1}, "softmax head has no margin"),
        ({"margin": 1.5}, "margin of cosface must be 0 to below 1, not 1.5"),
        ({"classes": 1}, "at least 2 identities to tell apart, not 1"),
        ({"parallel": Parallel(0, 8)}, "7 classes cannot be shared by 8 processes"),
    ],
)
def test_arguments_that_make_no_head(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        make_head(**{"kind": "cosface", "width": 6, "classes": 7, **changed})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "labels", "message"),
    [
        (torch.ones(5, 4), LABELS, "expected embeddings (n, 6) and labels (n,)"),
        (torch.ones(4, 6), LABELS, "got (4, 6) and (5,)"),
        (torch.ones(5, 6), LABELS[:, None], "got (5, 6) and (5, 1)"),
        (torch.ones(0, 6), LABELS[:0], "n above 0"),
        (torch.ones(5, 6), LABELS.int(), "expected int64 labels, got torch.int32"),
        (torch.ones(1, 6), torch.tensor([7]), "label 7 is out of range: there are 7 classes"),
        (torch.ones(1, 6), torch.tensor([-2]), "label -2 is out of range"),
    ],
)
def test_a_batch_that_does_not_fit(rows: Tensor, labels: Tensor, message: str) -> None:
    with pytest.raises(InputError) as caught:
        head_of()(rows, labels)
    assert message in str(caught.value)
