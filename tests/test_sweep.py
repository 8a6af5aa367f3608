"""Sweeps through the real command line, on the fake dataset."""

from __future__ import annotations

import csv
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor
from contextlib import redirect_stdout
from html import unescape
from io import StringIO
from types import SimpleNamespace

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from sqlalchemy.exc import OperationalError

from distill_lab import sweep, sweep_job
from distill_lab.cli import main
from distill_lab.config.launcher import Launcher
from distill_lab.launch import checked
from distill_lab.measure.paired import Discordant
from distill_lab.stages.handoffs import to_plain
from distill_lab.stages.lineage import LINEAGE, Lineage, Round
from distill_lab.sweep import made_from, swept_keys
from distill_lab.sweep_job import STOP, told_to_stop
from distill_lab.sweep_summary import summarise
from distill_lab.tracking.store import RunSummary, Store
from tests.whole_runs import SHORT, SMALL_NETWORKS

pytestmark = pytest.mark.usefixtures("no_figures")

QUICK = [*SHORT, *SMALL_NETWORKS, "evaluation.register_as=null"]


SINK = ("log_text", "log_figure", "log_metrics", "set_tags")


@pytest.fixture
def no_test(monkeypatch):
    """What the jobs said of the test split is not kept."""
    monkeypatch.setattr("distill_lab.sweep_summary.runs_apart", lambda *given: None)


def sweep_of(store):
    records = store.client.search_runs([store.experiment_id], "tags.kind = 'sweep'")
    return records[0]


