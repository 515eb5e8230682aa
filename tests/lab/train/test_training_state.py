"""Checkpoints are whole or not there, run nothing, and bring everything back."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from facekeep.errors import ModelCorrupt, ModelError
from facekeep.lab.train.parallel import Parallel
from facekeep.lab.train.training_state import (
    collect_random_state,
    load_training_state,
    restore_random_state,
    save_training_state,
)

STATE = {"step": 7, "log": [[0.1, 0.2]], "learner": {"weight": torch.arange(6.0).reshape(2, 3)}}


def test_a_checkpoint_brings_back_what_was_saved(tmp_path: Path):
    path = tmp_path / "checkpoint.pt"
    save_training_state(path, STATE)
    found = load_training_state(path)
    assert torch.equal(found["learner"]["weight"], STATE["learner"]["weight"])
    assert (found["step"], found["log"]) == (7, [[0.1, 0.2]])
    assert [each.name for each in tmp_path.iterdir()] == ["checkpoint.pt"]


@pytest.mark.slow
def test_a_full_disk_leaves_the_older_checkpoint(tmp_path: Path):
    """In a process of its own: the limit on file sizes cannot be lifted again."""
    path = tmp_path / "checkpoint.pt"
    save_training_state(path, STATE)
    code = (
        "import resource, signal, sys, torch\n"
        "from pathlib import Path\n"
        "from facekeep.errors import StorageFull\n"
        "from facekeep.lab.train.training_state import save_training_state\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n"
        "    save_training_state(Path(sys.argv[1]), {'step': 8, 'big': torch.zeros(100_000)})\n"
        "except StorageFull as error:\n"
        "    print(error)\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "free some space" in done.stdout
    assert done.stdout.count("\n") == 1
    assert load_training_state(path)["step"] == 7
    assert [each.name for each in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path):
    with pytest.raises(ModelError, match=r"cannot write .*gone.*no such file or folder"):
        save_training_state(tmp_path / "gone" / "checkpoint.pt", STATE)


def test_an_error_that_is_no_fault_of_the_disk_stays_what_it_is(tmp_path: Path):
    class Unfit:
        def __reduce__(self):
            raise RuntimeError("not to be pickled")

    with pytest.raises(RuntimeError, match="not to be pickled"):
        save_training_state(tmp_path / "checkpoint.pt", {"unfit": Unfit()})
    assert list(tmp_path.iterdir()) == []


class Malice:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_a_checkpoint_runs_no_code(tmp_path: Path, how: str):
    path, made = tmp_path / "checkpoint.pt", tmp_path / "made"
    if how == "torch":
        torch.save({"step": Malice(made)}, path)
    else:
        path.write_bytes(pickle.dumps({"step": Malice(made)}))
    with pytest.raises(ModelCorrupt, match="is damaged"):
        load_training_state(path)
    assert not made.exists()


@pytest.mark.parametrize("keep", [0, 10, 500, -10])
def test_a_damaged_checkpoint_is_told(tmp_path: Path, keep: int):
    path = tmp_path / "checkpoint.pt"
    save_training_state(path, STATE)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelCorrupt, match="is damaged"):
        load_training_state(path)


def test_a_list_is_no_checkpoint(tmp_path: Path):
    torch.save([1, 2], tmp_path / "checkpoint.pt")
    with pytest.raises(ModelCorrupt, match="is damaged"):
        load_training_state(tmp_path / "checkpoint.pt")


def test_random_numbers_go_on_where_they_were():
    torch.manual_seed(3)
    state = collect_random_state(Parallel())
    expected = torch.randn(4)
    torch.manual_seed(99)
    restore_random_state(state, Parallel())
    assert torch.equal(torch.randn(4), expected)


def test_another_number_of_processes_keeps_its_random_numbers():
    state = collect_random_state(Parallel())
    torch.manual_seed(5)
    expected = torch.randn(4)
    torch.manual_seed(5)
    restore_random_state(torch.cat([state, state]), Parallel())
    assert torch.equal(torch.randn(4), expected)
