"""Video: cameras, tracks of faces, and the live session that recognizes who is seen."""
