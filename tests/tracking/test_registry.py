from __future__ import annotations

from threading import Thread
from time import sleep

import mlflow
import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from torch import nn

from distill_lab.contracts import ACCURACY, NDCG10
from distill_lab.tracking.registry import Contender, register, standing, takes_over
from distill_lab.tracking.store import Store

DATA, OTHER = "a" * 64, "b" * 64


@pytest.fixture
def log(store):
    """Logs a network with what it reached on validation; returns its run and its URI."""

    def model(net=None, quality=0.5, data=DATA):
        with store.start("model", {"data_checksum": data}) as run:
            run.log_metrics({"val/accuracy": quality})
            return run.id, run.log_model(net or nn.Linear(3, 2), torch.rand(2, 3))

    return model


@pytest.fixture
def bare(store):
    """Makes a logged model without files: quick, and all that the registry looks at."""

    def model(quality, data=DATA):
        with store.start("model", {"data_checksum": data}) as run:
            run.log_metrics({"val/accuracy": quality})
        made = store.client.create_logged_model(store.experiment_id, "model", source_run_id=run.id)
        return f"models:/{made.model_id}"

    return model


@pytest.fixture
def add(store):
    """Registers a model by accuracy."""

    def registered(model, name):
        return store.register(model, name, ACCURACY, {}, "", "a run")

    return registered


def champion(store, name):
    return int(store.client.get_model_version_by_alias(name, "champion").version)


@pytest.mark.filterwarnings("default")
def test_versions_count_up_and_each_serves_its_own_network(log, store, add):
    nets = [nn.Linear(3, 2), nn.Linear(3, 2)]
    logged = [log(net) for net in nets]
    served = [add(model, "counted").uri for _, model in logged]
    assert served == ["models:/counted/1", "models:/counted/2"]
    inputs = torch.rand(5, 3)
    for uri, net, (run_id, _) in zip(served, nets, logged, strict=True):
        with torch.no_grad():
            expected = net(inputs).numpy()
        said = mlflow.pyfunc.load_model(uri).predict(inputs.numpy())
        np.testing.assert_allclose(said, expected, rtol=1e-5, atol=1e-6)
        version = store.client.get_model_version("counted", uri.rpartition("/")[2])
        assert version.run_id == run_id


def test_a_process_that_logged_no_model_registers_those_of_others(bare, add, tmp_path):
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/other.db")
    assert add(bare(0.5), "another").uri == "models:/another/1"


def test_a_model_that_is_a_version_already_stays_that_version(bare, add):
    model = bare(0.5)
    assert add(model, "once").uri == add(model, "once").uri == "models:/once/1"


def test_the_same_weights_on_the_same_data_logged_again_stay_their_version(bare, store):
    def add(weights, data, run):
        tags = {"weights": weights, "data_checksum": data, "run": run}
        return store.register(bare(0.5, data), "weighed", ACCURACY, tags, f"of {run}", "a run").uri

    assert add("w", DATA, "first") == "models:/weighed/1"
    assert add("w", DATA, "second") == "models:/weighed/1"
    version = store.client.get_model_version("weighed", "1")
    assert (version.tags["run"], version.description) == ("second", "of second")
    assert add("v", DATA, "third") == "models:/weighed/2"
    assert add("w", OTHER, "fourth") == "models:/weighed/3"
    assert champion(store, "weighed") == 2


def test_a_version_whose_model_is_gone_is_not_the_one_of_the_same_weights(bare, store):
    tags = {"weights": "w", "data_checksum": DATA}
    gone = bare(0.5)
    store.register(gone, "gone", ACCURACY, tags, "", "a run")
    store.client.delete_logged_model(gone.removeprefix("models:/"))
    assert store.register(bare(0.5), "gone", ACCURACY, tags, "", "a run").uri == "models:/gone/2"


@pytest.mark.parametrize(
    ("qualities", "named"),
    [
        ([0.5], [1]),
        ([0.5, 0.6], [1, 2]),
        ([0.5, 0.4], [1, 1]),
        ([0.5, 0.5], [1, 2]),
        ([0.5, 0.7, 0.6], [1, 2, 2]),
    ],
)
def test_the_champion_is_the_best_by_validation_and_of_equals_the_newest(
    bare, add, store, request, qualities, named
):
    seen = []
    for quality in qualities:
        add(bare(quality), request.node.name)
        seen.append(champion(store, request.node.name))
    assert seen == named


def test_a_better_version_of_other_data_does_not_become_the_champion(bare, add, store):
    add(bare(0.5), "apart")
    said = add(bare(0.9, OTHER), "apart")
    assert said.uri == "models:/apart/2"
    assert champion(store, "apart") == 1
    assert said.standing.startswith("champion stays version 1: it was measured on other data")


