"""What importing the networks needs, and who must not need it."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_without_pytorch_the_cure_is_named() -> None:
    code = """
import sys
sys.modules["torch"] = None
from facekeep.errors import RuntimeUnavailable
try:
    import facekeep.lab.nn
except RuntimeUnavailable as error:
    print(error)
"""
    assert run(code) == "PyTorch is not installed; install it with: pip install 'facekeep[train]'"


def test_the_import_does_without_pytorch() -> None:
    code = "import sys, facekeep; facekeep.Embedder; print('torch' in sys.modules)"
    assert run(code) == "False"


def test_the_networks_do_without_onnx_until_they_are_exported() -> None:
    names = "{'onnx', 'onnxruntime', 'onnxscript'}"
    code = f"import sys, facekeep.lab.nn; print({names} & set(sys.modules))"
    assert run(code) == "set()"
