"""The refinement loop: what it runs, what it keeps."""

from __future__ import annotations

import csv
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from distill_lab import workflow
from distill_lab.errors import ConfigError, RunError
from distill_lab.launch import checked, run_job
from distill_lab.measure.scores import Scores
from distill_lab.refine import merged, refine
from distill_lab.stages.report_handoff import Proposal
from distill_lab.tracking.store import Store
from distill_lab.workflow import Done

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


def done(run_id, accuracy, *proposals):
    report = SimpleNamespace(
        validation=Scores(accuracy, 0.1, 0.1, 0.0, accuracy, 1),
        metrics={"test/accuracy": accuracy},
        proposals=[Proposal([text], "why.") for text in proposals],
    )
    return Done(run_id, report, "", "", Path())


@pytest.fixture
def refined(monkeypatch):
    """Refines a first run; each round is an outcome, or an error, given beforehand."""

    def go(first, overrides, *rounds):
        outcomes, asked, files = iter(rounds), [], {}

        def run(parts, *rest):
            outcome = next(outcomes)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        monkeypatch.setattr(workflow, "run", run)
        sink = SimpleNamespace(
            log_text=lambda text, path: files.update({path: text}),
            log_metrics=lambda metrics: None,
            set_tags=lambda tags: None,
        )
        store = SimpleNamespace(open=lambda run_id: nullcontext(sink))
        best = refine(first, store, overrides, len(rounds), asked.append)
        lineage = list(csv.DictReader(files["refinement.csv"].splitlines()))
        return SimpleNamespace(best=best, asked=asked, lineage=lineage)

    return go


@pytest.mark.parametrize("error", [RunError("it diverged."), ConfigError(["seed: no."])])
def test_a_round_that_fails_is_noted_and_the_next_goes_on(refined, error):
    first = done("first", 0.8, "regime.epochs=2", "temperature.value=2")
    result = refined(first, ["seed=1"], error, done("second", 0.9))
    assert result.asked == [["seed=1", "regime.epochs=2"], ["seed=1", "temperature.value=2"]]
    assert [row["failed"] for row in result.lineage] == ["", " ".join(str(error).split()), ""]
    assert [row["val accuracy"] for row in result.lineage] == ["0.8", "", "0.9"]
    assert result.best.run_id == "second"


def test_a_mistake_of_ours_is_not_taken_for_a_round_that_fails(refined):
    with pytest.raises(KeyError):
        refined(done("first", 0.8, "regime.epochs=2"), [], KeyError("x"))


def test_the_best_carries_its_own_overrides_and_what_is_untried(refined):
    first = done("first", 0.8, "regime.epochs=2", "temperature.value=2")
    better = done("second", 0.9, "regime.epochs=4", "temperature.value=2")
    worse = done("third", 0.7, "temperature.value=8")
    best = refined(first, ["seed=1", "evaluation.refine.rounds=2"], better, worse).best
    assert best.run_id == "second"
    assert best.overrides == ["seed=1", "regime.epochs=2"]
    assert [proposal.overrides for proposal in best.proposals] == [["temperature.value=2"]]


def test_a_first_run_that_stays_the_best_does_not_propose_again_what_was_worse(refined):
    first = done("first", 0.8, "regime.epochs=2", "temperature.value=2")
    best = refined(first, ["evaluation.refine.rounds=1"], done("second", 0.8)).best
    assert (best.run_id, best.overrides) == ("first", [])
    assert [proposal.overrides for proposal in best.proposals] == [["temperature.value=2"]]


def test_numbers_of_a_term_that_is_gone_are_dropped():
    before = ["loss.ce.weight=0.1", "++loss.kd.weight=1", "loss=[ce,kd]"]
    after = ["loss=[label_smoothing, kd]", "loss.label_smoothing.weight=0.1"]
    assert merged(before, after) == ["++loss.kd.weight=1", *after]


def test_signs_before_a_key_do_not_make_it_another():
    assert merged(["++seed=1"], ["seed=2"]) == ["seed=2"]


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
    assert best.report.validation.accuracy == highest
    assert first.data.tags["best_round"] == best.run_id
