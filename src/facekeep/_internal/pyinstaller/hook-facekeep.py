"""What a program that PyInstaller freezes needs of facekeep: the catalog, the weights, all modules.

PyInstaller finds modules by import statements; facekeep imports most of its own by name, when they
are needed.
"""

from PyInstaller.utils.hooks import collect_data_files, collect_submodules, copy_metadata


def _runs(module: str) -> bool:
    """Leave the laboratory and its commands out: they need PyTorch and other tools."""
    return not module.startswith(("facekeep.lab", "facekeep.cli.lab", "facekeep._internal.pyinst"))


datas = collect_data_files("facekeep") + copy_metadata("facekeep")
hiddenimports = collect_submodules("facekeep", filter=_runs)
