"""`distill-lab reproduce` and `scoreboard` through the real command line, on the fake dataset."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import pytest
import yaml

from distill_lab.cli import main
from distill_lab.config.compose import compose
from distill_lab.errors import RunError
from distill_lab.measure.cost import Cost
from distill_lab.measure.fidelity import Fidelity
from distill_lab.measure.left_out import Biased, LeftOut
from distill_lab.measure.ranking import Ranking
from distill_lab.measure.scores import Scores
from distill_lab.papers import reproduce
from distill_lab.papers.grid import each_line_and_column
from distill_lab.papers.paper import Scale, papers, read_paper
from distill_lab.stages.report_handoff import CONTROL, DISTILLED, TEACHER, Report, Row
from distill_lab.tracking.store import Store
from tests.whole_runs import SHORT, SMALL_NETWORKS

pytestmark = pytest.mark.usefixtures("no_figures")

QUICK = [*SHORT, *SMALL_NETWORKS]
ROW = {
    "what": "something",
    "mark": "V",
    "where": "table 1",
    "unit": "errors",
    "overrides": QUICK,
    "tolerance": 0,
}
# Of 40 test samples: the one is reached whatever happens, the other missed.
EASY = {"name": "easy", "paper": 40, "better": "lower", "metric": "test/errors", "seeds": [0, 1]}
HARD = {"name": "hard", "paper": 101, "better": "higher", "metric": "test/accuracy", "seeds": [0]}
SMALL = {
    "title": "A small paper",
    "source": "Nobody 2026",
    "scales": {
        "full": {"kind": "full", "overrides": []},
        "cpu": {"kind": "reduced", "overrides": ["regime.epochs=1"]},
    },
    "rows": [
        ROW | EASY,
        ROW | HARD | {"multiply": 100},
    ],
}


def go(folder, given, *words):
    folder = folder / "experiments" / "small"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "paper.yaml").write_text(yaml.safe_dump(given, sort_keys=False))
    return main(["reproduce", "small", *words])


def test_a_paper_is_reproduced_from_its_file_to_its_scoreboard(workdir, capsys):
    assert go(workdir, SMALL) == 0
    results = json.loads((workdir / "experiments/small/results.json").read_text())
    assert results["command"] == "distill-lab reproduce small --scale full"
    assert set(results) == {"command", "commit", "versions", "rows"}
    easy, hard = results["rows"]
    assert [(r["name"], r["verdict"], r["scale"]) for r in (easy, hard)] == [
        ("easy", "reached", "full"),
        ("hard", "missed", "full"),
    ]
    store = Store("sqlite:///mlflow.db", "distill-lab", "mlartifacts")
    assert easy["ours"] == [store.get(run).metrics["test/errors"] for run in easy["runs"]]
    assert hard["ours"] == [
        pytest.approx(100 * store.get(hard["runs"][0]).metrics["test/accuracy"])
    ]
    assert hard["runs"] == easy["runs"][:1]  # two numbers of one run
    [run] = store.client.search_runs([store.experiment_id], "tags.kind = 'paper'")
    assert {child.id for child in store.children(run.info.run_id)} == set(easy["runs"])
    report = store.fetch(run.info.run_id, "report.html").read_text()
    note = run.data.tags["mlflow.note.content"]
    for address in (store.run_address(run_id) for run_id in easy["runs"]):
        assert f'href="{address}"' in report
        assert f"]({address})" in note
    capsys.readouterr()
    assert main(["scoreboard"]) == 0
    shown = capsys.readouterr().out
    assert "small: A small paper" in shown
    ends = [line.split()[-3:] for line in shown.splitlines() if line.startswith(("easy", "hard"))]
    assert ends == [[verdict, "full", results["commit"][:8]] for verdict in ("reached", "missed")]


@pytest.fixture
def pretend(monkeypatch):
    """Puts something else in the place of running a job."""

    def make(run_job):
        monkeypatch.setattr(reproduce, "run_job", run_job)

    return make


def rows_of(path):
    return json.loads(path.read_text())["rows"]


def test_a_smaller_scale_makes_no_claim_and_leaves_the_full_results_alone(workdir, pretend):
    def run_job(parts, overrides, name):
        reduced = parts.regime.epochs == 1
        metrics = {"test/errors": 7.0 - reduced, "test/accuracy": 0.5}
        return SimpleNamespace(run_id=name, report=SimpleNamespace(metrics=metrics))

    pretend(run_job)
    assert go(workdir, SMALL) == 0
    assert go(workdir, SMALL, "--scale", "cpu") == 0
    full, reduced = (
        rows_of(workdir / "experiments/small" / name)
        for name in ("results.json", "results.cpu.json")
    )
    assert [(row["ours"], row["verdict"]) for row in full] == [
        ([7.0, 7.0], "reached"),
        ([50.0], "missed"),
    ]
    assert [(row["ours"], row["verdict"], row["scale"]) for row in reduced] == [
        ([6.0, 6.0], "no claim", "reduced"),
        ([50.0], "no claim", "reduced"),
    ]


def test_a_scale_may_run_fewer_seeds(workdir, pretend):
    def run_job(parts, overrides, name):
        metrics = {"test/errors": 7.0 + parts.seed, "test/accuracy": 0.5}
        return SimpleNamespace(run_id=name, report=SimpleNamespace(metrics=metrics))

    pretend(run_job)
    scales = {"full": SMALL["scales"]["full"], "cpu": SMALL["scales"]["cpu"] | {"num_seeds": 1}}
    assert go(workdir, SMALL | {"scales": scales}, "--scale", "cpu") == 0
    easy, _ = rows_of(workdir / "experiments/small/results.cpu.json")
    assert (easy["ours"], easy["seeds"]) == ([7.0], [0])
    assert go(workdir, SMALL | {"scales": scales}) == 0
    easy, _ = rows_of(workdir / "experiments/small/results.json")
    assert easy["seeds"] == [0, 1]


def test_of_a_part_of_the_rows_no_other_is_run_and_the_others_stay(workdir, pretend, capsys):
    seeds = []

    def run_job(parts, overrides, name):
        seeds.append(parts.seed)
        metrics = {"test/errors": 7.0, "test/accuracy": 0.5 + len(seeds)}
        return SimpleNamespace(run_id="r", report=SimpleNamespace(metrics=metrics))

    pretend(run_job)
    assert go(workdir, SMALL, "--only", "h*") == 0
    assert seeds == [0]
    path = workdir / "experiments/small/results.json"
    assert [row["name"] for row in rows_of(path)] == ["hard"]
    assert json.loads(path.read_text())["command"].endswith("--scale full --only 'h*'")
    capsys.readouterr()
    assert main(["scoreboard"]) == 0
    assert "1 of 2 rows were not run." in capsys.readouterr().out
    assert go(workdir, SMALL, "--only=easy") == 0
    assert seeds == [0, 0, 1]
    assert [(row["name"], row["ours"]) for row in rows_of(path)] == [
        ("easy", [7.0, 7.0]),
        ("hard", [150.0]),
    ]


def test_a_claim_is_the_difference_seed_by_seed_and_names_both_runs(workdir, pretend):
    accuracies = {(0, 4.0): 0.5, (1, 4.0): 0.75, (0, 1.0): 0.25, (1, 1.0): 0.25}

    def run_job(parts, overrides, name):
        temperature = parts.config["temperature"]["value"]
        metrics = {"test/accuracy": accuracies[parts.seed, temperature]}
        run_id = f"{parts.seed} at {temperature:g}"
        return SimpleNamespace(run_id=run_id, report=SimpleNamespace(metrics=metrics))

    pretend(run_job)
    claim = ROW | {
        "name": "softer",
        "paper": None,
        "better": "higher",
        "metric": "test/accuracy",
        "minus": [*QUICK, "temperature.value=1"],
        "multiply": 100,
        "seeds": [0, 1],
    }
    assert go(workdir, SMALL | {"rows": [claim]}) == 0
    [row] = rows_of(workdir / "experiments/small/results.json")
    assert row["ours"] == [25.0, 50.0]
    assert row["runs"] == ["0 at 4", "1 at 4"]
    assert row["minus_runs"] == ["0 at 1", "1 at 1"]
    assert row["verdict"] == "inconclusive"  # 37.5 +- 12.706 * 12.5


def test_a_run_that_fails_leaves_the_others_and_is_told(workdir, pretend, capsys):
    def run_job(parts, overrides, name):
        if parts.seed == 1:
            raise RunError("epoch 3: loss kd is nan.")
        metrics = {"test/errors": 7.0, "test/accuracy": 0.5}
        return SimpleNamespace(run_id="r", report=SimpleNamespace(metrics=metrics))

    pretend(run_job)
    assert go(workdir, SMALL) == 1
    easy, hard = rows_of(workdir / "experiments/small/results.json")
    assert (easy["ours"], easy["runs"], easy["error"]) == ([7.0], ["r"], "epoch 3: loss kd is nan.")
    assert (hard["verdict"], hard["error"]) == ("missed", "")
    assert "Failed: epoch 3: loss kd is nan." in capsys.readouterr().err


def test_what_is_stopped_half_way_leaves_the_rows_that_were_done(workdir, pretend):
    def run_job(parts, overrides, name):
        if parts.seed == 1:
            raise KeyboardInterrupt
        metrics = {"test/errors": 7.0, "test/accuracy": 0.5}
        return SimpleNamespace(run_id="r", report=SimpleNamespace(metrics=metrics))

    pretend(run_job)
    assert go(workdir, SMALL) == 130
    [row] = rows_of(workdir / "experiments/small/results.json")
    assert (row["name"], row["ours"]) == ("hard", [50.0])  # the other one lacks a seed


def test_a_metric_that_no_run_has_is_named_with_the_nearest(workdir, pretend, capsys):
    report = SimpleNamespace(metrics={"test/errors": 1.0, "test/accuracy": 0.5})
    pretend(lambda parts, overrides, name: SimpleNamespace(run_id="r", report=report))
    wrong = SMALL["rows"][0] | {"metric": "test/erors"}
    assert go(workdir, SMALL | {"rows": [wrong]}) == 1
    assert "has no metric 'test/erors'. Did you mean 'test/errors'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["smal"], "there is no paper 'smal'."),
        ([], "reproduce: name one paper; there are "),
        (["small", "--scale=ful"], "--scale: small has full, cpu, got 'ful'. Did you mean 'full'?"),
        (
            ["small", "--fast"],
            "--fast: reproduce takes --scale NAME, --only PATTERN and overrides.",
        ),
        (["small", "--only", "esy"], "no row of small is named 'esy'. Did you mean 'easy'?"),
        (["small", "regime.epochs=1"], "regime.epochs: would measure something else"),
        (["small", "hardware.thread=1"], "small, row easy: hardware.thread: "),
    ],
)
def test_what_is_asked_for_wrongly_is_answered_before_anything_starts(workdir, capsys, words, text):
    (workdir / "experiments/small").mkdir(parents=True)
    (workdir / "experiments/small/paper.yaml").write_text(yaml.safe_dump(SMALL, sort_keys=False))
    assert main(["reproduce", *words]) == 2
    assert text in capsys.readouterr().err
    assert not (workdir / "mlflow.db").exists()


def test_every_row_of_every_paper_reads_a_metric_that_its_runs_have():
    scores, cost = Scores(0.9, 0.1, 0.1, 0.0, 0.9, 4), Cost(1, 1, 1, 1.0, 1.0, 1.0)
    lines = [Row(name, "", scores, 1.0, 0.0, cost) for name in (TEACHER, CONTROL, DISTILLED)]
    same = Biased(0.0, 1, 1)
    plain = Report(lines, [], [], scores, "", 1.0, Fidelity(1.0, 0.0), None).metrics
    left_out = LeftOut(1, same, same, same)
    without = Report(lines, [], [], scores, "", 1.0, Fidelity(1.0, 0.0), left_out).metrics
    of_items = replace(scores, ranking=Ranking(0.2, 0.1, 0.5, 0.3, 0.1))
    lines = [replace(line, scores=of_items) for line in lines]
    ranked = Report(lines, [], [], of_items, "", 1.0, Fidelity(1.0, 0.0), None).metrics
    composed = cache(compose)
    for name in papers():
        for row in each_line_and_column(read_paper(name).rows):
            for job, metric in row.sources(Scale("full", []), 0):
                experiment = tuple(text for text in job if text.startswith("experiments="))
                config = composed(experiment)
                has = without if config["regime"]["leave_out_classes"] else plain
                has = ranked if "movielens" in config["data"]["_target_"] else has
                assert metric in has, row.name


@pytest.mark.slow
def test_every_row_of_every_paper_is_sound_at_every_scale():
    for name in papers():
        paper = read_paper(name)
        rows = [replace(row, seeds=row.seeds[:1]) for row in paper.rows]
        for scale in paper.scales.values():
            assert reproduce.checked_jobs(name, rows, scale, [])


@pytest.mark.slow
def test_check_tries_rows_of_every_paper():
    assert reproduce.check_papers() == sum(len(read_paper(name).rows) for name in papers())
