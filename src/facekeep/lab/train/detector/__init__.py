"""Training the face detector: photos and who labels them, mosaics, losses, and the run."""
