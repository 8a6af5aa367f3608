"""What a finished run leaves for others, on the fake dataset."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pytest
import torch

from distill_lab.contracts import DataInfo
from distill_lab.errors import RunError
from distill_lab.handover import hand_over as module
from distill_lab.handover.hand_over import by_class, hand_over
from distill_lab.handover.load import load_student
from distill_lab.launch import checked, run_job
from distill_lab.stages.report_handoff import DISTILLED
from tests.whole_runs import SHORT, SMALL_NETWORKS, store_of

pytestmark = pytest.mark.usefixtures("no_figures")

QUICK = [*SHORT, *SMALL_NETWORKS]
FILES = {
    "config.json",
    "example.json",
    "load_onnx.py",
    "load_pt2.py",
    "load_safetensors.py",
    "model_card.md",
    "student.onnx",
    "student.pt2",
    "student.safetensors",
}
WITHOUT = {
    "load_pt2.py": ["distill_lab", "onnxruntime", "mlflow", "safetensors"],
    "load_onnx.py": ["distill_lab", "torch", "mlflow", "safetensors"],
    "load_safetensors.py": ["onnxruntime", "mlflow"],
}
"""Example -> packages that it has to do without."""


def go(*overrides):
    given = [*QUICK, *overrides]
    return run_job(checked(given), given)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def first(home):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        return go()


@pytest.fixture
def here(first, home, monkeypatch):
    """The first run, in its working directory; tests leave its files as they are."""
    monkeypatch.chdir(home)
    return first


@pytest.fixture
def folder(here):
    return Path(here.handed_over.folder)


def test_a_run_leaves_all_files_and_is_the_champion(here, folder):
    assert {path.name for path in folder.iterdir()} == FILES
    assert here.handed_over.model == here.model == "models:/distill-lab-fake/1"
    assert here.handed_over.standing.startswith("champion: version 1, val accuracy ")
    assert str(folder) in here.handed_over.lines


def test_the_version_tells_what_it_is(here, folder):
    store = store_of()
    version = store.client.get_model_version_by_alias("distill-lab-fake", "champion")
    run = store.get(here.run_id)
    report = here.report
    assert float(version.tags["val/accuracy"]) == pytest.approx(report.validation.accuracy)
    tested = report.row(DISTILLED).scores.accuracy
    assert float(version.tags["test/accuracy"]) == pytest.approx(tested)
    about = {key: version.tags[key] for key in ("data", "data_checksum", "run", "student")}
    assert about == {
        "data": "fake",
        "data_checksum": run.tags["data_checksum"],
        "run": here.run_id,
        "student": "MLP widths=[16]",
    }
    assert version.tags["handover"] == run.tags["handover"] == here.handed_over.address
    assert run.tags["registered"] == here.model
    assert version.description == (folder / "model_card.md").read_text()


def test_the_card_names_the_command_and_the_size_of_the_test_split(here, folder):
    card = (folder / "model_card.md").read_text()
    test = checked(QUICK).data.load().test
    assert f"fake, {len(test.targets):,} samples" in card
    networks = "'student.widths={grid: [[16]]}' 'teacher.channels={grid: [[4, 8]]}'"
    assert f"hardware.threads=1 {networks}`" in card


def test_the_weights_are_those_of_the_run_and_config_has_the_hash_of_every_other_file(here, folder):
    hashes = json.loads((folder / "config.json").read_text())["files"]
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.name != "config.json"
    }
    assert hashes == found
    stages = {one.tags.get("stage"): one for one in store_of().children(here.run_id)}
    handoff = store_of().read_json(stages["5 train"].id, "handoff.json")
    assert hashes["student.safetensors"] == handoff["weights"]["sha256"]


@pytest.mark.parametrize("name", sorted(WITHOUT))
def test_each_example_says_in_about_ten_lines_what_the_served_model_says(here, folder, name):
    body = (folder / name).read_text().rpartition('"""\n')[2]
    code = [line for line in body.splitlines() if line and not line.startswith("import")]
    assert len(code) <= 10
    test = checked(QUICK).data.load().test
    (folder.parent / "asked.json").write_text(json.dumps({"inputs": test.inputs.tolist()}))
    blocked = "".join(f"sys.modules[{one!r}] = None; " for one in WITHOUT[name])
    run = f"runpy.run_path({str(folder / name)!r}, run_name='__main__')"
    script = f"import runpy, sys; {blocked}sys.argv = ['it', sys.argv[1]]; {run}"
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder.parent / "asked.json")],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
    )
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    logits = mlflow.pyfunc.load_model(here.model).predict(test.inputs.numpy())
    names = checked(QUICK).data.info.class_names
    said = done.stdout.splitlines()
    assert said == [names[number] for number in logits.argmax(axis=1)]
    right = [one == names[target] for one, target in zip(said, test.targets, strict=True)]
    accuracy = here.report.row(DISTILLED).scores.accuracy
    assert sum(right) / len(right) == pytest.approx(accuracy)


