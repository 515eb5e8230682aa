"""What a run starts from: a new network, a file, a model's name, an architecture's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from facekeep.errors import InputError, ModelError, ModelNotFound
from facekeep.lab.nn import EdgeFace, create_model, export_onnx, save_checkpoint
from facekeep.lab.train.recipe import Recipe
from facekeep.lab.train.start import make_starting_model
from facekeep.models import import_model


def recipe(**values) -> Recipe:
    return Recipe(data=Path("/faces"), **values)


def same(one: EdgeFace, other: EdgeFace) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(value, theirs[key]) for key, value in one.state_dict().items())


@pytest.fixture
def trained(tmp_path: Path) -> tuple[Path, EdgeFace]:
    """A checkpoint, and the network in it."""
    torch.manual_seed(1)
    model = create_model("edgeface-xxs", gamma=0.5, input_size=64, layer_scale=0.3)
    save_checkpoint(model, tmp_path / "mine.pt")
    return tmp_path / "mine.pt", model


def test_from_scratch_is_the_smallest_with_the_layer_scale_asked_for():
    model = make_starting_model(recipe(layer_scale=0.25))
    assert (model.arch, model.gamma, model.input_size) == ("edgeface-xxs", None, 112)
    assert float(model.state_dict()["stages.0.blocks.0.gamma"][0]) == 0.25
    made = make_starting_model(recipe(arch="edgeface-xs", gamma=0.6, input_size=96))
    assert (made.arch, made.gamma, made.input_size) == ("edgeface-xs", 0.6, 96)


def test_an_architecture_that_does_not_exist_is_told():
    with pytest.raises(InputError, match="unknown network 'edgeface-m'"):
        make_starting_model(recipe(arch="edgeface-m"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "form", [{}, {"gamma": 0.5}, {"arch": "edgeface-xxs", "gamma": 0.5}], ids=str
)
def test_a_file_gives_its_weights(trained, form):
    path, model = trained
    found = make_starting_model(recipe(from_=str(path), input_size=80, **form))
    assert same(found, model)
    assert (found.arch, found.gamma, found.input_size) == ("edgeface-xxs", 0.5, 80)


@pytest.mark.slow
@pytest.mark.parametrize("form", [{"arch": "edgeface-xs"}, {"gamma": 0.4}], ids=str)
def test_a_file_of_another_network_says_which(trained, form):
    with pytest.raises(ModelError, match=r"it looks like edgeface-xxs of gamma 0\.5"):
        make_starting_model(recipe(from_=str(trained[0]), **form))


@pytest.mark.slow
def test_layers_of_low_rank_are_multiplied_out(trained):
    path, model = trained
    full = make_starting_model(recipe(from_=str(path), gamma=0, input_size=64))
    assert full.gamma is None
    assert not any("linear1" in name for name in full.state_dict())
    faces = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(full(faces), model(faces))
    assert make_starting_model(recipe(gamma=0)).gamma is None


def test_a_missing_file_is_told(tmp_path: Path):
    with pytest.raises(ModelNotFound, match="there is no checkpoint"):
        make_starting_model(recipe(from_=str(tmp_path / "none.pt")))


@pytest.mark.slow
def test_a_model_of_the_catalog_brings_its_form_along(trained):
    import_model(trained[0], "mine", arch="edgeface-xxs", gamma=0.5, input_size=64)
    found = make_starting_model(recipe(from_="mine"))
    assert same(found, trained[1])
    assert (found.arch, found.gamma, found.input_size) == ("edgeface-xxs", 0.5, 64)
    assert same(make_starting_model(recipe(from_="edgeface-xxs", input_size=64)), trained[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"arch": "edgeface-xs"}, "arch edgeface-xs does not fit mine, which has edge"),
        ({"gamma": 0.6}, "gamma 0.6 does not fit mine, which has 0.5"),
    ],
)
def test_another_form_than_the_models_is_refused(trained, values, message: str):
    import_model(trained[0], "mine", arch="edgeface-xxs", gamma=0.5, input_size=64)
    with pytest.raises(InputError, match=message):
        make_starting_model(recipe(from_="mine", **values))


@pytest.mark.slow
def test_an_onnx_file_of_ours_gives_its_weights(trained, tmp_path: Path):
    export_onnx(trained[1], tmp_path / "mine.onnx")
    found = make_starting_model(recipe(from_=str(tmp_path / "mine.onnx")))
    assert same(found, trained[1])
    assert (found.arch, found.gamma, found.input_size) == ("edgeface-xxs", 0.5, 64)
    import_model(tmp_path / "mine.onnx", "run")
    found = make_starting_model(recipe(from_="run", input_size=80))
    assert same(found, trained[1])
    assert found.input_size == 80
    with pytest.raises(InputError, match=r"gamma 0\.3 does not fit run, which has 0\.5"):
        make_starting_model(recipe(from_="run", gamma=0.3))


@pytest.mark.slow
def test_a_model_that_is_none_of_ours_is_refused_with_the_reason():
    with pytest.raises(ModelError, match="'sface' is no EdgeFace that facekeep wrote, so it can"):
        make_starting_model(recipe(from_="sface"))


def test_a_name_that_nobody_has_is_told():
    with pytest.raises(ModelNotFound, match="no model is called 'nobody'"):
        make_starting_model(recipe(from_="nobody"))


def test_published_weights_that_are_not_here_are_to_be_pulled():
    with pytest.raises(ModelNotFound, match="pull edgeface-xs-gamma-06"):
        make_starting_model(recipe(from_="edgeface-xs"))
    with pytest.raises(ModelNotFound, match=r"no weights of edgeface-xs are on .* give a file"):
        make_starting_model(recipe(from_="edgeface-xs", gamma=0.3))


@pytest.mark.slow
def test_a_network_that_was_cut_is_trained_on(tmp_path: Path):
    model = create_model("edgeface-xxs", layer_scale=0.3)
    del model.stages[2].blocks[0]
    save_checkpoint(model, tmp_path / "cut.pt")
    for form in ({}, {"arch": "edgeface-xxs"}):  # as given, and as the run's own recipe says it
        found = make_starting_model(recipe(from_=str(tmp_path / "cut.pt"), **form))
        assert same(found, model)
        assert (found.arch, found.gamma) == ("edgeface-xxs", None)
