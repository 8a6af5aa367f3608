"""The commit that a result is marked with says whether other files were changed."""

from __future__ import annotations

import subprocess

import pytest

from distill_lab import environment as module

RESULTS = "experiments/hinton2015/results.json"
SOURCE = "src/distill_lab/environment.py"


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository with one commit; returns the root and a look at the commit."""
    for path in (RESULTS, SOURCE):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text("before")
    author = ["-c", "user.name=A", "-c", "user.email=a@b.c"]
    for words in (["init", "-q"], ["add", "."], [*author, "commit", "-qm", "first"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    monkeypatch.setattr(module, "__file__", str(tmp_path / SOURCE))

    def commit():
        module.environment.cache_clear()
        return module.environment()["mlflow.source.git.commit"]

    yield tmp_path, commit
    module.environment.cache_clear()


def test_a_result_that_is_measured_again_does_not_change_the_commit(checkout):
    root, commit = checkout
    clean = commit()
    assert len(clean) == 40
    (root / RESULTS).write_text("after")
    assert commit() == clean


def test_any_other_change_is_told(checkout):
    root, commit = checkout
    clean = commit()
    (root / SOURCE).write_text("after")
    assert commit() == f"{clean} with changes"


def test_outside_of_a_repository_the_commit_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "__file__", str(tmp_path / "environment.py"))
    module.environment.cache_clear()
    assert module.environment()["mlflow.source.git.commit"] == "unknown"
    module.environment.cache_clear()
