"""PyTorch checkpoints as models: imported, offered by the catalog and pulled, found, mended."""

from __future__ import annotations

import hashlib
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hub import Hub, cut_off, status, whole
from msgspec import structs

from facekeep import models as room
from facekeep.errors import (
    FacekeepError,
    InputError,
    ModelCorrupt,
    ModelError,
    ModelNotFound,
    PullError,
    RuntimeUnavailable,
    StorageFull,
)
from facekeep.lab import nn
from facekeep.models import (
    FileEntry,
    ModelEntry,
    checkpoint_path,
    entry,
    import_model,
    locate,
    pull,
    remove_model,
    set_thresholds,
    space_id,
    verify,
)
from facekeep.models.catalog import is_builtin
from facekeep.models.entry_file import ENTRY_FILE
from facekeep.models.model_entry import EDGEFACE, UrlSource
from facekeep.pipeline.embed import Embedder
from facekeep.runtime import RuntimeOptions

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("models", "no_pauses")]

OFFER = "edgeface-xxs"
FACTS: dict[str, Any] = {"comparisons": 10**6, "calibrated_on": "own photos", "command": "x"}


@pytest.fixture(scope="session")
def network() -> nn.EdgeFace:
    """A small EdgeFace that was never trained."""
    torch.manual_seed(0)
    return nn.create_model("edgeface-xxs", gamma=0.5, input_size=64).eval()


@pytest.fixture(scope="session")
def checkpoint(network: nn.EdgeFace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trained") / "trained.pt"
    nn.save_checkpoint(network, path)
    return path


def bring(checkpoint: Path, **changes: Any) -> ModelEntry:
    options: dict[str, Any] = {"arch": "edgeface-xxs", "gamma": 0.5, "input_size": 64}
    return import_model(checkpoint, "mine", **(options | changes))


def left(models: Path) -> list[str]:
    return sorted(path.name for path in models.iterdir()) if models.exists() else []


# Imported


def test_a_checkpoint_tells_its_network_itself(checkpoint: Path, models: Path) -> None:
    made = bring(checkpoint, arch=None, gamma=None)
    assert (made.architecture, made.gamma) == ("edgeface-xxs", 0.5)


def test_a_network_that_was_cut_is_brought_in(tmp_path: Path, models: Path) -> None:
    network = nn.create_model("edgeface-xxs", input_size=64)
    del network.stages[2].blocks[0]
    nn.save_checkpoint(network, tmp_path / "cut.pt")
    made = bring(tmp_path / "cut.pt", arch=None, gamma=None)
    assert (made.architecture, made.gamma) == ("edgeface-xxs", None)
    assert made.params == sum(weight.numel() for weight in network.parameters())


def test_another_checkpoint_needs_its_kind_named(tmp_path: Path, models: Path) -> None:
    torch.save({"weight": torch.ones(2)}, tmp_path / "other.pt")
    with pytest.raises(ModelError, match=r"other\.pt is no EdgeFace .* say which it is"):
        bring(tmp_path / "other.pt", arch=None, gamma=None)
    assert left(models) == []


def test_a_checkpoint_becomes_a_model_that_embeds_as_the_network(
    network: nn.EdgeFace, checkpoint: Path, models: Path
) -> None:
    made = bring(checkpoint)
    assert entry("mine") == made
    assert (made.architecture, made.gamma, made.runtime) == ("edgeface-xxs", 0.5, "onnxruntime")
    assert (made.input_size, made.width, made.max_batch) == (64, 512, None)
    assert made.params == sum(weight.numel() for weight in network.parameters())
    assert left(models / "mine") == ["mine.onnx", "mine.pt", ENTRY_FILE]
    assert locate(made) == models / "mine" / "mine.onnx"
    crops = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    with Embedder("mine", options=RuntimeOptions(threads=1)) as embedder, torch.no_grad():
        rows = embedder.embed(crops)
        fed = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 127.5 - 1
        expected = torch.nn.functional.normalize(network(fed)).numpy()
    np.testing.assert_allclose(rows, expected, atol=1e-5)


def test_the_checkpoint_alone_names_the_space(checkpoint: Path, models: Path) -> None:
    made = bring(checkpoint)
    (file,) = made.files
    assert file.sha256 == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert file.conversion is not None
    other = structs.replace(file.conversion, sha256="0" * 64)
    elsewhere = structs.replace(made, files=(structs.replace(file, conversion=other),))
    assert space_id(elsewhere) == space_id(made)


def test_the_checkpoint_can_be_had_for_more_training(checkpoint: Path, models: Path) -> None:
    path = checkpoint_path(bring(checkpoint))
    assert path == models / "mine" / "mine.pt"
    assert path.read_bytes() == checkpoint.read_bytes()
    assert checkpoint_path(entry("sface")) is None
    path.write_bytes(b"damaged")
    with pytest.raises(ModelCorrupt):
        checkpoint_path(entry("mine"))
    with pytest.raises(ModelNotFound, match=r"pull it first$"):
        checkpoint_path(entry(OFFER))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"gamma": None}, "trained.pt is no edgeface-xxs .*; it looks like edgeface-xxs of gamma"),
        ({"gamma": 0.6}, "looks like edgeface-xxs of gamma 0.5"),
        ({"arch": "edgeface-xs"}, "looks like edgeface-xxs of gamma 0.5"),
        ({"gamma": 0.0}, "gamma"),
        ({"gamma": 7.0}, "gamma"),
        ({"input_size": 33}, "33"),
        ({"arch": "edgeface"}, "unknown architecture"),
        ({"arch": "onnx"}, "for EdgeFace checkpoints, not for 'onnx'"),
    ],
)
def test_what_does_not_fit_the_checkpoint_is_one_line(
    checkpoint: Path, models: Path, changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(FacekeepError, match=problem) as caught:
        bring(checkpoint, **changes)
    assert "\n" not in str(caught.value)
    assert ".import-" not in str(caught.value)
    assert left(models) == []


@pytest.mark.parametrize("content", [b"", b"no checkpoint", bytes(1000)])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, models: Path, content: bytes) -> None:
    path = tmp_path / "damaged.pt"
    path.write_bytes(content)
    with pytest.raises(ModelCorrupt, match=r"damaged\.pt") as caught:
        bring(path)
    assert ".import-" not in str(caught.value)
    assert left(models) == []


