from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
import torch
from torch import nn

from distill_lab.contracts import NDCG10
from distill_lab.errors import ConfigError, RunError
from distill_lab.tracking import sqlite
from distill_lab.tracking.orphans import this_process
from distill_lab.tracking.store import Store


def finished(store, name, tags, parent=None):
    with store.start(name, tags, parent) as run:
        run.log_metrics({"accuracy": 0.5})
    return run.id


def failed(store, name, tags):
    with pytest.raises(ZeroDivisionError), store.start(name, tags) as run:
        raise ZeroDivisionError
    return run.id


def test_a_finished_run_is_found_by_tag_with_its_metrics(store):
    run_id = finished(store, "one", {"fingerprint": "f" * 64})
    found = store.find_finished({"fingerprint": "f" * 64})
    assert (found.id, found.name, found.status) == (run_id, "one", "FINISHED")
    assert found.metrics == {"accuracy": 0.5}
    assert found.tags["fingerprint"] == "f" * 64


def test_an_ended_run_that_is_opened_again_is_running_and_has_forgotten_its_error(store):
    run_id = failed(store, "one", {"a": "1"})
    with store.reopen(run_id) as run:
        found = store.get(run_id)
        assert run.id == run_id
        assert found.status == "RUNNING"
        assert found.tags["process"] == this_process()
        assert (found.tags["a"], "error" in found.tags) == ("1", False)
    assert store.get(run_id).status == "FINISHED"
    store.reopen(run_id, "elsewhere:1:2")
    assert store.get(run_id).tags["process"] == "elsewhere:1:2"


def test_the_newest_is_found(store):
    finished(store, "old", {"fingerprint": "f"})
    newest = finished(store, "new", {"fingerprint": "f"})
    assert store.find_finished({"fingerprint": "f"}).id == newest


def test_nothing_is_found_among_failed_running_and_reused_runs_or_other_tags(store):
    failed(store, "failed", {"fingerprint": "f"})
    store.start("running", {"fingerprint": "f"})
    finished(store, "reused", {"fingerprint": "f", "reused_from": "x"})
    finished(store, "other", {"fingerprint": "g", "fingerprint_any_code": "f"})
    assert store.find_finished({"fingerprint": "f"}) is None


def test_the_original_is_found_behind_any_number_of_runs_that_reused_it(store):
    original = finished(store, "original", {"fingerprint": "f"})
    for number in range(120):
        run = store.client.create_run(
            store.experiment_id,
            tags={"fingerprint": "f", "reused_from": original},
            run_name=str(number),
        )
        store.client.set_terminated(run.info.run_id, "FINISHED")
    assert store.find_finished({"fingerprint": "f"}).id == original


def test_another_experiment_is_not_searched(store, uri, store_folder):
    finished(store, "here", {"fingerprint": "only here"})
    elsewhere = Store(uri, "elsewhere", str(store_folder / "elsewhere"))
    assert elsewhere.find_finished({"fingerprint": "only here"}) is None


def test_children_are_those_directly_below_oldest_first(store):
    parent = finished(store, "parent", {})
    children = [finished(store, f"child {n}", {}, parent) for n in range(3)]
    finished(store, "grandchild", {}, children[0])
    finished(store, "stranger", {})
    assert [run.id for run in store.children(parent)] == children
    assert [run.name for run in store.children(parent)] == ["child 0", "child 1", "child 2"]
    assert store.children(children[2]) == []


def test_an_existing_run_can_be_logged_to(store):
    run_id = finished(store, "one", {})
    store.open(run_id).set_tags({"later": "yes"})
    found = store.client.get_run(run_id)
    assert found.data.tags["later"] == "yes"
    assert found.info.status == "FINISHED"


def test_a_missing_artifact_is_named(store):
    run_id = finished(store, "one", {})
    with pytest.raises(RunError, match=f"artifact 'a/no.txt' of run {run_id} is missing"):
        store.fetch(run_id, "a/no.txt")


