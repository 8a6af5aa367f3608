"""The six stages, in the order of their file names; each has one `run` function."""
