"""What the package offers, and what merely importing it must not load."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest

from facekeep.lab import evaluate


@pytest.mark.parametrize("name", evaluate.__all__)
def test_every_name_is_there_whatever_was_imported_before(name):
    import facekeep.lab.evaluate.protocols  # imports every module of the package that has a metric

    assert facekeep.lab.evaluate.protocols.__name__
    assert not isinstance(getattr(evaluate, name), ModuleType)
    assert name in dir(evaluate)


def test_a_name_that_is_none_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = evaluate.nothing


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        ("import facekeep.lab.evaluate", "numpy torch matplotlib cv2 onnxruntime PIL"),
        ("from facekeep.lab.evaluate import *", "torch matplotlib onnx rich"),
        ("from facekeep.lab.evaluate import holdout_tar", "torch matplotlib cv2 onnxruntime PIL"),
    ],
)
def test_importing_loads_nothing_heavy(statement, heavy):
    code = f"import sys; {statement}; print(*set('{heavy}'.split()) & set(sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert found.stdout.strip() == ""
