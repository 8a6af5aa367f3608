"""A config names code: what may be named, and that nothing else is imported, let alone called."""

from __future__ import annotations

import pytest
import yaml

from distill_lab import cli

HARMFUL = (
    "os.system",
    "builtins.eval",
    "builtins.exec",
    "subprocess.Popen",
    "subprocess.run",
    "shutil.rmtree",
    "torch.load",
    "torch.hub.load",
    "pickle.loads",
    "importlib.import_module",
    "distill_lab.data.wheel.download",
    "distill_lab.data.fetch.subprocess",
    "distill_lab.data.unpickle.pickle.loads",
    "distill_lab.cli.main",
    "distill_lab",
    "",
)
PLACES = {
    "data": "distill_lab.data.",
    "teacher": "distill_lab.models.",
    "student": "distill_lab.models.",
    "loss.kd": "distill_lab.losses.",
    "temperature": "distill_lab.temperature.",
    "regime": "distill_lab.settings.",
    "hardware": "distill_lab.settings.",
    "selection.regime": "distill_lab.settings.",
}


@pytest.mark.parametrize("target", HARMFUL)
def test_code_from_elsewhere_is_refused_in_every_place(workdir, capsys, target):
    assert cli.main(["check", *(f"++{place}._target_='{target}'" for place in PLACES)]) == 2
    said = capsys.readouterr().err
    for place in PLACES:
        assert f"{place}._target_: " in said
    assert "Traceback" not in said


def test_the_refusal_says_what_may_stand_there(workdir, capsys):
    assert cli.main(["check", *(f"{place}._target_=os.system" for place in PLACES)]) == 2
    said = capsys.readouterr().err
    for place, prefix in PLACES.items():
        assert f"{place}._target_: must start with '{prefix}" in said
    assert said.count("got 'os.system'") == len(PLACES)


@pytest.mark.parametrize("section", ["launcher", "sweeper", "callbacks.mine"])
@pytest.mark.parametrize("command", [["check"], ["-m"]])
def test_what_hydra_would_call_is_hydras_own(workdir, capsys, section, command):
    words = [f"+hydra.{section}.command='touch harm'", f"++hydra.{section}._target_=os.system"]
    assert cli.main([*command, *words, "seed=1,2"]) == 2
    assert list(workdir.iterdir()) == []
    if command == ["-m"]:
        told = f"hydra.{section}._target_: must start with hydra. or hydra_plugins."
        assert told in capsys.readouterr().err


def test_what_logging_would_call_is_loggings_own(workdir, capsys):
    words = ["++hydra.job_logging.formatters.simple.()=os.system", "seed=1,2"]
    assert cli.main(["-m", *words]) == 2
    assert "hydra.job_logging.formatters.simple.()" in capsys.readouterr().err


def test_an_experiment_cannot_bring_it_either(workdir, capsys):
    folder = workdir / "experiments"
    folder.mkdir()
    harm = {"_target_": "os.system", "command": "touch harm"}
    text = "# @package _global_\n" + yaml.safe_dump({"hydra": {"callbacks": {"mine": harm}}})
    (folder / "harmful.yaml").write_text(text)
    for command in (["check"], ["-m"], []):
        assert cli.main([*command, "experiments=harmful"]) == 2
        assert "hydra.callbacks.mine._target_: must start with" in capsys.readouterr().err
    assert not (workdir / "harm").exists()


def test_a_module_of_the_working_directory_cannot_take_the_name_of_an_installed_one(
    workdir, capsys
):
    (workdir / "json.py").write_text("open('harm', 'w')\n\n\nclass Net:\n    pass\n")
    assert cli.main(["check", "student._target_=json.Net"]) == 2
    assert "student._target_: must start with 'distill_lab.models.'" in capsys.readouterr().err
    assert not (workdir / "harm").exists()
