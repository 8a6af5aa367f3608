"""Searches through the real command line, on the fake dataset."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

import pytest

from distill_lab.cli import main
from distill_lab.errors import ConfigError
from distill_lab.launch import check_jobs, checked, run_job
from tests.whole_runs import SHORT, SMALL_NETWORKS, store_of

pytestmark = pytest.mark.usefixtures("no_figures")

QUICK = [*SHORT, *SMALL_NETWORKS, "regime.epochs=3"]


def runs(store, text):
    return store.client.search_runs([store.experiment_id], text)


def trials_of(store, run_id):
    return list(csv.DictReader(store.fetch(run_id, "trials.csv").read_text().splitlines()))


def said(*words):
    """Exit code, and what a command writes to the terminal."""
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        code = main([*QUICK, *words])
    text = out.getvalue() + err.getvalue()
    assert "Traceback" not in text
    return code, text


THREE_FATES = [
    "search@regime.search=grid",
    "regime.search.space={regime.lr:[0.05,1e-8,1e30]}",
    "regime.search.pruner=median",
    "regime.search.prune_from_trial=1",
    "regime.optimizer=sgd",
    "regime.schedule=constant",
    "seed=5",  # of which the first trial is the one that learns
]


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """Store, exit code and text of a search of which a trial is done, one pruned, one diverges."""
    folder = tmp_path_factory.mktemp("search")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        code, text = said(*THREE_FATES)
        return store_of(), code, text, folder


@pytest.fixture
def parent(searched):
    """The search's run."""
    store, *_ = searched
    (found,) = runs(store, "tags.kind = 'search'")
    return found


def test_trials_are_done_pruned_or_failed_and_each_is_marked_so(searched, parent):
    store, code, text, _ = searched
    rows = {row["regime.lr"]: row for row in trials_of(store, parent.info.run_id)}
    assert code == 1
    assert {lr: row["state"] for lr, row in rows.items()} == {
        "0.05": "COMPLETE",
        "1e-08": "PRUNED",
        "1e+30": "FAILED",
    }
    assert "not finite" in rows["1e+30"]["error"]
    tags = {lr: store.get(row["run"]).tags for lr, row in rows.items()}
    status = {lr: store.get(row["run"]).status for lr, row in rows.items()}
    assert status == {"0.05": "FINISHED", "1e-08": "KILLED", "1e+30": "FAILED"}
    assert tags["1e-08"]["pruned"] == "after epoch 1 of 3"
    assert "error" not in tags["1e-08"]
    assert "not finite" in tags["1e+30"]["error"]
    assert "3 trials: 1 complete, 1 pruned, 1 failed" in text
    assert "pruned after epoch 1 of 3" in text


def test_trials_are_runs_below_the_search_named_by_their_values(searched, parent):
    store, *_ = searched
    names = [trial.name for trial in store.children(parent.info.run_id)]
    assert names[0] == "trial 0: lr=0.05"
    assert len(names) == 3


def test_a_pruned_trial_is_trained_no_further_and_has_no_control(searched, parent):
    store, *_ = searched
    rows = {row["regime.lr"]: row for row in trials_of(store, parent.info.run_id)}

    def epochs(lr):
        stages = {run.tags["stage"]: run for run in store.children(rows[lr]["run"])}
        history = store.client.get_metric_history(stages["5 train"].id, "val/accuracy")
        return set(stages) & {"5 control", "6 evaluate"}, len(history)

    assert epochs("0.05") == ({"5 control", "6 evaluate"}, 3)
    assert epochs("1e-08") == (set(), 1)


def test_the_teacher_is_trained_once_for_all_trials(searched):
    store, *_ = searched
    teachers = runs(store, "tags.stage = '1 teacher'")
    assert len(teachers) == 3
    assert sum("reused_from" not in record.data.tags for record in teachers) == 1


def test_the_search_has_the_best_trials_numbers_pictures_and_model(searched, parent):
    store, *_ = searched
    best = next(r for r in trials_of(store, parent.info.run_id) if r["state"] == "COMPLETE")
    tags, metrics = parent.data.tags, parent.data.metrics
    assert (tags["best_trial"], tags["best_run"]) == (best["trial"], best["run"])
    assert metrics["val/accuracy"] == pytest.approx(float(best["quality"]))
    counts = [metrics[f"num_{name}"] for name in ("trials", "complete", "pruned", "failed")]
    assert counts == [3, 1, 1, 1]
    for path in ("report.html", "slices/quality.png", "history/quality.png", "failed/2.txt"):
        assert store.fetch(parent.info.run_id, path).stat().st_size > 0
    versions = store.client.search_model_versions("name = 'distill-lab-fake'")
    assert [f"models:/distill-lab-fake/{version.version}" for version in versions] == [
        tags["model"]
    ]
    assert versions[0].source == store.get(best["run"]).tags["model"]