def test_an_artifact_of_a_run_that_is_gone_is_named(store):
    gone = "0" * 32
    with pytest.raises(RunError, match=f"artifact 'x.json' of run {gone} is missing"):
        store.read_json(gone, "x.json")


def test_json_that_is_none_is_named(store):
    with store.start("one", {}) as run:
        run.log_text("{oh", "x.json")
        run.log_text("\x00", "y.json")
    for path in ("x.json", "y.json"):
        with pytest.raises(RunError, match=f"artifact '{path}' of run {run.id} is not valid JSON"):
            store.read_json(run.id, path)


@pytest.fixture
def weights(store):
    net = nn.Linear(3, 2)
    with store.start("one", {}) as run:
        sha256 = run.log_weights(net, "weights/net.safetensors")
    return net, run.id, "weights/net.safetensors", sha256


def test_weights_come_back_in_eval_mode(store, weights):
    net, *where = weights
    loaded = store.load_weights(nn.Linear(3, 2).train(), *where)
    assert torch.equal(loaded.weight, net.weight)
    assert torch.equal(loaded.bias, net.bias)
    assert not loaded.training


def test_altered_weights_are_named_and_not_loaded(store, weights):
    _, run_id, path, sha256 = weights
    local = store.fetch(run_id, path)
    data = bytearray(local.read_bytes())
    data[-1] ^= 1
    local.write_bytes(data)
    net = nn.Linear(3, 2)
    before = net.weight.clone()
    with pytest.raises(RunError, match=f"{run_id} was altered.*{sha256[:12]}.* was recorded"):
        store.load_weights(net, run_id, path, sha256)
    assert torch.equal(net.weight, before)


def test_truncated_weights_are_named(store, weights):
    _, run_id, path, sha256 = weights
    local = store.fetch(run_id, path)
    local.write_bytes(local.read_bytes()[:20])
    with pytest.raises(RunError, match="was altered"):
        store.verify(run_id, path, sha256)


def test_weights_of_another_network_are_refused_with_the_shapes(store, weights):
    _, *where = weights
    with pytest.raises(RunError, match=r"do not fit: .*\[2, 3\].*\[5, 3\]"):
        store.load_weights(nn.Linear(3, 5), *where)


def test_an_existing_experiment_is_used_again(store, uri):
    again = Store(uri, store.client.get_experiment(store.experiment_id).name, None)
    assert again.experiment_id == store.experiment_id


def test_a_deleted_experiment_is_named_with_the_command_that_restores_it(store, uri):
    name = store.client.get_experiment(store.experiment_id).name
    store.client.delete_experiment(store.experiment_id)
    said = f"{re.escape(repr(name))} was deleted.*restore --experiment-id {store.experiment_id}"
    with pytest.raises(RunError, match=said):
        Store(uri, name, None)


def test_artifacts_go_to_a_folder_below_the_working_directory(uri, workdir):
    store = Store(uri, f"relative {workdir.name}", "art ifacts")
    with store.start("one", {}) as run:
        run.log_text("x", "x.txt")
    assert store.fetch(run.id, "x.txt").is_relative_to(workdir / "art ifacts")


def test_a_relative_database_lies_in_the_working_directory(workdir, store_folder, store):
    (workdir / "mine.db").write_bytes((store_folder / "mlflow.db").read_bytes())
    name = store.client.get_experiment(store.experiment_id).name
    assert Store("sqlite:///mine.db", name, None).experiment_id == store.experiment_id


@pytest.mark.parametrize(
    ("bad_uri", "experiment"),
    [("bogus://there", "e"), ("sqlite:///{}/garbage.db", "e"), (None, ""), (None, "x" * 600)],
)
def test_a_store_that_cannot_be_used_is_a_config_error(uri, workdir, bad_uri, experiment):
    (workdir / "garbage.db").write_bytes(b"no database" * 1000)
    given = (bad_uri or uri).format(workdir)
    with pytest.raises(ConfigError) as caught:
        Store(given, experiment, None)
    [problem] = caught.value.problems
    assert problem.startswith(f"tracking: cannot keep experiment {experiment!r} at {given!r}: ")
    assert "\n" not in problem


