from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from networks import embedder, refusing

from facekeep import models as room
from facekeep.errors import (
    FacekeepError,
    InputError,
    ModelCorrupt,
    ModelError,
    ModelNotFound,
    StorageFull,
)
from facekeep.models import entry, import_model, locate, remove_model, set_thresholds, verify
from facekeep.models.catalogue import ENTRY_FILE
from facekeep.runtime import open_session


def names() -> list[str]:
    return [model.name for model in room.list_models() if model.folder]


def nothing_left(models: Path) -> bool:
    return not models.exists() or not list(models.iterdir())


def test_an_imported_model_is_known_from_then_on(models: Path, network: Path) -> None:
    made = import_model(
        network,
        "mine",
        colour="bgr",
        mean=(1, 2, 3),
        scale=0.5,
        summary="A model “of mine”",
        weights_licence="MIT",
        training_data="own photos",
    )
    assert entry("mine") == made
    assert names() == ["mine"]
    assert (made.task, made.width, made.input_size, made.max_batch) == ("embed", 8, 112, None)
    assert (made.colour, made.mean, made.scale) == ("bgr", (1, 2, 3), (0.5, 0.5, 0.5))
    assert made.thresholds == ()
    network.unlink()
    assert verify(made).state == "ok"
    assert open_session(locate(made)).outputs[0].shape == (None, 8)
    assert {path.name for path in (models / "mine").iterdir()} == {ENTRY_FILE, "mine.onnx"}


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"batch": 1}, (112, 8, 1)),
        ({"batch": "n", "baked": True}, (112, 8, 1)),
        ({"size": 96, "width": 5}, (96, 5, None)),
        ({"size": "s"}, (112, 8, None)),
    ],
    ids=["batch of one", "batch of one inside", "other size", "any size"],
)
def test_finds_out_the_form(
    models: Path, network: Path, form: dict[str, Any], expected: tuple[int, int, int | None]
) -> None:
    network.write_bytes(embedder(**form))
    made = import_model(network, "mine")
    assert (made.input_size, made.width, made.max_batch) == expected


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (embedder(batch=4), "4 x 3 x 112 x 112, not N x 3 x S x S"),
        (embedder(channels=1), r"\? x 1 x 112 x 112"),
        (refusing("output of four axes"), "it gives 1 x 3 x 1 x 1"),
        (refusing("one number out"), "it gives 1 x 1"),
        (refusing("output not finite"), "not finite float32"),
        (refusing("whole numbers out"), "not finite float32"),
    ],
)
def test_what_is_no_face_embedder_is_refused(
    models: Path, network: Path, content: bytes, problem: str
) -> None:
    network.write_bytes(content)
    with pytest.raises(ModelError, match=problem) as caught:
        import_model(network, "mine")
    assert "\n" not in str(caught.value)
    assert nothing_left(models)


def test_the_detector_is_no_face_embedder(models: Path, cache: Path) -> None:
    with pytest.raises(ModelError, match="no face embedder"):
        import_model(locate(entry("yunet")), "mine")


@pytest.mark.parametrize("content", [b"", b"no network", bytes(1000), embedder()[:200]])
def test_a_damaged_file_is_refused(models: Path, network: Path, content: bytes) -> None:
    network.write_bytes(content)
    with pytest.raises(ModelCorrupt) as caught:
        import_model(network, "mine")
    assert "\n" not in str(caught.value)
    assert nothing_left(models)


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "link to itself", "nul", "number"])
def test_what_is_no_file_is_refused(models: Path, tmp_path: Path, kind: str) -> None:
    path: Any = tmp_path / "it"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "link to itself":
        path.symlink_to("it")
    elif kind != "missing":
        path = {"nul": "a\0b", "number": 7}[kind]
    with pytest.raises(ModelNotFound if kind == "missing" else InputError) as caught:
        import_model(path, "mine")
    assert "\n" not in str(caught.value)
    assert nothing_left(models)


@pytest.mark.parametrize("name", ["", "Mine", "a b", "../x", ".x", "x" * 65, "é", 7])
def test_a_name_that_no_model_can_have_is_refused(models: Path, network: Path, name: Any) -> None:
    with pytest.raises(InputError, match="a model's name must be"):
        import_model(network, name)
    assert nothing_left(models)


def test_a_name_that_is_taken_is_refused(models: Path, network: Path) -> None:
    first = import_model(network, "mine")
    network.write_bytes(embedder(seed=1))
    for name in ("mine", "sface"):
        with pytest.raises(InputError, match="already called"):
            import_model(network, name)
    assert entry("mine") == first
    assert verify(first).state == "ok"


