from __future__ import annotations

import pytest
import yaml

from distill_lab.errors import ConfigError
from distill_lab.papers.grid import each_line_and_column
from distill_lab.papers.paper import read_paper

SHARED = {
    "what": "accuracy",
    "mark": "V",
    "where": "table 1",
    "unit": "percent",
    "better": "higher",
    "tolerance": 0.5,
    "overrides": ["data=fake"],
    "metric": "test/accuracy",
    "seeds": [0, 1],
}
GRID = {
    "columns": {"big": ["teacher.depth=2"], "small": ["teacher.depth=1"]},
    "shared": SHARED,
    "lines": {
        "teacher": {"paper": [90, 80], "seeds": [0]},
        "kd": {"paper": [70, None], "overrides": ["loss=[kd]"], "mark": "M"},
        "dkd": {
            "paper": [75, 65],
            "overrides": ["loss=[dkd]"],
            "overrides_in": {"small": ["loss.dkd.nontarget_weight=2"]},
        },
    },
}
PAPER = {
    "title": "On grids",
    "source": "Nobody 2026",
    "scales": {"full": {"kind": "full", "overrides": []}},
}


@pytest.fixture
def rows(workdir):
    """Reads a paper that has such grids; raises what is wrong with it."""

    def read(*grids, **more):
        folder = workdir / "experiments" / "nothing"
        folder.mkdir(parents=True, exist_ok=True)
        given = PAPER | {"grids": list(grids)} | more
        (folder / "paper.yaml").write_text(yaml.safe_dump(given, sort_keys=False))
        return read_paper("nothing").rows

    return read


def test_each_number_is_a_row_with_the_overrides_of_all_column_and_line(rows):
    found = {row.name: row for row in rows(GRID)}
    assert {name: row.paper for name, row in found.items()} == {
        "big/teacher": 90,
        "small/teacher": 80,
        "big/kd": 70,
        "big/dkd": 75,
        "small/dkd": 65,
    }
    assert found["big/kd"].overrides == ["data=fake", "teacher.depth=2", "loss=[kd]"]
    assert found["small/dkd"].overrides == [
        "data=fake",
        "teacher.depth=1",
        "loss=[dkd]",
        "loss.dkd.nontarget_weight=2",
    ]
    assert [found[name].mark for name in ("big/teacher", "big/kd")] == ["V", "M"]
    assert [found[name].seeds for name in ("big/teacher", "big/kd")] == [[0], [0, 1]]


def test_a_line_without_numbers_of_the_paper_is_measured_in_every_column(rows):
    lines = {"control": {"overrides": ["loss=[ce]"]}}
    found = rows(GRID | {"lines": lines})
    assert [(row.name, row.paper) for row in found] == [
        ("big/control", None),
        ("small/control", None),
    ]


def test_a_column_may_be_of_several_words(rows):
    columns = {"text/one": ["teacher.depth=2"], "text/two": ["teacher.depth=1"]}
    lines = {"teacher": {}, "kd": {"overrides": ["loss=[kd]"]}}
    few = each_line_and_column(rows(GRID | {"columns": columns, "lines": lines}))
    names = ["text/one/teacher", "text/two/teacher", "text/one/kd"]
    assert [row.name for row in few] == names


def test_rows_of_grids_come_after_the_others(rows):
    alone = SHARED | {"name": "alone", "paper": 1}
    assert [row.name for row in rows(GRID, rows=[alone])][:2] == ["alone", "big/teacher"]


def test_every_line_and_every_column_is_among_the_few(rows):
    alone = SHARED | {"name": "alone", "paper": 1}
    few = each_line_and_column(rows(GRID, rows=[alone]))
    assert [row.name for row in few] == [
        "alone",
        "big/teacher",
        "small/teacher",
        "big/kd",
        "big/dkd",
    ]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"columns": []}, "columns must be a mapping, got []."),
        (
            {"lines": {"kd": {"paper": [1]}}},
            "kd.paper must list a number or null for each of the 2 columns, got 1.",
        ),
        (
            {"lines": {"kd": {"paper": 3}}},
            "kd.paper must list a number or null for each of the 2 columns, got 3.",
        ),
        (
            {"lines": {"kd": {"paper": [1, 2], "overrides_in": {"smal": []}}}},
            "kd.overrides_in: there is no column 'smal'. Did you mean 'small'?",
        ),
        (
            {"lines": {"kd": {"paper": [1, 2], "overrides_in": None}}},
            "kd.overrides_in must be a mapping, got None.",
        ),
        (
            {"lines": {"kd": {"paper": [1, 2], "overrides": None}}},
            "kd.overrides must be a list of overrides such as [seed=1], got None.",
        ),
        (
            {"columns": {"big": "teacher.depth=2", "small": []}},
            "columns.big must be a list of overrides such as [seed=1], got 'teacher.depth=2'.",
        ),
    ],
)
def test_what_is_wrong_with_a_grid_is_named(rows, change, problem):
    with pytest.raises(ConfigError) as caught:
        rows(GRID | change)
    assert caught.value.problems == [f"nothing/paper.yaml: grid 0: {problem}"]


def test_a_wrong_key_of_a_line_is_told_for_its_rows(rows):
    with pytest.raises(ConfigError) as caught:
        rows(GRID | {"lines": {"kd": {"paper": [1, None], "metrik": "x"}}})
    [problem] = caught.value.problems
    assert problem == "nothing/paper.yaml: row big/kd: there is no key 'metrik'." + (
        " Did you mean 'metric'?"
    )
