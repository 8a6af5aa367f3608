"""Compressed networks: made once on a store, trained as their network was, held against it."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from distill_lab.compress.stored import unpacked
from distill_lab.config.check import build
from distill_lab.config.compose import compose
from distill_lab.contracts import Component
from distill_lab.errors import RunError
from distill_lab.measure.cost import Cost
from distill_lab.measure.scores import Scores
from distill_lab.models.reused_classifier import with_classifier_of
from distill_lab.stages import retraining, variants
from distill_lab.stages.context import Context
from distill_lab.stages.handoffs import Candidate, ConnectedLoss, TeacherChoice, TrainedStudent
from distill_lab.stages.retraining import Lesson, Origin, at_the_end
from distill_lab.stages.variants import Maker, beginnings
from distill_lab.tracking.store import Store

QUICK = ["data=fake", "regime.epochs=2", "hardware.threads=1", "evaluation.latency_repeats=3"]
KNOBS = {"dropout": 0.0, "input_dropout": 0.0, "max_norm": None}
COST, SCORES = Cost(1, 1, 1, 1.0, 1.0, 1.0), Scores(0.5, 1.0, 0.5, 0.1, 0.5, 1)
SMALLER = ["compress.prune_unstructured_iterative.rounds=2"]
SMALLER += ["compress.prune_unstructured_iterative.epochs=1"]
ITERATIVE = ["compress=[prune_unstructured_iterative,quantize_weights]", *SMALLER]


def mlp(width):
    return Component("distill_lab.models.mlp.MLP", {"widths": [width], **KNOBS})


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A working directory with a store, which takes seconds to make."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Store("sqlite:///mlflow.db", "distill-lab", "mlartifacts")
    return folder, count()


@pytest.fixture
def store(home, monkeypatch):
    monkeypatch.chdir(home[0])
    return Store("sqlite:///mlflow.db", "distill-lab", "mlartifacts")


@pytest.fixture
def made(store, home):
    """Makes all variants of a distilled MLP of 16 units; says which runs that took, too.

    Each test has a seed of its own, so that it finds nothing of another one.
    """
    kept, seed = {}, next(home[1])

    def go(*overrides, of="student", teacher_seed=0, taught_by=32):
        parts = build(compose([*QUICK, f"seed={seed}", *overrides]))
        with store.start("6 evaluate", {}) as run:
            context = Context(parts, parts.data.load(), "checksum", run, store)
            for width in (taught_by, 16):
                if width not in kept:
                    net = context.new_network(mlp(width), 0)
                    kept[width] = context.save_weights(net, f"of_{width}")
            student = TrainedStudent("MLP", mlp(16), kept[16], SCORES, 2, 2, 1.0)
            teacher = Candidate(
                "MLP", mlp(taught_by), teacher_seed, kept[taught_by], SCORES, COST, 0.5
            )
            lesson = Lesson(TeacherChoice([teacher], 1), ConnectedLoss([], 4.0, {}))
            trained = teacher if of == "teacher" else student
            net = context.trained_network(trained)
            origin = Origin(of, trained, net, lesson if of == "student" else None)
            said = context.predict(context.trained_network(teacher), context.splits.test)
            right = context.predict(net, context.splits.test).argmax(1)
            maker = Maker(context, origin, said, right == context.splits.test.targets)
            found = [maker.obtain(chain) for chain in beginnings(parts)]
        return found, [record.name for record in store.children(run.id)]

    return go


def timeless(variant):
    """A variant but for what is timed anew."""
    return replace(variant, latency_ms=0.0, float_latency_ms=None)


def test_every_beginning_of_a_chain_is_made_once():
    chains = "[[export_onnx],[prune_structured,export_onnx],[prune_structured,quantize_dynamic]]"
    names = "compress=[prune_structured,quantize_dynamic,export_onnx]"
    asked = build(compose([names, f"variants.chains={chains}"]))
    assert beginnings(asked) == [
        ("export_onnx",),
        ("prune_structured",),
        ("prune_structured", "export_onnx"),
        ("prune_structured", "quantize_dynamic"),
    ]
    assert beginnings(build(compose([]))) == []


def test_each_is_a_run_with_its_file_and_is_not_made_again(made, store):
    first, runs = made("compress=[prune_unstructured]", "compress.prune_unstructured.fraction=0.75")
    assert runs == ["student + prune_unstructured"]
    [variant] = first
    file = variant.file
    state = unpacked(load_file(store.verify(file.run_id, file.path, file.sha256)))
    hidden, last = state["hidden.0.0.weight"], state["classifier.weight"]
    num_weights = hidden.numel() + last.numel()
    num_zeros = int((hidden == 0).sum() + (last == 0).sum())
    assert num_zeros == round(0.75 * num_weights)
    assert variant.file_bytes < 4 * num_weights / 2
    assert variant.macs == num_weights
    again, runs = made("compress=[prune_unstructured]", "compress.prune_unstructured.fraction=0.75")
    assert ([timeless(one) for one in again], runs) == ([timeless(one) for one in first], [])


def test_a_longer_chain_goes_on_from_the_trained_beginning_that_is_there(made, monkeypatch):
    [pruned, _], runs = made(*ITERATIVE)
    assert len(runs) == 2
    monkeypatch.setattr(variants, "retrain", None)  # nothing is trained again
    chain = "compress=[prune_unstructured_iterative,export_torch]"
    [again, exported], runs = made(chain, *SMALLER)
    assert runs == ["student + prune_unstructured_iterative + export_torch"]
    assert timeless(again) == timeless(pruned)
    assert exported.scores.accuracy == pruned.scores.accuracy
    assert exported.difference < 1e-6
    assert exported.runtime == "torch.export"


def test_a_lost_file_is_made_again(made, store):
    [variant], _ = made("compress=[prune_structured]")
    store.fetch(variant.file.run_id, variant.file.path).unlink()
    [again], runs = made("compress=[prune_structured]")
    assert runs == ["student + prune_structured"]
    assert again.file.sha256 == variant.file.sha256


def test_what_changes_a_training_makes_a_trained_variant_again_and_leaves_others(made):
    made(*ITERATIVE)
    assert made(*ITERATIVE, "loss.kd.weight=0.5")[1] != []
    assert made("compress=[prune_structured]")[1] != []
    assert made("compress=[prune_structured]", "loss.kd.weight=0.5")[1] == []


def test_labels_alone_do_not_train_again_where_a_teacher_s_lesson_changes(made):
    made(*ITERATIVE, of="control")
    lesson = ("loss.kd.weight=0.5", "temperature.value=2", "regime.epochs=3")
    assert made(*ITERATIVE, *lesson, of="control", taught_by=24)[1] == []
    assert made(*ITERATIVE, "regime.lr=0.03", of="control")[1] != []


def test_what_is_reused_is_held_against_the_teacher_of_now(made):
    [before], _ = made("compress=[quantize_weights]", of="control")
    [after], runs = made("compress=[quantize_weights]", of="control", taught_by=24)
    assert runs == []
    assert after.file == before.file
    assert (after.agreement, after.kl_to_teacher) != (before.agreement, before.kl_to_teacher)
    [binned], _ = made("compress=[quantize_weights]", "evaluation.num_bins=2", of="control")
    assert binned.scores.ece != after.scores.ece


def test_samples_that_ranges_are_measured_on_are_those_that_the_network_saw(made):
    [all_seen], _ = made("compress=[quantize_onnx]")
    [few_seen], runs = made("compress=[quantize_onnx]", "regime.num_samples=20")
    assert runs == ["student + quantize_onnx"]
    assert few_seen.file.sha256 != all_seen.file.sha256


def test_int8_is_timed_beside_float_of_the_same_runtime(made):
    chain = "compress=[quantize_dynamic,export_torch,quantize_onnx]"
    chains = "variants.chains=[[quantize_dynamic,export_torch],[quantize_onnx]]"
    found, _ = made(chain, chains)
    assert [one.runtime for one in found] == ["PyTorch", "torch.export", "ONNX Runtime"]
    assert all(one.is_int8 and one.float_latency_ms > 0 for one in found)
    again, runs = made(chain, chains)
    assert ([timeless(one) for one in again], runs) == ([timeless(one) for one in found], [])
    in_torch, exported, by_onnx = (one.peak_memory_mib for one in found)
    assert 0 < exported == pytest.approx(in_torch, rel=0.05)  # a graph lets go of a row earlier
    assert by_onnx is None  # its runtime does not tell


def test_a_teacher_is_trained_as_it_was(made, monkeypatch):
    asked = []
    original = Context.fit

    def watched(context, trainee, seed, *rest):
        asked.append((trainee.regime.lr, trainee.regime.epochs, trainee.label_smoothing, seed))
        return original(context, trainee, seed, *rest)

    monkeypatch.setattr(Context, "fit", watched)
    own = ("selection.regime.lr=0.04", "selection.label_smoothing=0.2", "regime.lr=0.01")
    made(*ITERATIVE, *own, of="teacher", teacher_seed=7)
    assert asked == [(pytest.approx(0.004), 1, 0.2, 7)] * 2
    assert made(*ITERATIVE, *own, "regime.lr=0.02", of="teacher", teacher_seed=7)[1] == []
    assert made(*ITERATIVE, *own, of="teacher", teacher_seed=8)[1] != []
    smoother = ("selection.label_smoothing=0.1", "selection.regime.lr=0.04")
    assert made(*ITERATIVE, *smoother, of="teacher", teacher_seed=7)[1] != []


def test_the_distilled_are_trained_by_their_teacher_and_others_on_labels(made, store, monkeypatch):
    asked = []
    original = retraining.teach

    def watched(context, net, teacher, teachers, loss, *rest):
        asked.append((context.parts.regime.epochs, context.parts.regime.lr, len(teachers)))
        return original(context, net, teacher, teachers, loss, *rest)

    monkeypatch.setattr(retraining, "teach", watched)
    [distilled, _], _ = made(*ITERATIVE, "regime.lr=0.02")
    assert asked == [(1, pytest.approx(0.002), 1)] * 2
    metrics = store.client.get_run(distilled.file.run_id).data.metrics
    assert "round_2/train/loss/kd" in metrics
    [on_labels, _], _ = made(*ITERATIVE, "regime.lr=0.02", of="control")
    assert len(asked) == 2
    metrics = store.client.get_run(on_labels.file.run_id).data.metrics
    assert "round_2/train/loss/ce" in metrics
    assert "round_2/train/loss/kd" not in metrics
    assert on_labels.file.sha256 != distilled.file.sha256


def test_pruned_weights_stay_zero_through_int8_aware_training(made, store):
    chain = "compress=[prune_unstructured,quantize_aware,quantize_onnx]"
    [_, aware, int8], _ = made(chain, "compress.quantize_aware.epochs=1")
    state = unpacked(load_file(store.fetch(aware.file.run_id, aware.file.path)))
    assert (state["hidden.0.0.weight"] == 0).float().mean() > 0.5
    assert (aware.is_int8, int8.is_int8) == (False, True)
    assert int8.runtime == "ONNX Runtime"


def test_an_export_that_answers_otherwise_is_refused(made, monkeypatch):
    class Wrong(torch.nn.Module):
        def forward(self, inputs):
            return torch.ones(len(inputs), 4)

    monkeypatch.setattr(
        "distill_lab.compress.export_torch.ExportTorch.begin", lambda *given: Wrong()
    )
    with pytest.raises(
        RunError, match=r"^compress\.export_torch\.tolerance: of the student, a log"
    ):
        made("compress=[export_torch]")


def test_a_network_that_cannot_be_treated_ends_the_run_with_its_step(made, monkeypatch):
    def refuse(*given):
        raise ValueError("layer 'x' is odd.")

    monkeypatch.setattr("distill_lab.compress.prune_structured.PruneStructured.begin", refuse)
    with pytest.raises(RunError, match="of the student: layer 'x' is odd"):
        made("compress=[prune_structured]")


def test_terms_count_as_they_do_when_the_training_of_stage_5_ends():
    schedules = "{ce: {linear: [1, 0.5]}, kd: {stop: 5}}"
    parts = build(compose(["regime.epochs=10", f"weighting.schedules={schedules}"]))
    ended = at_the_end(parts).loss
    assert list(ended) == ["ce"]
    assert ended["ce"].args["weight"] == pytest.approx(0.5 * parts.loss["ce"].args["weight"])
    plain = build(compose(["weighting.schedules={kd: {warmup: 50}}", "regime.epochs=100"]))
    assert at_the_end(plain).loss == {
        name: replace(term, args={**term.args}) for name, term in plain.loss.items()
    }


def test_a_term_that_stops_with_the_training_is_still_there():
    asked = ["regime.epochs=10", "weighting.schedules={kd: {stop: 10}}"]
    kept = at_the_end(build(compose(asked)))
    assert list(kept.loss) == ["ce", "kd"]
    assert kept.weighting.schedules == {}


def test_the_temperature_is_that_of_the_end():
    asked = ["temperature=linear", "temperature.start=8", "temperature.end=2"]
    temperature = at_the_end(build(compose(asked))).temperature.make()
    assert [temperature(progress) for progress in (0.0, 0.5, 1.0)] == [2.0, 2.0, 2.0]


def test_a_reused_classifier_stays_the_teacher_s(monkeypatch):
    frozen = []

    def watched(context, net, *rest):
        frozen.extend(name for name, one in net.named_parameters() if not one.requires_grad)
        return SimpleNamespace(net=net)

    monkeypatch.setattr(retraining, "teach", watched)
    parts = build(compose(QUICK))
    net = with_classifier_of(mlp(32), mlp(16)).make_network(parts.data.info)
    lesson = Lesson(TeacherChoice([], 0), ConnectedLoss([], 4.0, {}))
    context = Context(parts, None, "checksum", None, None)
    retraining.retrain(Origin("student", None, net, lesson), net, 1, context, "", "")
    assert frozen == ["classifier.weight", "classifier.bias"]