def test_a_trial_is_the_run_it_would_be_without_a_search(searched, monkeypatch):
    folder = searched[-1]
    monkeypatch.chdir(folder)
    asked = [*QUICK, *THREE_FATES[4:], "regime.lr=0.05"]
    done = run_job(checked(asked), asked)
    assert len(done.reused) == 7


def test_the_same_command_again_trains_nothing_and_says_the_same(searched, parent, monkeypatch):
    store, _, text, folder = searched
    monkeypatch.chdir(folder)
    before = len(runs(store, ""))
    code, again = said(*THREE_FATES)
    assert code == 1
    assert len(runs(store, "")) == before
    told = [one[one.index("Complete trials") : one.index("3 trials: ")] for one in (text, again)]
    assert told[0] == told[1]
    assert store.get(parent.info.run_id).status == "FINISHED"


@pytest.mark.slow
def test_a_trial_whose_config_is_wrong_is_a_failed_run(workdir):
    """A grid asks for all pairs; alone each value is sound, a pair is not."""
    code, _ = said(
        "search@regime.search=grid",
        "regime.search.space={regime.momentum:[0.5,0.9],regime.dot_delta:[0.3,0.05]}",
        "regime.optimizer=dot",
        "regime.lr=0.01",
    )
    assert code == 1
    store = store_of()
    (search,) = runs(store, "tags.kind = 'search'")
    rows = trials_of(store, search.info.run_id)
    wrong = [row for row in rows if row["state"] == "FAILED"]
    assert [(row["regime.momentum"], row["regime.dot_delta"]) for row in wrong] == [("0.9", "0.3")]
    assert "regime.dot_delta: must be <= momentum" in wrong[0]["error"]
    record = store.get(wrong[0]["run"])
    assert (record.status, record.tags["job"]) == ("FAILED", wrong[0]["trial"])


@pytest.mark.slow
def test_several_objectives_leave_a_front_and_register_nothing(workdir):
    code, text = said(
        "search@regime.search=multi_objective",
        "regime.search.objectives=[quality,parameters]",
        "regime.search.space={student.widths:[[4],[16]]}",
        "regime.search.num_trials=4",
    )
    assert code == 0
    store = store_of()
    (search,) = runs(store, "tags.kind = 'search'")
    rows = {row["trial"]: row for row in trials_of(store, search.info.run_id)}
    best = search.data.tags["best_trials"].split(", ")
    smallest = min(rows.values(), key=lambda row: float(row["parameters"]))
    assert any(rows[number]["student.widths"] == smallest["student.widths"] for number in best)
    assert "model" not in search.data.tags
    assert store.fetch(search.info.run_id, "pareto.png").stat().st_size > 0
    assert "Complete trials, * beaten by no other" in text


@pytest.mark.slow
def test_time_that_is_up_ends_a_search_that_can_be_gone_on_with(workdir):
    space = "regime.search.space={temperature.value:[2,4]}"
    words = [space, "regime.search.num_trials=2", "regime.search.max_minutes=1e-9"]
    code, text = said(*words)
    assert code == 0
    assert "regime.search.max_minutes=1e-09 are over; the same command goes on." in text
    assert "0 trials" in text
    code, text = said(*words[:2])
    assert "2 trials: 2 complete" in text
    assert len(runs(store_of(), "tags.kind = 'search'")) == 1


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["regime.search.num_trials=3"], "regime.search.space: is empty, so nothing is searched"),
        (["search@regime.search=grid"], "regime.search.space: is empty, so nothing is searched"),
        (
            ["regime.search.space={temprature.value:[1,2]}"],
            "regime.search.space: temprature: there is no such section. Did you mean 'temperature'",
        ),
        (
            ["regime.search.space={regime.epochs:{low:0,high:3}}"],
            "regime.search.space: regime.epochs: must be > 0, got 0.",
        ),
        (
            ["regime.search.space={architecture@student:[mlp_30,mpl_300]}"],
            "regime.search.space: architecture@student: there is no option 'mpl_300'. Did you mean",
        ),
        (
            ["regime.search.space={student.width:[[1],[2]]}"],
            "regime.search.space: student.width: MLP takes no such argument. Did you mean 'widths'",
        ),
        (["regime.search=tpe"], "regime.search: must be a group of keys, got 'tpe'."),
    ],
)
def test_a_wrong_search_is_answered_before_anything_starts(workdir, words, problem):
    code, text = said(*words)
    assert code == 2
    assert problem in text
    assert not (workdir / "mlflow.db").exists()


