"""export_onnx, quantize_onnx and export_torch: networks as graphs."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx.numpy_helper import to_array
from torch import nn

from distill_lab.compress.export_onnx import ExportOnnx
from distill_lab.compress.export_torch import ExportTorch
from distill_lab.compress.fake_int8 import FakeInt8Weight
from distill_lab.compress.quantize_linear import QuantizeLinear
from distill_lab.compress.quantize_onnx import QuantizeOnnx
from distill_lab.compress.stored import graph_of, stored

SUFFIX = {"ONNX Runtime": "onnx", "torch.export": "pt2"}


class Undecided(nn.Module):
    """What it does depends on its inputs, which no graph can hold."""

    def forward(self, inputs):
        return inputs if inputs.sum() > 0 else -inputs


def cutting(net):
    """Let a network read half of each row, as a hook does where students have own columns."""
    net.register_forward_pre_hook(lambda module, given: (given[0][:, 4:],))
    return net


@pytest.mark.parametrize("step", [ExportOnnx(1e-4), ExportTorch(1e-4)])
def test_a_graph_answers_as_the_network_for_any_number_of_samples(step, cnn, images):
    graph = step.begin(cnn, images, 0)
    with torch.no_grad():
        for count in (1, 7):
            torch.testing.assert_close(graph(images[:count]), cnn(images[:count]))
    content, suffix = stored(graph)
    assert suffix == SUFFIX[graph.runtime]
    again = graph_of(content, f".{suffix}")
    assert type(again) is type(graph)
    assert torch.equal(again.eval()(images), graph(images))


def test_what_is_hooked_to_a_network_is_part_of_the_graph():
    net = cutting(nn.Sequential(nn.Linear(4, 3)).eval())
    rows = torch.randn(5, 8)
    with torch.no_grad():
        torch.testing.assert_close(ExportTorch(1e-4).begin(net, rows, 0)(rows), net(rows))


def test_int8_layers_of_torchao_are_exported_too(mlp, images):
    int8 = QuantizeLinear(False).begin(mlp, images, 0)
    graph = ExportTorch(1e-4).begin(int8, images, 0)
    with torch.no_grad():
        torch.testing.assert_close(graph(images), int8(images))


@pytest.mark.parametrize("step", [ExportOnnx(1e-4), ExportTorch(1e-4), QuantizeOnnx(8)])
def test_a_layer_that_no_graph_can_hold_is_named(step):
    net = nn.Sequential(nn.Linear(4, 4), Undecided(), nn.Linear(4, 2))
    with pytest.raises(ValueError, match=r"Sequential cannot be exported; layer '1' was reached"):
        step.begin(net, torch.randn(4, 4), 0)


class Values(nn.Module):
    """An operator that torch.export holds and ONNX does not."""

    def forward(self, inputs):
        return torch.linalg.svdvals(inputs.view(-1, 2, 2))


@pytest.mark.parametrize("step", [ExportOnnx(1e-4), QuantizeOnnx(8)])
def test_an_operator_that_onnx_lacks_is_named_with_its_layer(step):
    net = nn.Sequential(nn.Linear(4, 4), Values(), nn.Linear(2, 2)).eval()
    with pytest.raises(ValueError, match=r"Sequential cannot be held by ONNX; layer '1' was reach"):
        step.begin(net, torch.randn(4, 4), 0)


def integers(content):
    """The int8 weights of an ONNX file by name."""
    graph = onnx.load_from_string(content).graph
    arrays = {one.name: to_array(one) for one in graph.initializer}
    return {key: a for key, a in arrays.items() if a.dtype == np.int8 and a.ndim >= 2}


@pytest.fixture
def grid(cnn):
    """The network with weights that await int8, as `quantize_aware` leaves them."""
    with torch.no_grad():
        for layer in cnn.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.weight.copy_(FakeInt8Weight()(layer.weight))
    return cnn


def test_int8_says_nearly_the_same_and_holds_the_integers_that_weights_awaited(grid, images):
    int8 = QuantizeOnnx(64).begin(grid, images, 0)
    with torch.no_grad():
        asked, said = grid(images), int8(images)
    assert 0 < (said - asked).abs().max() < 0.1 * asked.abs().max()
    found = sorted(integers(int8.content).values(), key=np.size)
    layers = [grid.classifier, grid.blocks[0][0], grid.blocks[1][1]]  # all, the smallest first
    for array, layer in zip(found, layers, strict=True):
        weight = layer.weight.detach().flatten(1)
        scale = weight.abs().amax(dim=1, keepdim=True) / 127
        asked = (weight / scale).round().abs().int()  # a batch norm may turn a channel's sign
        given = torch.from_numpy(array.astype(np.int32)).abs()
        given = given.flatten(1) if len(given) == len(weight) else given.T
        assert torch.equal(given, asked)


@pytest.mark.parametrize("make", [ExportOnnx, ExportTorch])
def test_no_tolerance_is_refused(make):
    with pytest.raises(ValueError, match=r"^tolerance: must be > 0, got 0"):
        make(0.0)


def test_a_single_sample_is_refused():
    with pytest.raises(ValueError, match=r"^num_samples: must be >= 2, got 1"):
        QuantizeOnnx(1)
