"""The check of everything finds what is wrong; `test_configs.py` holds it against our own files."""

from __future__ import annotations

import pytest

from distill_lab import every_config
from distill_lab.errors import ConfigError
from distill_lab.every_config import check_everything


def test_every_wrong_option_is_named_with_the_choice_that_shows_it(workdir, monkeypatch):
    (workdir / "experiments").mkdir()
    (workdir / "experiments/bad.yaml").write_text(
        "# @package _global_\nregime: {epochs: 0, lr: x}\n"
    )
    monkeypatch.setattr(
        every_config,
        "groups",
        lambda: {"data": ["fake"], "temperature": ["no"], "experiments": ["bad"]},
    )
    with pytest.raises(ConfigError) as caught:
        check_everything()
    starts = [problem.partition(": must")[0] for problem in caught.value.problems]
    assert starts[0].startswith("with temperature=no: ")
    assert starts[1:] == ["with experiments=bad: regime.lr", "with experiments=bad: regime.epochs"]


def test_every_job_of_an_experiments_own_sweep_is_checked(workdir, monkeypatch):
    (workdir / "experiments").mkdir()
    params = "{temperature.value: '4,-1', seed: '0,1'}"
    (workdir / "experiments/mine.yaml").write_text(
        f"# @package _global_\nhydra: {{sweeper: {{params: {params}}}}}\n"
    )
    monkeypatch.setattr(every_config, "groups", lambda: {"experiments": ["mine"]})
    with pytest.raises(ConfigError) as caught:
        check_everything()
    said = "temperature.value: must be > 0, got -1."
    assert caught.value.problems == [f"with experiments=mine: {said}"]
