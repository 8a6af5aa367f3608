"""docs/losses.md has one row for every loss, true to its yaml and to its test."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "conf" / "loss").glob("*.yaml"))
HEADER = ["term", "paper", "value", "arguments and defaults", "needs", "checked against"]


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def rows():
    """Every row of the tables of terms, heading -> cell."""
    lines = (ROOT / "docs" / "losses.md").read_text(encoding="utf-8").splitlines()
    found, inside = [], False
    for line in lines:
        inside = line.startswith("|") and (inside or cells(line) == HEADER)
        if inside and line.startswith("| `"):
            found.append(dict(zip(HEADER, cells(line), strict=True)))
    return found


def row(name):
    (only,) = [row for row in rows() if row["term"] == f"`{name}`"]
    return only


def node(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))[path.stem]


def test_every_loss_has_one_row_and_there_are_no_others():
    assert sorted(row["term"] for row in rows()) == sorted(f"`{path.stem}`" for path in FILES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_row_lists_every_argument_with_its_default(path):
    given = {key: value for key, value in node(path).items() if key != "_target_"}
    pairs = re.findall(r"`(\w+)=([^`]+)`", row(path.stem)["arguments and defaults"])
    assert [(key, yaml.safe_load(text)) for key, text in pairs] == list(given.items())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_row_says_of_features_and_of_what_the_test_compares_with_what_is_there(path):
    test = (ROOT / "tests" / "losses" / f"test_{path.stem}.py").read_text(encoding="utf-8")
    said = row(path.stem)
    assert ("features" in said["needs"]) == ("pairs" in node(path))
    assert ("golden" in said["checked against"]) == ("golden_" in test)
    libraries = re.findall(r"^(?:import|from) (numpy|scipy)", test, re.MULTILINE)
    assert ("scipy" in said["checked against"]) == ("scipy" in libraries)
    assert "numpy" not in said["checked against"] or "numpy" in libraries


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_row_says_that_labels_are_needed_where_the_loss_says_so(path):
    module, _, name = node(path)["_target_"].rpartition(".")
    loss = getattr(import_module(module), name)
    assert ("labels" in row(path.stem)["needs"]) == loss.reads_labels
