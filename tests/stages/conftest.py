"""What tests of stage 6 share: networks as it hands them to its parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from types import SimpleNamespace

import pytest
from torch import nn

from distill_lab.contracts import Component
from distill_lab.stages.context import Context
from distill_lab.stages.handoffs import Weights
from distill_lab.stages.measured import Measured


@pytest.fixture
def measured_of() -> Callable[[Context, Mapping[str, nn.Module]], dict[str, Measured]]:
    """Networks with their logits on test; those of equal weights count as one network."""

    def make(context: Context, nets: Mapping[str, nn.Module]) -> dict[str, Measured]:
        found = {}
        for name, net in nets.items():
            weights = b"".join(one.numpy().tobytes() for one in net.state_dict().values())
            kept = Weights("run", "path", sha256(weights).hexdigest())
            trained = SimpleNamespace(architecture=Component("a.Net", {}), weights=kept)
            logits = context.predict(net, context.splits.test)
            found[name] = Measured(name, trained, net, logits, latency=None)
        return found

    return make
