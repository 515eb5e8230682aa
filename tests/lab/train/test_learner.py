"""One step of learning: what it does to which weights; how people kept out are measured."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from train_kit import write_people

from facekeep.errors import RuntimeUnavailable
from facekeep.lab.datasets.source import decode_crop
from facekeep.lab.datasets.training_set import open_source
from facekeep.lab.nn import create_model
from facekeep.lab.train.holdout import Holdout
from facekeep.lab.train.learner import Learner, choose_precision
from facekeep.lab.train.parallel import Parallel
from facekeep.lab.train.pixels import normalize
from facekeep.lab.train.recipe import Recipe

CUDA = torch.device("cuda", 0)


def learner(**values: Any) -> Learner:
    torch.manual_seed(0)
    model = create_model("edgeface-xxs", input_size=32, layer_scale=1.0)
    return Learner(model, Recipe(data=Path("/faces"), **values), classes=4, parallel=Parallel())


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return images, torch.tensor([0, 1, 2, 3, -1, 0]), torch.arange(6)


def moved(learner: Learner, **step: Any) -> dict[str, torch.Tensor]:
    before = {key: value.clone() for key, value in learner.model.state_dict().items()}
    learner.step(*batch(), **step)
    return {key: value - before[key] for key, value in learner.model.state_dict().items()}


def test_a_step_moves_every_weight_and_tells_its_parts():
    pupil = learner()
    assert pupil.parts == ("loss", "loss_head", "grad_norm")
    before = {key: value.clone() for key, value in pupil.model.state_dict().items()}
    loss, head, norm = pupil.step(*batch(), lr=1e-3).tolist()
    assert loss == head > 0
    assert norm > 0
    after = pupil.model.state_dict()
    assert [key for key in before if torch.equal(before[key], after[key])] == []


def test_a_rate_of_nought_moves_nothing():
    assert all(not change.any() for change in moved(learner(), lr=0.0).values())


def evenness(change: torch.Tensor) -> float:
    """The mean squared singular value of a matrix as a share of the largest."""
    squares = torch.linalg.svdvals(change).square()
    return float(squares.mean() / squares.max())


@pytest.mark.slow
def test_muon_moves_matrices_inside_the_network_in_all_directions_alike():
    inside, last = "stages.0.blocks.0.mlp.fc1.weight", "head.fc.weight"
    plain, muon = (moved(learner(optimizer=each), lr=1e-3) for each in ("adamw", "muon"))
    assert evenness(muon[inside]) > 0.5 > evenness(plain[inside])
    assert torch.equal(muon[last], plain[last])
    assert muon[inside].square().mean().sqrt() == pytest.approx(3 * 0.2 * 1e-3, rel=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_learner_goes_on_from_its_full_state(optimizer: str):
    first = learner(optimizer=optimizer)
    first.step(*batch(), lr=1e-3)
    state = copy.deepcopy(first.full_state())
    second = learner(optimizer=optimizer)
    second.load_full_state(state)
    for each in (first, second):
        each.step(*batch(), lr=1e-3)
    pairs = zip(first.model.parameters(), second.model.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


@pytest.mark.slow
def test_weights_decay_but_biases_norms_and_scales_do_not():
    without, decayed = (moved(learner(weight_decay=each), lr=1e-3) for each in (0.0, 5.0))
    for key, change in decayed.items():
        same = torch.equal(change, without[key])
        assert same == (change.ndim <= 1), key


@pytest.mark.slow
def test_the_gradient_is_shortened_to_the_limit():
    long = learner(clip=0.0)
    norm = float(long.step(*batch(), lr=0.0)[-1])
    short = learner(clip=norm / 10)
    assert float(short.step(*batch(), lr=0.0)[-1]) == pytest.approx(norm)
    lengths = [
        float(nn.utils.get_total_norm([each.grad for each in one.model.parameters()]))
        for one in (long, short)
    ]
    assert lengths[1] == pytest.approx(lengths[0] / 10, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_less_precision_gives_nearly_the_same_loss(precision: str):
    exact, rough = (learner(precision=each).step(*batch(), lr=1e-3) for each in ("fp32", precision))
    assert float(rough[0]) == pytest.approx(float(exact[0]), rel=0.02)
    assert float(rough[0]) != float(exact[0])
    assert learner(precision=precision).skips_overflows == (precision == "fp16")


@pytest.mark.slow
def test_the_scale_of_fp16_is_taken_off_before_gradients_are_shortened():
    pupils = [learner(precision=each, scale=1.0) for each in ("fp32", "fp16")]
    pupils[1]._scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    norms = [float(pupil.step(*batch(), lr=0.0)[-1]) for pupil in pupils]
    assert norms[1] == pytest.approx(norms[0], rel=0.05)


@pytest.mark.slow
def test_an_overflow_in_fp16_leaves_the_step_out():
    pupil = learner(precision="fp16")
    pupil._scaler.load_state_dict(pupil._scaler.state_dict() | {"scale": 2.0**120})
    change = moved(pupil, lr=1e-3)
    assert all(not each.any() for each in change.values())
    assert pupil._scaler.get_scale() < 2.0**120


@pytest.mark.parametrize(
    ("wanted", "device", "has_bf16", "chosen"),
    [
        ("auto", torch.device("cpu"), False, "fp32"),
        ("auto", CUDA, True, "bf16"),
        ("auto", CUDA, False, "fp16"),
        ("fp32", CUDA, True, "fp32"),
        ("bf16", torch.device("cpu"), False, "bf16"),
    ],
)
def test_precision_by_device(monkeypatch, wanted, device, has_bf16: bool, chosen: str):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: has_bf16)
    assert choose_precision(wanted, device) == chosen


def test_a_gpu_without_bf16_is_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    with pytest.raises(RuntimeUnavailable, match="use fp16 or fp32"):
        choose_precision("bf16", CUDA)


def test_pixels_are_fed_as_the_networks_expect():
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8)
    assert torch.allclose(normalize(pixels), torch.tensor([-1.0, -0.6, 1.0]), atol=1e-6)


@pytest.mark.slow
def test_imprinted_classes_point_to_their_faces(tmp_path: Path, hopper, collins):
    folder = write_people(tmp_path / "people", [hopper, collins], 4, 3)
    for number in range(3):
        (folder / f"person 02/{number}.png").write_bytes(b"no picture")
    source = open_source(folder)
    pupil = learner()
    assert pupil._head is not None
    before = pupil._head.weight.detach().clone()
    pupil.imprint(source)
    after = pupil._head.weight.detach()
    assert torch.allclose(after.norm(dim=1), before.norm(dim=1)), "as long as they were"
    for person in range(4):
        if person == 2:
            assert torch.equal(after[2], before[2]), "nothing is known of it"
            continue
        faces = [decode_crop(source.read(3 * person + number), 32) for number in range(3)]
        pixels = torch.from_numpy(np.stack(faces)).permute(0, 3, 1, 2)
        with torch.no_grad():
            rows = nn.functional.normalize(pupil.model(normalize(pixels)))
        assert nn.functional.cosine_similarity(after[person], rows.sum(0), dim=0) > 0.9999
        assert nn.functional.cosine_similarity(before[person], rows.sum(0), dim=0) < 0.5


class Colors(nn.Module):
    """An embedder that can be told by hand: the mean of each color."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3)) + 1


