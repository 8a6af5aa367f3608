"""Datasets: one per file, each ending in verified arrays."""
