"""Making networks smaller and faster, and saying what that costs.

``quantize`` computes in 8 bits, ``lowrank``, ``prune`` and ``resize`` change the network's shape,
``heal`` trains it back to what it was, ``measure`` tells before and after, and ``recipe`` does
several of these one after the other.
"""
