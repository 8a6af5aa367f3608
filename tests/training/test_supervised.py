from __future__ import annotations

import torch
from scipy.special import log_softmax

from distill_lab.contracts import Batch
from distill_lab.training.supervised import Supervised


def batch_of(targets: torch.Tensor) -> Batch:
    index = torch.arange(len(targets))
    return Batch(torch.randn(len(targets), 1, 8, 8), targets, index, torch.zeros_like(index))


def test_the_loss_is_the_cross_entropy_with_the_labels(net_of, regime):
    net, targets = net_of(), torch.tensor([0, 2, 1, 1])
    batch = batch_of(targets)
    value = Supervised(net, regime(), 3, seed=0).objective_of(batch)
    log_q = log_softmax(net(batch.inputs).detach().double().numpy(), axis=1)
    expected = torch.tensor(-log_q[range(4), targets].mean()).float()
    torch.testing.assert_close(value.total, expected)
    assert value.total.requires_grad


def test_it_is_the_only_term(net_of, regime):
    value = Supervised(net_of(), regime(), 3, seed=0).objective_of(batch_of(torch.tensor([0, 1])))
    assert list(value.terms) == ["ce"]
    assert torch.equal(value.terms["ce"], value.total)


def test_mixed_labels_are_probabilities(net_of, regime):
    net = net_of()
    batch = batch_of(torch.tensor([[0.3, 0.7, 0.0]]))
    value = Supervised(net, regime(), 3, seed=0).objective_of(batch)
    log_q = torch.log_softmax(net(batch.inputs), dim=1)[0]
    torch.testing.assert_close(value.total, -(0.3 * log_q[0] + 0.7 * log_q[1]))


def test_training_on_labels_learns_them(net_of, regime, train):
    fitted = train(Supervised(net_of(), regime(epochs=6), 3, seed=0))
    assert fitted.curve[-1]["val/accuracy"] > 0.9
    assert fitted.curve[-1]["val/nll"] < fitted.curve[0]["val/nll"]
