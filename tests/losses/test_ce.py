from __future__ import annotations

import math

import pytest
import torch
from scipy.special import log_softmax

from distill_lab.losses.ce import CE, ce


def test_uniform_student_has_the_logarithm_of_the_number_of_classes():
    assert float(ce(torch.zeros(3, 7), torch.tensor([0, 3, 6]))) == pytest.approx(math.log(7))


def test_value_of_two_classes_by_hand():
    # Probabilities 3/4, 1/4; the first sample is of class 0, the second of class 1.
    logits = torch.tensor([[math.log(3.0), 0.0]] * 2)
    by_hand = -(math.log(0.75) + math.log(0.25)) / 2
    assert float(ce(logits, torch.tensor([0, 1]))) == pytest.approx(by_hand, rel=1e-6)


def test_agrees_with_the_log_softmax_of_scipy():
    logits, targets = 3 * torch.randn(8, 5), torch.arange(8) % 5
    expected = -log_softmax(logits.double().numpy(), axis=1)[range(8), targets].mean()
    assert float(ce(logits, targets)) == pytest.approx(expected, rel=1e-5)


def test_mixed_labels_are_the_mix_of_both_values():
    logits = torch.randn(1, 4)
    mixed = ce(logits, torch.tensor([[0.3, 0.0, 0.7, 0.0]]))
    expected = 0.3 * ce(logits, torch.tensor([0])) + 0.7 * ce(logits, torch.tensor([2]))
    torch.testing.assert_close(mixed, expected)


def test_temperature_plays_no_part(batch_of):
    logits = torch.randn(3, 4)
    cold, hot = (CE(weight=1.0)(batch_of(logits, temperature=t)) for t in (1.0, 20.0))
    assert torch.equal(cold, hot)


def test_term_reads_the_targets_of_the_batch(batch_of):
    logits, targets = torch.randn(3, 4), torch.tensor([3, 0, 1])
    torch.testing.assert_close(
        CE(weight=1.0)(batch_of(logits, targets=targets)), ce(logits, targets)
    )
