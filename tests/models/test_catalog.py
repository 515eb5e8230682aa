from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec import structs

from facekeep import models as room
from facekeep.errors import ModelError, ModelNotFound
from facekeep.models.entry_file import ENTRY_FILE, write_entry
from facekeep.models.model_entry import Conversion

GOOD = """
task = "embed"
architecture = "onnx"
weights_license = "MIT"
training_data = "own photos"
color = "rgb"
mean = 127.5
scale = [0.5, 1, 2]
input_size = 112
width = 8
alignment = "arcface-112"
files = [{ name = "net.onnx", sha256 = "%s", size = 7 }]
""" % ("ab" * 32)


def put(folder: Path, name: str, text: str | bytes) -> None:
    (folder / name).mkdir(parents=True)
    (folder / name / ENTRY_FILE).write_bytes(text if isinstance(text, bytes) else text.encode())


def own() -> list[str]:
    """The models of the user's own, among all that are listed."""
    names = {entry.name for entry in room.list_models()}
    assert names >= {"sface", "yunet"}, "the built-in ones stay"
    return [entry.name for entry in room.list_models() if entry.folder]


@pytest.mark.parametrize("task", ["detect", "embed"])
def test_every_task_has_a_default_of_that_task(task: room.Task) -> None:
    assert room.entry(room.default_model(task)).task == task


@pytest.mark.usefixtures("models")
def test_the_builtin_models_state_their_terms_and_sources() -> None:
    for entry in room.list_models():
        assert entry.weights_license
        assert entry.training_data
        assert entry.params
        assert entry.terms in ("free", "research", "disputed")
        assert all(file.sources for file in entry.files)


@pytest.mark.parametrize(
    "task",
    [
        "detect",
        "orient",
        "embed",
        "refine",
    ],
)
def test_what_is_used_by_default_is_free(task: room.Task) -> None:
    chosen = room.entry(room.default_model(task))
    assert chosen.terms == "free"
    assert not chosen.quality or room.entry(chosen.quality).terms == "free"


def test_the_interim_embedder_is_fed_as_its_publisher_feeds_it() -> None:
    sface = room.entry("sface")
    assert (sface.width, sface.input_size, sface.color) == (128, 112, "rgb")
    assert (sface.mean, sface.scale) == ((0, 0, 0), (1, 1, 1))


@pytest.mark.parametrize("fed", ["mean = 127.5\nscale = 1", "mean = 0\nscale = [1, 1, 0.5]"])
def test_a_detector_is_fed_pixels_as_they_are(models: Path, fed: str) -> None:
    """The detector subtracts and multiplies nothing; an entry that asks for it is not obeyed."""
    lines = GOOD.replace('"embed"', '"detect"').splitlines()
    bare = "\n".join(
        each
        for each in lines
        if each.split()[:1] not in (["mean"], ["scale"], ["width"], ["alignment"])
    )
    put(models, "plain", f"mean = 0\nscale = 1.0\n{bare}")
    assert room.entry("plain").task == "detect"
    put(models, "mine", f"{fed}\n{bare}")
    with pytest.raises(ModelError, match="a detector is fed pixels as they are: mean 0 and scale"):
        room.entry("mine")


def without(text: str, *keys: str) -> str:
    return "\n".join(
        line for line in text.splitlines() if line.split()[:1] not in [[k] for k in keys]
    )


def test_a_refiner_needs_a_size_and_nothing_of_an_embedder(models: Path) -> None:
    good = without(GOOD.replace('"embed"', '"refine"'), "width", "alignment")
    put(models, "mine", good)
    mine = room.entry("mine")
    assert (mine.task, mine.input_size, mine.mean[0]) == ("refine", 112, 127.5)
    put(models, "endless", without(good, "input_size"))
    with pytest.raises(ModelError, match="a model to refine faces needs input_size"):
        room.entry("endless")
    put(models, "wide", good + "\nwidth = 8")
    with pytest.raises(ModelError, match="only an embedder has a width"):
        room.entry("wide")


def test_lists_by_name_and_task(models: Path) -> None:
    put(models, "mine", GOOD)
    assert own() == ["mine"]
    names = [entry.name for entry in room.list_models()]
    assert names == sorted(names)
    assert "mine" in [entry.name for entry in room.list_models("embed")]
    detectors = room.list_models("detect")
    assert "yunet" in [entry.name for entry in detectors]
    assert {entry.task for entry in detectors} == {"detect"}


def test_reads_an_entry_of_the_users_own(models: Path) -> None:
    put(models, "mine", GOOD)
    mine = room.entry("mine")
    assert mine.name == "mine"
    assert mine.folder == models / "mine"
    assert mine.mean == (127.5, 127.5, 127.5)
    assert mine.scale == (0.5, 1.0, 2.0)
    assert mine.max_batch is None
    assert mine.thresholds == ()


