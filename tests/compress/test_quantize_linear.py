"""quantize_weights and quantize_dynamic: linear layers by torchao."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load
from torch import nn

from distill_lab.compress.quantize_linear import QuantizeLinear
from distill_lab.compress.resized import resized
from distill_lab.compress.stored import stored, unpacked


def test_weights_are_rounded_within_half_a_step_of_their_row(mlp, images):
    net = QuantizeLinear(False).begin(mlp, images, 0)
    for before, after in zip(mlp.modules(), net.modules(), strict=True):
        if isinstance(before, nn.Linear):
            step = before.weight.abs().amax(dim=1, keepdim=True) / 127
            error = (after.weight.dequantize() - before.weight).abs()
            assert (error <= 0.5 * step * 1.01).all()
            assert error.max() > 0


@pytest.mark.parametrize("step", [QuantizeLinear(False), QuantizeLinear(True)])
def test_logits_hardly_change(step, mlp, images):
    with torch.no_grad():
        float_logits, logits = mlp(images), step.begin(mlp, images, 0)(images)
    assert 0 < (logits - float_logits).abs().max() < 0.03 * float_logits.abs().max()


@pytest.mark.parametrize("step", [QuantizeLinear(False), QuantizeLinear(True)])
def test_the_file_holds_a_byte_per_weight_and_a_scale_per_row(step, mlp, images):
    state = load(stored(step.begin(mlp, images, 0)).content)
    assert state["hidden.0.0.weight.qdata"].dtype == torch.int8
    assert state["hidden.0.0.weight.qdata"].shape == (16, 64)
    assert state["hidden.0.0.weight.scale"].numel() == 16
    assert state["hidden.0.0.bias"].dtype == torch.float32


@pytest.mark.parametrize("step", [QuantizeLinear(False), QuantizeLinear(True)])
def test_the_file_is_read_without_torchao_as_the_floats_it_stands_for(step, mlp, images):
    int8 = step.begin(mlp, images, 0)
    net = resized(mlp, unpacked(load(stored(int8).content)))
    assert torch.equal(net.hidden[0][0].weight, int8.hidden[0][0].weight.dequantize())
    if not step.dynamic:
        with torch.no_grad():
            torch.testing.assert_close(net(images), int8(images))


@pytest.mark.parametrize("step", [QuantizeLinear(False), QuantizeLinear(True)])
def test_a_network_of_convolutions_is_refused_by_its_largest(step, cnn, images):
    with pytest.raises(ValueError, match=r"largest other layer is 'blocks\.1\.1' \(Conv2d\)"):
        step.begin(cnn, images, 0)
