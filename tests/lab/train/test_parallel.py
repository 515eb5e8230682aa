from __future__ import annotations

from pathlib import Path
from typing import Any

import parallel_kit as kit
import pytest
import torch
from child_server import free_port
from hypothesis import given
from hypothesis import strategies as st
from torch.multiprocessing import ProcessRaisedException, spawn

from facekeep.errors import ConfigError, FacekeepError, InputError, RuntimeUnavailable
from facekeep.lab.train.parallel import Parallel, from_environment, shard

RESUMED = ("softmax", "arcface, sampled")


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    """Every case in one process."""
    found: dict[str, Any] = {
        name: kit.train(case, Parallel(), range(6)) for name, case in kit.CASES.items()
    }
    halves = {f"half {name}": kit.train(kit.CASES[name], Parallel(), range(3)) for name in RESUMED}
    return {**found, **halves}


@pytest.fixture(scope="module")
def together(
    alone: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    """What each of two processes found; they also go on from what the one process did."""
    folder: Path = tmp_path_factory.mktemp("together")
    torch.save({name: alone[f"half {name}"] for name in RESUMED}, folder / "halves.pt")
    spawn(kit.run_all, (free_port(), folder), nprocs=2)
    return [torch.load(folder / f"rank{rank}.pt") for rank in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize("name", kit.CASES)
def test_two_processes_learn_what_one_does(
    name: str, alone: dict[str, Any], together: list[dict[str, Any]]
) -> None:
    losses = alone[name]["losses"]
    assert losses.isfinite().all()
    assert losses.unique().numel() == len(losses)
    for found in together:
        torch.testing.assert_close(found[name]["losses"], losses, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            found[name]["gradient"], alone[name]["gradient"], rtol=1e-3, atol=1e-6
        )
    assert torch.equal(together[0][name]["losses"], together[1][name]["losses"])


@pytest.mark.slow
@pytest.mark.parametrize("name", kit.CASES)
def test_both_processes_classes_are_in_the_checkpoint(
    name: str, alone: dict[str, Any], together: list[dict[str, Any]]
) -> None:
    whole, parts = alone[name]["head"], together[0][name]["head"]
    assert together[1][name]["head"] == {}
    assert parts["step"] == whole["step"]
    assert parts["weight"].shape == (kit.CLASSES, kit.WIDTH)
    torch.testing.assert_close(parts["weight"], whole["weight"], rtol=1e-3, atol=1e-4)
    for moment in whole["moments"]:
        torch.testing.assert_close(
            parts["moments"][moment], whole["moments"][moment], rtol=1e-3, atol=1e-5
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", RESUMED)
def test_a_run_goes_on_with_another_number_of_processes(
    name: str, alone: dict[str, Any], together: list[dict[str, Any]]
) -> None:
    rest = alone[name]["losses"][3:]
    grown = together[0][f"resumed {name}"]["losses"]
    shrunk = kit.train(kit.CASES[name], Parallel(), range(3, 6), together[0][f"half {name}"])
    torch.testing.assert_close(grown, rest, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(shrunk["losses"], rest, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_exchanges_between_two_processes(together: list[dict[str, Any]]) -> None:
    first, second = (found["exchanges"] for found in together)
    rows = torch.tensor([[0.0, 1.0], [2.0, 3.0]])
    for found in (first, second):
        assert torch.equal(found["gather"], torch.cat([rows, rows + 10]))
        assert torch.equal(found["sum"], 2 * rows + 10)
        assert torch.equal(found["max"], rows)
    # Row i counts i times in the first process and 2 i times in the second.
    assert first["gradient"].tolist() == [[0, 0], [3, 3]]
    assert second["gradient"].tolist() == [[6, 6], [9, 9]]
    assert first["collect"].tolist() == [[0, 1], [10, 11], [12, 13]]
    assert second["collect"] is None


def _wait(processes: Any) -> None:
    while not processes.join():
        pass


@pytest.mark.slow
@pytest.mark.parametrize("worker", [kit.hang, kit.die])
def test_a_lost_process_ends_the_others(worker: Any, tmp_path: Path) -> None:
    processes = spawn(worker, (free_port(), tmp_path), nprocs=2, join=False)
    message = "RuntimeUnavailable: lost the other processes of this run: "
    with pytest.raises(ProcessRaisedException, match=message):
        _wait(processes)
    assert not any(process.is_alive() for process in processes.processes)


def test_one_process_exchanges_with_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    with from_environment("cpu") as parallel:
        assert (parallel.rank, parallel.world, parallel.device.type) == (0, 1, "cpu")
        assert parallel.is_main
        rows = torch.ones(2, 3, requires_grad=True)
        assert parallel.gather(rows) is rows
        assert parallel.sum(rows) is rows
        assert not parallel.max(rows).requires_grad
        kept = parallel.collect(rows)
        parallel.barrier()
    assert kept is not None
    assert kept.data_ptr() != rows.data_ptr()


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"RANK": "x"}, "RANK='x' is not a whole number; start with torchrun"),
        ({"WORLD_SIZE": "-1"}, "WORLD_SIZE='-1' is not a whole number; start with torchrun"),
        ({"WORLD_SIZE": "0"}, "RANK=0 does not fit WORLD_SIZE=0; start with torchrun"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK=2 does not fit WORLD_SIZE=2; start with torchrun"),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE=2 but MASTER_ADDR is not set; start with torchrun"),
    ],
)
def test_an_environment_that_makes_no_sense(
    variables: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        from_environment("cpu")
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"device": "tpu"}, InputError),
        ({"device": "cpu", "timeout": 0.0}, InputError),
        ({"device": "cpu", "timeout": float("nan")}, InputError),
        ({"device": "cuda"}, RuntimeUnavailable),
    ],
)
def test_a_device_or_timeout_that_cannot_be(
    arguments: dict[str, Any], kind: type[FacekeepError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(kind) as caught:
        from_environment(**arguments)
    assert "\n" not in str(caught.value)


def test_each_process_takes_the_gpu_of_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert from_environment().device == torch.device("cuda", 1)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(RuntimeUnavailable, match="PyTorch finds 2; start fewer processes"):
        from_environment()


@pytest.mark.slow
def test_nobody_to_join_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_PORT", str(free_port()))
    with pytest.raises(RuntimeUnavailable, match="cannot reach the other 1 processes: ") as caught:
        from_environment("cpu", timeout=1)
    assert "\n" not in str(caught.value)


@given(count=st.integers(0, 1000), world=st.integers(1, 40))
def test_shards_cover_everything_once(count: int, world: int) -> None:
    parts = [shard(count, rank, world) for rank in range(world)]
    assert [item for part in parts for item in part] == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
