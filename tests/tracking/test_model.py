from __future__ import annotations

import mlflow
import numpy as np
import pytest
import torch
import yaml

from distill_lab.config.groups import CONF
from distill_lab.contracts import Component, DataInfo
from distill_lab.models.deployed import Deployed
from distill_lab.models.mlp import MLP

INFO = DataInfo("tiny", (1, 2, 3), 4, tuple("abcd"), (0.5,), (0.25,))


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    knobs = {"widths": [5], "dropout": 0.5, "input_dropout": 0.0, "max_norm": None}
    shapes = {"input_shape": INFO.input_shape, "num_classes": INFO.num_classes}
    return Deployed(MLP(**shapes, **knobs), INFO)


@pytest.fixture
def log(store, net):
    def model():
        with store.start("model", {}) as run:
            said = run.log_model(net, torch.rand(2, *INFO.input_shape))
        return run.id, said

    return model


@pytest.mark.filterwarnings("default")
def test_the_logged_model_answers_as_the_network_for_another_batch_size(log, net, store):
    run_id, said = log()
    assert said.startswith("models:/")
    loaded = mlflow.pyfunc.load_model(said)
    inputs = torch.rand(7, *INFO.input_shape)
    with torch.no_grad():
        expected = net(inputs).numpy()
    np.testing.assert_allclose(loaded.predict(inputs.numpy()), expected, rtol=1e-5, atol=1e-6)
    assert loaded.metadata.signature.inputs.inputs[0].shape == (-1, 1, 2, 3)
    assert loaded.metadata.signature.outputs.inputs[0].shape == (-1, 4)
    assert loaded.input_example.shape == (2, 1, 2, 3)
    assert store.client.get_run(run_id).info.status == "FINISHED"
    assert store.client.search_model_versions(f"run_id = '{run_id}'") == []


@pytest.mark.filterwarnings("default")
def test_logging_leaves_a_running_run_running_and_the_network_in_eval_mode(store, net):
    run = store.start("model", {})
    run.log_model(net.train(), torch.rand(2, *INFO.input_shape))
    assert store.client.get_run(run.id).info.status == "RUNNING"
    assert not any(module.training for module in net.modules())


TEXT = DataInfo("text", (6,), 3, tuple("abc"), (), (), vocabulary_size=9)
ITEMS = DataInfo("items", (6,), 8, tuple("abcdefgh"), (), (), 9, ranks_items=True)
SOUND = DataInfo("sound", (1, 4, 6), 3, tuple("abc"), (0.0,), (1.0,))


@pytest.mark.parametrize(
    ("name", "info"),
    [
        ("bilstm", TEXT),
        ("text_cnn", TEXT),
        ("word_bag", TEXT),
        ("bert_tiny", TEXT),
        ("sasrec", ITEMS),
        ("gru4rec", ITEMS),
        ("matrix_factorization", ITEMS),
        ("ds_cnn", SOUND),
        ("gru", SOUND),
    ],
)
@pytest.mark.filterwarnings("error:The tensor attributes")
@pytest.mark.filterwarnings("default")
def test_networks_of_every_domain_answer_alike_once_they_are_logged(store, name, info):
    torch.manual_seed(0)
    knobs = yaml.safe_load((CONF / "architecture" / f"{name}.yaml").read_text())
    net = Deployed(Component(knobs.pop("_target_"), knobs).make_network(info), info)
    inputs = torch.randint(1, 9, (5, 6)) if info is not SOUND else torch.rand(5, 1, 4, 6)
    with store.start("model", {}) as run:
        said = run.log_model(net, inputs[:2])
    with torch.no_grad():
        expected = net(inputs).numpy()
    answers = mlflow.pyfunc.load_model(said).predict(inputs.numpy())
    np.testing.assert_allclose(answers, expected, rtol=1e-4, atol=1e-5)
