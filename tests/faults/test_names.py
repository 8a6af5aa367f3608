"""Names of any script and length, in folders of any name."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "name",
    ["Läufe für 学生", "a" * 240, "../x; touch ~ # $(id)"],
)
def test_a_run_and_an_experiment_of_any_name_in_a_folder_of_it(program, kept, tmp_path, name):
    folder = tmp_path / name.replace("/", "_")[:80]
    quoted = f"'{name}'"
    ended = program(
        folder, f"name={quoted}", f"tracking.experiment={quoted}", "tracking.uri=sqlite:///runs.db"
    )
    assert ended.code == 0, ended.err
    assert "Traceback" not in ended.err
    assert (folder / "runs.db").exists()
    again = program(
        folder, f"name={quoted}", f"tracking.experiment={quoted}", "tracking.uri=sqlite:///runs.db"
    )
    assert again.code == 0, again.err
    assert again.out.count("[reused from ") == 7


def test_a_name_that_is_longer_than_the_store_takes_is_told(program, tmp_path):
    ended = program(tmp_path, f"tracking.experiment={'e' * 2000}")
    assert ended.code in (1, 2)
    assert "Traceback" not in ended.err
    assert "tracking" in ended.err
    assert len(ended.err) < 4000


def test_a_run_of_a_very_long_name_is_kept_under_it(program, tmp_path):
    ended = program(tmp_path, f"name={'n' * 2000}")
    assert ended.code == 0, ended.err
    assert "Traceback" not in ended.err