def test_a_name_taken_meanwhile_is_refused(
    models: Path, network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = import_model(network, "mine")
    monkeypatch.setattr("facekeep.models.importing.free_folder", lambda name: models / name)
    with pytest.raises(InputError, match="exists already"):
        import_model(network, "mine")
    assert verify(first).state == "ok"
    assert [path.name for path in models.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"arch": "edgeface"},
        {"gamma": 0.6},
        {"input_size": 112},
        {"mean": (1, 2)},
        {"mean": "x"},
        {"scale": None},
        {"scale": float("nan")},
        {"summary": "two\nlines"},
        {"weights_licence": " "},
    ],
    ids=str,
)
def test_arguments_that_make_no_sense_are_refused(
    models: Path, network: Path, wrong: dict[str, Any]
) -> None:
    with pytest.raises((InputError, ModelError)) as caught:
        import_model(network, "mine", **wrong)
    assert "\n" not in str(caught.value)
    assert nothing_left(models)


def test_an_unknown_order_of_colours_names_the_known_ones(models: Path, network: Path) -> None:
    with pytest.raises(InputError, match="colour must be rgb or bgr, not 'yuv'"):
        import_model(network, "mine", colour="yuv")  # type: ignore[arg-type]
    assert nothing_left(models)


def test_an_unknown_architecture_lists_the_known_ones(models: Path, network: Path) -> None:
    with pytest.raises(InputError, match="'caffe'; known: onnx, tflite, ncnn, edgeface-base"):
        import_model(network, "mine", arch="caffe")


def test_a_full_disk_leaves_nothing_behind(
    models: Path, network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes, **_: bool) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("facekeep.models.files.write_whole", full)
    with pytest.raises(StorageFull):
        import_model(network, "mine")
    assert nothing_left(models)


def test_a_folder_that_cannot_be_made_is_one_line(models: Path, network: Path) -> None:
    models.write_text("in the way")
    with pytest.raises(FacekeepError, match="cannot write") as caught:
        import_model(network, "mine")
    assert "\n" not in str(caught.value)


def test_a_calibration_is_recorded(models: Path, network: Path) -> None:
    made = import_model(network, "mine")
    table = [(1e-2, 0.25), (np.float64(1e-4), np.float32(0.5))]
    changed = set_thresholds(
        "mine", table, comparisons=10**6, calibrated_on="own photos", command="make thresholds"
    )
    assert entry("mine") == changed
    assert changed.thresholds == ((0.01, 0.25), (0.0001, 0.5))
    assert (changed.comparisons, changed.calibration_command) == (10**6, "make thresholds")
    assert room.space_id(changed) == room.space_id(made)
    assert verify(changed).state == "ok"


def test_a_senseless_calibration_changes_nothing(models: Path, network: Path) -> None:
    made = import_model(network, "mine")
    facts: dict[str, Any] = {"comparisons": 10, "calibrated_on": "x", "command": "x"}
    for table in ([(1e-4, 0.2), (1e-2, 0.5)], [(1e-2, 2.0)]):
        with pytest.raises(ModelError, match="thresholds"):
            set_thresholds("mine", table, **facts)
    with pytest.raises(InputError, match="built in"):
        set_thresholds("sface", [(1e-2, 0.5)], **facts)
    with pytest.raises(ModelNotFound):
        set_thresholds("nobody", [(1e-2, 0.5)], **facts)
    assert entry("mine") == made


@pytest.mark.parametrize("damaged", [False, True])
def test_a_model_can_be_removed(models: Path, network: Path, damaged: bool) -> None:
    import_model(network, "mine")
    if damaged:
        (models / "mine" / ENTRY_FILE).write_text("damaged")
    remove_model("mine")
    assert nothing_left(models)
    assert names() == []


def test_removing_a_linked_folder_spares_what_it_leads_to(
    models: Path, network: Path, tmp_path: Path
) -> None:
    import_model(network, "mine")
    (models / "mine").rename(tmp_path / "elsewhere")
    (models / "mine").symlink_to(tmp_path / "elsewhere")
    remove_model("mine")
    assert names() == []
    assert (tmp_path / "elsewhere" / ENTRY_FILE).exists()


@pytest.mark.parametrize("name", ["nobody", "../outside", ""])
def test_only_ones_own_models_can_be_removed(models: Path, name: str) -> None:
    outside = models.parent / "outside"
    outside.mkdir()
    (outside / ENTRY_FILE).write_text("")
    with pytest.raises(ModelNotFound):
        remove_model(name)
    with pytest.raises(InputError, match="built in"):
        remove_model("sface")
    assert (outside / ENTRY_FILE).exists()
