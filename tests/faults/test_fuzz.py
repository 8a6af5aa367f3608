"""Whatever is asked of the program: a clean answer, or exit code 2 and sentences that name keys."""

from __future__ import annotations

import contextlib
import io
import re
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from distill_lab import cli
from distill_lab.config.compose import compose, hydras_own
from distill_lab.config.groups import groups

EXAMPLES = 12
MANY = 2000
ODD = (
    *("", "null", "~", "???", "true", "yes", "0", "-1", "1e999", "nan", "-inf", "0x10", "1_000"),
    *("9" * 400, "1e-400", "[]", "{}", "[[]]", "[1,", "{a:", "{a: 1}", "[null]", "{grid: []}"),
    *("{grid: [1, x]}", "{grid: 3}", "{_target_: os.system}", "${seed}", "${nothing}", "${"),
    *("${oc.env:HOME}", "${oc.env:NO_SUCH_NAME}", "${oc.decode:'['}", "${hydra:job.name}"),
    *("a,b", "1,2", "range(1,3)", "choice(a,b)", "interval(0,1)", "glob(*)", "sort(3,2)", "'"),
    *('"', "'a", "\\", "a b", " ", "\t", "\n", "é", "数", "\u202e", "\U0001f600", "../..", "/etc"),
    *(
        "os.system",
        "builtins.eval",
        "distill_lab.data.wheel.download",
        "x" * 3000,
        "!!python/name:a",
    ),
)
PREFIXES = ("", "", "", "", "+", "++", "~")


def walk(node: dict[str, Any], path: str) -> dict[str, Any]:
    """Every dotted key below a path, with its value."""
    found: dict[str, Any] = {}
    for key, value in node.items():
        name = f"{path}.{key}".lstrip(".")
        found[name] = value
        if isinstance(value, dict):
            found |= walk(value, name)
    return found


@cache
def keys() -> dict[str, Any]:
    """Every dotted key of the default config, with its value."""
    return walk(compose(()), "")


@cache
def keys_of_hydra() -> list[str]:
    """Every dotted key of Hydra's own section, and its groups."""
    own = OmegaConf.to_container(hydras_own(()))
    groups_of_it = [f"hydra/{name}" for name in own if isinstance(own[name], dict)]
    return ["hydra", "hydra@x", "hydra/env", *groups_of_it, *walk(own, "hydra")]


@cache
def choices() -> list[str]:
    """Every choice of an option, and of two of them."""
    return [f"{group}={name}" for group, names in groups().items() for name in names]


def mutated(text: str, place: int, letter: str, how: int) -> str:
    """Cut out, put in or double a letter."""
    place %= max(len(text), 1)
    before, after = text[:place], text[place:]
    return (before + after[1:], before + letter + after, before + after[:1] * 2 + after[1:])[how]


words = st.text(max_size=12)
odd = st.sampled_from(ODD) | words | st.integers().map(str) | st.floats().map(str)
values = odd | st.deferred(lambda: st.sampled_from([str(value) for value in keys().values()]))
names = st.deferred(lambda: st.sampled_from([*keys(), *groups(), "_target_"]))
names_of_hydra = st.deferred(lambda: st.sampled_from(keys_of_hydra()))
of_keys = st.builds("{}{}={}".format, st.sampled_from(PREFIXES), names, values)
of_hydra = st.builds("{}{}={}".format, st.sampled_from(PREFIXES), names_of_hydra, odd)
chosen = st.deferred(lambda: st.sampled_from(choices()))
broken = st.builds(mutated, of_keys | chosen, st.integers(0, 99), words, st.integers(0, 2))
overrides = st.lists(chosen | of_keys | of_keys | of_hydra | broken | words, min_size=1, max_size=4)


def ask(arguments: list[str]) -> tuple[int, str, str]:
    """Check a request in this process; return exit code, output and errors."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(["check", *arguments])
    return code, out.getvalue(), err.getvalue()


def holds(arguments: list[str]) -> None:
    code, out, err = ask(arguments)
    assert code in (0, 2), (code, err)
    assert "Traceback" not in out + err
    if code == 2:
        head, *problems = err.strip("\n").split("\n  ")
        assert re.fullmatch(r"The config has \d+ problems?:", head), err
        assert problems
        assert all(problem.strip() for problem in problems), err
    else:
        assert "sound" in out


@pytest.fixture(scope="module", autouse=True)
def _empty_folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("empty"))
        yield


@given(overrides)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
def test_any_overrides_are_answered(arguments):
    holds(arguments)


@pytest.mark.parametrize(
    "text",
    [
        "~weighting=-677",
        "hydra=null",
        "hydra@x=true",
        "hydra/job_logging=[null]",
        "hydra/help=[[]]",
        "~hydra/hydra_logging=nan",
        "++hydra.sweeper.params.seed=${seed}",
        "++hydra.sweeper.params={grid: []}",
        "hydra.sweeper.params=${oc.env:NO_SUCH_NAME}",
        "+hydra.sweeper.params=${oc.env:HOME}",
        "hydra.sweeper=nan",
        "hydra.sweep=???",
        "hydra.launcher=${oc.decode:'['}",
        "+hydra.job.env_copy=[[]]",
        "hydra.runtime=${seed}",
    ],
)
def test_what_was_found_stays_mended(text):
    holds([text])


@pytest.mark.slow
@given(overrides)
@settings(
    max_examples=MANY,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
def test_thousands_of_any_overrides_are_answered(arguments):
    holds(arguments)


@pytest.mark.parametrize("value", ODD, ids=range(len(ODD)))
@pytest.mark.slow
def test_any_odd_value_is_answered_at_every_kind_of_key(value):
    for key in (
        "seed",
        "name",
        "regime.lr",
        "teacher.widths",
        "loss",
        "data",
        "+x",
        "tracking.uri",
    ):
        holds([f"{key}={value}"])
