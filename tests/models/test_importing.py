from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from networks import embedder, other_form, refusing
from numpy.typing import NDArray

from facekeep import models as room
from facekeep._internal.child import call
from facekeep.errors import (
    FacekeepError,
    InputError,
    ModelCorrupt,
    ModelError,
    ModelNotFound,
    RuntimeUnavailable,
    StorageFull,
)
from facekeep.models import entry, import_model, locate, remove_model, set_thresholds, verify
from facekeep.models.entry_file import ENTRY_FILE
from facekeep.models.model_entry import ModelEntry
from facekeep.models.onnx_adaptation import adapt
from facekeep.models.resolve import open_model
from facekeep.pipeline.embed import Embedder
from facekeep.runtime import RuntimeOptions, open_session


def names() -> list[str]:
    return [model.name for model in room.list_models() if model.folder]


def nothing_left(models: Path) -> bool:
    return not models.exists() or not list(models.iterdir())


@pytest.mark.slow
def test_an_imported_model_is_known_from_then_on(models: Path, network: Path) -> None:
    made = import_model(
        network,
        "mine",
        color="bgr",
        mean=(1, 2, 3),
        scale=0.5,
        summary="A model “of mine”",
        weights_license="MIT",
        training_data="own photos",
    )
    assert entry("mine") == made
    assert names() == ["mine"]
    assert (made.task, made.width, made.input_size, made.max_batch) == ("embed", 8, 112, None)
    assert (made.color, made.mean, made.scale) == ("bgr", (1, 2, 3), (0.5, 0.5, 0.5))
    assert made.thresholds == ()
    network.unlink()
    assert verify(made).state == "ok"
    assert open_session(locate(made)).outputs[0].shape == (None, 8)
    assert {path.name for path in (models / "mine").iterdir()} == {ENTRY_FILE, "mine.onnx"}


@pytest.mark.parametrize(("name", "terms"), [("facekeep-xxs", "research"), ("sface", "free")])
def test_the_file_of_a_known_model_stays_under_its_terms(
    models: Path, tmp_path: Path, name: str, terms: str
) -> None:
    known = entry(name)
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(locate(known).read_bytes())
    import_model(copy, "mine")
    made = entry("mine")
    assert (made.terms, made.weights_license) == (terms, known.weights_license)
    assert made.training_data == known.training_data
    assert import_model(copy, "other", weights_license="said").weights_license == "said"


def test_a_file_that_nobody_knows_is_the_users_own(models: Path, network: Path) -> None:
    assert import_model(network, "mine").terms == "own"


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (embedder(channels=1), r"\? x 1 x 112 x 112"),
        (embedder(size=5000), "5000 x 5000, which is too much"),
        (embedder(batch=300, baked=True), "300 x 3 x 112 x 112"),
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


