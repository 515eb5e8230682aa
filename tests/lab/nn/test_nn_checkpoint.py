"""Checkpoints into networks and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from networks_kit import crops, lively

from facekeep.errors import InputError, ModelCorrupt, ModelError
from facekeep.lab.nn import load_checkpoint, recognize, save_checkpoint


@pytest.mark.parametrize(
    "options",
    [
        {"name": "edgeface-xxs"},
        {"name": "edgeface-xs", "gamma": 0.6},
        {"name": "edgeface-s", "gamma": 0.5, "input_size": 80, "width": 64},
    ],
)
def test_what_is_saved_is_loaded(tmp_path: Path, options: dict[str, Any]) -> None:
    model = lively(**options)
    save_checkpoint(model, tmp_path / "model.pt")
    form = {key: value for key, value in options.items() if key in ("gamma", "input_size")}
    found = load_checkpoint(tmp_path / "model.pt", options["name"], **form)
    assert (found.arch, found.gamma) == (options["name"], options.get("gamma"))
    assert (found.input_size, found.width) == (model.input_size, model.width)
    x = crops(2, model.input_size)
    assert torch.equal(found(x), model(x))


def test_is_saved_in_the_published_layout(tmp_path: Path) -> None:
    model = lively("edgeface-xs", gamma=0.6).bfloat16()
    save_checkpoint(model, tmp_path / "model.pt")
    state = torch.load(tmp_path / "model.pt", weights_only=True)
    assert set(state) == {f"model.{name}" for name in model.state_dict()}
    assert "model.stages.1.blocks.2.xca.qkv.linear1.weight" in state
    assert {value.dtype for value in state.values()} == {torch.float32}


def test_equal_networks_give_equal_files(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        save_checkpoint(lively(seed=seed), tmp_path / name)
    first, second, other = ((tmp_path / name).read_bytes() for name in "abc")
    assert first == second != other


def test_a_state_without_the_prefix_is_loaded(tmp_path: Path) -> None:
    model = lively()
    torch.save(model.state_dict(), tmp_path / "model.pt")
    assert torch.equal(
        load_checkpoint(tmp_path / "model.pt", "edgeface-xxs")(crops(1)), model(crops(1))
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arch", "gamma", "words"),
    [
        ("edgeface-xs", None, "it lacks 'stages.0.blocks.0.mlp.fc1.weight'"),
        ("edgeface-xs", 0.5, "'stages.0.blocks.0.mlp.fc1.linear1.weight' is 19 x 32, not 16 x 32"),
        ("edgeface-xxs", 0.6, "'stem.0.weight' is 32 x 3 x 4 x 4, not 24 x 3 x 4 x 4"),
        ("edgeface-s", 0.6, "'stem.0.weight' is 32 x 3 x 4 x 4, not 48 x 3 x 4 x 4"),
    ],
)
def test_another_network_is_named(
    tmp_path: Path, arch: str, gamma: float | None, words: str
) -> None:
    save_checkpoint(lively("edgeface-xs", gamma=0.6), tmp_path / "model.pt")
    with pytest.raises(ModelError) as caught:
        load_checkpoint(tmp_path / "model.pt", arch, gamma=gamma)
    assert words in str(caught.value)
    assert str(caught.value).endswith("; it looks like edgeface-xs of gamma 0.6")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("arch", "gamma"), [("edgeface-xxs", None), ("edgeface-s", 0.35)])
def test_a_network_is_recognized_by_its_tensors(arch: str, gamma: float | None) -> None:
    assert recognize(lively(arch, gamma=gamma).state_dict()) == (arch, gamma)


def test_a_network_of_others_is_not_recognized() -> None:
    assert recognize({"weight": torch.ones(3)}) is None


def test_a_full_network_is_named(tmp_path: Path) -> None:
    save_checkpoint(lively(), tmp_path / "model.pt")
    with pytest.raises(ModelError, match="looks like edgeface-xxs with full linear layers"):
        load_checkpoint(tmp_path / "model.pt", "edgeface-xxs", gamma=0.6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.pop("stages.3.blocks.1.xca.temperature"), "it lacks 'stages.3"),
        (lambda state: state.update({"extra.x": torch.ones(1)}), "it has 'extra.x' besides"),
        (
            lambda state: state.update({"head.fc.weight": torch.ones(512)}),
            "'head.fc.weight' is 512",
        ),
        (lambda state: state.update({"stem.1.bias": torch.ones(())}), "is a single number, not 24"),
        (lambda state: state.clear(), "it lacks 'stem.0.weight'$"),
    ],
)
def test_every_tensor_must_fit(tmp_path: Path, change: Any, words: str) -> None:
    state = dict(lively().state_dict())
    change(state)
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(ModelError, match=words):
        load_checkpoint(tmp_path / "model.pt", "edgeface-xxs")


def test_a_head_of_no_sensible_width_is_refused(tmp_path: Path) -> None:
    state = dict(lively().state_dict())
    state["head.fc.bias"] = torch.ones(70_000)
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(ModelError, match=r"'head\.fc\.bias' is 70000, not 512"):
        load_checkpoint(tmp_path / "model.pt", "edgeface-xxs")


def test_wrong_questions_come_before_the_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown network"):
        load_checkpoint(tmp_path / "none.pt", "edgeface")
    (tmp_path / "bad.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(ModelCorrupt):
        load_checkpoint(tmp_path / "bad.pt", "edgeface-xs")


def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match="cannot write"):
        save_checkpoint(lively(), tmp_path / "file" / "model.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