@pytest.mark.slow
def test_two_processes_make_one_new_store_together(workdir):
    script = "from distill_lab.tracking.store import Store; Store('sqlite:///new.db', 'e', 'a')"
    started = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(3)]
    assert [process.wait() for process in started] == [0, 0, 0]
    assert Store("sqlite:///new.db", "e", "a").experiment_id


@pytest.mark.slow
def test_a_store_whose_making_was_cut_short_is_made_whole_at_the_next_start(workdir, monkeypatch):
    script = (
        "import os, signal\n"
        "from distill_lab.tracking import store\n"
        "store.os.replace = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)\n"
        "store.Store('sqlite:///new.db', 'e', 'a')\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    assert not (workdir / "new.db").exists()
    monkeypatch.setattr(sqlite, "make", sqlite.make.__wrapped__)
    assert Store("sqlite:///new.db", "e", "a").experiment_id


def test_a_password_is_neither_tagged_nor_told(store):
    with store.start("secret", {"overrides": "tracking.uri=postgresql://ann:pw@host/db"}) as run:
        run.set_tags({"error": "cannot reach postgresql://ann:pw@host/db"})
    assert "pw" not in str(store.client.get_run(run.id).data.tags)
    with pytest.raises(ConfigError) as caught:
        Store("bogus://ann:pw@host/db", "e", None)
    assert "pw" not in str(caught.value)


def test_a_view_shows_the_best_first_by_what_runs_are_chosen_by(store):
    store.view("mine", "tags.kind = 'workflow'", ["seed"], NDCG10.decides)
    kept = store.client.get_experiment(store.experiment_id).tags["mlflow.sharedViewState.mine"]
    view = json.loads(kept)
    assert (view["orderByKey"], view["orderByAsc"]) == ("metrics.`val/ndcg10`", False)
    assert "metrics.`val/ndcg10`" in view["selectedColumns"]


def test_the_beginning_of_an_id_is_enough_where_one_run_has_it(store):
    one, other = finished(store, "one", {}), finished(store, "other", {})
    assert store.resolve(one[:20]).id == one
    assert store.resolve(other).name == "other"
    with pytest.raises(RunError, match="no run"):
        store.resolve("zz")


def test_a_beginning_that_several_runs_have_is_refused(store):
    begins = [finished(store, str(number), {})[0] for number in range(17)]
    often = max(begins, key=begins.count)  # there are 16 hexadecimal digits
    with pytest.raises(RunError, match="runs begin with it"):
        store.resolve(often)


def test_a_curve_is_read_in_the_order_of_its_steps(store):
    with store.start("one", {}) as run:
        for step in (2, 0, 1):
            run.log_metrics({"loss": float(step)}, step)
    assert store.history(run.id, "loss") == [0.0, 1.0, 2.0]
    assert store.history(run.id, "other") == []


def test_an_altered_json_artifact_is_named_though_it_is_sound_by_its_form(store):
    with store.start("a run", {}) as run:
        run.log_json({"accuracy": 0.5}, "handoff.json")
    assert store.read_json(run.id, "handoff.json") == {"accuracy": 0.5}
    store.fetch(run.id, "handoff.json").write_text('{"accuracy": 1.0}')
    with pytest.raises(RunError, match=r"artifact 'handoff.json' of run \w+ was altered"):
        store.read_json(run.id, "handoff.json")


def test_what_a_run_leaves_to_the_next_is_deleted_when_it_is_finished_and_not_before(store):
    tags = {"fingerprint": "abc", "upstream": "def"}
    stopped = store.start("stopped", tags)
    stopped.unfinished.mkdir(parents=True)
    (stopped.unfinished / "training.ckpt").touch()
    stopped.__exit__(RunError, RunError("stopped"), None)
    assert store.start("other", {**tags, "upstream": "ghi"}).unfinished != stopped.unfinished
    assert store.start("of no stage", {}).unfinished is None
    with store.start("again", tags) as again:
        assert again.unfinished == stopped.unfinished
        assert (again.unfinished / "training.ckpt").exists()
    assert not again.unfinished.exists()
