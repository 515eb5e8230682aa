"""What merely importing the package must not load."""

from __future__ import annotations

import subprocess
import sys


def test_importing_loads_nothing_heavy():
    heavy = "torch matplotlib cv2 onnxruntime PIL onnx rich"
    code = f"import sys, facekeep.lab.evaluate; print(*set('{heavy}'.split()) & set(sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert found.stdout.strip() == ""
