from __future__ import annotations

import math

import pytest
import torch
from scipy.special import log_softmax

from distill_lab.losses.label_smoothing import LabelSmoothing, label_smoothing


def test_value_of_two_classes_by_hand():
    # Target 0 smoothed by 0.2 is (0.9, 0.1); the student says 3/4, 1/4.
    logits = torch.tensor([[math.log(3.0), 0.0]])
    by_hand = -(0.9 * math.log(0.75) + 0.1 * math.log(0.25))
    assert float(label_smoothing(logits, torch.tensor([0]), 0.2)) == pytest.approx(by_hand)


def test_agrees_with_the_definition_computed_by_scipy():
    logits, targets = 3 * torch.randn(8, 5), torch.arange(8) % 5
    log_q = log_softmax(logits.double().numpy(), axis=1)
    expected = -(0.9 * log_q[range(8), targets] + 0.1 * log_q.mean(axis=1)).mean()
    assert float(label_smoothing(logits, targets, 0.1)) == pytest.approx(expected, rel=1e-5)


def test_without_smoothing_it_is_the_cross_entropy():
    logits, targets = torch.randn(6, 3), torch.arange(6) % 3
    expected = torch.nn.functional.cross_entropy(logits, targets)
    torch.testing.assert_close(label_smoothing(logits, targets, 0.0), expected)


def test_probabilities_are_smoothed_like_indices():
    logits, targets = torch.randn(6, 3), torch.arange(6) % 3
    one_hot = torch.nn.functional.one_hot(targets, 3).float()
    by_index = label_smoothing(logits, targets, 0.1)
    torch.testing.assert_close(label_smoothing(logits, one_hot, 0.1), by_index)


def test_gradient_vanishes_at_the_smoothed_target():
    smoothed = torch.tensor([[0.8, 0.1, 0.1]])
    logits = smoothed.log().requires_grad_()
    label_smoothing(logits, torch.tensor([0]), 0.3).backward()
    torch.testing.assert_close(logits.grad, torch.zeros(1, 3))


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, math.nan])
def test_smoothing_outside_its_range_is_refused(smoothing):
    with pytest.raises(ValueError, match=rf"smoothing: must be in \[0, 1\), got {smoothing}"):
        LabelSmoothing(weight=1.0, smoothing=smoothing)


def test_term_uses_its_smoothing(batch_of):
    batch = batch_of(torch.randn(4, 3))
    expected = label_smoothing(batch.student.logits, batch.targets, 0.4)
    torch.testing.assert_close(LabelSmoothing(weight=1.0, smoothing=0.4)(batch), expected)
