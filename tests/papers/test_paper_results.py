from __future__ import annotations

from pathlib import Path

import pytest

from distill_lab.errors import RunError
from distill_lab.papers.paper import Paper, Row
from distill_lab.papers.results import (
    Results,
    interval,
    judge,
    keep,
    measured,
    path_of,
    read,
)
from distill_lab.papers.scoreboard import board
from distill_lab.report import tables


def row(**changes):
    given = {
        "name": "errors",
        "what": "of the student",
        "paper": 74.0,
        "mark": "V",
        "where": "",
        "unit": "errors",
        "better": "lower",
        "tolerance": 7.0,
        "overrides": [],
        "metric": "test/errors",
        "seeds": [4, 5],
    }
    return Row(**given | changes)


@pytest.mark.parametrize(
    ("changes", "mean", "scale", "verdict"),
    [
        ({}, 81.0, "full", "reached"),
        ({}, 81.1, "full", "missed"),
        ({}, 20.0, "full", "reached"),
        ({"better": "higher"}, 67.0, "full", "reached"),
        ({"better": "higher"}, 66.9, "full", "missed"),
        ({"better": "higher"}, 99.0, "full", "reached"),
        ({"mark": "M"}, 74.0, "full", "no target"),
        ({"paper": None}, 74.0, "full", "no target"),
        ({}, 74.0, "reduced", "no claim"),
        ({}, 74.0, "synthetic", "no claim"),
        ({}, None, "full", "not run"),
    ],
)
def test_ours_is_held_against_the_papers_number(changes, mean, scale, verdict):
    assert judge(row(**changes), mean, scale) == verdict


def test_mean_and_spread_are_over_the_seeds():
    two = measured(row(), "full", [70.0, 80.0], ["a", "b"])
    assert (two.mean, two.std) == (75.0, pytest.approx(50**0.5))
    assert two.verdict == "reached"
    one = measured(row(), "full", [90.0], ["a"])
    assert (one.mean, one.std, one.verdict) == (90.0, None, "missed")
    none = measured(row(), "full", [], [], error="it diverged")
    assert (none.mean, none.std, none.verdict, none.error) == (None, None, "not run", "it diverged")


CLAIM = {"paper": None, "minus": ["loss=[ce]"]}


@pytest.mark.parametrize(
    ("better", "values", "scale", "verdict"),
    [
        ("higher", [1.0, 1.2, 1.1], "full", "confirmed"),
        ("higher", [1.0, 1.2, 1.1], "reduced", "confirmed"),
        ("lower", [1.0, 1.2, 1.1], "full", "not confirmed"),
        ("lower", [-1.0, -1.2, -1.1], "full", "confirmed"),
        ("higher", [-1.0, -1.2, -1.1], "full", "not confirmed"),
        ("higher", [1.0, -0.5, 0.6], "full", "inconclusive"),
        ("higher", [1.0], "full", "inconclusive"),  # the other seeds failed
        ("higher", [0.0, 0.0], "full", "inconclusive"),
        ("higher", [1.0, 1.2, 1.1], "code-only", "no claim"),
        ("higher", [], "full", "not run"),
    ],
)
def test_a_claim_is_held_against_zero(better, values, scale, verdict):
    claim = row(**CLAIM, better=better)
    assert measured(claim, scale, values, ["a"] * len(values)).verdict == verdict


def test_the_interval_is_students():
    # Standard deviation 1, so 4.302653 / sqrt(3), the 0.975 quantile with 2 degrees of freedom.
    assert interval([1.0, 2.0, 3.0]) == pytest.approx((2 - 2.484138, 2 + 2.484138), abs=1e-6)
    assert interval([1.0]) is None
    assert measured(row(**CLAIM), "full", [1.0, 2.0], ["a", "b"]).interval == interval([1.0, 2.0])
    assert measured(row(), "full", [1.0, 2.0], ["a", "b"]).interval is None


