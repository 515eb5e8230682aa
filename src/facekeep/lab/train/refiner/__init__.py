"""Training the landmark refiner: rough crops of annotated faces, the loop, and the run."""
