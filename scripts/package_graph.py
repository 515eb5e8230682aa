"""Draw which package of facekeep imports which, and fail where imports go in a circle.

``package_graph.py`` prints a line a package; ``--mermaid`` prints the same as a Mermaid flowchart,
without what every package may import (types, errors, _internal). Imports
for type checkers only count too. Circles are looked for among packages and among single modules.
"""

from __future__ import annotations

import argparse
import graphlib
import sys
from collections.abc import Mapping

import grimp

ROOT = "facekeep"
EVERYWHERE = ("types", "errors", "_internal", "_version")
Graph = Mapping[str, set[str]]


def module_imports() -> dict[str, set[str]]:
    """Return what each module imports of facekeep; the root and __main__, which load all, aside."""
    graph = grimp.build_graph(ROOT, cache_dir=None)
    modules = graph.modules - {ROOT, f"{ROOT}.__main__"}
    return {each: graph.find_modules_directly_imported_by(each) - {ROOT} for each in modules}


def package_imports(modules: Graph) -> dict[str, set[str]]:
    """Return what each package, or single module at the top, imports of the others."""
    packages: dict[str, set[str]] = {}
    for module, imported in modules.items():
        package = top(module)
        packages.setdefault(package, set()).update({top(each) for each in imported} - {package})
    return packages


def top(module: str) -> str:
    """Return the package at the top that a module belongs to."""
    return module.split(".")[1]


def circle(graph: Graph) -> list[str]:
    """Return one circle of imports, its first member again at the end; empty without one."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def main() -> int:
    """Print the graph and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mermaid", action="store_true", help="print a Mermaid flowchart")
    arguments = parser.parse_args()
    modules = module_imports()
    packages = package_imports(modules)
    circles = [each for each in (circle(packages), circle(modules)) if each]
    order = [] if circles else list(graphlib.TopologicalSorter(packages).static_order())[::-1]
    if arguments.mermaid:
        print("flowchart TD")
        for package in (each for each in order if each not in EVERYWHERE):
            for imported in sorted(packages[package] - set(EVERYWHERE)):
                print(f"    {package} --> {imported}")
    else:
        for package in order:
            print(f"{package:10} {' '.join(sorted(packages[package])) or '-'}")
    for each in circles:
        print(f"imports go in a circle: {' -> '.join(each)}", file=sys.stderr)
    return 1 if circles else 0


if __name__ == "__main__":
    sys.exit(main())
