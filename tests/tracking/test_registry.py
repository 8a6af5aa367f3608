from __future__ import annotations

import mlflow
import numpy as np
import pytest
import torch
from torch import nn


@pytest.fixture
def log(store):
    def model(net):
        with store.start("model", {}) as run:
            return run.id, run.log_model(net, torch.rand(2, 3))

    return model


@pytest.mark.filterwarnings("default")
def test_versions_count_up_and_each_serves_its_own_network(log, store):
    nets = [nn.Linear(3, 2), nn.Linear(3, 2)]
    logged = [log(net) for net in nets]
    served = [store.register(model, "counted") for _, model in logged]
    assert served == ["models:/counted/1", "models:/counted/2"]
    inputs = torch.rand(5, 3)
    for uri, net, (run_id, _) in zip(served, nets, logged, strict=True):
        with torch.no_grad():
            expected = net(inputs).numpy()
        said = mlflow.pyfunc.load_model(uri).predict(inputs.numpy())
        np.testing.assert_allclose(said, expected, rtol=1e-5, atol=1e-6)
        version = store.client.get_model_version("counted", uri.rpartition("/")[2])
        assert version.run_id == run_id


@pytest.mark.filterwarnings("default")
def test_a_model_that_is_a_version_already_stays_that_version(log, store):
    _, model = log(nn.Linear(3, 2))
    assert store.register(model, "once") == store.register(model, "once") == "models:/once/1"