@pytest.mark.slow
def test_without_onnx_a_network_in_the_form_that_runs_is_imported(
    network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    found = adapt(str(network), str(tmp_path / "target.onnx"))
    assert found == {"form": found["form"], "changed": False, "notes": ""}
    assert (found["form"]["input_size"], found["form"]["width"]) == (112, 8)
    assert not (tmp_path / "target.onnx").exists()


@pytest.mark.parametrize("kind", ["two outputs", "no network", "an unknown output"])
def test_without_onnx_others_name_the_extra(
    network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    if kind == "two outputs":
        model = onnx.load(network)
        model.graph.output.append(model.graph.output[0])
        model.graph.output[1].name = model.graph.node[-1].input[0]
        onnx.save(model, network)
    elif kind == "no network":
        network.write_bytes(b"something else")
    with pytest.raises(RuntimeUnavailable, match=r"pip install 'facekeep\[import\]'$") as caught:
        adapt(str(network), str(tmp_path / "x"), "z" if kind == "an unknown output" else None)
    assert "\n" not in str(caught.value)


def test_the_detector_is_no_face_embedder(models: Path) -> None:
    with pytest.raises(ModelError, match="no face embedder"):
        import_model(locate(entry("yunet")), "mine")


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_name_that_is_taken_is_refused(models: Path, network: Path) -> None:
    first = import_model(network, "mine")
    network.write_bytes(embedder(seed=1))
    for name in ("mine", "sface"):
        with pytest.raises(InputError, match="already called"):
            import_model(network, name)
    assert entry("mine") == first
    assert verify(first).state == "ok"


@pytest.mark.slow
def test_a_name_taken_meanwhile_is_refused(
    models: Path, network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = import_model(network, "mine")
    monkeypatch.setattr("facekeep.models.importing.free_folder", lambda name: models / name)
    with pytest.raises(InputError, match="exists already"):
        import_model(network, "mine")
    assert verify(first).state == "ok"
    assert [path.name for path in models.iterdir()] == ["mine"]


@pytest.mark.slow
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
        {"weights_license": " "},
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


def test_an_unknown_order_of_colors_names_the_known_ones(models: Path, network: Path) -> None:
    with pytest.raises(InputError, match="color must be rgb or bgr, not 'yuv'"):
        import_model(network, "mine", color="yuv")  # type: ignore[arg-type]
    assert nothing_left(models)


def test_an_unknown_architecture_lists_the_known_ones(models: Path, network: Path) -> None:
    with pytest.raises(InputError, match="'caffe'; known: onnx, tflite, ncnn, espdl, openvino"):
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("damaged", [False, True])
def test_a_model_can_be_removed(models: Path, network: Path, damaged: bool) -> None:
    import_model(network, "mine")
    if damaged:
        (models / "mine" / ENTRY_FILE).write_text("damaged")
    remove_model("mine")
    assert nothing_left(models)
    assert names() == []


@pytest.mark.slow
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


# ---- other forms ---------------------------------------------------------------------------------


def rows_of(made: ModelEntry, faces: NDArray[np.float32]) -> NDArray[np.float32]:
    session = open_model(made, options=RuntimeOptions(threads=1))
    try:
        rows = session.run({session.inputs[0].name: faces})[0]
        return np.asarray(rows, np.float32).reshape(len(faces), -1)
    finally:
        session.close()


def noise(count: int, side: int = 112) -> NDArray[np.float32]:
    return np.random.default_rng(3).normal(size=(count, 3, side, side)).astype(np.float32)


def expected_rows(faces: NDArray[np.float32]) -> NDArray[np.float32]:
    """What `embedder` gives, computed anew."""
    matrix = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    return np.asarray(faces.mean(axis=(2, 3)) @ matrix, np.float32)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "note"),
    [
        (embedder(batch=8), "any number of faces"),
        (embedder(batch=8, baked=True), ""),
        (other_form("float16"), "it is fed float32, which it turns into float16"),
        (other_form("float64 out"), "turned into float32"),
        (other_form("N x d x 1 x 1"), ""),
        (other_form("second output"), "of its outputs y is the embedding"),
        (other_form("constants among the inputs"), ""),
    ],
    ids=["batch of 8", "batch of 8 inside", "float16", "float64", "four axes", "second", "inputs"],
)
def test_other_forms_are_brought_into_the_usual_one(
    models: Path, network: Path, content: bytes, note: str
) -> None:
    network.write_bytes(content)
    made = import_model(network, "mine")
    assert note in made.notes
    assert (made.width, made.input_size, made.max_batch) == (8, 112, None)
    for count in (1, 3, 8, 11):
        faces = noise(count)
        np.testing.assert_allclose(rows_of(made, faces), expected_rows(faces), atol=5e-3)
    crops = np.random.default_rng(0).integers(0, 256, (5, 112, 112, 3), np.uint8)
    with Embedder(made, options=RuntimeOptions(threads=1)) as embedding:
        together = embedding.embed(crops)
        singles = np.concatenate([embedding.embed(each[None]) for each in crops])
    np.testing.assert_allclose(together, singles, atol=1e-3)
    assert verify(made).state == "ok"


@pytest.mark.slow
def test_a_batch_that_cannot_be_freed_is_kept(models: Path, network: Path) -> None:
    network.write_bytes(embedder(batch=8, baked=True))
    made = import_model(network, "mine")
    assert made.batch == 8
    assert entry("mine") == made
    assert made.files[0].sha256 == hashlib.sha256(network.read_bytes()).hexdigest()


@pytest.mark.slow
def test_faces_of_112_by_96_are_the_middle_of_the_aligned_ones(models: Path, network: Path) -> None:
    network.write_bytes(other_form("112 x 96"))
    made = import_model(network, "mine")
    assert "middle 96 columns" in made.notes
    assert made.input_size == 112
    faces = noise(2)
    found = rows_of(made, faces)
    np.testing.assert_allclose(found, expected_rows(faces[..., 8:104]), atol=1e-4)


@pytest.mark.slow
def test_other_sizes_that_are_not_square_are_refused(models: Path, network: Path) -> None:
    network.write_bytes(other_form("128 x 96"))
    with pytest.raises(ModelError, match=r"128 x 96: faces are aligned as squares.*export it for"):
        import_model(network, "mine")
    assert nothing_left(models)


@pytest.mark.slow
def test_of_several_outputs_one_must_be_named(models: Path, network: Path) -> None:
    network.write_bytes(other_form("two embeddings"))
    with pytest.raises(ModelError, match=r"y \(2 x 8\), z \(2 x 8\); name it$"):
        import_model(network, "mine")
    with pytest.raises(InputError, match="it has no output w; it has y, z"):
        import_model(network, "mine", output="w")
    with pytest.raises(InputError, match="output is for ONNX networks"):
        import_model(network, "mine", output="y", arch="tflite")
    assert nothing_left(models)
    faces = noise(2)
    made = import_model(network, "mine", output="z")
    np.testing.assert_allclose(rows_of(made, faces), -expected_rows(faces), atol=1e-4)


@pytest.fixture
def two_files(tmp_path: Path) -> Path:
    """A network as PyTorch exports it: its data lie in a second file."""
    path = tmp_path / "two.onnx"
    model = onnx.load_model_from_string(embedder())
    onnx.save(model, path, save_as_external_data=True, location="two.onnx.data", size_threshold=0)
    return path


@pytest.mark.slow
def test_data_beside_the_file_are_taken_into_it(models: Path, two_files: Path) -> None:
    made = import_model(two_files, "mine")
    assert {path.name for path in (models / "mine").iterdir()} == {ENTRY_FILE, "mine.onnx"}
    assert "taken into the file" in made.notes
    for path in two_files.parent.glob("two.onnx*"):
        path.unlink()
    faces = noise(3)
    np.testing.assert_allclose(rows_of(made, faces), expected_rows(faces), atol=1e-4)


def moved(path: Path, location: str) -> None:
    """Say that the data lie elsewhere."""
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for each in tensor.external_data:
            if each.key == "location":
                each.value = location
    path.write_bytes(model.SerializeToString())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["missing", "cut", "above", "absolute", "link", "linked", "pipe"])
