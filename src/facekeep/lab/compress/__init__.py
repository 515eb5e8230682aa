"""Make networks smaller and faster, and measure what that costs.

``quantize`` computes in 8 bits; ``prune``, ``sparsify``, ``lowrank`` and ``reshape`` change the
network's shape; ``fine_tune`` trains it to be like the original again; ``measure`` compares before
and after; ``chain`` does several of these steps one after the other, as a ``recipe`` says.
"""
