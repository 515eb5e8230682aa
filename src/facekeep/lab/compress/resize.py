"""The same weights for smaller crops: a third of the work at 64 pixels of what it was at 112."""

from __future__ import annotations

import copy

from facekeep.lab.nn import EdgeFace

__all__ = ["resize"]


def resize(model: EdgeFace, input_size: int) -> EdgeFace:
    """Make the network take crops of another height and width.

    The weights stay; the position encodings are computed anew for the size of the maps. What the
    network makes of faces suffers until it is healed.

    Args:
        model: The network; it stays as it is.
        input_size: A multiple of 16 from 32 to 512, as 96, 80 or 64.

    Raises:
        InputError: The size is none that networks have.
    """
    changed = copy.deepcopy(model)
    changed.resize(input_size)
    return changed
