"""Every yaml under conf/ and experiments/: complete, commented, and sound wherever it can stand."""

from __future__ import annotations

import re
from collections import Counter

import pytest
import yaml

from distill_lab.config.check import SUPPLIED
from distill_lab.config.compose import compose
from distill_lab.config.groups import CONF, ROOT, groups, takes_several
from distill_lab.config.signature import signature_of
from distill_lab.every_config import check_everything
from distill_lab.launch import deep_problems

FILES = sorted(CONF.rglob("*.yaml"))
NOT_CHOSEN = [CONF / "config.yaml"]
CHOICES = [
    f"{key}=[{name}]" if takes_several(key) else f"{key}={name}"
    for key, names in groups().items()
    for name in names
]


def nodes(tree):
    if isinstance(tree, dict):
        if "_target_" in tree:
            yield tree
        for value in tree.values():
            yield from nodes(value)


def name_of(path):
    return str(path.relative_to(ROOT))


def test_every_file_is_an_option_of_a_group_and_checked_in_every_place_of_it():
    places = Counter(key.partition("@")[0] for key in groups())
    count = sum(places[path.parent.name] for path in FILES if path not in NOT_CHOSEN)
    count += len(groups()["experiments"])
    assert all(path.parent.parent == CONF for path in FILES if path not in NOT_CHOSEN)
    assert len(CHOICES) == count
    assert len(FILES) > 30


def test_everything_composes_checks_and_builds_in_every_place():
    assert check_everything() == len(CHOICES)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_yaml_lists_every_argument_of_its_target(path):
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    found = list(nodes(tree))
    assert found or path in NOT_CHOSEN
    for node in found:
        supplied = SUPPLIED if node["_target_"].startswith("distill_lab.models.") else ()
        chosen = {key.partition("@")[2].rpartition(".")[2] for key in groups()}
        known = signature_of(node["_target_"])
        arguments = [
            name
            for name, parameter in known.items()
            if name not in supplied and not (parameter.kind is dict and name in chosen)
        ]
        assert [key for key in node if key != "_target_"] == arguments


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_comment_stands_on_every_line_that_gives_a_value(path):
    if path in NOT_CHOSEN:
        pytest.skip("its lines are choices")
    for line in path.read_text(encoding="utf-8").splitlines():
        is_target = line.strip().startswith("_target_:")
        opens_group = line.rstrip().endswith(":")
        is_comment = line.startswith("#")
        assert is_target or opens_group or is_comment or re.search(r"\S\s+# \S{1}.*\S", line), line


def test_the_default_config_is_within_its_own_budget():
    assert deep_problems(compose([])) == []
