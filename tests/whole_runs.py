"""What tests of whole runs share: a config that runs in seconds, and the store it is kept in."""

from __future__ import annotations

from distill_lab.tracking.store import Store

SHORT = [
    "data=fake",
    "regime.epochs=2",
    "selection.regime.epochs=2",
    "knowledge.student_epochs=0",
    "knowledge.num_samples=64",
    "design.latency_repeats=3",
    "evaluation.latency_repeats=3",
    "evaluation.batch_sizes=[1]",
    "evaluation.energy_seconds=0",
    "evaluation.num_resamples=100",
    "hardware.threads=1",
]
SMALL_NETWORKS = ["student.widths={grid: [[16]]}", "teacher.channels={grid: [[4, 8]]}"]


def store_of(folder: str = ".") -> Store:
    """Return the store that runs of a working directory write into."""
    return Store(f"sqlite:///{folder}/mlflow.db", "distill-lab", "mlartifacts")
