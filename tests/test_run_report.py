"""`distill-lab report` and `distill-lab compare`: pages made of what the store has of runs."""

from __future__ import annotations

import csv
from types import SimpleNamespace

import pytest

from distill_lab.cli import main
from distill_lab.launch import checked, run_job
from distill_lab.stages.report_handoff import DISTILLED
from tests.whole_runs import SHORT, SMALL_NETWORKS, store_of

QUICK = [*SHORT, *SMALL_NETWORKS, "regime.epochs=1", "evaluation.register_as=null"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def made(home):
    """Two jobs below a run that stands for a sweep; the second is trained for longer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        with store_of().start("a sweep", {"kind": "sweep"}) as sweep:
            runs = [
                run_job(checked([*own, f"tracking.sweep_run_id={sweep.id}"]), own, name)
                for name, own in (
                    ("short", QUICK),
                    ("long", [*QUICK, "regime.epochs=4", "temperature.value=2"]),
                )
            ]
        return SimpleNamespace(sweep=sweep.id, short=runs[0], long=runs[1])


@pytest.fixture
def here(home, made, monkeypatch):
    monkeypatch.chdir(home)
    return made


def table_of(address):
    with store_of().fetch(address.rpartition("/")[2], "table.csv").open() as file:
        return list(csv.DictReader(file))


def compared(capsys, *words):
    assert main(["compare", *words]) == 0
    return capsys.readouterr().out.split()[-1]


def test_a_lost_report_is_made_again_as_it_was(here, capsys):
    path = here.short.report_path
    before = path.read_text()
    path.unlink()
    assert main(["report", here.short.run_id[:12]]) == 0
    assert str(path) in capsys.readouterr().out
    assert path.read_text() == before


@pytest.mark.parametrize(
    "text",
    [
        "Verdict",
        "Pareto front",
        "Lineage",
        "distill-lab data=fake",  # the command
        "epochs: 1",  # the config
        "at commit",
    ],
)
def test_the_page_says_what_was_reached_and_how_to_have_it_again(here, text):
    assert text in here.short.report_path.read_text()


def test_pictures_of_a_stage_that_was_reused_are_those_it_kept(here):
    first, second = (run.report_path.read_text() for run in (here.short, here.long))
    origin = store_of().fetch(here.short.run_id, "report.html")
    assert origin.is_file()
    assert first.count("<img") == second.count("<img") > 8


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["report", "ffffffffffff"], "run 'ffffffffffff': no run"),
        (["report", "SWEEP"], "has no stages below it, it is: sweep"),
        (["compare", "SHORT"], "1 finished run(s)"),
    ],
)
def test_what_cannot_be_told_is_said(here, capsys, words, message):
    ids = {"SWEEP": here.sweep, "SHORT": here.short.run_id}
    assert main([ids.get(word, word) for word in words]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("words", [["report"], ["report", "a", "b"], ["compare"], ["report", "-x"]])
def test_a_request_without_runs_is_asked_wrongly(here, words, capsys):
    assert main(words) == 2
    assert words[0] in capsys.readouterr().err or "-x" in words


def test_runs_stand_side_by_side_the_best_on_validation_first(here, capsys):
    rows = table_of(compared(capsys, here.short.run_id, here.long.run_id))
    found = {"short": here.short, "long": here.long}
    assert {row[""] for row in rows} == set(found)
    for row in rows:
        report = found[row[""]].report
        assert float(row["val accuracy"]) == pytest.approx(report.validation.accuracy)
    values = [float(row["val accuracy"]) for row in rows]
    assert values == sorted(values, reverse=True)


def test_each_run_is_tested_against_the_best_on_the_same_samples(here, capsys):
    address = compared(capsys, here.short.run_id, here.long.run_id)
    best, other = table_of(address)
    assert best["p"] == ""
    found = {"short": here.short, "long": here.long}
    first, second = (found[row[""]].report.row(DISTILLED).scores.errors for row in (best, other))
    only = int(other["only this right"]) - int(other["only the best right"])
    assert only == first - second
    assert 0 < float(other["p"]) <= 1
    page = store_of().fetch(address.rpartition("/")[2], "report.html").read_text()
    assert f"Against the next, {other['']}, on the test split" in page
    assert f"in the next alone {other['only this right']};" in page
    assert ("not told apart" in page) == (float(other["p"]) >= 0.05)


def test_jobs_of_a_sweep_are_compared_and_only_what_differs_is_shown(here, capsys):
    address = compared(capsys, here.sweep)
    assert len(table_of(address)) == 2
    page = store_of().fetch(address.rpartition("/")[2], "report.html").read_text()
    differing = page[page.index("What differs") : page.index("Pareto front")]
    assert "temperature.value" in differing
    assert "regime.epochs" in differing
    assert "batch_size" not in differing
