"""The recipe of DistilBERT: its loss by hand, and what the student starts from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from distill_lab.contracts import DistillBatch
from distill_lab.errors import ConfigError
from distill_lab.knowledge.taps import forward_with_taps
from distill_lab.launch import checked, run_job
from distill_lab.tracking.store import Store
from distill_lab.training.connect import connected_objective

pytestmark = pytest.mark.usefixtures("no_figures")

SMALL = [
    "experiments=distilbert/recipe",
    "architecture@teacher=bert_tiny",
    "teacher.num_layers=4",
    "student.num_layers=2",
    "design.copy_layers=[1,3]",
    *(f"{net}.{knob}" for net in ("teacher", "student") for knob in ("width=16", "num_heads=2")),
    *(f"{net}.feed_forward=24" for net in ("teacher", "student")),
    "data.vocabulary_size=120",
    "data.length=8",
    "hardware.threads=1",
]


def test_the_recipe_is_the_published_one():
    parts = checked(["experiments=distilbert/recipe"])
    assert {name: term.args["weight"] for name, term in parts.loss.items()} == {
        "kd": 5.0,
        "ce": 2.0,
        "cosine": 1.0,
    }
    assert parts.temperature.make()(0.5) == 2.0
    assert parts.design.copy_layers == [0, 2, 4, 7, 9, 11]
    regime = parts.regime
    published = (0.0005, 0.05, 5.0, 250, 3)
    rows = regime.batch_size * regime.accumulate_batches
    assert (regime.lr, regime.warmup_fraction, regime.clip_norm, rows, regime.epochs) == published


def test_the_loss_is_the_published_sum():
    parts = checked(SMALL)
    info = parts.data.info
    torch.manual_seed(0)
    teacher = parts.teachers[0].make_network(info).eval()
    student = parts.students[0].make_network(info).eval()
    objective = connected_objective(parts.loss, student, [teacher], info.input_shape, 6, 0)
    batch = parts.data.load().test
    ids, words = batch.inputs[:6], batch.targets[:6]
    needs = objective.needs
    assert needs.student == ("encoder.transformer.layer.1",)
    assert needs.teacher == ("encoder.encoder.layer.3",)
    s = forward_with_taps(student, ids, list(needs.student))
    t = forward_with_taps(teacher, ids, list(needs.teacher))
    total = objective(DistillBatch(s, (t,), words, torch.arange(6), 2.0, 0.0, 3)).total
    with torch.no_grad():
        soft_teacher = (t.logits / 2).softmax(1)
        soft = (soft_teacher * (soft_teacher.log() - (s.logits / 2).log_softmax(1))).sum(1).mean()
        (ours,), (theirs,) = s.features.values(), t.features.values()
        away = 1 - F.cosine_similarity(ours, theirs, dim=-1).mean()
        by_hand = 5 * 4 * soft + 2 * F.cross_entropy(s.logits, words) + away
    assert total.item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_a_network_that_names_no_masked_word_is_refused():
    networks = ["architecture@teacher=bert_tiny", "architecture@student=mlp_300"]
    with pytest.raises(ConfigError) as caught:
        checked(["data=fake_text", "data.mask_id=103", *networks])
    [problem] = caught.value.problems
    assert problem.startswith("student.input_shape: MLP reads numbers, and fake_words has token")


@pytest.mark.slow
def test_student_and_control_start_as_layers_of_the_teacher(workdir: Path):
    still = ["regime.lr=1e-12", "regime.epochs=1", "regime.weight_decay=0"]
    given = [*SMALL, *still, "knowledge.num_samples=16"]
    done = run_job(checked(given), given)
    store = Store("sqlite:///mlflow.db", "distill-lab", "mlartifacts")
    stages = {run.tags["stage"]: run for run in store.children(done.run_id) if "stage" in run.tags}
    best = store.read_json(stages["1 teacher"].id, "handoff.json")["kept"][0]["weights"]
    teacher = load_file(store.fetch(best["run_id"], best["path"]))
    for stage, name in (("3 student", "first"), ("5 control", "control"), ("5 train", "student")):
        net = load_file(store.fetch(stages[stage].id, f"weights/{name}.safetensors"))
        for number, taken in ((0, 1), (1, 3)):
            torch.testing.assert_close(
                net[f"encoder.transformer.layer.{number}.ffn.lin1.weight"],
                teacher[f"encoder.encoder.layer.{taken}.intermediate.dense.weight"],
            )
        torch.testing.assert_close(net["word_head.bias"], teacher["word_head.bias"])
    store.fetch(stages["3 student"].id, "weights/first.safetensors").unlink()
    again = run_job(checked(given), given)  # what is lost is made again, and is what it was
    assert "3 student" not in again.reused
    assert {"1 teacher", "5 control", "5 train"} <= set(again.reused)
