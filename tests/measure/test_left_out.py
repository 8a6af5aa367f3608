from __future__ import annotations

import pytest
import torch

from distill_lab.measure.left_out import Biased, best_bias, left_out_scores


def errors(logits, targets, classes, bias):
    raised = logits.clone()
    raised[:, classes] += bias
    return int((raised.argmax(dim=1) != targets).sum())


@pytest.mark.parametrize("classes", [[3], [0, 1, 2, 4, 5, 6, 7, 8]])
@pytest.mark.parametrize("seed", range(5))
def test_no_bias_of_a_fine_grid_has_fewer_errors(classes, seed):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(10, (200,), generator=generator)
    logits = torch.randn(200, 10, generator=generator)
    logits[torch.arange(200), targets] += 1.5
    logits[:, classes] -= 2.0
    bias = best_bias(logits, targets, classes)
    fewest = min(errors(logits, targets, classes, b / 100) for b in range(-800, 801))
    assert errors(logits, targets, classes, bias) <= fewest < errors(logits, targets, classes, 0.0)


def test_a_network_that_is_right_needs_no_bias():
    assert best_bias(torch.eye(4) * 3, torch.arange(4), [2]) == 0.0


def test_a_class_that_never_wins_is_raised_by_as_much_as_it_lacks():
    # Class 2 lacks 2 in the first two samples; the third is lost above 5.
    logits = torch.tensor([[2.0, -9.0, 0.0], [2.0, -9.0, 0.0], [5.0, -9.0, 0.0]])
    bias = best_bias(logits, torch.tensor([2, 2, 0]), [2])
    assert 2 < bias < 5


def test_three_biases_are_compared_on_the_test_split():
    # Without a bias both of class 1 are missed; 3 mends one, 5 the other and loses none but at 6.
    validation = (torch.tensor([[2.0, 0.0], [4.0, 0.0]]), torch.tensor([1, 0]))
    test = (torch.tensor([[2.0, 0.0], [5.0, 0.0], [7.0, 0.0]]), torch.tensor([1, 1, 0]))
    found = left_out_scores(validation, test, [1])
    assert found.num_samples == 2
    assert found.plain == Biased(0.0, 2, 2)
    assert found.chosen == Biased(3.0, 1, 1)
    assert found.test_tuned == Biased(6.0, 0, 0)


def test_errors_on_kept_classes_are_told_apart():
    validation = (torch.tensor([[1.0, 0.0]]), torch.tensor([1]))
    test = (torch.tensor([[1.0, 0.0], [1.5, 0.0], [0.0, 4.0]]), torch.tensor([1, 0, 0]))
    # The bias is 2, one above the lead of the only validation sample.
    assert left_out_scores(validation, test, [1]).chosen == Biased(2.0, 2, 0)


@pytest.mark.parametrize("classes", [[], [0, 1]])
def test_none_or_all_classes_are_refused(classes):
    with pytest.raises(ValueError, match=r"^classes: "):
        best_bias(torch.zeros(3, 2), torch.tensor([0, 1, 0]), classes)


def test_logits_stay_as_they_are():
    logits = torch.tensor([[2.0, 0.0]], dtype=torch.double)
    left_out_scores((logits, torch.tensor([1])), (logits, torch.tensor([1])), [1])
    assert logits.tolist() == [[2.0, 0.0]]