def test_the_keys_of_older_versions_are_read_and_written_anew(models: Path) -> None:
    old = GOOD.replace("color =", "colour =").replace("weights_license", "weights_licence")
    put(models, "old", old)
    entry = room.entry("old")
    assert (entry.color, entry.weights_license) == ("rgb", "MIT")
    assert {"colour", "weights_licence"} <= entry.to_dict().keys()
    write_entry(entry, models / "old")
    written = (models / "old" / ENTRY_FILE).read_text()
    assert "color = " in written
    assert "licence" not in written
    assert room.entry("old") == entry
    put(models, "both", GOOD + 'colour = "bgr"')
    with pytest.raises(ModelError, match="unknown key 'colour'"):
        room.entry("both")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("unknown task", "task = 'guess': expected one of detect, refine, orient, quality, embed"),
        ("text as number", "width = '8': expected a whole number from 1 to 65536"),
        ("not a number", r"mean\[0\] = nan: expected a number"),
        ("unknown key", r"has the unknown key 'colors'; known: task, (?!.*\b(name|folder)\b)"),
        ("unknown key of a file", r"files\[0\] has the unknown key 'mode'; known: name, "),
        ("accuracy without command", r"accuracy\[0\] lacks the key 'command'"),
    ],
)
def test_a_damaged_entry_names_the_key_and_what_is_expected(
    models: Path, damage: str, message: str
) -> None:
    put(models, "bad", DAMAGES[damage])
    with pytest.raises(ModelError, match=f"bad/{ENTRY_FILE}: {message}"):
        room.entry("bad")


