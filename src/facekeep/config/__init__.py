"""The settings of a run: flags, environment variables, a file, defaults."""
