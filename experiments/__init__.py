"""Experiments, each a yaml; those that need code are packages."""
