"""The refinement loop: what it runs, what it keeps."""

from __future__ import annotations

import csv

from distill_lab.launch import checked, run_job
from distill_lab.refine import merged
from distill_lab.tracking.store import Store

QUICK = [
    "data=fake",
    "regime.epochs=1",
    "selection.regime.epochs=3",
    "knowledge.student_epochs=0",
    "knowledge.num_samples=64",
    "design.latency_repeats=3",
    "evaluation.latency_repeats=3",
    "evaluation.register_as=null",
    "student.widths=[16]",
    "teacher.channels=[4, 8]",
    "hardware.threads=1",
]


def test_later_values_of_a_key_take_the_place_of_earlier_ones():
    assert merged(["a=1", "b=2"], ["a=3", "c=4"]) == ["a=3", "b=2", "c=4"]


def test_rounds_run_proposals_as_nested_runs_and_the_best_on_validation_is_kept(workdir):
    asked = [*QUICK, "evaluation.refine.rounds=2"]
    best = run_job(checked(asked), asked)
    store = Store("sqlite:///mlflow.db", "distill-lab", "mlartifacts")
    first = store.client.search_runs([store.experiment_id], "tags.kind = 'workflow'")[-1]
    rounds = [r for r in store.children(first.info.run_id) if r.tags["kind"] == "workflow"]
    assert [record.tags["round"] for record in rounds] == ["1", "2"]
    assert "regime.epochs=2" in rounds[0].tags["overrides"]
    assert all(record.tags["why"] for record in rounds)
    lines = store.fetch(first.info.run_id, "refinement.csv").read_text().splitlines()
    lineage = list(csv.DictReader(lines))
    assert [row["run"] for row in lineage] == [first.info.run_id, *(r.id for r in rounds)]
    highest = max(float(row["val accuracy"]) for row in lineage)
    assert best.report.validation_accuracy == highest
    assert first.data.tags["best_round"] == best.run_id
