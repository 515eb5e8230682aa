"""The version of the package; the changelog and CITATION.cff must name the same one."""

__version__ = "0.1.0"
