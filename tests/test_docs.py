"""The documentation is true: its commands compose, its links lead somewhere, its example works."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

import distill_lab.losses
from distill_lab.cli import HYDRA_FLAGS
from distill_lab.config.compose import jobs
from distill_lab.config.signature import signature_of
from distill_lab.launch import check_jobs, checked
from distill_lab.papers.asked import asked
from distill_lab.papers.reproduce import checked_jobs

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("experiments/**/*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OF_THE_EXAMPLE = "jensen_shannon"  # not in the package, so the command line does not know it


def fences(page, language):
    """The bodies of a page's code fences of one language; "" for those that name none."""
    found = FENCE.findall(page.read_text(encoding="utf-8"))
    return [body for kind, body in found if kind == language]


def commands():
    """Every line `distill-lab ...` of a code fence, once."""
    lines = [line for page in PAGES for body in fences(page, "") for line in body.splitlines()]
    ours = [line.partition(" #")[0].strip() for line in lines if line.startswith("distill-lab")]
    return [line for line in dict.fromkeys(ours) if OF_THE_EXAMPLE not in line]


@pytest.mark.parametrize("command", commands())
def test_every_command_of_the_documentation_is_sound(command):
    words = shlex.split(command)[1:]
    if words[:1] == ["-m"]:
        every = jobs(words[1:])
        for job in (every[0], every[-1]):
            checked(job)
    elif words[:1] == ["check"]:
        check_jobs(words[1:])
    elif words[:1] == ["reproduce"]:
        paper, scale, only, overrides = asked(words[1:])
        checked_jobs(paper.name, paper.named(only)[:1], paper.scales[scale], overrides)
    elif words[:1] in (["report"], ["compare"]):  # of runs that the reader has
        checked([word for word in words if "=" in word])
    elif not {"ui", "scoreboard", "--help", *HYDRA_FLAGS} & set(words):
        checked(words)


def test_the_temperature_experiment_is_a_sweep_over_temperatures_and_seeds():
    found = [set(job) for job in jobs(["experiments=digits/temperature"])]
    assert len(found) == 9
    assert {"temperature.value=16", "seed=2", "experiments=digits/temperature"} in found


def test_every_make_target_of_the_documentation_exists():
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    use = re.compile(r"(?:^|`)make ([a-z-]+)", re.MULTILINE)
    used = {name for page in PAGES for name in use.findall(page.read_text(encoding="utf-8"))}
    assert {"demo", "test"} <= used <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_to_a_file_leads_to_one(page):
    targets = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.fixture
def example(tmp_path, monkeypatch):
    """The source, yaml and test of docs/add_a_loss.md, the source as a module of the package."""
    page = ROOT / "docs" / "add_a_loss.md"
    source, test = fences(page, "python")
    (tmp_path / "jensen_shannon.py").write_text(source, encoding="utf-8")
    packages = [*distill_lab.losses.__path__, str(tmp_path)]
    monkeypatch.setattr(distill_lab.losses, "__path__", packages)
    return yaml.safe_load(fences(page, "yaml")[0]), test


def test_the_example_loss_passes_its_own_test(example):
    _, test = example
    namespace: dict = {}
    exec(test, namespace)
    tests = [value for name, value in namespace.items() if name.startswith("test_")]
    assert len(tests) == 2
    for function in tests:
        function()


def test_the_example_yaml_gives_the_example_loss_all_its_arguments(example):
    config, _ = example
    node = config["jensen_shannon"]
    assert set(node) - {"_target_"} == set(signature_of(node["_target_"]))
