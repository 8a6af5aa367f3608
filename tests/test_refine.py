"""The refinement loop: what it runs, what it keeps."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from collections import defaultdict
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from distill_lab import workflow
from distill_lab.errors import ConfigError, RunError
from distill_lab.launch import checked, run_job
from distill_lab.measure.scores import Scores
from distill_lab.plan import STAGES
from distill_lab.refine import merged, refine
from distill_lab.settings import Chain, Evaluation, Refine
from distill_lab.stages.handoffs import from_plain
from distill_lab.stages.lineage import Lineage, Standing
from distill_lab.stages.report_handoff import Proposal
from distill_lab.tracking.store import Store
from distill_lab.workflow import Done
from tests.whole_runs import SHORT, SMALL_NETWORKS

pytestmark = pytest.mark.usefixtures("no_figures")

QUICK = [
    *SHORT,
    *SMALL_NETWORKS,
    "regime.epochs=1",
    "selection.regime.epochs=3",
    "evaluation.register_as=null",
]


def stands(quality):
    return Standing("net", quality, noise=0.01, macs=10, parameters=10, file_bytes=1024)


def done(run_id, accuracy, *proposals, test=0.5):
    report = SimpleNamespace(
        validation=Scores(accuracy, 0.1, 0.1, 0.0, accuracy, 1),
        metrics={"test/accuracy": test},
        proposals=[Proposal([text], "why.") for text in proposals],
    )
    teacher = Standing("teacher", 1.0, noise=0.0, macs=100, parameters=100, file_bytes=9999)
    return Done(run_id, report, teacher, stands(accuracy), "", "", Path())


class Run:
    """Keeps what is logged to a run."""

    def __init__(self):
        self.tags, self.metrics, self.files = {}, {}, {}

    def set_tags(self, tags):
        self.tags |= tags

    def log_metrics(self, metrics):
        self.metrics |= metrics

    def log_text(self, text, path):
        self.files[path] = text

    def log_json(self, values, path):
        self.files[path] = values

    def log_figure(self, figure, path):
        self.files[path] = figure


@pytest.fixture
def refined(monkeypatch):
    """Refines a first run; each round is an outcome, or an error, given beforehand.

    A round takes `minutes` by a clock of our own.
    """

    def go(first, overrides, *rounds, max_minutes=None, patience=9, minutes=(), assistants=()):
        outcomes, asked, started = iter(rounds), [], []
        took, now = iter(minutes), [0.0]
        runs = defaultdict(Run)

        def run(parts, store, name, tags, parent_id):
            started.append({"name": name, "parent": parent_id, **tags})
            now[0] += 60 * next(took, 0)
            outcome = next(outcomes)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        def check(overrides):
            asked.append(overrides)
            return SimpleNamespace(chain=Chain([*assistants], 1))

        monkeypatch.setattr(workflow, "run", run)
        monkeypatch.setattr("distill_lab.refine.monotonic", lambda: now[0])
        told = []
        monkeypatch.setattr(
            "distill_lab.refine.report_of", lambda store, run_id: told.append(run_id)
        )
        store = SimpleNamespace(open=lambda run_id: nullcontext(runs[run_id]))
        limits = Refine(len(rounds), max_minutes, patience)
        costs = (3, [1], 1.0, 0.0, False)
        evaluation = Evaluation(15, 64, 9, [], 64, *costs, 0.95, 0.70, 0.40, None, limits)
        best = refine(first, store, overrides, evaluation, check)
        files = runs[first.run_id].files
        lineage = list(csv.DictReader(files["refinement.csv"].splitlines()))
        return SimpleNamespace(
            best=best,
            asked=asked,
            started=started,
            lineage=lineage,
            runs=runs,
            whole=from_plain(Lineage, files["refinement.json"]),
            told=told,
        )

    return go


def test_the_report_of_the_first_run_is_written_again_with_the_lineage(refined):
    assert refined(done("first", 0.8, "seed=1"), [], done("second", 0.9)).told == ["first"]


@pytest.mark.parametrize("error", [RunError("it diverged."), ConfigError(["seed: no."])])
def test_a_round_that_fails_is_noted_and_the_next_goes_on(refined, error):
    first = done("first", 0.8, "regime.epochs=2", "temperature.value=2")
    result = refined(first, ["seed=1"], error, done("second", 0.9))
    assert result.asked == [["seed=1", "regime.epochs=2"], ["seed=1", "temperature.value=2"]]
    reason = f"failed: {' '.join(str(error).split())}"
    assert [row["brought"] for row in result.lineage] == ["", reason, "higher quality"]
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


def test_each_round_says_what_it_came_from_and_what_it_brought(refined):
    first = done("first", 0.8, "regime.epochs=2", "temperature.value=2")
    better = done("second", 0.85, "temperature.value=8", "seed=3")
    result = refined(first, ["seed=1"], better, done("third", 0.84), done("fourth", 0.83))
    assert [one["parent_round"] for one in result.started] == ["0", "1", "1"]
    assert [one["refined_from"] for one in result.started] == ["first", "second", "second"]
    assert {one["parent"] for one in result.started} == {"first"}
    assert [row["from"] for row in result.lineage] == ["", "0", "1", "1"]
    tags = {name: result.runs[name].tags for name in ("second", "third")}
    assert tags["second"] == {"brought": "higher quality", "best_so_far": "second"}
    assert tags["third"] == {"brought": "nothing better", "best_so_far": "second"}
    assert result.runs["second"].metrics == {"refine/gain_val_accuracy": pytest.approx(0.05)}
    assert result.runs["third"].metrics == {"refine/gain_val_accuracy": pytest.approx(-0.01)}
    assert result.runs["first"].tags == {"best_round": "second"}
    assert result.runs["first"].metrics == {"refine/best_val_accuracy": 0.85}
    assert "refinement.png" in result.runs["first"].files


def test_the_test_split_chooses_nothing(refined):
    first = done("first", 0.8, "regime.epochs=2", test=0.1)
    assert refined(first, [], done("second", 0.8, test=0.9)).best.run_id == "first"
    assert refined(first, [], done("second", 0.81, test=0.0)).best.run_id == "second"


def test_it_stops_where_no_proposal_is_left(refined):
    first = done("first", 0.8, "regime.epochs=2")
    whole = refined(first, [], done("second", 0.7), done("never", 0.9)).whole
    assert (len(whole.rounds), whole.stopped) == (2, "No untried proposal is left.")


def test_it_stops_after_as_many_rounds_without_improvement_as_it_has_patience(refined, capsys):
    first = done("first", 0.8, *(f"seed={number}" for number in range(2, 9)))
    better = done("second", 0.9, *(f"seed={number}" for number in range(9, 19)))
    worse = [done(f"worse {number}", 0.7) for number in range(5)]
    whole = refined(first, [], worse[0], better, *worse[1:], patience=2).whole
    assert [one.run_id for one in whole.rounds] == [
        "first", "worse 0", "second", "worse 1", "worse 2",
    ]  # fmt: skip
    assert whole.stopped == "The last 2 brought no improvement on validation."
    assert f"Refinement stops. {whole.stopped}" in capsys.readouterr().out


def test_a_round_is_not_begun_where_less_time_is_left_than_the_longest_took(refined):
    first = done("first", 0.8, *(f"seed={number}" for number in range(2, 9)))
    others = [done(f"round {number}", 0.7) for number in range(5)]
    whole = refined(first, [], *others, max_minutes=10, minutes=[2, 4, 1, 5, 1]).whole
    assert len(whole.rounds) == 1 + 3  # after 7 minutes 3 are left, and one took 4
    assert whole.stopped == "Of 10 minutes 3.0 are left, and the longest round took 4.0."
    assert [one.seconds for one in whole.rounds] == [0, 120, 240, 60]


def test_the_first_round_is_begun_in_any_case_and_the_last_may_end_on_time(refined):
    first = done("first", 0.8, "seed=2", "seed=3", "seed=4")
    others = [done(f"round {number}", 0.7) for number in range(3)]
    assert len(refined(first, [], *others, max_minutes=1, minutes=[9]).whole.rounds) == 2
    exact = refined(first, [], *others, max_minutes=4, minutes=[2, 2, 2]).whole
    assert len(exact.rounds) == 3  # after 2 minutes just 2 are left


def test_a_round_with_an_assistant_is_a_chain_judged_against_the_first_teacher(
    refined, monkeypatch
):
    """It keeps 85 % of that teacher's quality, and 99 % of its assistant's."""
    first = done("first", 0.80, "chain.assistants=[mlp_300]")
    chained = done("chained", 0.85)
    chained.teacher = stands(0.86)
    monkeypatch.setattr("distill_lab.refine.run_chain", lambda *rest: chained)
    whole = refined(first, [], RunError("no chain"), assistants=["mlp_300"]).whole
    assert whole.rounds[1].run_id == "chained"
    assert whole.rounds[1].goals == ["compute saved", "size"]


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
    reached = [float(row["val accuracy"]) for row in lineage]
    for number, record in enumerate(rounds, 1):
        gain = reached[number] - reached[int(record.tags["parent_round"])]
        assert record.metrics["refine/gain_val_accuracy"] == pytest.approx(gain)
    kept = from_plain(Lineage, store.read_json(first.info.run_id, "refinement.json"))
    assert [one.run_id for one in kept.rounds] == [row["run"] for row in lineage]
    assert kept.stopped == "All 2 rounds are done."


def program(folder, *overrides):
    """The command line as a process of its own, in a folder."""
    command = [sys.executable, "-u", "-m", "distill_lab", *QUICK, *overrides]
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def kept_in(folder):
    """What the newest first run in a folder tells of its rounds, without ids and times."""
    store = Store(f"sqlite:///{folder}/mlflow.db", "distill-lab", str(folder / "mlartifacts"))
    newest = store.client.search_runs([store.experiment_id], "tags.best_round != ''")[0]
    whole = from_plain(Lineage, store.read_json(newest.info.run_id, "refinement.json"))
    told = [(one.name, one.parent, one.standing, one.is_better) for one in whole.rounds]
    return told, whole.stopped


@pytest.mark.slow
def test_a_refinement_killed_in_its_second_round_goes_on_and_ends_as_if_it_had_not_been(tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    rounds = "evaluation.refine.rounds=2"
    for folder in (whole, cut):
        folder.mkdir()
    undisturbed = program(whole, rounds)
    assert undisturbed.communicate()[0]
    assert undisturbed.returncode == 0
    first = program(cut, rounds)
    for line in first.stdout:
        if line.startswith("round 2: "):
            os.kill(first.pid, signal.SIGKILL)
            break
    first.communicate()
    assert first.returncode == -signal.SIGKILL
    again = program(cut, rounds)
    said = again.communicate()[0]
    assert again.returncode == 0
    before, _, after = said.partition("\nround 2: ")
    assert before.count("[reused from") == 2 * len(STAGES)  # the first run and round 1
    assert "  6 evaluate" in after
    assert kept_in(cut) == kept_in(whole)
