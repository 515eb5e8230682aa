"""Training the liveness network: attacks made from portraits, what it learns, and the run."""
