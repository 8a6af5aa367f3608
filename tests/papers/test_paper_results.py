from __future__ import annotations

from pathlib import Path

import pytest

from distill_lab.papers.paper import Paper, Row
from distill_lab.papers.results import Results, judge, measured, path_of, read, write
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
    none = measured(row(), "full", [], [], "it diverged")
    assert (none.mean, none.std, none.verdict, none.error) == (None, None, "not run", "it diverged")


def test_results_are_read_as_they_were_written(tmp_path):
    results = Results(
        "a command", "a commit", {"torch": "2"}, [measured(row(), "full", [1.0], ["a"])]
    )
    write(tmp_path / "results.json", results)
    assert read(tmp_path / "results.json") == results


def test_a_smaller_scale_does_not_write_over_the_full_one():
    paper = Paper(Path("p"), "", "", {}, [])
    assert path_of(paper, "full") == Path("p/results.json")
    assert path_of(paper, "cpu") == Path("p/results.cpu.json")


def test_the_board_puts_the_papers_number_beside_ours_and_links_each_value_to_its_run():
    paper = Paper(Path("p"), "", "", {}, [row(), row(name="more", mark="M"), row(name="new")])
    rows = [
        measured(row(), "full", [70.0, 80.0], ["run_a", "run_b"]),
        measured(row(name="more", mark="M"), "full", [90.5], ["run_c"]),
    ]
    lines = board(paper, Results("", "", {}, rows), lambda run: f"http://here/{run}")
    shown = [(line["paper"], line["ours"], line["verdict"]) for line in lines]
    assert shown == [
        ("74", "75 ± 7.071 (2)", "reached"),
        ("74 (from memory)", "90.5", "no target"),
        ("74", "", "not run"),
    ]
    text = tables.markdown(lines)
    assert "[70](http://here/run_a) | [80](http://here/run_b)" in text
    assert "[90.5](http://here/run_c)" in text