HEAD = GOOD.partition("files")[0]
DAMAGES = {
    "unknown key": GOOD + 'colors = "rgb"\n',
    "missing key": GOOD.replace('color = "rgb"', ""),
    "unknown task": GOOD.replace('"embed"', '"guess"'),
    "unknown color": GOOD.replace('"rgb"', '"yuv"'),
    "list as a color": GOOD.replace('"rgb"', "[1]"),
    "empty license": GOOD.replace('"MIT"', '" "'),
    "unknown template": GOOD.replace("arcface-112", "mine-96"),
    "text as number": GOOD.replace("width = 8", 'width = "8"'),
    "truth as number": GOOD.replace("width = 8", "width = true"),
    "no width": GOOD.replace("width = 8", ""),
    "width of nothing": GOOD.replace("width = 8", "width = 0"),
    "not a number": GOOD.replace("127.5", "nan"),
    "unknown runtime": GOOD + 'runtime = "caffe"\n',
    "gamma of no EdgeFace": GOOD + "gamma = 0.5\n",
    "EdgeFace that was not exported": GOOD.replace('"onnx"', '"edgeface-xs"'),
    "gamma above one": GOOD.replace('"onnx"', '"edgeface-xs"') + "gamma = 1.5\n",
    "two scales": GOOD.replace("[0.5, 1, 2]", "[0.5, 1]"),
    "no files": HEAD + "files = []\n",
    "files as a table": HEAD + "files = {}\n",
    "file is a number": HEAD + "files = [1]\n",
    "two files of one name": HEAD
    + "files = [{0}, {0}]\n".format("{ name = 'n', sha256 = '%s', size = 1 }" % ("0" * 64)),
    "short digest": GOOD.replace("ab" * 32, "ab" * 31),
    "digest in capitals": GOOD.replace("ab" * 32, "AB" * 32),
    "path as file name": GOOD.replace("net.onnx", "../net.onnx"),
    "hidden file name": GOOD.replace("net.onnx", ".lock"),
    "unknown key of a file": GOOD.replace("size = 7", "size = 7, mode = 1"),
    "unknown source": GOOD.replace("size = 7", "size = 7, sources = [{ ftp = 'x' }]"),
    "source is a text": GOOD.replace("size = 7", "size = 7, sources = ['url']"),
    "source is a number": GOOD.replace("size = 7", "size = 7, sources = [1]"),
    "unknown conversion": GOOD.replace(
        "size = 7", "size = 7, conversion = { name = 'zip', sha256 = '%s', size = 1 }" % ("0" * 64)
    ),
    "thresholds of no comparisons": GOOD + "thresholds = [[0.01, 0.3]]\n",
    "thresholds the wrong way": GOOD
    + "thresholds = [[0.001, 0.3], [0.01, 0.2]]\ncomparisons = 9\ncalibrated_on = 'x'\n",
    "falling cosines": GOOD
    + "thresholds = [[0.01, 0.3], [0.001, 0.2]]\ncomparisons = 9\ncalibrated_on = 'x'\n",
    "cosine above one": GOOD + "thresholds = [[0.01, 1.3]]\ncomparisons = 9\ncalibrated_on = 'x'\n",
    "thresholds in threes": GOOD
    + "thresholds = [[0.01, 0.3, 1]]\ncomparisons = 9\ncalibrated_on = 'x'\n",
    "accuracy without command": GOOD + "accuracy = [{ name = 'LFW', value = 0.9 }]\n",
    "a detector of some width": GOOD.replace('"embed"', '"detect"'),
    "not TOML": "task = ",
    "deep nesting": "task = " + "[" * 5000,
    "not UTF-8": b"task = '\xff'",
    "empty": "",
    "zero bytes": bytes(64),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_reported_and_hides_no_other(models: Path, damage: str) -> None:
    put(models, "good", GOOD)
    put(models, "bad", DAMAGES[damage])
    assert own() == ["good"]
    (found,) = room.damaged_models()
    assert found.name == "bad"
    with pytest.raises(ModelError) as caught:
        room.entry("bad")
    assert str(caught.value) == found.reason
    assert "\n" not in found.reason
    assert str(models / "bad" / ENTRY_FILE) in found.reason


@pytest.mark.parametrize("kind", ["folder", "pipe", "dangling link", "link to itself"])
def test_an_entry_that_is_no_file_is_reported(models: Path, kind: str) -> None:
    path = models / "bad" / ENTRY_FILE
    path.parent.mkdir(parents=True)
    {
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "dangling link": lambda: path.symlink_to("nowhere"),
        "link to itself": lambda: path.symlink_to(ENTRY_FILE),
    }[kind]()
    assert [found.name for found in room.damaged_models()] == ["bad"]
    assert "cannot be read" in room.damaged_models()[0].reason
    assert own() == []


def test_a_folder_called_like_a_builtin_model_does_not_replace_it(models: Path) -> None:
    put(models, "sface", GOOD)
    assert room.entry("sface").folder is None
    (found,) = room.damaged_models()
    assert "built-in" in found.reason


@pytest.mark.parametrize("name", ["Mine", "a b", "\udcff"])
def test_a_folder_whose_name_no_model_can_have_is_reported(models: Path, name: str) -> None:
    put(models, name, GOOD)
    (found,) = room.damaged_models()
    assert found.name.isprintable()
    assert "folder's name" in found.reason
    with pytest.raises(ModelNotFound):
        room.entry(name)


@pytest.mark.parametrize("name", ["nobody", "", "..", "../models/mine", "a/b", "x" * 300, "\0"])
def test_an_unknown_name_lists_the_known_ones(models: Path, name: str) -> None:
    put(models, "mine", GOOD)
    with pytest.raises(
        ModelNotFound, match=r"known: auraface, .*, mine, .*, sface, yunet"
    ) as caught:
        room.entry(name)
    assert "\n" not in str(caught.value)


def test_the_beginning_of_a_name_is_completed() -> None:
    with pytest.raises(ModelNotFound, match=r"is it edgeface-xs-gamma-06 or edgeface-xs-q\?$"):
        room.entry("edgeface-xs")


@pytest.mark.parametrize("conversion", [None, Conversion("fold-block-quantised", "0" * 64, 1)])
def test_what_an_older_version_pulled_is_converted_as_now(
    models: Path, conversion: Conversion | None
) -> None:
    offered = room.entry("mobilefacenet-fp")
    (file,) = offered.files
    before = structs.replace(file, conversion=conversion)
    write_entry(structs.replace(offered, files=(before,)), models / offered.name)
    pulled = room.entry(offered.name)
    assert pulled.files[0].conversion == file.conversion
    assert room.space_id(pulled) == room.space_id(offered)
    other = structs.replace(before, sha256="1" * 64)
    write_entry(structs.replace(offered, files=(other,)), models / offered.name)
    assert room.entry(offered.name).files[0].conversion == conversion


def test_hidden_folders_are_no_models(models: Path) -> None:
    put(models, ".import-1", GOOD)
    assert own() == []
    assert room.damaged_models() == []


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_no_folder_of_own_models_is_no_error(models: Path, kind: str) -> None:
    if kind == "file":
        models.write_text("")
    assert own() == []


def test_entries_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        room.entry("sface").width = 512  # type: ignore[misc]


def test_looking_up_loads_neither_networks_nor_runtimes() -> None:
    heavy = ("onnx", "onnxruntime", "urllib.request", "http.client", "ssl", "cv2", "PIL")
    heavy += ("torch", "ai_edge_litert")
    code = (
        "import sys, facekeep.models as m; m.list_models(); m.verify(m.entry('sface'));"
        f"sys.exit(', '.join(set({heavy!r}) & set(sys.modules)) or 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_exists() -> None:
    assert all(getattr(room, name) for name in room.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        room.nonsense  # noqa: B018