def test_registering_an_old_version_again_takes_nothing_from_an_equal_newer_one(bare, add, store):
    old = bare(0.5)
    add(old, "again")
    add(bare(0.5), "again")
    assert add(old, "again").uri == "models:/again/1"
    assert champion(store, "again") == 2


def test_after_the_champion_was_deleted_the_next_version_is_the_champion(bare, add, store):
    add(bare(0.9), "deleted")
    store.client.delete_model_version("deleted", "1")
    add(bare(0.5), "deleted")
    assert champion(store, "deleted") == 2


def test_a_champion_that_was_named_by_hand_stays_until_it_is_beaten(bare, add, store):
    for quality in (0.5, 0.9):
        add(bare(quality), "by hand")
    store.client.set_registered_model_alias("by hand", "champion", "1")
    add(bare(0.4), "by hand")
    assert champion(store, "by hand") == 1
    add(bare(0.6), "by hand")
    assert champion(store, "by hand") == 4


def test_a_version_has_tags_and_a_description_without_secrets(bare, store):
    told = "at postgresql://ann:pw@host/db"
    store.register(bare(0.5), "told", ACCURACY, {"student": "MLP", "at": told}, told, "a run")
    version = store.client.get_model_version("told", "1")
    assert version.tags == {"student": "MLP", "at": "at postgresql://***@host/db"}
    assert version.description == "at postgresql://***@host/db"


def test_a_long_description_is_cut_between_lines_to_what_every_store_takes(bare, store):
    store.register(bare(0.5), "long", ACCURACY, {}, "\n".join(["x" * 99] * 60), "a run")
    description = store.client.get_model_version("long", "1").description
    lines = description.splitlines()
    assert len(description) <= 5000
    assert set(lines[:-2]) == {"x" * 99}
    assert lines[-1] == "(cut; the whole card is model_card.md of the hand-over)"


def test_of_jobs_that_register_at_once_the_best_is_the_champion(
    bare, store, uri, store_folder, request, monkeypatch
):
    original = MlflowClient.set_registered_model_alias

    def slow(*given):
        sleep(0.05)
        original(*given)

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", slow)
    qualities = [0.9, 0.1, 0.3, 0.2]
    models = [bare(quality) for quality in qualities]
    stores = [Store(uri, request.node.name, str(store_folder / "artifacts here")) for _ in models]
    threads = [
        Thread(target=one.register, args=(model, "at once", ACCURACY, {}, "", "a run"))
        for one, model in zip(stores, models, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    versions = store.client.search_model_versions("name = 'at once'")
    assert sorted(int(one.version) for one in versions) == [1, 2, 3, 4]
    best = store.client.get_model_version_by_alias("at once", "champion")
    assert best.source == models[0]


def contender(version, quality, checksum=DATA):
    return Contender(version, checksum, quality)


@pytest.mark.parametrize(
    ("ours", "best", "expected"),
    [
        (contender(2, 0.6), contender(1, 0.5), True),
        (contender(2, 0.5), contender(1, 0.5), True),
        (contender(1, 0.5), contender(2, 0.5), False),
        (contender(2, 0.4), contender(1, 0.5), False),
        (contender(2, 0.6, OTHER), contender(1, 0.5), False),
        (contender(2, None), contender(1, 0.5), False),
        (contender(2, 0.6), contender(1, None), False),
        (contender(2, 0.6, None), contender(1, 0.5, None), False),
    ],
)
def test_who_takes_over(ours, best, expected):
    assert takes_over(ours, best) is expected


def test_what_is_said_names_both_numbers_and_what_they_are():
    best = contender(2, 0.981)
    assert (
        standing(contender(4, 0.975), best, ACCURACY)
        == "champion stays version 2: this one has val accuracy 0.9750 against 0.9810"
    )
    assert (
        standing(contender(4, 0.99), best, NDCG10)
        == "champion: version 4, val NDCG@10 0.9900 against 0.9810 of version 2"
    )
    assert standing(best, None, ACCURACY) == "champion: version 2, val accuracy 0.9810"


def test_versions_of_items_are_compared_by_their_places(store, bare):
    def ranked(ndcg, accuracy):
        model = bare(accuracy)
        logged = store.client.get_logged_model(model.rpartition("/")[2])
        store.client.log_metric(logged.source_run_id, "val/ndcg10", ndcg)
        return model

    for model in (ranked(0.4, 0.1), ranked(0.3, 0.2)):
        register(store.client, model, "ranked", NDCG10, {}, "")
    assert champion(store, "ranked") == 1