@pytest.mark.slow
def test_people_kept_out_are_embedded_but_for_what_cannot_be_read(tmp_path: Path, hopper, collins):
    folder = write_people(tmp_path / "people", [hopper, collins], 4, 23)
    (folder / "person 01/3.png").write_bytes(b"no picture")
    source = open_source(folder)
    holdout = Holdout(source, size=32, width=3, parallel=Parallel())
    assert (holdout.people, len(holdout)) == (4, 80), "twenty of each"
    found = holdout.measure(Colors())
    assert found is not None
    assert len(found.rows) == len(found.data.samples) == 79
    assert "person 01/3.png" not in found.data.samples.names
    for place in (0, 21, 78):
        face = decode_crop((folder / found.data.samples.names[place]).read_bytes(), 32)
        row = face.reshape(-1, 3).mean(axis=0) / 127.5
        assert np.allclose(found.rows[place], row / np.linalg.norm(row), atol=1e-5)
        assert (found.data.samples.load(place) == face).all()
    people = [found.data.people[each] for each in found.data.person]
    assert people == [Path(name).parts[0] for name in found.data.samples.names]
    mated = 3 * 190 + 19 * 18 // 2
    assert [each.mated for each in found.tar] == [mated, mated]


def test_a_teacher_may_see_larger_crops_than_the_network():
    seen: list[torch.Size] = []

    def lesson(pixels: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        seen.append(pixels.shape)
        return torch.eye(512)[index]

    torch.manual_seed(0)
    model = create_model("edgeface-xxs", input_size=32, layer_scale=1.0)
    recipe = Recipe(data=Path("/faces"), head="none", teacher=("t",))
    pupil = Learner(model, recipe, classes=0, parallel=Parallel(), targets=[lesson])
    large = torch.full((4, 3, 64, 64), 77, dtype=torch.uint8)
    large[:, :, :, ::2] += 2  # shrunk, it is even
    even = torch.full((4, 3, 32, 32), 78, dtype=torch.uint8)
    losses = [
        pupil.step(each, torch.full((4,), -1), torch.arange(4), 0.0) for each in (large, even)
    ]
    assert seen == [large.shape, even.shape]
    torch.testing.assert_close(losses[0][0], losses[1][0], atol=1e-4, rtol=0)


def test_the_table_of_people_kept_out_takes_any_name(tmp_path: Path, hopper):
    names = [b"J\xfcrgen", "Zo\u00eb".encode(), b'Ada\t"Countess"']
    write_people(tmp_path, [hopper], people=3, images=1)
    for number, name in enumerate(names):
        (tmp_path / f"person {number:02}").rename(tmp_path / os.fsdecode(name))
    table = Holdout(open_source(tmp_path), size=32, width=3, parallel=Parallel()).table()
    assert sorted(table.split(b"\n")) == [
        b"",
        b'"Ada\t""Countess""/0.png"\t"Ada\t""Countess"""',
        b"J\xfcrgen/0.png\tJ\xfcrgen",
        "Zo\u00eb/0.png\tZo\u00eb".encode(),
        b"key\tidentity",
    ]
