from __future__ import annotations

import pytest
import torch
from torch import nn

from distill_lab.contracts import Arrays
from distill_lab.data.module import EVALUATION_BATCH_SIZE
from distill_lab.training.predict import predict_logits


def test_logits_are_those_of_normalised_inputs_in_order(net_of, info, splits):
    net = net_of()
    logits = predict_logits(net, splits.test, info)
    inputs = (splits.test.inputs - info.mean[0]) / info.std[0]
    torch.testing.assert_close(logits, net(inputs).detach())


def test_a_split_longer_than_a_batch_is_predicted_whole(net_of, info):
    inputs = torch.rand(EVALUATION_BATCH_SIZE + 3, 1, 8, 8)
    net, targets = net_of(), torch.zeros(len(inputs), dtype=torch.long)
    logits = predict_logits(net, Arrays(inputs, targets), info)
    tail = predict_logits(net, Arrays(inputs[-5:], targets[-5:]), info)
    assert logits.shape == (EVALUATION_BATCH_SIZE + 3, 3)
    torch.testing.assert_close(logits[-5:], tail)


def test_dropout_is_off(net_of, info, splits):
    net = net_of(dropout=0.5).train()
    first, second = (predict_logits(net, splits.test, info) for _ in range(2))
    assert torch.equal(first, second)


def test_batch_norm_does_not_learn(info, splits):
    net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 3)).train()
    predict_logits(net, splits.test, info)
    assert int(net[1].num_batches_tracked) == 0


def test_logits_are_plain_float32_tensors(net_of, info, splits):
    arrays = splits.test._replace(inputs=splits.test.inputs.double())
    logits = predict_logits(net_of().double(), arrays, info)
    assert logits.dtype == torch.float32
    assert not logits.requires_grad
    assert not logits.is_inference()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_network_on_a_gpu_is_asked_there_and_its_logits_come_back(net_of, info, splits):
    net = net_of()
    here = predict_logits(net, splits.test, info)
    there = predict_logits(net.cuda(), splits.test, info)
    assert there.device.type == "cpu"
    torch.testing.assert_close(there, here, rtol=1e-4, atol=1e-4)


def test_batches_are_moved_to_where_the_network_is(info, splits):
    class Far(nn.Module):
        """Stands on a device without memory and answers on the CPU."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1, device="meta"))
            self.seen: set[str] = set()

        def forward(self, inputs):
            self.seen.add(inputs.device.type)
            return torch.zeros(len(inputs), 3)

    net = Far()
    assert predict_logits(net, splits.test, info).device.type == "cpu"
    assert net.seen == {"meta"}
