"""Training the orienter: crops of faces turned by any angle, the loop, and the run."""
