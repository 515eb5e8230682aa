"""Training the quality network: damaged crops, the loop, and the run."""