@pytest.mark.parametrize("command", [["check"], ["-m"]])
def test_a_search_is_no_job_of_a_sweep(workdir, command, capsys):
    space = "regime.search.space={regime.lr:[0.1,0.2]}"
    assert main([*command, space, "seed=0,1"]) == 2
    assert "a search is no job of a sweep" in capsys.readouterr().err


def test_a_search_that_an_experiment_brings_is_checked_and_left_out_of_its_trials(workdir):
    (workdir / "experiments").mkdir()
    (workdir / "experiments/mine.yaml").write_text(
        "# @package _global_\nregime: {search: {space: {regime.lr: {low: 0.1, high: 0.2}}}}\n"
    )
    asked = ["experiments=mine"]
    assert checked(asked).search.space == {"regime.lr": {"low": 0.1, "high": 0.2}}
    assert checked(asked, as_trial=True).search is None
    assert check_jobs(asked)[0] == 1
    with pytest.raises(ConfigError, match="a search is no job of a sweep"):
        run_job(checked(asked), asked)


LONG = [
    *QUICK,
    "regime.epochs=150",
    "regime.search.space={temperature.value:{low:1,high:9},loss.kd.weight:[0.5,0.9]}",
    "regime.search.num_trials=3",
]


def started(folder, *words):
    """Start the program in a folder, its output into the files out and err."""
    command = [sys.executable, "-m", "distill_lab", *LONG, *words]
    with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
        return subprocess.Popen(command, cwd=folder, stdout=out, stderr=err)


def text_of(folder):
    return (folder / "out").read_text() + (folder / "err").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "status"),
    [
        (signal.SIGKILL, -9, "RUNNING"),
        (signal.SIGINT, 130, "KILLED"),
        (signal.SIGTERM, 143, "KILLED"),
    ],
    ids=["kill -9", "Ctrl-C", "SIGTERM"],
)
def test_a_search_that_is_stopped_goes_on_by_the_same_command(workdir, number, code, status):
    program = started(workdir)
    try:
        limit = time.monotonic() + 300
        while (workdir / "out").read_text().count("  4 loss") < 2 and time.monotonic() < limit:
            time.sleep(0.05)
        program.send_signal(number)
        assert program.wait(120) == code
    finally:
        program.kill()
    assert "Traceback" not in text_of(workdir)
    assert started(workdir).wait(600) == 0
    assert "Traceback" not in text_of(workdir)
    store = store_of()
    (search,) = runs(store, "tags.kind = 'search'")
    assert search.info.status == "FINISHED"
    assert "error" not in search.data.tags
    rows = trials_of(store, search.info.run_id)
    assert [row["state"] for row in rows] == ["COMPLETE"] * 3
    assert [row["trial"] for row in rows] == ["0", "2", "3"]  # 1 was stopped, and is 2
    stopped = store.children(search.info.run_id)[1]
    assert stopped.status == ("FAILED" if number == signal.SIGKILL else "KILLED")
    again = store.get(rows[1]["run"])
    assert stopped.name.partition(": ")[2] == again.name.partition(": ")[2]
    assert runs(store, "attributes.status = 'RUNNING'") == []


@pytest.mark.slow
def test_two_processes_work_on_one_study(workdir):
    folders = [workdir / name for name in ("one", "other")]
    for folder in folders:
        folder.mkdir()
    store = [f"tracking.uri=sqlite:///{workdir}/mlflow.db", "regime.search.num_trials=5"]
    place = f"tracking.artifact_location={workdir}/mlartifacts"
    programs = [started(folder, *store, place) for folder in folders]
    assert [program.wait(600) for program in programs] == [0, 0]
    assert not any("Traceback" in text_of(folder) for folder in folders)
    found = store_of(workdir)
    (search,) = runs(found, "tags.kind = 'search'")
    assert search.info.status == "FINISHED"
    rows = trials_of(found, search.info.run_id)
    assert [row["state"] for row in rows] == ["COMPLETE"] * 5
    assert len({row["temperature.value"] for row in rows}) == 5
    assert len({found.get(row["run"]).tags["process"] for row in rows}) == 2
    teachers = [r for r in runs(found, "tags.stage = '1 teacher'") if "seed" in r.data.tags]
    trained = [record for record in teachers if "reused_from" not in record.data.tags]
    candidates = runs(found, "tags.kind = 'candidate'")
    assert len(teachers) >= 5
    assert len(candidates) - len([c for c in candidates if "reused_from" in c.data.tags]) <= 1
    assert trained
    assert runs(found, "attributes.status = 'RUNNING'") == []
