"""Training the judge of faces: damaged crops, the loop, and the run."""
