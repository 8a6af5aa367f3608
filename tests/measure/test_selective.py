from __future__ import annotations

import pytest
import torch
from sklearn.metrics import accuracy_score

from distill_lab.measure.selective import selective

LOGITS = 2 * torch.randn(300, 5, generator=torch.Generator().manual_seed(0))
TARGETS = torch.where(
    torch.arange(300) % 3 == 0,
    torch.randint(5, (300,), generator=torch.Generator().manual_seed(1)),
    LOGITS.argmax(dim=1),
)


def confident(*probabilities):
    """Logits of two classes, of which the first has these probabilities."""
    first = torch.tensor(probabilities, dtype=torch.float64)
    return torch.stack([first, 1 - first], 1).log()


def test_worked_by_hand():
    # Most confident first: right, wrong, right, right.
    found = selective(confident(0.9, 0.8, 0.7, 0.6), torch.tensor([0, 1, 0, 0]))
    assert found.aurc == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
    assert found.coverage[-1] == 1.0
    assert found.accuracy[-1] == pytest.approx(3 / 4)
    assert found.accuracy[found.coverage.index(0.5)] == pytest.approx(1 / 2)


def test_each_point_is_the_accuracy_of_that_share():
    found = selective(LOGITS, TARGETS)
    order = LOGITS.softmax(1).amax(1).argsort(descending=True)
    for coverage, accuracy in zip(found.coverage, found.accuracy, strict=True):
        some = order[: round(coverage * 300)]
        assert accuracy == pytest.approx(accuracy_score(TARGETS[some], LOGITS[some].argmax(1)))


def test_the_area_is_the_mean_risk_over_all_coverages():
    order = LOGITS.softmax(1).amax(1).argsort(descending=True)
    wrong = (LOGITS.argmax(1) != TARGETS)[order]
    risks = [float(wrong[:count].double().mean()) for count in range(1, 301)]
    assert selective(LOGITS, TARGETS).aurc == pytest.approx(sum(risks) / 300)


def test_the_order_of_equally_confident_samples_does_not_matter():
    logits = confident(0.8, 0.8, 0.8, 0.6)
    # One of three is wrong, so each has a risk of a third: 1/3, 1/3, 1/3 and 1/4 of all.
    for targets in ([1, 0, 0, 0], [0, 0, 1, 0]):
        aurc = selective(logits, torch.tensor(targets)).aurc
        assert aurc == pytest.approx((1 + 1 / 4) / 4)


def test_a_network_that_is_always_right_has_no_risk():
    found = selective(LOGITS, LOGITS.argmax(dim=1))
    assert found.aurc == 0.0
    assert set(found.accuracy) == {1.0}


def test_one_sample_is_a_curve():
    assert set(selective(LOGITS[:1], (LOGITS[:1].argmax(1) + 1) % 5).accuracy) == {0.0}


def test_without_samples_there_is_no_curve():
    with pytest.raises(ValueError, match="with N >= 1"):
        selective(LOGITS[:0], TARGETS[:0])
