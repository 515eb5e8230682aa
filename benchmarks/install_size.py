"""How much a base install takes on the disk, by distribution, with and without bytecode.

    python benchmarks/install_size.py
    python benchmarks/install_size.py --wheel dist/facekeep-0.1.0-py3-none-any.whl

Makes a fresh environment without pip in a temporary folder, installs the wheel of this checkout (or
the one that is named) with all that it requires, compiles everything, and adds up the bytes of the
files.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import venv
from importlib.metadata import distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MB = 1e6


def main() -> None:
    """Install, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheel", type=Path, help="a built wheel; default: one of this checkout")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wheel = options.wheel or build(Path(folder))
        site = install(wheel, Path(folder) / "environment")
        report(wheel, site)


def build(folder: Path) -> Path:
    """Build the wheel of this checkout."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder]
    subprocess.run([*pip, ROOT], check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(wheel: Path, place: Path) -> Path:
    """Install the wheel into an environment of its own, and return where the packages lie."""
    venv.create(place, with_pip=False, symlinks=True)
    python = place / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-compile"]
    subprocess.run([*pip, wheel], check=True)
    (site,) = place.glob("lib/python*/site-packages")
    subprocess.run([python, "-m", "compileall", "-q", site], check=False)
    return site


def report(wheel: Path, site: Path) -> None:
    """Print the bytes of each distribution and of all, in MB of 1,000,000 bytes."""
    files = [path for path in site.rglob("*") if path.is_file() and not path.is_symlink()]
    total = {path: path.stat().st_size for path in files}
    print(f"{'distribution':30} {'MB':>8}")
    rows = []
    for each in distributions(path=[str(site)]):
        paths = {Path(str(each.locate_file(file))).resolve() for file in each.files or []}
        size = sum(total.get(path, 0) for path in paths)
        rows.append((size, f"{each.name} {each.version}"))
    for size, name in sorted(rows, reverse=True):
        print(f"{name:30} {size / MB:8.1f}")
    bytecode = sum(size for path, size in total.items() if path.suffix == ".pyc")
    everything = sum(total.values())
    print(f"{'bytecode':30} {bytecode / MB:8.1f}")
    print(f"{'all':30} {everything / MB:8.1f}")
    print(f"{wheel.name}: {wheel.stat().st_size / MB:.2f} MB")


if __name__ == "__main__":
    main()
