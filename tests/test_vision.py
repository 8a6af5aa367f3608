"""A network of timm teaches a small vision transformer, by its answers and by its maps."""

from __future__ import annotations

import pytest
from safetensors.torch import load_file

from distill_lab.launch import checked, run_job
from distill_lab.tracking.store import Store
from tests.whole_runs import SHORT

pytestmark = pytest.mark.usefixtures("no_figures")

SMALL = [
    *SHORT,
    "architecture@teacher=timm",
    "teacher.name=test_resnet",
    "architecture@student=deit_tiny",
    "student.dim=16",
    "student.depth=2",
    "loss=[ce,deit_hard,fitnet]",
    "knowledge.student_epochs=1",
]


@pytest.mark.slow
def test_a_cnn_of_timm_teaches_a_deit_in_six_stages(workdir):
    done = run_job(checked(SMALL), SMALL)
    store = Store("sqlite:///mlflow.db", "distill-lab", "mlartifacts")
    stages = {run.tags["stage"]: run for run in store.children(done.run_id)}
    assert [run.status for run in stages.values()] == ["FINISHED"] * 7
    pairs = store.read_json(stages["4 loss"].id, "handoff.json")["pairs"]
    ((student, teacher),) = pairs["fitnet"]
    assert student in ("blocks.0:map", "blocks.1:map")
    assert teacher.startswith("encoder.layer") or teacher == "encoder.act1"
    ends = {
        name: load_file(store.fetch(stages[stage].id, f"weights/{name}.safetensors"))
        for stage, name in (("5 control", "control"), ("5 train", "student"))
    }
    head = "distillation_head.weight"  # starts at 0, and moves where a teacher moves it
    assert float(ends["control"][head].abs().max()) == 0.0
    assert float(ends["student"][head].abs().max()) > 0.0
