#!/usr/bin/env python3
"""Write docs/demo.jpg, the picture in the README, from what `facekeep demo` writes.

The two portraits are works of the US Navy and of NASA, in the public domain; they ship with
matplotlib and scikit-image: pip install '.[demo]'.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from facekeep import load_image, save_image
from facekeep.cli.main import main

TARGET = Path(__file__).resolve().parents[1] / "docs" / "demo.jpg"

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(["demo", "--out", folder, "--quiet"])
        save_image(TARGET, load_image(Path(folder, "erased.jpg")), quality=80)
