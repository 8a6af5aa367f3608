from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from importlib.metadata import version
from types import SimpleNamespace

import pytest
from mlflow.exceptions import MlflowException

from distill_lab import cli, every_config, launch
from distill_lab.cli import main
from distill_lab.config.groups import groups
from distill_lab.errors import ConfigError, DataError, RunError
from distill_lab.papers import reproduce
from distill_lab.stages.report_handoff import Proposal
from distill_lab.tracking import server

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
    commands = "check, reproduce, scoreboard, report, compare, ui, server, help"
    assert f"{words[0]!r} is neither a command ({commands}) nor key=value." in err
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
    monkeypatch.setattr(every_config, "check_everything", lambda: 7)
    monkeypatch.setattr(reproduce, "check_papers", lambda: 3)
    text = "7 configs compose, check and build.\n3 rows of papers name runs that are sound.\n"
    assert said(capsys, "check")[:2] == (0, text)


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (RunError("epoch 3: loss kd is nan."), 1, "Failed: epoch 3: loss kd is nan."),
        (DataError("digits: altered."), 1, "Failed: digits: altered."),
        (RunError("no http://ann:pw@host"), 1, "Failed: no http://***@host"),
        (ConfigError(["no http://ann:pw@host"]), 2, "no http://***@host"),
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


class Away:
    """A store that does not answer."""

    def __getattr__(self, name):
        raise MlflowException("no answer from the store")


@pytest.mark.parametrize("words", [["report", "a"], ["compare", "a", "b"]])
def test_a_store_that_does_not_answer_is_told_without_a_traceback(capsys, monkeypatch, words):
    monkeypatch.setattr(cli, "_store", lambda given: (given, Away()))
    code, _, err = said(capsys, *words)
    assert code == 1
    assert err.startswith("\nFailed: no answer from the store.")


def test_sigterm_becomes_an_exit_code_and_the_handler_goes(capsys, monkeypatch):
    def run_job(parts, overrides):
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(launch, "run_job", run_job)
    code, _, err = said(capsys, "seed=1")
    assert code == 143
    assert "Stopped; finished stages will be reused" in err
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("words", [["--help"], ["scoreboard"]])
def test_a_reader_that_has_had_enough_ends_the_program_quietly(words):
    command = [sys.executable, "-m", "distill_lab", *words]
    program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    program.stdout.close()
    with program.stderr as err:
        assert err.read() == ""
    assert program.wait() == 141  # 128 and the number of SIGPIPE, as the shell has it


@pytest.mark.slow
def test_sigterm_in_training_ends_the_program_and_its_runs(workdir):
    long = ["selection.regime.epochs=100000", "architecture@teacher=mlp_30"]
    command = [sys.executable, "-m", "distill_lab", "data=fake", *long]
    with (workdir / "err").open("w") as err:
        program = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=err)
    try:
        wait_for(lambda: "|" in (workdir / "err").read_text(), program)  # the bar of a training
        program.send_signal(signal.SIGTERM)
        assert program.wait(30) == 143
    finally:
        program.kill()
    assert "\nStopped; finished stages" in (workdir / "err").read_text()
    rows = sqlite3.connect(workdir / "mlflow.db").execute("select name, status from runs")
    status = dict(rows.fetchall())
    assert len(status) == 3  # the workflow, stage 1, the candidate
    assert set(status.values()) == {"KILLED"}


def wait_for(happened, program):
    limit = time.monotonic() + 120
    while not happened() and program.poll() is None and time.monotonic() < limit:
        time.sleep(0.1)
    assert happened()


def test_the_version_is_ours(capsys):
    assert said(capsys, "--version") == (0, f"distill-lab {version('distill-lab')}\n", "")


@pytest.fixture
def swept(workdir):
    (workdir / "experiments").mkdir()
    (workdir / "experiments/mine.yaml").write_text(
        "# @package _global_\nhydra: {sweeper: {params: {temperature.value: '1,4', seed: '0,1'}}}\n"
    )