def test_data_elsewhere_are_not_read(models: Path, two_files: Path, kind: str) -> None:
    data = two_files.with_name("two.onnx.data")
    other = two_files.parent / "other"
    if kind == "missing":
        data.unlink()
    elif kind == "cut":
        data.write_bytes(data.read_bytes()[:-8])
    elif kind == "above":
        moved(two_files, f"../{two_files.parent.name}/two.onnx.data")
    elif kind == "absolute":
        moved(two_files, str(data))
    elif kind == "link":
        data.rename(other)
        data.symlink_to(other)
    elif kind == "linked":
        other.mkdir()
        (two_files.parent / "way").symlink_to("other")
        data.rename(other / "data")
        moved(two_files, "way/data")
    else:
        data.unlink()
        os.mkfifo(data)
    with pytest.raises(ModelError) as caught:
        import_model(two_files, "mine")
    message = str(caught.value)
    assert "\n" not in message
    if kind == "missing":
        assert "put two.onnx.data beside it" in message
        assert "external_data=False" in message
    assert nothing_left(models)


# ---- networks that do harm -----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["crash", "hang", "memory", "exit", "talk"])
def test_a_network_that_does_harm_does_it_in_a_child(
    models: Path, network: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    harm = {
        "crash": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
        "hang": "while True: pass",
        "memory": "bytearray(1 << 50)",
        "exit": "import os; os._exit(0)",
        "talk": "import os; os.write(1, b'hello'); os._exit(0)",
    }[kind]
    package = tmp_path / "harmful"
    package.mkdir()
    (package / "harmful.py").write_text(f"def adapt(*given):\n    {harm}\n")
    monkeypatch.setenv("PYTHONPATH", str(package))

    def harmed(label: str, function: str, *arguments: object) -> object:
        seconds = 2 if kind == "hang" else 60
        return call(label, "harmful:adapt", *arguments, seconds=seconds)

    monkeypatch.setattr("facekeep.models.importing.call", harmed)
    expected = {
        "crash": r"crashed what was to run it \(SIGSEGV\)",
        "hang": "seconds and was stopped|too much time",
        "memory": "needs more memory than there is",
        "exit": r"crashed what was to run it \(status 0\)",
        "talk": "crashed what was to run it",
    }[kind]
    with pytest.raises((ModelError, TypeError), match=expected):
        import_model(network, "mine")
    assert nothing_left(models)


@pytest.mark.slow
def test_nothing_in_the_folder_one_is_in_is_run(
    models: Path, network: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    for name in ("json", "numpy", "onnx", "facekeep"):
        (foreign / f"{name}.py").write_text("raise SystemExit(9)\n")
    monkeypatch.chdir(foreign)
    assert import_model(network, "mine").width


@pytest.mark.slow
def test_names_that_are_not_utf_8_are_refused(models: Path, network: Path) -> None:
    for name in (b"x", b"y"):
        content = embedder().replace(b"\x01" + name, b"\x01\xff")
        network.write_bytes(content)
        with pytest.raises(ModelCorrupt, match="not UTF-8") as caught:
            import_model(network, "mine")
        assert str(caught.value).isprintable()
        assert nothing_left(models)
        with pytest.raises(ModelCorrupt, match="not UTF-8"):
            open_session(content).close()


@pytest.mark.slow
def test_a_huge_input_in_an_entry_is_refused(models: Path, network: Path) -> None:
    made = import_model(network, "mine")
    assert made.folder is not None
    path = made.folder / ENTRY_FILE
    text = path.read_text()
    for key in ("input_size", "width"):
        number = getattr(made, key)
        path.write_text(text.replace(f"{key} = {number}\n", f"{key} = {10**12}\n"))
        with pytest.raises(ModelError, match=f"{key} = {10**12}: expected a whole number from 1"):
            entry("mine")


@pytest.mark.parametrize("size", [0, -1, 5000, 10**12])
def test_a_huge_input_of_a_checkpoint_is_refused(models: Path, network: Path, size: int) -> None:
    with pytest.raises(InputError, match="input_size must be from 1 to 4096"):
        import_model(network, "mine", arch="edgeface-xxs", input_size=size)
    assert nothing_left(models)