def test_the_student_is_loaded_from_its_folder(here, folder):
    inputs = torch.rand(3, *checked(QUICK).data.info.input_shape)
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    expected = mlflow.pyfunc.load_model(here.model).predict(inputs.numpy())
    with torch.no_grad():
        torch.testing.assert_close(load_student(folder)(inputs), torch.from_numpy(expected))


def test_the_same_command_hands_over_nothing_anew(here, folder, capsys):
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    again = go()
    assert again.handed_over == here.handed_over
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert "hand-over" not in capsys.readouterr().out
    assert store_of().get(again.run_id).tags["handover"] == here.handed_over.address


def test_the_same_student_measured_anew_stays_the_version_that_it_is(here):
    anew = go("evaluation.num_resamples=20")
    assert anew.run_id != here.run_id
    assert anew.handed_over.address != here.handed_over.address
    assert anew.model == here.model
    version = store_of().client.get_model_version("distill-lab-fake", "1")
    assert (version.tags["run"], version.tags["handover"]) == (
        anew.run_id,
        anew.handed_over.address,
    )


def test_a_file_that_was_altered_is_made_again(here, folder):
    (folder / "student.onnx").write_bytes(b"cut")
    go()
    hashes = json.loads((folder / "config.json").read_text())["files"]
    content = (folder / "student.onnx").read_bytes()
    assert content != b"cut"
    assert hashes["student.onnx"] == hashlib.sha256(content).hexdigest()


def test_nothing_is_handed_over_where_nothing_is_to_be_registered(here, monkeypatch):
    made = []
    monkeypatch.setattr(module, "_make", lambda *given: made.append(given))
    assert go("evaluation.register_as=null").handed_over is None
    assert made == []


def test_a_worse_student_is_registered_and_the_champion_stays(here):
    worse = go("regime.epochs=1", "regime.lr=1e-7")
    assert worse.report.validation.accuracy < here.report.validation.accuracy
    assert worse.model == "models:/distill-lab-fake/2"
    assert worse.handed_over.standing.startswith("champion stays version 1: this one has val acc")
    named = store_of().client.get_model_version_by_alias("distill-lab-fake", "champion")
    assert f"models:/distill-lab-fake/{named.version}" == here.model


def test_of_a_chain_the_last_student_is_handed_over(here):
    done = go("chain.generations=2", "evaluation.register_as=chained")
    passes = [one for one in store_of().children(done.run_id) if "pass" in one.tags]
    stages = {one.tags.get("stage"): one for one in store_of().children(passes[1].id)}
    handoff = store_of().read_json(stages["5 train"].id, "handoff.json")
    config = json.loads((Path(done.handed_over.folder) / "config.json").read_text())
    assert config["files"]["student.safetensors"] == handoff["weights"]["sha256"]
    assert store_of().get(done.run_id).tags["registered"] == "models:/chained/1"


def test_a_logged_model_that_is_gone_is_named(here, monkeypatch):
    monkeypatch.setattr(module, "SERVED", "data/gone.pt2")
    monkeypatch.setattr(module, "_is_whole", lambda *given: False)
    with pytest.raises(RunError, match=r"file 'data/gone\.pt2' of model models:/m-\w+ is missing"):
        hand_over(store_of(), checked(QUICK), here.run_id, QUICK)


def test_samples_are_counted_by_class():
    info = DataInfo("letters", (1,), 3, ("a", "b", "c"), (0.0,), (1.0,))
    said, targets = torch.tensor([0, 0, 1, 0]), torch.tensor([0, 0, 1, 1])
    counted = [(one.name, one.num_right, one.num_samples) for one in by_class(said, targets, info)]
    assert counted == [("a", 2, 2), ("b", 1, 2), ("c", 0, 0)]


def test_a_name_is_given_made_of_the_data_or_none():
    def named(given):
        data = SimpleNamespace(info=SimpleNamespace(name="digits"))
        parts = SimpleNamespace(evaluation=SimpleNamespace(register_as=given), data=data)
        return module.registry_name(parts)

    assert [named(one) for one in ("auto", "mine", None)] == ["distill-lab-digits", "mine", None]
