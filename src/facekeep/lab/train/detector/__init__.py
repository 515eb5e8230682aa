"""Training the face detector: photos and who labels them, canvases, losses, and the run."""
