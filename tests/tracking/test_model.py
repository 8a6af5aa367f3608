from __future__ import annotations

import mlflow
import numpy as np
import pytest
import torch

from distill_lab.contracts import DataInfo
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
