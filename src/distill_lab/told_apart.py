"""Whether two runs are told apart by what their students say of the same test samples."""

from __future__ import annotations

from safetensors.torch import load_file
from torch import Tensor

from distill_lab.measure.paired import Discordant, mcnemar
from distill_lab.run_report import evaluated_in
from distill_lab.stages.report_handoff import DISTILLED, PREDICTIONS, RIGHT
from distill_lab.tracking.store import Store


def right_in(store: Store, evaluated: str) -> Tensor | None:
    """Return which test samples the student of a stage 6 is right on, (N,) bool; None: not kept."""
    kept = store.look_for(evaluated, PREDICTIONS)
    return None if kept is None else load_file(kept)[f"{RIGHT}{DISTILLED}"].bool()


def runs_apart(store: Store, first: str, second: str) -> Discordant | None:
    """Return McNemar's test of the students of two runs.

    Args:
        store: where they are.
        first: id of a workflow or a chain.
        second: of another.

    Returns:
        None where they are on different data, or what they said is not kept.

    Raises:
        RunError: a run has no finished stage 6.
    """
    evaluated = [evaluated_in(store, store.get(run_id)) for run_id in (first, second)]
    checksums = {store.get(run_id).tags["data_checksum"] for run_id in evaluated}
    right, other = (right_in(store, run_id) for run_id in evaluated)
    if len(checksums) > 1 or right is None or other is None:
        return None
    return mcnemar(right, other)
