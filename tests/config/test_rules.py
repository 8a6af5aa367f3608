from __future__ import annotations

import sys

import pytest
import yaml

from distill_lab.config.check import grid
from distill_lab.config.groups import CONF
from distill_lab.config.rules import check

OPTIONS = sorted([*CONF.glob("architecture/*.yaml"), *CONF.glob("loss/*.yaml")])

SOURCE = """
import torch
from distill_lab.losses.base import Loss
from distill_lab.models.checks import require

LEAST = 2


class Child(Loss):
    def __init__(self, weight, depth, *, layer=None):
        super().__init__(weight)
        if depth < LEAST:
            raise ValueError(f"depth: must be >= {LEAST}, got {depth}.")
        _require_even(depth)
        require("layer", layer, "a tensor", torch.is_tensor(layer))
        self.depth = depth


class Grandchild(Child):
    pass


class Named(Child):
    def __init__(self, depth):
        super().__init__(1.0, depth=depth)


def _require_even(depth):
    require("depth", depth, "even", depth % 2 == 0)
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A file like one of ours, which is never imported."""
    (tmp_path / "rules_example.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    yield "rules_example"
    assert "rules_example" not in sys.modules


@pytest.mark.parametrize(
    ("name", "args", "said"),
    [
        ("Child", {"weight": -1, "depth": 4}, "weight: must be >= 0, got -1."),
        ("Child", {"weight": 1, "depth": 0}, "depth: must be >= 2, got 0."),
        ("Child", {"weight": 1, "depth": 5}, "depth: must be even, got 5."),
        ("Grandchild", {"weight": 1, "depth": 5}, "depth: must be even, got 5."),
        ("Grandchild", {"weight": -1, "depth": 4}, "weight: must be >= 0, got -1."),
        ("Named", {"depth": 1}, "depth: must be >= 2, got 1."),
    ],
)
def test_a_check_of_a_constructor_and_of_those_above_it_is_made(module, name, args, said):
    with pytest.raises(ValueError, match=f"^{said}$"):
        check(f"{module}.{name}", args)


def test_what_is_in_range_passes_and_a_check_that_needs_more_than_arguments_is_left_out(module):
    check(f"{module}.Child", {"weight": 1, "depth": 4, "layer": "no tensor"})
    check(f"{module}.Child", {"weight": 1})


@pytest.mark.parametrize("path", OPTIONS, ids=lambda path: f"{path.parent.name}={path.stem}")
def test_every_option_that_we_offer_passes(path):
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    for node in [tree] if "_target_" in tree else tree.values():
        for point in grid(node):
            check(point.target, point.args)


@pytest.mark.parametrize(
    ("target", "args", "key"),
    [
        ("models.mlp.MLP", {"widths": [0]}, "widths"),
        ("models.mlp.MLP", {"max_norm": 0}, "max_norm"),
        ("models.cnn.CNN", {"kernel_size": 4}, "kernel_size"),
        ("models.cifar_resnet.CifarResNet", {"depth": 9}, "depth"),
        ("losses.kd.KD", {"weight": -1}, "weight"),
        ("losses.label_smoothing.LabelSmoothing", {"weight": 1, "smoothing": 1}, "smoothing"),
    ],
)
def test_the_ranges_of_our_own_parts_are_found(target, args, key):
    with pytest.raises(ValueError, match=f"^{key}: must be "):
        check(f"distill_lab.{target}", args)
