from __future__ import annotations

import hashlib
import json
import math
from dataclasses import FrozenInstanceError

import matplotlib.pyplot as plt
import pytest
import torch
from mlflow import MlflowClient, MlflowException
from safetensors.torch import load_file
from sqlalchemy.exc import IntegrityError
from torch import nn

from distill_lab.errors import Pruned
from distill_lab.tracking import run as run_module
from distill_lab.tracking.run import dotted


def record(store, run):
    return store.client.get_run(run.id)


def test_a_run_that_ends_well_is_finished(store):
    with store.start("good", {"a": "1"}) as run:
        assert record(store, run).info.status == "RUNNING"
    found = record(store, run)
    assert (found.info.status, found.info.run_name) == ("FINISHED", "good")
    assert found.data.tags["a"] == "1"
    assert "error" not in found.data.tags


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("no good"), "FAILED"),
        (FrozenInstanceError("no good"), "FAILED"),
        (KeyboardInterrupt("no good"), "KILLED"),
        (SystemExit("no good"), "KILLED"),
    ],
)
def test_a_run_that_is_left_by_an_error_says_so_and_lets_the_error_pass(store, error, status):
    run = store.start("bad", {})
    run.log_metrics({"before": 1.0})
    with pytest.raises(type(error)), run:
        raise error
    found = record(store, run)
    assert found.info.status == status
    assert found.data.tags["error"] == f"{type(error).__name__}: no good"
    assert found.data.metrics == {"before": 1.0}


def test_a_run_whose_training_was_pruned_is_killed_and_says_after_which_epoch(store):
    run = store.start("behind", {})
    with pytest.raises(Pruned, match="pruned after epoch 3 of 30"), run:
        raise Pruned(3, 30)
    found = record(store, run)
    assert found.info.status == "KILLED"
    assert found.data.tags["pruned"] == "after epoch 3 of 30"
    assert "error" not in found.data.tags


def test_a_run_whose_last_metrics_cannot_be_written_does_not_stay_running(store):
    with pytest.raises(MlflowException), store.start("bad", {}) as run:
        run.log_metrics({"a name with = in it": 1.0})
    found = record(store, run)
    assert found.info.status == "FAILED"
    assert "MlflowException" in found.data.tags["error"]


def test_what_ended_a_run_is_told_even_where_its_last_metrics_cannot_be_written(store):
    run = store.start("stopped", {})
    run.log_metrics({"a name with = in it": 1.0})
    with pytest.raises(KeyboardInterrupt), run:
        raise KeyboardInterrupt
    assert record(store, run).info.status == "KILLED"


def test_metrics_are_buffered_and_all_arrive_in_order(store):
    with store.start("many", {}) as run:
        for step in range(1200):
            run.log_metrics({"a": float(step), "b": -float(step)}, step)
        assert record(store, run).data.metrics == {}
    for name, sign in (("a", 1), ("b", -1)):
        history = store.client.get_metric_history(run.id, name)
        assert [(point.step, point.value) for point in history] == [
            (step, sign * float(step)) for step in range(1200)
        ]


def test_metrics_are_written_in_between_when_time_has_passed(store, monkeypatch):
    monkeypatch.setattr(run_module, "FLUSH_SECONDS", -1.0)
    with store.start("slow", {}) as run:
        run.log_metrics({"a": 1.0})
        assert record(store, run).data.metrics == {"a": 1.0}


def test_metrics_that_are_no_numbers_are_kept_as_such(store):
    with store.start("odd", {}) as run:
        run.log_metrics({"a": math.nan, "b": math.inf, "c": 3})
    found = record(store, run).data.metrics
    assert math.isnan(found["a"])
    assert found["b"] > 1e300
    assert found["c"] == 3.0


def test_more_parameters_than_one_request_takes_all_arrive(store):
    with store.start("params", {}) as run:
        run.log_params({"group": {f"key{n}": n for n in range(250)}})
    assert record(store, run).data.params == {f"group.key{n}": str(n) for n in range(250)}


