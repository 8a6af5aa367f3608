from __future__ import annotations

from collections import defaultdict

import pytest

from distill_lab.config.compose import compose
from distill_lab.config.groups import groups
from distill_lab.naming import look, short_key, short_name, short_value, split_override


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("seed", "seed"),
        ("regime.lr", "lr"),
        ("temperature.value", "temperature"),
        ("value", "value"),
        ("loss.kd.weight", "kd.weight"),
        ("evaluation.refine.rounds", "refine.rounds"),
        ("design.latency_repeats", "design.latency_repeats"),
        ("architecture@student", "student"),
        ("regime@selection.regime", "selection.regime"),
        ("student.widths", "student.widths"),
        ("selection.regime.lr", "selection.regime.lr"),
    ],
)
def test_a_key_is_cut_to_what_tells_it_from_others(key, expected):
    assert short_key(key) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("4", "4"),
        ("1e-3", "1e-3"),
        ("null", "null"),
        ("[ce,kd]", "ce+kd"),
        ("[ce, kd]", "ce+kd"),
        ("'[ce,kd]'", "ce+kd"),
        ('"two words"', "two words"),
        ("[]", ""),
    ],
)
def test_a_value_loses_brackets_and_quotes(value, expected):
    assert short_value(value) == expected


def test_a_name_has_the_overrides_in_order():
    name = short_name(["loss=[ce,kd]", "temperature.value=4", "seed=1"])
    assert name == "loss=ce+kd temperature=4 seed=1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("seed=1", ("seed", "1")),
        ("+a.b=1", ("a.b", "1")),
        ("++a.b=c=d", ("a.b", "c=d")),
        ("~seed", ("seed", "")),
        ("~loss=kd", ("loss", "kd")),
        ("architecture@student=mlp_30", ("architecture@student", "mlp_30")),
        ("name=+1", ("name", "+1")),
    ],
)
def test_an_override_is_split_at_its_first_equals_sign_and_loses_its_own_signs(text, expected):
    assert split_override(text) == expected


def test_signs_before_a_key_are_not_in_the_name():
    assert short_name(["++seed=1", "+regime.lr=2"]) == "seed=1 lr=2"


def test_a_secret_is_not_in_the_name():
    assert short_name(["selection.folder=http://ann:pw@host"]).endswith("=http://***@host")


def test_an_equals_sign_in_a_value_stays():
    assert short_name(["name=a=b"]) == "name=a=b"


def test_without_overrides_the_name_is_empty():
    assert short_name([]) == ""


def test_no_two_keys_of_the_default_config_share_a_short_name():
    keys = defaultdict(set)
    for key in leaves(compose([])):
        keys[short_key(key)].add(key)
    assert [same for same in keys.values() if len(same) > 1] == []


def test_no_two_groups_share_a_short_name():
    names = list(map(short_key, groups()))
    assert len(set(names)) == len(names)


def leaves(node, path=""):
    """Dotted keys of everything that holds a value; a grid of values counts as one."""
    if not isinstance(node, dict) or "grid" in node:
        yield path
        return
    for name, value in node.items():
        if name != "_target_":
            yield from leaves(value, f"{path}.{name}".lstrip("."))


def test_where_to_look_is_a_ui_to_start_or_that_of_a_server():
    assert "make ui" in look("sqlite:///mlflow.db", "http://127.0.0.1:5000/#/a")
    there = look("http://127.0.0.1:5000", "http://127.0.0.1:5000/#/a")
    assert "make ui" not in there
    assert there.endswith("http://127.0.0.1:5000/#/a")