def test_rows_that_were_not_asked_for_stay_as_they_were(tmp_path):
    path = tmp_path / "results.json"
    everything = Paper(tmp_path, "", "", {}, [row(name=name) for name in ("b", "c", "gone")])
    paper = Paper(Path("p"), "", "", {}, [row(name=name) for name in ("a", "b", "c")])
    old = [measured(row(name=name), "full", [1.0], ["r"], commit="old") for name in ("c", "gone")]
    new = [measured(row(name=name), "full", [2.0], ["s"], commit="new") for name in ("b", "c")]
    keep(path, everything, Results("one", "old", {}, old))
    keep(path, paper, Results("two", "new", {}, new[:1]))
    assert [(one.name, one.commit) for one in read(path).rows] == [("b", "new"), ("c", "old")]
    keep(path, paper, Results("two", "new", {}, new))
    results = read(path)
    assert (results.command, results.commit) == ("two", "new")
    assert [(one.name, one.mean, one.commit) for one in results.rows] == [
        ("b", 2.0, "new"),
        ("c", 2.0, "new"),
    ]
    assert not list(tmp_path.glob("*.part"))


def test_results_are_read_as_they_were_written(tmp_path):
    asked = row(**CLAIM, name="claim")
    claim = measured(asked, "full", [1.0, 2.0], ["a", "b"], minus_runs=["c", "d"])
    rows = [measured(row(), "full", [1.0], ["a"]), claim]
    results = Results("a command", "a commit", {"torch": "2"}, rows)
    paper = Paper(tmp_path, "", "", {}, [row(), asked])
    keep(tmp_path / "results.json", paper, results)
    assert read(tmp_path / "results.json") == results


def test_a_smaller_scale_does_not_write_over_the_full_one():
    paper = Paper(Path("p"), "", "", {}, [])
    assert path_of(paper, "full") == Path("p/results.json")
    assert path_of(paper, "cpu") == Path("p/results.cpu.json")


def test_the_board_puts_the_papers_number_beside_ours_and_links_each_value_to_its_run():
    asked = [row(), row(name="more", mark="M"), row(name="new"), row(name="claim", **CLAIM)]
    rows = [
        measured(row(), "full", [70.0, 80.0], ["run_a", "run_b"], seeds=[0, 1]),
        measured(row(name="more", mark="M"), "full", [90.5], ["run_c"], seeds=[0]),
        measured(row(name="claim", **CLAIM), "full", [-7.0, -8.0], ["d", "e"], seeds=[0, 1]),
    ]
    lines = board(asked, Results("", "", {}, rows), lambda run: f"http://here/{run}")
    shown = [(line["paper"], line["ours"], line["verdict"]) for line in lines]
    assert shown == [
        ("74", "75 ± 7.071 (2)", "reached"),
        ("74 (from memory)", "90.5", "no target"),
        ("74", "", "not run"),
        ("\N{EN DASH}", "-7.5, -13.85 to -1.147 (2)", "confirmed"),
    ]
    text = tables.markdown(lines)
    assert "[70](http://here/run_a) | [80](http://here/run_b)" in text
    assert "[90.5](http://here/run_c)" in text


@pytest.mark.parametrize("text", ["", "{", "[]", '{"rows": [{"name": "a"}]}'])
def test_results_that_cannot_be_read_are_named_with_what_to_do(tmp_path, text):
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(RunError, match=r"results\.json cannot be read .*delete it to measure anew"):
        read(path)


def test_values_stand_under_their_own_seeds_and_are_held_against_the_number_of_today():
    ours = measured(row(), "full", [90.0], ["run"], seeds=[1])  # the run of seed 0 failed
    assert ours.verdict == "missed"
    results = Results("a command", "a commit", {}, [ours])
    [line] = board([row(paper=90.0, seeds=[0, 1])], results, lambda run: f"to {run}")
    assert (line["verdict"], line["seed 1"]) == ("reached", tables.Link("90", "to run"))
    assert "seed 0" not in line