def rows_of(store, run_id):
    text = store.fetch(run_id, "jobs.csv").read_text()
    return list(csv.DictReader(text.splitlines()))


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Store, exit code and printed text of a sweep of 2 x 2 jobs, one column of which diverges."""
    folder = tmp_path_factory.mktemp("sweep")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with redirect_stdout(StringIO()) as printed:
            code = main(["-m", *QUICK, "regime.lr=0.01,1e30", "regime.optimizer=sgd", "seed=0,1"])
        store = Store("sqlite:///mlflow.db", "distill-lab", "mlartifacts")
        return store, code, printed.getvalue()


def test_a_failing_job_does_not_stop_the_others_and_the_sweep_exits_with_1(swept):
    store, code, printed = swept
    rows = rows_of(store, sweep_of(store).info.run_id)
    assert code == 1
    assert "Mean and standard deviation over seeds" in printed
    assert [row["status"] for row in rows] == ["FINISHED", "FINISHED", "FAILED", "FAILED"]
    assert [row["regime.lr"] for row in rows] == ["0.01", "0.01", "1e+30", "1e+30"]
    assert all("not finite" in row["error"] for row in rows[2:])


def test_jobs_are_children_of_the_sweep_named_by_what_varies(swept):
    store, *_ = swept
    jobs = store.children(sweep_of(store).info.run_id)
    assert [job.name for job in jobs] == [
        "lr=0.01 seed=0",
        "lr=0.01 seed=1",
        "lr=1e+30 seed=0",
        "lr=1e+30 seed=1",
    ]
    assert sweep_of(store).data.tags["mlflow.runName"] == "sweep: lr x seed, 4 jobs"


def test_the_teacher_is_trained_once(swept):
    store, *_ = swept
    teachers = store.client.search_runs([store.experiment_id], "tags.stage = '1 teacher'")
    trained = [record for record in teachers if "reused_from" not in record.data.tags]
    assert len(teachers) == 4
    assert len(trained) == 1


def test_the_sweep_carries_effects_seed_spread_report_and_the_best_job(swept):
    store, *_ = swept
    run = sweep_of(store)
    for path in ("effects/lr.png", "effects/seed.png", "report.html", "seeds.csv"):
        assert store.fetch(run.info.run_id, path).stat().st_size > 0
    rows = rows_of(store, run.info.run_id)
    best = max(rows[:2], key=lambda row: float(row["val/accuracy"]))
    assert run.data.tags["best_run"] == best["run"]
    assert run.data.metrics["val/accuracy"] == pytest.approx(float(best["val/accuracy"]))
    assert run.data.params == {"regime.lr": "0.01, 1e+30", "seed": "0, 1"}
    assert (run.data.metrics["num_jobs"], run.data.metrics["num_failed"]) == (4, 2)
    seeds = list(csv.DictReader(store.fetch(run.info.run_id, "seeds.csv").read_text().splitlines()))
    accuracies = [float(row["test/accuracy"]) for row in rows[:2]]
    assert [row["seeds"] for row in seeds] == ["2"]
    assert float(seeds[0]["test/accuracy mean"]) == pytest.approx(sum(accuracies) / 2)
    gains = [float(row["test/gain_over_control"]) for row in rows[:2]]
    mean = run.data.metrics["test/gain_over_control_mean"]
    assert mean == pytest.approx(sum(gains) / 2)
    spread = run.data.metrics["test/gain_over_control_std"]
    assert spread == pytest.approx(abs(gains[0] - gains[1]) / 2**0.5)
    assert "n = 2" in store.fetch(run.info.run_id, "report.html").read_text()


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        # 2 (1 + 6 + 15) / 2^6 = 0.69.
        ((2, 4), "p = 0.69. The two are not told apart: that b is the better is not shown."),
        # 2 / 2^9 = 0.0039.
        ((9, 0), "p = 0.0039. On these samples b is better by more than chance explains."),
        ((0, 9), "p = 0.0039. On these samples c is better by more than chance explains."),
    ],
)
def test_the_best_of_jobs_with_one_seed_is_tested_against_the_next(monkeypatch, counts, said):
    def job(number, accuracy):
        metrics = {"val/accuracy": accuracy, "val/nll": 1.0, "test/gain_over_control": 0.1}
        return RunSummary(f"run{number}", "", "FINISHED", {"job": str(number)}, metrics)

    tested, kept = [], {}
    monkeypatch.setattr(
        "distill_lab.sweep_summary.runs_apart",
        lambda store, *runs: tested.append(runs) or Discordant(*counts),
    )
    nothing = dict.fromkeys(SINK, lambda *given: None)
    log_text = {"log_text": lambda text, path: kept.update({path: text})}
    store = SimpleNamespace(
        children=lambda run_id: [job(0, 0.1), job(1, 0.3), job(2, 0.2)],
        get=lambda run_id: SimpleNamespace(tags={}),
        open=lambda run_id: SimpleNamespace(id=run_id, set_tags=lambda tags: None),
    )
    asked = [["regime.lr=0.1"], ["regime.lr=0.2"], ["regime.lr=0.3"]]
    sink = SimpleNamespace(id="sweep", **(nothing | log_text))
    text, *_ = summarise(store, sink, asked, list("abc"), ["regime.lr"], {})
    assert tested == [("run1", "run2")]
    assert said in text
    assert said in unescape(kept["report.html"])


def test_where_every_job_ranks_items_the_best_is_that_of_the_best_places(no_test):
    """Of two jobs, the one has the higher accuracy, the other the higher NDCG@10."""

    def job(number, accuracy, ndcg10):
        metrics = {"val/accuracy": accuracy, "val/nll": 1.0, "test/accuracy": accuracy}
        metrics |= {"val/ndcg10": ndcg10, "test/ndcg10": ndcg10, "test/gain_over_control": 0.1}
        return RunSummary(f"run{number}", "", "FINISHED", {"job": str(number)}, metrics)

    kept = {}
    sink = SimpleNamespace(
        id="sweep",
        log_text=lambda text, path: kept.update({path: text}),
        log_figure=lambda figure, path: None,
        log_metrics=kept.update,
        set_tags=kept.update,
    )
    store = SimpleNamespace(
        children=lambda run_id: [job(0, 0.03, 0.1), job(1, 0.02, 0.2)],
        get=lambda run_id: SimpleNamespace(tags={}),
        open=lambda run_id: SimpleNamespace(id=run_id, set_tags=lambda tags: None),
    )
    asked = [["regime.lr=0.1"], ["regime.lr=0.2"]]
    text, failed, best = summarise(store, sink, asked, ["a", "b"], ["regime.lr"], {})
    assert failed == 0
    assert best == (1, "run1")
    assert (kept["best_run"], kept["val/ndcg10"], kept["test/ndcg10"]) == ("run1", 0.2, 0.2)
    assert "best validation NDCG@10 first" in text
    assert text.index("0.2 ") < text.index("0.1 ")
    assert "Best job, by validation NDCG@10" in kept["report.html"]


def test_the_best_setting_is_held_against_the_others_seed_by_seed():
    def job(number, accuracy):
        metrics = {"val/accuracy": accuracy, "val/nll": 1.0, "test/accuracy": accuracy}
        metrics |= {
            "test/gain_over_control": accuracy - 0.5,
            "test/agreement": 0.9,
            "test/ece": 0.1,
        }
        return RunSummary(f"run{number}", "", "FINISHED", {"job": str(number)}, metrics)

    kept = {}
    nothing = dict.fromkeys(SINK, lambda *given: None)
    log_text = {"log_text": lambda text, path: kept.update({path: text})}
    sink = SimpleNamespace(id="sweep", **(nothing | log_text))
    store = SimpleNamespace(
        children=lambda run_id: [job(n, a) for n, a in enumerate([0.61, 0.64, 0.60, 0.65])],
        get=lambda run_id: SimpleNamespace(tags={}),
        open=lambda run_id: SimpleNamespace(id=run_id, set_tags=lambda tags: None),
    )
    asked = [[f"regime.lr={lr}", f"seed={seed}"] for seed in (0, 1) for lr in (0.1, 0.2)]
    summarise(store, sink, asked, list("abcd"), ["regime.lr", "seed"], {})
    (row,) = csv.DictReader(kept["paired_seeds.csv"].splitlines())
    assert (row["lr"], row["seeds"]) == ("0.1", "2")
    assert float(row["best minus this"]) == pytest.approx((0.03 + 0.05) / 2)
    # By Student's t with one degree of freedom: 12.706 standard errors of 0.01 each side.
    assert float(row["low"]) == pytest.approx(0.04 - 0.12706, abs=1e-5)
    assert "An interval that holds 0 does not tell the two apart" in kept["report.html"]
    # Gains of 0.14 and 0.15, so 14.5 points, a standard error of 0.5.
    assert "n = 2; 95 % interval +8.1 to +20.9" in kept["report.html"]


def test_a_sweep_over_steps_shows_what_they_make_of_the_student(no_test):
    def job(number, accuracy):
        metrics = {"val/accuracy": 0.5, "val/nll": 1.0, "test/gain_over_control": 0.1}
        metrics |= {"compressed/last/test/accuracy": accuracy}
        return RunSummary(f"run{number}", "", "FINISHED", {"job": str(number)}, metrics)

    store = SimpleNamespace(
        children=lambda run_id: [job(0, 0.41), job(1, 0.42)],
        get=lambda run_id: SimpleNamespace(tags={}),
        open=lambda run_id: SimpleNamespace(id=run_id, set_tags=lambda tags: None),
    )
    sink = SimpleNamespace(id="sweep", **dict.fromkeys(SINK, lambda *given: None))
    key = "compress.prune_structured.fraction"
    asked = [[f"{key}=0.3"], [f"{key}=0.5"]]
    text, *_ = summarise(store, sink, asked, ["a", "b"], [key], {})
    assert "compressed/last/test/accuracy" in text
    assert "0.41" in text
    assert "0.42" in text


def test_a_job_that_cannot_run_is_listed_and_the_others_go_on(workdir, capsys):
    assert main(["-m", *QUICK, "temperature.value=2,-1"]) == 1
    store = Store("sqlite:///mlflow.db", "distill-lab", "mlartifacts")
    rows = rows_of(store, sweep_of(store).info.run_id)
    assert [row["status"] for row in rows] == ["FINISHED", "NOT STARTED"]
    assert "temperature.value: must be > 0, got -1" in rows[1]["error"]
    assert "temperature.value: must be > 0, got -1" in capsys.readouterr().out


def test_a_sweep_in_which_no_job_can_run_starts_nothing(workdir, capsys):
    assert main(["-m", "temprature.value=1,2"]) == 2
    assert "Did you mean 'temperature'?" in capsys.readouterr().err
    assert not (workdir / "mlflow.db").exists()


@pytest.mark.slow
def test_a_list_sweeps_in_place_of_a_grid(workdir):
    asked = [text for text in QUICK if not text.startswith("student.widths")]
    assert main(["-m", *asked, "student.widths=[8],[16]"]) == 0
    store = Store("sqlite:///mlflow.db", "distill-lab", "mlartifacts")
    rows = rows_of(store, sweep_of(store).info.run_id)
    small, large = (float(row["cost/parameters"]) for row in rows)
    assert small < large


def test_a_chosen_option_is_a_param_of_its_job_and_only_the_best_job_is_registered(workdir, capsys):
    ours = ("student", "evaluation.register_as")
    asked = [text for text in QUICK if not text.startswith(ours)]
    assert main(["-m", *asked, "architecture@student=mlp_30,mlp_300"]) == 0
    store = Store("sqlite:///mlflow.db", "distill-lab", "mlartifacts")
    run = sweep_of(store)
    assert run.data.params == {"choices.architecture.student": "mlp_30, mlp_300"}
    jobs = [store.client.get_run(job.id) for job in store.children(run.info.run_id)]
    chosen = [job.data.params["choices.architecture.student"] for job in jobs]
    assert chosen == ["mlp_30", "mlp_300"]
    best = run.data.tags
    versions = store.client.search_model_versions("name = 'distill-lab-fake'")
    assert [f"models:/distill-lab-fake/{v.version}" for v in versions] == [best["model"]]
    assert versions[0].source == store.client.get_run(best["best_run"]).data.tags["model"]
    out = capsys.readouterr().out
    assert "Jobs, best validation accuracy first" in out
    assert re.search(r"on the test split: right in the best alone \d+, in the next alone \d+;", out)


def test_only_keys_with_several_values_are_swept():
    assert swept_keys([["a=1", "b=1"], ["a=1", "b=2"], ["a=1", "b=2"]]) == ["b"]


@pytest.mark.parametrize(
    ("overrides", "threads"),
    [
        (["seed=1"], 1),
        (["seed=1", "hardware=gpu"], 1),
        (["seed=1", "hardware.threads=2"], 2),
        (["experiments=mine"], 3),
    ],
)
def test_jobs_side_by_side_have_one_thread_each_unless_told_otherwise(
    workdir, capsys, overrides, threads
):
    (workdir / "experiments").mkdir()
    (workdir / "experiments/mine.yaml").write_text("# @package _global_\nhardware: {threads: 3}\n")
    [job] = sweep._side_by_side([overrides], {0: checked(overrides)}, Launcher("joblib", 2), 2)
    assert checked(job).hardware.threads == threads
    said = capsys.readouterr().out
    assert said.startswith("2 jobs at once")
    assert ("each with one thread (hardware.threads=1)" in said) == (threads == 1)


def test_a_job_has_a_thread_for_each_core_that_its_launcher_gives_it(capsys):
    launcher = Launcher("submitit_slurm", 64, cores=4, folder="/shared/sweeps/now")
    [job] = sweep._side_by_side([["seed=1"]], {0: checked(["seed=1"])}, launcher, 1)
    assert job == ["seed=1", "hardware.threads=4"]
    said = capsys.readouterr().out
    assert "1 job at once, each with 4 threads (hardware.threads=4)\n" in said
    assert "What each job prints is in /shared/sweeps/now\n" in said


def test_where_a_job_is_lost_the_others_are_told_to_stop_and_the_summary_is_made(
    workdir, monkeypatch, capsys
):
    def launch():
        raise BrokenExecutor("a worker died")

    store = Store("sqlite:///mlflow.db", "distill-lab", "mlartifacts")
    with store.start("sweep", {}) as run:
        job = store.start("seed=0", {}, run.id)

        def sleep(seconds):
            job.client.set_terminated(job.id, "KILLED")

        monkeypatch.setattr(sweep.time, "sleep", sleep)
        monkeypatch.setattr(sweep, "release", lambda launcher: None)
        sweep._apart(launch, Launcher("joblib", 2), store, run)
        assert STOP in store.get(run.id).tags
    assert store.get(job.id).status == "KILLED"
    said = capsys.readouterr().err
    assert "hydra/launcher=joblib: a worker died\n" in said
    assert (
        "Is there memory for so many jobs at once? More for\neach: hydra.launcher.n_jobs=2." in said
    )


@pytest.fixture
def at_work(workdir, monkeypatch):
    """A store, and in it the run of a sweep, with which no launcher is let go."""
    monkeypatch.setattr(sweep, "release", lambda launcher: None)
    monkeypatch.setattr(sweep_job, "SECONDS_TO_ASK_AGAIN", 0.001)
    store = Store("sqlite:///mlflow.db", "distill-lab", "mlartifacts")
    return store, store.start("sweep", {})


def test_a_job_that_was_lost_with_another_host_is_no_longer_running(at_work, monkeypatch):
    store, run = at_work
    job = store.start("seed=0", {}, run.id)
    job.set_tags({"process": "another-host:1:1"})
    monkeypatch.setattr(sweep, "SECONDS_TO_END", 0.0)
    sweep._apart(raising(BrokenExecutor("gone")), Launcher("joblib", 2), store, run)
    assert store.get(job.id).status == "FAILED"


def test_who_waits_for_jobs_asks_a_store_again_that_refuses(at_work, monkeypatch):
    store, run = at_work
    asked, children = [], store.children

    def busy(run_id):
        asked.append(run_id)
        if len(asked) == 1:
            raise OperationalError("SELECT", {}, OSError("database is locked"))
        return children(run_id)

    monkeypatch.setattr(store, "children", busy)
    monkeypatch.setattr(sweep.time, "sleep", lambda seconds: None)
    sweep._wait_for_jobs(store, run.id)
    assert asked == [run.id] * 2


def test_jobs_are_told_to_stop_also_where_a_launcher_ends_in_another_way(at_work):
    store, run = at_work
    with pytest.raises(LookupError, match="of Hydra"):
        sweep._apart(raising(LookupError("of Hydra")), Launcher("joblib", 2), store, run)
    assert STOP in store.get(run.id).tags


def refusing(run, monkeypatch, times):
    """Let a run refuse so many tags, as SQLite does while another process writes."""
    left = iter(range(times))
    set_tags = run.set_tags

    def busy(tags):
        if next(left, None) is not None:
            raise OperationalError("INSERT", {}, OSError("database is locked"))
        set_tags(tags)

    monkeypatch.setattr(run, "set_tags", busy)


def test_a_store_that_is_busy_is_asked_again_until_the_lost_jobs_fellows_are_told(
    at_work, monkeypatch, capsys
):
    store, run = at_work
    refusing(run, monkeypatch, 3)
    sweep._apart(raising(BrokenExecutor("gone")), Launcher("joblib", 2), store, run)
    assert STOP in store.get(run.id).tags
    assert capsys.readouterr().err.count("The jobs are not told to stop yet, for: ") == 1


def test_a_store_that_is_busy_is_asked_again_after_ctrl_c(at_work, monkeypatch):
    store, run = at_work
    refusing(run, monkeypatch, 3)

    def launch():  # as jobs that end when they are told to
        signal.raise_signal(signal.SIGINT)
        limit = time.monotonic() + 10
        while not told_to_stop(store, run.id):
            assert time.monotonic() < limit
            time.sleep(0.01)

    with pytest.raises(KeyboardInterrupt):
        sweep._apart(launch, Launcher("joblib", 2), store, run)


def test_a_store_that_refuses_for_good_is_left_after_a_while(at_work, monkeypatch):
    store, run = at_work
    refusing(run, monkeypatch, sys.maxsize)
    monkeypatch.setattr(sweep, "SECONDS_TO_TELL", 0.0)
    with pytest.raises(OperationalError, match="database is locked"):
        sweep._apart(raising(BrokenExecutor("gone")), Launcher("joblib", 2), store, run)
    with pytest.raises(LookupError, match="of Hydra"):
        sweep._apart(raising(LookupError("of Hydra")), Launcher("joblib", 2), store, run)


def raising(error):
    def launch():
        raise error

    return launch


@pytest.mark.parametrize("path", ["/a/plain/one", "/it's/one", 'a "b", c', "back\\slash", "ü=1"])
def test_a_path_is_handed_to_hydra_as_it_is(path):
    text = f"hydra.sweep.dir={sweep._quoted(path)}"
    assert OverridesParser.create().parse_override(text).value() == path


def test_different_teachers_are_trained_side_by_side_and_the_others_keep_their_order():
    asked = [[f"teacher.dropout={p}", f"seed={n}"] for p in (0.1, 0.2) for n in (0, 1, 2)]
    assert sweep.teachers_first(dict(enumerate(map(checked, asked)))) == [0, 3, 1, 4, 2, 5]
    assert sweep.teachers_first({n: checked(asked[n]) for n in (2, 1)}) == [1, 2]


SIDE_BY_SIDE = [
    *(text for text in QUICK if text != "hardware.threads=1"),
    "hydra/launcher=joblib",
    "hydra.launcher.n_jobs=2",
]


def started(folder, *overrides):
    """Start the program in a folder, its output into the files out and err."""
    command = [sys.executable, "-m", "distill_lab", "-m", *SIDE_BY_SIDE, *overrides]
    with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
        return subprocess.Popen(command, cwd=folder, stdout=out, stderr=err)


@pytest.mark.slow
def test_two_jobs_side_by_side_leave_what_they_leave_one_after_another(workdir):
    program = started(workdir, "regime.lr=0.01,1e30", "regime.optimizer=sgd", "seed=0,1")
    assert program.wait(240) == 1  # as two jobs diverge
    out, err = ((workdir / name).read_text() for name in ("out", "err"))
    assert "2 jobs at once, each with one thread (hardware.threads=1)\n" in out
    assert "|" not in err  # no bars
    assert "Warning" not in err
    assert err.count(") failed: epoch 0") == 2
    lines = [line for line in out.splitlines() if " 6 evaluate" in line]
    assert sorted(line.partition(":")[0] for line in lines) == ["lr=0.01 seed=0", "lr=0.01 seed=1"]
    store = Store("sqlite:///mlflow.db", "distill-lab", "mlartifacts")
    rows = rows_of(store, sweep_of(store).info.run_id)
    assert [row["status"] for row in rows] == ["FINISHED", "FINISHED", "FAILED", "FAILED"]
    jobs = store.children(sweep_of(store).info.run_id)
    assert {store.client.get_run(j.id).data.params["hardware.threads"] for j in jobs} == {"1"}
    assert curves(store) == {("5 control", 2): 2, ("5 train", 2): 2}


def curves(store):
    """How many trainings of a student finished, by stage and number of epochs in the store."""
    found = {}
    for record in store.client.search_runs([store.experiment_id], "attributes.status = 'FINISHED'"):
        stage = record.data.tags.get("stage", "")
        if stage.startswith("5") and "reused_from" not in record.data.tags:
            epochs = len(store.client.get_metric_history(record.info.run_id, "val/accuracy"))
            found[stage, epochs] = found.get((stage, epochs), 0) + 1
    return found


@pytest.mark.slow
def test_sigterm_ends_the_runs_of_all_workers_and_the_workers(workdir):
    program = started(workdir, "regime.epochs=100000", "seed=0,1,2")
    try:
        limit = time.monotonic() + 120
        while (workdir / "out").read_text().count(": 4 loss") < 2 and time.monotonic() < limit:
            time.sleep(0.1)
        program.send_signal(signal.SIGTERM)
        assert program.wait(60) == 143
    finally:
        program.kill()
    assert (workdir / "err").read_text().startswith("\nStopped; finished stages will be reused")
    store = Store("sqlite:///mlflow.db", "distill-lab", "mlartifacts")
    records = store.client.search_runs([store.experiment_id], "attributes.status != 'FINISHED'")
    assert {record.info.status for record in records} == {"KILLED"}
    names = [record.info.run_name for record in records]
    assert {"sweep: seed, 3 jobs", "seed=0", "seed=1"} <= set(names)
    assert "seed=2" not in names


def test_of_a_refined_job_the_best_rounds_overrides_are_handed_over_with_its_student():
    asked, better = ["seed=1"], ["seed=1", "temperature.value=8"]
    rounds = [Round(0, "as asked", None, "", asked, "", 0.0, "first")]
    rounds += [Round(1, "warmer", 0, "a rule", better, "higher quality", 1.0, "second")]
    kept = {("first", LINEAGE): to_plain(Lineage("accuracy", rounds))}
    tags = {"first": {"job": "0"}, "second": {"round": "1", "mlflow.parentRunId": "first"}}
    store = SimpleNamespace(
        get=lambda run_id: SimpleNamespace(tags=tags[run_id]),
        read_json=lambda run_id, path: kept[run_id, path],
    )
    assert made_from(store, "second", asked) == better
    assert made_from(store, "first", asked) == asked
