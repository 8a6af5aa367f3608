"""Several passes in one command: each student teaches the next."""

from __future__ import annotations

import csv

import pytest

from distill_lab.errors import RunError
from distill_lab.launch import checked, run_job
from distill_lab.plan import STAGES
from distill_lab.stages.handoffs import TeacherChoice, TrainedStudent, from_plain
from distill_lab.stages.report_handoff import TEACHER
from tests.whole_runs import SHORT, store_of

pytestmark = pytest.mark.usefixtures("no_figures")

QUICK = [
    *SHORT,
    "regime.epochs=1",
    "evaluation.register_as=null",
    "architecture@student=mlp_30",
    "teacher.channels=[4, 8]",
]
CHAIN = ["chain.assistants=[mlp_300]", "chain.generations=2"]


def go(*overrides):
    given = [*QUICK, *overrides]
    return run_job(checked(given), given)


def handoff(store, workflow_run, name, kind):
    [record] = [one for one in store.children(workflow_run) if one.tags.get("stage") == name]
    return from_plain(kind, store.read_json(record.id, "handoff.json"))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def done(home):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        return go(*CHAIN)


@pytest.fixture
def here(home, done, monkeypatch):
    monkeypatch.chdir(home)
    return done


def test_the_student_of_each_pass_is_the_teacher_of_the_next(here):
    store = store_of()
    passes = store.children(here.run_id)
    assert [one.name for one in passes] == ["pass 1 of 3", "pass 2 of 3", "pass 3 of 3"]
    teachers = [handoff(store, one.id, "1 teacher", TeacherChoice).best for one in passes]
    students = [handoff(store, one.id, "5 train", TrainedStudent) for one in passes]
    assert [one.architecture.args["widths"] for one in students] == [[300, 300], [30, 30], [30, 30]]
    assert [one.weights for one in teachers[1:]] == [one.weights for one in students[:-1]]
    assert [one.scores for one in teachers[1:]] == [one.scores for one in students[:-1]]
    assert students[1].weights.sha256 != students[2].weights.sha256


def test_the_run_of_the_chain_has_the_numbers_of_its_last_pass_and_a_line_per_pass(here):
    store = store_of()
    chain, last = store.get(here.run_id), store.children(here.run_id)[-1]
    assert chain.tags["kind"] == "chain"
    assert chain.metrics == last.metrics
    assert chain.tags["model"] == last.tags["model"] == here.model
    with store.fetch(here.run_id, "chain.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    tested = [one.metrics["test/accuracy"] for one in store.children(here.run_id)]
    assert [float(row["test accuracy"]) for row in rows] == pytest.approx(tested)
    assert float(rows[2]["its teacher"]) == pytest.approx(tested[1])
    assert here.report.row(TEACHER).scores.accuracy == pytest.approx(tested[1])


def test_the_same_command_takes_every_stage_of_every_pass_from_the_store(here):
    again = go(*CHAIN)
    assert again.reused == [stage.name for stage in STAGES]
    assert again.report == here.report


def test_the_student_of_a_workflow_is_a_teacher_by_the_id_of_its_run(here):
    store = store_of()
    first = store.children(here.run_id)[0]
    later = go(f"selection.from_run={first.id}", "seed=1")
    [teacher] = handoff(store, later.run_id, "1 teacher", TeacherChoice).kept
    assert teacher.weights == handoff(store, first.id, "5 train", TrainedStudent).weights


def test_a_run_without_a_student_is_refused_with_its_key(here):
    stage = store_of().children(store_of().children(here.run_id)[0].id)[0]
    for wrong in ("nothing", stage.id):
        with pytest.raises(RunError, match=rf"^selection\.from_run: .* no run '{wrong}' with a"):
            go(f"selection.from_run={wrong}")
