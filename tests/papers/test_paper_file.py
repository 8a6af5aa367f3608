from __future__ import annotations

import pytest
import yaml

from distill_lab.errors import ConfigError
from distill_lab.papers.paper import Scale, papers, read_paper

ROW = {
    "name": "errors",
    "what": "of the student",
    "paper": 74,
    "mark": "V",
    "where": "table 1",
    "unit": "errors",
    "better": "lower",
    "tolerance": 7,
    "overrides": ["data=fake"],
    "metric": "test/errors",
    "seeds": [0, 1],
}
PAPER = {
    "title": "On nothing",
    "source": "Nobody 2026",
    "scales": {"full": {"kind": "full", "overrides": []}},
    "rows": [ROW],
}


@pytest.fixture
def write(workdir):
    """Writes experiments/nothing/paper.yaml below the working directory."""

    def to_file(given):
        folder = workdir / "experiments" / "nothing"
        folder.mkdir(parents=True, exist_ok=True)
        text = given if isinstance(given, str) else yaml.safe_dump(given)
        (folder / "paper.yaml").write_text(text)

    return to_file


def said(name):
    with pytest.raises(ConfigError) as caught:
        read_paper(name)
    return caught.value.problems


def test_a_paper_is_found_here_and_in_the_project(write):
    write(PAPER)
    assert {"nothing", "hinton2015"} <= set(papers())
    paper = read_paper("nothing")
    assert (paper.name, paper.title) == ("nothing", "On nothing")
    assert paper.scales == {"full": Scale("full", [])}
    [row] = paper.rows
    assert row.multiply == 1.0
    assert row.job(Scale("reduced", ["regime.epochs=1"]), 3) == (
        "data=fake",
        "regime.epochs=1",
        "seed=3",
    )


def test_a_paper_that_is_not_there_is_named_with_the_nearest(write):
    write(PAPER)
    [problem] = said("nothin")
    assert problem.startswith("there is no paper 'nothin'. Did you mean 'nothing'? Papers: ")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"marc": "V"}, "there is no key 'marc'. Did you mean 'mark'?"),
        ({"mark": "W"}, "mark must be V or M, got 'W'."),
        ({"better": "more"}, "better must be lower or higher, got 'more'."),
        ({"paper": "74"}, "paper must be a number, got '74'."),
        ({"tolerance": None}, "tolerance must be a number, got None."),
        ({"seeds": []}, "seeds must name at least one."),
        (
            {"overrides": "data=fake"},
            "overrides must be a list of overrides such as [seed=1], got 'data=fake'.",
        ),
        ({"seeds": [0], "minus": []}, "seeds must name at least two."),
    ],
)
def test_what_is_wrong_with_a_row_is_named(write, change, problem):
    write(PAPER | {"rows": [ROW | change]})
    assert said("nothing") == [f"nothing/paper.yaml: row errors: {problem}"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"kind": "whole"}, "kind must be full, reduced, synthetic, code-only, got 'whole'."),
        ({"num_seeds": 0}, "num_seeds must be a whole number >= 1 or null, got 0."),
        ({"num_seeds": True}, "num_seeds must be a whole number >= 1 or null, got True."),
        (
            {"overrides": "x=1"},
            "overrides must be a list of overrides such as [seed=1], got 'x=1'.",
        ),
    ],
)
def test_what_is_wrong_with_a_scale_is_named(write, change, problem):
    write(PAPER | {"scales": {"full": {"kind": "full", "overrides": []} | change}})
    assert said("nothing") == [f"nothing/paper.yaml: scales.full: {problem}"]


def test_all_problems_are_told_at_once(write):
    rows = [{k: v for k, v in ROW.items() if k != "metric"}, ROW | {"x": 1}, "a line"]
    scale = {"full": {"kind": "full", "overides": []}}
    write(PAPER | {"rows": rows, "scales": scale})
    found = said("nothing")
    assert [problem.partition(": ")[2] for problem in found] == [
        "scales.full: there is no key 'overides'. Did you mean 'overrides'?",
        "scales.full: overrides is missing.",
        "row errors: metric is missing.",
        "row errors: there is no key 'x'.",
        "row 'a line': must be a mapping with name, what, paper, mark, where, unit, better, "
        "overrides, metric, seeds, got 'a line'.",
    ]


def test_two_rows_of_one_name_are_refused(write):
    write(PAPER | {"rows": [ROW, ROW]})
    assert said("nothing") == ["nothing/paper.yaml: two rows are named errors."]


def test_a_paper_without_rows_is_refused(write):
    write(PAPER | {"rows": []})
    assert said("nothing") == ["nothing/paper.yaml: rows must list at least one."]


@pytest.mark.parametrize("text", ["", "- a list", "title: [", "title: alone"])
def test_a_file_that_is_no_paper_is_refused(write, text):
    write(text)
    assert all(problem.startswith("nothing/paper.yaml: ") for problem in said("nothing"))


def test_a_trend_without_a_number_may_be_a_row(write):
    write(PAPER | {"rows": [ROW | {"paper": None}]})
    assert read_paper("nothing").rows[0].paper is None


def test_a_claim_is_a_difference_of_two_runs_or_of_two_metrics_of_one(write):
    claim = ROW | {"paper": None, "minus": ["data=fake", "loss=[ce]"]}
    gain = ROW | {"name": "gain", "paper": None, "minus_metric": "test/errors_control"}
    write(PAPER | {"rows": [claim, gain]})
    paper = read_paper("nothing")
    scale = paper.scales["full"]
    two, one = paper.rows
    assert two.is_claim
    assert one.is_claim
    assert two.sources(scale, 1) == [
        (("data=fake", "seed=1"), "test/errors"),
        (("data=fake", "loss=[ce]", "seed=1"), "test/errors"),
    ]
    assert one.sources(scale, 1) == [
        (("data=fake", "seed=1"), "test/errors"),
        (("data=fake", "seed=1"), "test/errors_control"),
    ]


def test_rows_are_found_by_a_pattern_of_their_names(write):
    rows = [ROW | {"name": name} for name in ("a/kd", "b/kd", "b/dkd")]
    write(PAPER | {"rows": rows})
    paper = read_paper("nothing")
    assert [row.name for row in paper.named("*/kd")] == ["a/kd", "b/kd"]
    assert [row.name for row in paper.named("b/*")] == ["b/kd", "b/dkd"]
    assert paper.named("c*") == []
