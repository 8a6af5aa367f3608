from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from distill_lab.knowledge.taps import check_taps, default_taps, forward_with_taps, tap_shapes


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 3, 3, padding=1)
        self.blocks = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4))
        self.embedding = nn.Linear(4 * 4 * 4, 5)
        self.head = nn.Linear(5, 2)

    def forward(self, inputs):
        return self.head(self.embedding(self.blocks(self.stem(inputs)).flatten(1)))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Small()


def num_hooks(net):
    return sum(len(module._forward_hooks) for module in net.modules())


def test_containers_are_opened_and_the_last_linear_layer_is_left_out(net):
    assert default_taps(net) == ["stem", "blocks.0", "blocks.1", "embedding"]


def test_taps_named_by_the_network_win(net):
    net.taps = ("blocks.0",)
    assert default_taps(net) == ["blocks.0"]


def test_default_taps_of_a_residual_network_are_its_blocks():
    taps = default_taps(resnet18())
    assert taps[-3:] == ["layer4.0", "layer4.1", "avgpool"]


def test_default_taps_of_any_sequential_all_run():
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    assert list(tap_shapes(net, (1, 2, 2), default_taps(net)).values()) == [(2, 4), (2, 3), (2, 3)]


def test_wrong_path_lists_the_nearest_ones(net):
    with pytest.raises(ValueError, match=r"got 'block.0'.*nearest are 'blocks.0', 'blocks"):
        check_taps(net, ["stem", "block.0"])


def test_the_network_itself_is_no_tap(net):
    with pytest.raises(ValueError, match="got ''"):
        check_taps(net, [""])


def test_features_are_what_the_modules_compute(net):
    inputs = torch.randn(3, 1, 8, 8)
    output = forward_with_taps(net.eval(), inputs, ["blocks.0", "stem"])
    stem = net.stem(inputs)
    assert list(output.features) == ["blocks.0", "stem"]
    torch.testing.assert_close(output.features["stem"], stem)
    torch.testing.assert_close(output.features["blocks.0"], net.blocks[0](stem))
    torch.testing.assert_close(output.logits, net(inputs))


def test_gradients_flow_through_features_into_the_layers_before(net):
    output = forward_with_taps(net, torch.randn(2, 1, 8, 8), ["blocks.1"])
    output.features["blocks.1"].square().sum().backward()
    assert net.stem.weight.grad.abs().sum() > 0
    assert net.head.weight.grad is None


def test_no_hook_stays_after_a_pass(net):
    forward_with_taps(net, torch.randn(2, 1, 8, 8), ["stem"])
    assert num_hooks(net) == 0


def test_no_hook_stays_after_an_error(net):
    with pytest.raises(RuntimeError):
        forward_with_taps(net, torch.randn(2, 7, 8, 8), ["stem"])
    assert num_hooks(net) == 0


def test_a_module_that_does_not_run_is_named(net):
    net.unused = nn.ReLU()
    with pytest.raises(ValueError, match="'unused' of Small was not run"):
        forward_with_taps(net, torch.randn(2, 1, 8, 8), ["stem", "unused"])


def test_a_recurrent_layer_gives_its_sequence():
    net = nn.Sequential(nn.LSTM(3, 5, batch_first=True))
    net.forward = lambda inputs: net[0](inputs)[0][:, -1]
    output = forward_with_taps(net, torch.randn(2, 7, 3), ["0"])
    assert output.features["0"].shape == (2, 7, 5)


def test_shapes_hold_the_batch_axis(net):
    assert tap_shapes(net, (1, 8, 8), ["stem", "embedding"], batch_size=3) == {
        "stem": (3, 3, 8, 8),
        "embedding": (3, 5),
    }


def test_shapes_need_no_memory_on_meta():
    with torch.device("meta"):
        net = resnet18()
    assert tap_shapes(net, (3, 224, 224), ["layer4"]) == {"layer4": (2, 512, 7, 7)}


def test_shapes_leave_modes_and_statistics_alone(net):
    net.train()
    net.blocks[0].eval()
    before = net.blocks[1].running_var.clone()
    tap_shapes(net, (1, 8, 8), ["stem"])
    assert net.training
    assert net.blocks[1].training
    assert not net.blocks[0].training
    assert torch.equal(net.blocks[1].running_var, before)
