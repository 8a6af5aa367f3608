from __future__ import annotations

import math
import weakref

import torch
from torch import nn

from distill_lab.handover.copies import compared


def scaled(factor):
    return lambda inputs: factor * inputs


def test_the_difference_is_a_share_of_the_largest_logit_of_all_samples():
    chunks = [torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 8.0], [2.0, 1.0]])]
    alike, said = compared(nn.Identity(), {"same": scaled(1), "more": scaled(1.25)}, chunks)
    assert said.tolist() == [0, 1, 0]
    assert (alike["same"].difference, alike["same"].num_same) == (0.0, 3)
    assert alike["more"].difference == 0.25  # 10 in place of 8
    assert (alike["more"].num_same, alike["more"].num_samples) == (3, 3)
    assert alike["same"].within_tolerance
    assert not alike["more"].within_tolerance


def test_answers_that_differ_are_counted():
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [3.0, 2.0]])
    alike, _ = compared(nn.Identity(), {"flipped": scaled(-1)}, [rows])
    assert alike["flipped"].num_same == 0
    assert alike["flipped"].difference == 2.0  # -3 in place of 3


def test_a_logit_that_is_not_a_number_is_never_within_tolerance():
    said = iter([torch.tensor([[math.nan, 1.0]]), torch.tensor([[1.0, 0.0]])])
    chunks = [torch.tensor([[1.0, 0.0]])] * 2
    alike, _ = compared(nn.Identity(), {"broken": lambda inputs: next(said)}, chunks)
    assert not alike["broken"].within_tolerance


def test_logits_of_samples_that_were_compared_are_not_kept():
    answers = []

    def noted(inputs):
        assert not any(answer() is not None for answer in answers[:-1])
        logits = inputs + 1
        answers.append(weakref.ref(logits))
        return logits

    net = nn.Identity()
    net.forward = noted
    compared(net, {}, [torch.ones(2, 3)] * 4)
    answers.clear()
    compared(nn.Identity(), {"copy": noted}, [torch.ones(2, 3)] * 4)
    assert len(answers) == 4
