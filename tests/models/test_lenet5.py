from __future__ import annotations

import pytest
import torch

from distill_lab.knowledge.taps import tap_shapes
from distill_lab.measure.cost import count_parameters
from distill_lab.models.lenet5 import LeNet5


@pytest.mark.parametrize("input_shape", [(1, 8, 8), (3, 33, 31), (1, 28, 28), (2, 64, 40)])
def test_logits_have_one_column_per_class_for_any_image(input_shape):
    net = LeNet5(input_shape=input_shape, num_classes=7)
    assert net(torch.zeros(2, *input_shape)).shape == (2, 7)


def test_parameters_and_shapes_are_those_of_the_figure():
    net = LeNet5(input_shape=(1, 28, 28), num_classes=10)
    # 6 * 26 + 16 * 151 + 400 * 120 + 120 + 120 * 84 + 84 + 84 * 10 + 10
    assert count_parameters(net) == 61_706
    assert tap_shapes(net, (1, 28, 28), net.taps) == {
        "block1": (2, 6, 14, 14),
        "block2": (2, 16, 5, 5),
        "hidden1": (2, 120),
        "hidden2": (2, 84),
    }


def test_an_input_that_is_no_image_is_refused():
    with pytest.raises(ValueError, match=r"^input_shape: must be "):
        LeNet5(input_shape=(64,), num_classes=10)
