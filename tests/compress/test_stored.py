from __future__ import annotations

import pytest
import torch
from safetensors.torch import load
from torch import nn

from distill_lab.compress.stored import packed, stored, unpacked


@pytest.mark.parametrize("dtype", [torch.float32, torch.int8, torch.int64])
@pytest.mark.parametrize("shape", [(), (3,), (7, 5), (2, 3, 4, 5)])
def test_what_is_packed_comes_back(dtype, shape):
    torch.manual_seed(0)
    dense = torch.randint(-5, 5, shape).to(dtype)
    state = {"dense": dense, "sparse": dense * (torch.rand(shape) < 0.1), "zero": dense * 0}
    back = unpacked(packed(state))
    assert back.keys() == state.keys()
    for name, value in state.items():
        assert back[name].dtype == value.dtype
        assert torch.equal(back[name], value)


def test_a_tensor_of_few_zeros_stays_as_it_is():
    state = {"weight": torch.ones(100)}
    state["weight"][:3] = 0
    assert packed(state).keys() == {"weight"}


def test_many_zeros_need_a_bit_each():
    weight = torch.zeros(1000)
    weight[:100] = 1.5
    assert sum(part.nbytes for part in packed({"weight": weight}).values()) == 125 + 400 + 8


def test_a_float_network_is_safetensors_of_its_weights():
    net = nn.Linear(3, 2)
    content, suffix = stored(net)
    assert suffix == "safetensors"
    assert torch.equal(load(content)["weight"], net.weight)