@pytest.fixture
def no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("facekeep.lab.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("facekeep.lab.nn", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)


@pytest.mark.usefixtures("no_torch")
def test_without_torch_nothing_is_begun(checkpoint: Path, models: Path, hub: Hub) -> None:
    for attempt in (lambda: bring(checkpoint), lambda: pull(offer(hub, checkpoint))):
        with pytest.raises(RuntimeUnavailable, match=r"pip install 'facekeep\[train\]'") as caught:
            attempt()
        assert "\n" not in str(caught.value)
        assert "must be converted once" in str(caught.value)
    assert hub.seen == []
    assert left(models) == []


@pytest.mark.usefixtures("no_torch")
def test_a_converted_model_needs_no_torch(checkpoint: Path, models: Path) -> None:
    """The machine that recognizes faces is seldom the one that trains."""
    # Made in another process: this one has lost its torch.
    import subprocess

    code = (
        "from facekeep.models import import_model;"
        f"import_model({str(checkpoint)!r}, 'mine', arch='edgeface-xxs', gamma=0.5, input_size=64)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with Embedder("mine", options=RuntimeOptions(threads=1)) as embedder:
        assert embedder.embed(np.zeros((1, 64, 64, 3), np.uint8)).shape == (1, 512)


def test_a_full_disk_leaves_nothing_behind(
    checkpoint: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes, **_: bool) -> None:
        if path.suffix == ".onnx":
            raise OSError(28, "No space left on device")
        path.write_bytes(data)

    monkeypatch.setattr("facekeep.models.files.write_whole", full)
    with pytest.raises(StorageFull):
        bring(checkpoint)
    assert left(models) == []


# Damaged, and mended


@pytest.mark.parametrize("damage", ["missing", "changed", "shorter"])
def test_a_tampered_conversion_is_found_and_made_again(
    checkpoint: Path, models: Path, damage: str
) -> None:
    bring(checkpoint)
    made = set_thresholds("mine", [(1e-3, 0.5)], **FACTS)
    onnx = locate(made)
    good = onnx.read_bytes()
    if damage == "missing":
        onnx.unlink()
    else:
        onnx.write_bytes(good[:-1] + (b"" if damage == "shorter" else bytes([good[-1] ^ 1])))
    assert verify(made).state == "damaged"
    with pytest.raises(ModelCorrupt, match="pull the model") as caught:
        Embedder("mine")
    assert "\n" not in str(caught.value)
    assert pull(made).read_bytes() == good
    assert verify(entry("mine")).state == "ok"
    assert entry("mine") == made, "the calibration is still there"


def test_a_damaged_checkpoint_of_ones_own_is_imported_again(checkpoint: Path, models: Path) -> None:
    made = bring(checkpoint)
    (models / "mine" / "mine.pt").write_bytes(b"damaged")
    assert verify(made).state == "damaged"
    with pytest.raises(ModelCorrupt, match="import it again"):
        locate(made)
    with pytest.raises(PullError, match="no source; remove the model, and import it again"):
        pull(made)


def test_an_entry_that_was_not_exported_is_damaged(checkpoint: Path, models: Path) -> None:
    bring(checkpoint)
    path = models / "mine" / ENTRY_FILE
    text = path.read_text()
    start, end = text.index(", conversion = "), text.index(" }]")
    path.write_text(text[:start] + text[end:])
    with pytest.raises(ModelError, match="is exported"):
        entry("mine")
    path.write_text(text.replace('"edgeface-xxs"', '"onnx"').replace("gamma = 0.5\n", ""))
    with pytest.raises(ModelError, match="is exported"):
        entry("mine")
    path.write_text(text.replace('"edgeface-xxs"', '"onnx"'))
    with pytest.raises(ModelError, match="have a gamma"):
        entry("mine")


# Offered


def offer(hub: Hub, checkpoint: Path, *answers: Any) -> ModelEntry:
    """The catalog's offer with a file that this machine serves."""
    content = checkpoint.read_bytes()
    url = hub.url("/trained.pt", *(answers or (whole(content),)))
    digest = hashlib.sha256(content).hexdigest()
    file = FileEntry("edgeface_xxs.pt", digest, len(content), (UrlSource(url),))
    return structs.replace(entry(OFFER), files=(file,), gamma=0.5, input_size=64)


def test_the_offers_state_what_is_known_of_the_official_weights() -> None:
    params = {
        "edgeface-base": 18_225_812,
        "edgeface-s-gamma-05": 3_652_520,
        "edgeface-xs-gamma-06": 1_770_492,
        "edgeface-xxs": 1_244_744,
        "edgeface-xs-q": 2_242_620,
        "edgeface-xxs-q": 1_244_744,
    }
    offers = {
        model.name: model
        for model in room.list_models()
        if model.offered and model.architecture.startswith("edgeface")
    }
    assert {name: model.params for name, model in offers.items()} == params
    for model in offers.values():
        network = nn.create_model(model.architecture, gamma=model.gamma)
        assert sum(weight.numel() for weight in network.parameters()) == model.params
        assert (model.width, model.input_size, model.color) == (512, 112, "rgb")
        np.testing.assert_allclose((255 - np.array(model.mean)) * model.scale, 1)
        assert "BSD-3-Clause" in model.caution
        assert "CC BY-NC-SA 4.0" in model.caution
        for file in model.files:
            assert all(
                isinstance(source, UrlSource)
                and source.url.startswith("https://")
                and source.url.endswith(f"/{file.name}")
                for source in file.sources
            )


def test_an_offer_is_not_here_before_it_is_pulled(models: Path) -> None:
    known = entry(OFFER)
    assert verify(known).state == "offered"
    for attempt in (lambda: locate(known), lambda: Embedder(OFFER)):
        with pytest.raises(ModelNotFound, match=r"pull it first$"):
            attempt()
    with pytest.raises(ModelNotFound, match=r"pull it first$"):
        set_thresholds(OFFER, [(1e-2, 0.5)], **FACTS)
    with pytest.raises(ModelNotFound):
        remove_model(OFFER)


def test_an_offer_that_is_pulled_is_ones_own(
    hub: Hub, checkpoint: Path, models: Path, caplog: pytest.LogCaptureFixture
) -> None:
    offered = offer(hub, checkpoint)
    with caplog.at_level(logging.WARNING):
        path = pull(offered)
    assert "contradict" in caplog.text
    assert path == models / OFFER / f"{OFFER}.onnx"
    made = entry(OFFER)
    assert not made.offered
    assert made.folder == models / OFFER
    assert locate(made) == path
    assert space_id(made) == space_id(offered), "known before it is pulled"
    assert checkpoint_path(made) == models / OFFER / "edgeface_xxs.pt"
    assert (made.weights_license, made.caution) == (offered.weights_license, offered.caution)
    assert [model.name for model in room.list_models()].count(OFFER) == 1
    with Embedder(OFFER, options=RuntimeOptions(threads=1)) as embedder:
        assert embedder.embed(np.zeros((1, 64, 64, 3), np.uint8)).shape == (1, 512)
    changed = set_thresholds(OFFER, [(1e-2, 0.5)], **FACTS)
    assert entry(OFFER) == changed
    assert not is_builtin(OFFER)
    with pytest.raises(InputError, match="already called"):
        import_model(checkpoint, OFFER)
    caplog.clear()
    assert pull(changed) == path
    assert (len(hub.seen), caplog.text) == (1, "")
    remove_model(OFFER)
    assert entry(OFFER).offered
    assert is_builtin(OFFER)
    assert left(models) == []


def test_an_interrupted_pull_of_an_offer_goes_on(hub: Hub, checkpoint: Path, models: Path) -> None:
    content = checkpoint.read_bytes()
    offered = offer(hub, checkpoint, cut_off(content, 100_000), status(503))
    with pytest.raises(PullError, match="go on from 100,000"):
        pull(offered)
    assert entry(OFFER).offered
    assert not (models / OFFER / ENTRY_FILE).exists()
    pull(offer(hub, checkpoint))
    assert hub.seen[-1] == ("/trained.pt", "bytes=100000-")
    assert verify(entry(OFFER)).state == "ok"


def test_another_file_at_the_address_is_not_kept(hub: Hub, checkpoint: Path, models: Path) -> None:
    offered = offer(hub, checkpoint, whole(checkpoint.read_bytes()[::-1]))
    with pytest.raises(PullError, match="another SHA-256"):
        pull(offered)
    assert [name for name in left(models / OFFER) if name != ".lock"] == []


def test_a_damaged_part_of_a_pulled_model_is_pulled_again(
    hub: Hub, checkpoint: Path, models: Path
) -> None:
    pull(offer(hub, checkpoint))
    (models / OFFER / "edgeface_xxs.pt").write_bytes(b"damaged")
    assert verify(entry(OFFER)).state == "damaged"
    pull(entry(OFFER))
    assert verify(entry(OFFER)).state == "ok"
    assert len(hub.seen) == 2


def test_a_copy_that_is_here_needs_no_network(
    hub: Hub, checkpoint: Path, models: Path, tmp_path: Path
) -> None:
    offered = offer(hub, checkpoint, status(500))
    wrong = tmp_path / "wrong.pt"
    wrong.write_bytes(b"another file")
    with pytest.raises(PullError, match=r"wrong\.pt is not edgeface_xxs\.pt .* nothing was kept"):
        pull(offered, source=wrong)
    with pytest.raises(ModelNotFound, match="no model file at"):
        pull(offered, source=tmp_path / "missing.pt")
    with pytest.raises(InputError, match="cannot read"):
        pull(offered, source=tmp_path)
    assert entry(OFFER).offered
    pull(offered, source=checkpoint)
    assert hub.seen == []
    assert verify(entry(OFFER)).state == "ok"
    assert checkpoint.exists(), "it was copied"


def test_the_names_of_offers_are_not_for_imports(checkpoint: Path, models: Path) -> None:
    with pytest.raises(InputError, match="or pull it from the file"):
        import_model(checkpoint, OFFER, arch="edgeface-xxs", gamma=0.5)
    assert left(models) == []


def test_the_architectures_are_those_of_the_networks() -> None:
    assert set(EDGEFACE) == set(nn.MODELS)


# The official files


@pytest.mark.shared
@pytest.mark.parametrize("name", ["edgeface-xs-q", "edgeface-xxs-q"])
def test_the_official_files_are_what_the_catalogue_says(
    shared: Path, models: Path, name: str
) -> None:
    (file,) = entry(name).files
    pull(entry(name), source=shared / "weights" / file.name)
    made = entry(name)
    assert verify(made).state == "ok"
    assert (made.params, made.max_batch) == (entry(name).params, None)
    digests = (shared / "weights" / "SHA256SUMS").read_text()
    assert f"{file.sha256}  {file.name}" in digests
