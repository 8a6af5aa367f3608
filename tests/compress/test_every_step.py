"""What every step keeps to; each yaml of conf/compress is found and checked by itself."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
import yaml

from distill_lab.compress.base import Step
from distill_lab.config.groups import CONF
from distill_lab.contracts import Component

FILES = sorted((CONF / "compress").glob("*.yaml"))


def step_of(path):
    ((name, node),) = yaml.safe_load(path.read_text(encoding="utf-8")).items()
    assert name == path.stem
    return Component(node.pop("_target_"), node).make()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_step_leaves_the_network_it_is_given_and_returns_one_that_answers_alike_shaped(
    path, mlp, images
):
    step = step_of(path)
    assert isinstance(step, Step)
    assert "float" in step.takes
    before = deepcopy(mlp.state_dict())
    step.check(mlp, images[:2])
    net = step.begin(mlp, images, 0)
    with torch.no_grad():
        assert net(images[:5]).shape == (5, 3)
    assert all(torch.equal(value, before[name]) for name, value in mlp.state_dict().items())
    assert not mlp.training


def test_the_files_are_found():
    assert {"quantize_dynamic", "prune_structured", "export_onnx"} <= {p.stem for p in FILES}
