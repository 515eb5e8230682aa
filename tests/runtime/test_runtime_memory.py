"""Networks of one process compute in the same memory, and give back what few need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

# The mean of 160 numbers made of each row of 16: ten times the memory of the input.
_PROBE = """
import sys
import numpy as np
from facekeep.runtime import RuntimeOptions, open_session

def resident():
    for line in open("/proc/self/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024

def run(session, rows):
    (y,) = session.run({"x": np.ones((rows, 16), np.float32)})
    assert y.shape == (rows, 1)
    assert (y == 16).all()
"""


@pytest.fixture
def network(tmp_path: Path) -> Path:
    weights = {"wide": np.ones((16, 160)), "narrow": np.full((160, 1), 1 / 160)}
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "wide"], ["z"]),
            helper.make_node("Floor", ["z"], ["floor"]),
            helper.make_node("MatMul", ["floor", "narrow"], ["mean"]),
            helper.make_node("Round", ["mean"], ["y"]),
        ],
        "wide",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])],
        [numpy_helper.from_array(each.astype(np.float32), name) for name, each in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "wide.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def printed(code: str, network: Path) -> list[float]:
    """Run code in a process of its own, and return the numbers that it prints."""
    command = [sys.executable, "-c", _PROBE + code, str(network)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return [float(word) for word in run.stdout.split()]


@pytest.mark.slow
def test_what_a_large_run_took_is_given_back_after_the_next(network: Path) -> None:
    code = """
session = open_session(sys.argv[1], RuntimeOptions(threads=1))
run(session, 1000)
print(resident())
run(session, 450_000)
run(session, 1000)
print(resident())
"""
    before, after = printed(code, network)
    assert after < before + 60  # 275 MB and more were taken


@pytest.mark.slow
def test_networks_compute_in_the_same_memory(network: Path) -> None:
    code = """
sessions = [open_session(sys.argv[1], RuntimeOptions(threads=1)) for _ in range(4)]
for session in sessions:
    run(session, 100_000)
    print(resident())
"""
    first, *_, last = printed(code, network)
    assert last < first + 40  # each takes 60 MB and more


@pytest.mark.slow
def test_what_ends_while_others_run_is_given_back_too(network: Path) -> None:
    code = """
import threading
session = open_session(sys.argv[1], RuntimeOptions(threads=1))
run(session, 1000)
print(resident())
large = threading.Thread(target=run, args=(session, 450_000))
large.start()
while large.is_alive():
    run(session, 1000)
for _ in range(3):
    run(session, 1000)
print(resident())
"""
    before, after = printed(code, network)
    assert after < before + 60


@pytest.mark.slow
def test_a_large_run_that_fails_is_remembered(network: Path) -> None:
    code = """
from facekeep.errors import InputError
session = open_session(sys.argv[1], RuntimeOptions(threads=1))
run(session, 1000)
run(session, 450_000)
try:
    session.run({"x": np.ones((1000, 17), np.float32)})
except InputError:
    run(session, 1000)
    print(resident())
"""
    (after,) = printed(code, network)
    assert after < 200


@pytest.mark.slow
def test_where_no_arena_can_be_registered_each_network_has_its_own(network: Path) -> None:
    code = """
import onnxruntime as ort
def refuses(*arguments):
    raise RuntimeError("an allocator for this device has already been registered")
ort.create_and_register_allocator = refuses
session = open_session(sys.argv[1], RuntimeOptions(threads=1))
run(session, 450_000)
run(session, 10)
options = session._session._session.get_session_options()
try:
    print(options.get_session_config_entry("session.use_env_allocators"))
except RuntimeError:
    print(0)
"""
    assert printed(code, network) == [0]
