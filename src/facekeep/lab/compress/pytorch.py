"""PyTorch, which some steps need and others do without."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from facekeep.errors import RuntimeUnavailable

__all__ = ["importing_pytorch"]


@contextmanager
def importing_pytorch() -> Iterator[None]:
    """Say how PyTorch is installed where an import inside fails for want of it.

    Raises:
        RuntimeUnavailable: It is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise RuntimeUnavailable(
            "networks are changed with PyTorch, which is not installed;"
            " run: pip install 'facekeep[compress]'"
        ) from error