def test_long_values_are_cut_to_what_the_store_takes(store):
    with store.start("long", {}) as run:
        run.log_params({"long": "x" * 7000})
        run.set_tags({"long": "y" * 9000, "number": 3})
    found = record(store, run).data
    assert found.params["long"] == "x" * 6000
    assert found.tags["long"] == "y" * 8000
    assert found.tags["number"] == "3"


def test_a_long_name_and_a_long_first_tag_are_cut_to_what_postgresql_takes(store):
    with store.start("x" * 300, {"long": "y" * 9000}) as run:
        pass
    found = record(store, run)
    assert found.info.run_name == "x" * 250
    assert found.data.tags["long"] == "y" * 8000


def test_nested_values_are_flattened_to_dotted_keys():
    assert dotted({"a": {"b": {"c": 1}, "_target_": "x.Y"}, "d": [1], "e": {}, "f": None}) == {
        "a.b.c": 1,
        "a": "x.Y",
        "d": [1],
        "e": {},
        "f": None,
    }
    assert dotted({}) == {}


@pytest.mark.parametrize("path", ["plain.txt", "a/b.txt", "a folder/ünï/x y.txt"])
def test_texts_come_back_whatever_their_path(store, path):
    text = "ünï\n😀\n"
    with store.start("text", {}) as run:
        run.log_text(text, path)
    assert store.fetch(run.id, path).read_text(encoding="utf-8") == text


def test_bytes_come_back_with_their_hash(store):
    with store.start("bytes", {}) as run:
        digest = run.log_bytes(b"abc", "file.onnx")
    assert digest == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert store.verify(run.id, "file.onnx", digest).read_bytes() == b"abc"


def test_json_comes_back_equal(store):
    values = {"a": [1, 2.5, None, "ü"], "b": {"c": True}}
    with store.start("json", {}) as run:
        run.log_json(values, "deep/values.json")
    assert store.read_json(run.id, "deep/values.json") == values
    assert json.loads(store.fetch(run.id, "deep/values.json").read_text()) == values


def test_a_figure_is_kept_as_a_picture(store):
    figure, axes = plt.subplots()
    axes.plot([1, 2])
    with store.start("figure", {}) as run:
        run.log_figure(figure, "figures/line.png")
    plt.close(figure)
    assert store.fetch(run.id, "figures/line.png").read_bytes().startswith(b"\x89PNG")


def test_weights_are_safetensors_and_their_checksum_is_returned(store):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    with store.start("weights", {}) as run:
        sha256 = run.log_weights(net, "weights/net.safetensors")
    path = store.fetch(run.id, "weights/net.safetensors")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    loaded = load_file(path)
    assert loaded.keys() == net.state_dict().keys()
    assert all(torch.equal(loaded[name], value) for name, value in net.state_dict().items())


def test_weights_that_are_views_are_kept_too(store):
    net = nn.Linear(4, 4)
    net.weight = nn.Parameter(net.weight.detach().t())
    with store.start("views", {}) as run:
        run.log_weights(net, "net.safetensors")
    loaded = load_file(store.fetch(run.id, "net.safetensors"))
    assert torch.equal(loaded["weight"], net.weight)


def test_the_dataset_is_an_input_of_the_run(store):
    with store.start("data", {}) as run:
        run.log_dataset("digits", "f" * 64, "distill_lab.data.digits.Digits", "training")
    [given] = record(store, run).inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("digits", "f" * 8)
    assert [(tag.key, tag.value) for tag in given.tags] == [("mlflow.data.context", "training")]


def test_two_jobs_may_record_one_dataset_at_the_same_moment(store, monkeypatch):
    """The second of them is refused by the database once, as the first has just made the row."""
    original, calls = MlflowClient.log_inputs, []

    def refused_once(self, run_id, datasets):
        calls.append(run_id)
        if len(calls) == 1:
            raise IntegrityError("INSERT", {}, Exception("UNIQUE constraint failed"))
        return original(self, run_id, datasets)

    monkeypatch.setattr(MlflowClient, "log_inputs", refused_once)
    with store.start("run", {}) as run:
        run.log_dataset("digits", "f" * 64, "distill_lab.data.digits.Digits", "training")
    assert len(record(store, run).inputs.dataset_inputs) == 1
