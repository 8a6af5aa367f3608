from __future__ import annotations

import subprocess
import sys

import pytest

from distill_lab import cli, launch
from distill_lab.cli import main
from distill_lab.config.groups import groups
from distill_lab.errors import DataError, RunError

HEAVY = ("torch", "mlflow", "pytorch_lightning", "torchvision", "sklearn", "matplotlib", "pandas")
WITHOUT_HEAVY = """
import sys
from distill_lab.cli import main
code = main(sys.argv[2:])
print("imported", [name for name in sys.argv[1].split(",") if name in sys.modules])
sys.exit(code)
"""


@pytest.fixture(autouse=True)
def _inside(workdir):
    """Nothing these tests do may land in the repository."""


def said(capsys, *words):
    code = main(words)
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return code, out, err


@pytest.mark.parametrize("word", ["--help", "-h", "help"])
def test_help_names_commands_and_every_option_of_every_group(capsys, word):
    code, out, err = said(capsys, word)
    assert (code, err) == (0, "")
    for command in ("check", "ui", "-m", "--cfg"):
        assert f"distill-lab {command}" in out
    for key, names in groups().items():
        assert key in out
        assert all(name in out for name in names)


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (["chekc"], "Did you mean 'check'?"),
        (["hlep", "seed=1"], "Did you mean 'help'?"),
        (["x"], ""),
    ],
)
def test_an_unknown_command_is_named_with_the_nearest(capsys, words, near):
    code, out, err = said(capsys, *words)
    assert (code, out) == (2, "")
    assert f"{words[0]!r} is neither a command (check, ui, help) nor key=value." in err
    assert near in err


@pytest.mark.parametrize("word", ["--foo", "--config-name=x", "-x"])
def test_an_unknown_option_is_named(capsys, word):
    code, _, err = said(capsys, word, "seed=1")
    assert code == 2
    assert f"{word}: there is no such option; see distill-lab --help." in err


@pytest.mark.parametrize(
    "words",
    [
        ["temprature.value=4", "seed=1.5", "data=dgits"],
        ["check", "temprature.value=4", "seed=1.5", "data=dgits"],
    ],
)
def test_a_config_error_lists_all_problems_and_leaves_nothing_behind(capsys, workdir, words):
    code, out, err = said(capsys, *words)
    assert (code, out) == (2, "")
    assert err.startswith("The config has 3 problems:\n")
    for expected in ("Did you mean 'temperature'?", "seed: must be int, got 1.5.", "'digits'?"):
        assert expected in err
    assert list(workdir.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ["-m", "temprature.value=1,2"],
        ["-m", "data=digits,dgits"],
        ["--multirun", "regime.lr=-1,-2"],
        ["seed=1,2"],
    ],
)
def test_a_sweep_of_which_no_job_is_right_starts_nothing(capsys, workdir, words):
    code, _, err = said(capsys, *words)
    assert code == 2
    assert err.startswith("The config has ")
    assert list(workdir.iterdir()) == []


def test_check_of_a_sound_run_says_so_and_starts_nothing(capsys, workdir):
    code, out, err = said(capsys, "check", "seed=3", "loss=[ce]")
    assert (code, err) == (0, "")
    assert "sound; nothing was started" in out
    assert list(workdir.iterdir()) == []


def test_check_of_everything_says_how_many(capsys, monkeypatch):
    monkeypatch.setattr(launch, "check_everything", lambda: 7)
    assert said(capsys, "check")[:2] == (0, "7 configs compose, check and build.\n")


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (RunError("epoch 3: loss kd is nan."), 1, "Failed: epoch 3: loss kd is nan."),
        (DataError("digits: altered."), 1, "Failed: digits: altered."),
        (KeyboardInterrupt(), 130, "Stopped; finished stages will be reused"),
    ],
)
def test_what_goes_wrong_while_running_becomes_an_exit_code(capsys, monkeypatch, error, code, text):
    def run_job(parts, overrides):
        raise error

    monkeypatch.setattr(launch, "run_job", run_job)
    got, _, err = said(capsys, "seed=1")
    assert got == code
    assert text in err


def test_the_composed_config_is_printed(capsys):
    code, out, err = said(capsys, "--cfg", "job", "seed=41", "temperature=linear")
    assert (code, err) == (0, "")
    assert "\nseed: 41\n" in out
    assert "_target_: distill_lab.temperature.Linear" in out


@pytest.mark.parametrize(
    ("words", "host"), [([], "127.0.0.1"), (["--host", "0.0.0.0", "--port", "1"], "0.0.0.0")]
)
def test_the_ui_serves_this_machine_alone_unless_told_otherwise(monkeypatch, words, host):
    started = []
    monkeypatch.setattr(cli.os, "execv", lambda path, command: started.append(command) or 0)
    main(["ui", *words])
    [command] = started
    assert command[:4] == [sys.executable, "-m", "mlflow", "ui"]
    assert command[command.index("--host") + 1] == host
    assert command.count("--host") == 1
    assert command[command.index("--backend-store-uri") + 1] == "sqlite:///mlflow.db"


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["--help"], 0, "Groups and their options:"),
        (["temprature.value=4"], 2, "Did you mean 'temperature'?"),
        (["student.widht=[3]"], 2, "Did you mean 'widths'?"),
        (["data=dgits"], 2, "Did you mean 'digits'?"),
        (["loss.kd.wieght=1", "regime.lr=-1"], 2, "Did you mean 'weight'?"),
        (["-m", "temprature.value=1,2"], 2, "Did you mean 'temperature'?"),
    ],
)
def test_help_and_mistyped_keys_are_answered_without_anything_heavy(words, code, text):
    command = [sys.executable, "-c", WITHOUT_HEAVY, ",".join(HEAVY), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert text in done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "imported []"
