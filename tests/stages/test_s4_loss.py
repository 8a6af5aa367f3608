from __future__ import annotations

import pytest

from distill_lab.stages.s4_loss import suggested_weights


def test_weights_stay_while_no_gradient_is_ten_times_another():
    assert suggested_weights([1.0, 0.9], [1.0, 9.9]) == [1.0, 0.9]


def test_a_drowned_term_is_raised_and_the_drowning_one_lowered_to_equal_length():
    weights, norms = [1.0, 2.0], [1.0, 19.0]
    better = suggested_weights(weights, norms)
    lengths = [new / old * norm for new, old, norm in zip(better, weights, norms, strict=True)]
    assert lengths == pytest.approx([10.0, 10.0])


def test_a_term_without_gradient_keeps_its_weight():
    assert suggested_weights([1.0, 1.0, 3.0], [1.0, 99.0, 0.0])[2] == 3.0


def test_a_lone_term_keeps_its_weight():
    assert suggested_weights([0.9], [123.0]) == [0.9]