def test_an_experiment_that_is_a_sweep_wants_m(capsys, swept, monkeypatch):
    monkeypatch.setattr(launch, "run_job", None)
    code, _, err = said(capsys, "experiments=mine", "seed=0")
    assert code == 2
    assert "experiments: this experiment is a sweep over temperature.value; add -m" in err


def test_check_of_a_sweep_says_how_many_jobs(capsys, swept):
    code, out, _ = said(capsys, "check", "experiments=mine", "seed=0,1,2")
    assert (code, out) == (0, "All 6 jobs of this sweep are sound; nothing was started.\n")


def test_what_comes_next_is_made_of_the_shown_runs_overrides_and_tells_no_secret(
    capsys, monkeypatch
):
    monkeypatch.setattr("distill_lab.stages.report_handoff.table", lambda report: [])
    monkeypatch.setattr("distill_lab.report.tables.text", lambda rows, columns: "")
    done = SimpleNamespace(
        report=SimpleNamespace(verdict=[], proposals=["not this"], variants=[]),
        overrides=["seed=1", "tracking.uri=postgresql://ann:pw@host/db"],
        proposals=[Proposal(["seed=2"], "too small")],
        report_path="report.html",
        handed_over=None,
        model="models:/m/1",
        run_id="abc",
        look="http://here",
    )
    cli._show(done, "postgresql://ann:pw@host/db")
    out = capsys.readouterr().out
    assert "  distill-lab seed=2 tracking.uri=postgresql://***@host/db\n      too small" in out
    assert "Run     abc in postgresql://***@host/db\n" in out


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


def test_a_server_shows_its_runs_itself(capsys):
    code, _, err = said(capsys, "ui", "tracking=server")
    assert code == 2
    assert "ui: a tracking server has its own, at http://127.0.0.1:5001" in err


def test_a_server_that_is_stopped_by_ctrl_c_has_not_failed(monkeypatch, capsys):
    def stopped(request):
        raise KeyboardInterrupt

    monkeypatch.setattr(server, "serve", stopped)
    code, out, _ = said(capsys, "server")
    assert code == 0
    assert "what it has is kept" in out


def test_a_server_that_is_not_there_is_told_before_anything_runs(capsys):
    code, _, err = said(capsys, "tracking=server", "tracking.uri=http://127.0.0.1:9", "data=fake")
    assert code == 2
    assert "does not answer. Start it: distill-lab server" in err


def test_an_address_with_a_password_is_refused_without_saying_it(capsys):
    code, out, err = said(capsys, "tracking=server", "tracking.uri=http://ann:geheim@host:5001")
    assert code == 2
    assert "tracking.uri: must have no password" in err
    assert "geheim" not in out + err


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["--help"], 0, "Groups and their options:"),
        (["temprature.value=4"], 2, "Did you mean 'temperature'?"),
        (["student.widht=[3]"], 2, "Did you mean 'widths'?"),
        (["student.widths=[0]", "teacher.dropout=2"], 2, "student.widths: must be a list"),
        (["loss.kd.weight=-1"], 2, "must be >= 0, got -1."),
        (["-m", "hydra/launcher=jobs", "seed=1,2"], 2, "there is no launcher 'jobs'"),
        (["architecture@teacher=resnet8", "teacher.depth=9"], 2, "Nearest: 8 and 14"),
        (["data=dgits"], 2, "Did you mean 'digits'?"),
        (["loss.kd.wieght=1", "regime.lr=-1"], 2, "Did you mean 'weight'?"),
        (["data.validation_fraction=2"], 2, "must be in (0, 1), got 2."),
        (["data=fake", "data.num_classes=0"], 2, "must be >= 2, got 0."),
        (["--version"], 0, "distill-lab 0."),
        (["-m", "temprature.value=1,2"], 2, "Did you mean 'temperature'?"),
    ],
)
def test_help_and_mistyped_keys_are_answered_without_anything_heavy(words, code, text):
    command = [sys.executable, "-c", WITHOUT_HEAVY, ",".join(HEAVY), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert text in done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "imported []"
