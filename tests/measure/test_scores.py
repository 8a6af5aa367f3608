from __future__ import annotations

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.metrics import confusion_matrix, log_loss
from torchmetrics.functional.classification import multiclass_calibration_error

from distill_lab.measure.scores import confusion, reliability, score

LOGITS = torch.randn(500, 7, generator=torch.Generator().manual_seed(0)) * 3
TARGETS = torch.randint(7, (500,), generator=torch.Generator().manual_seed(1))


def test_scores_worked_by_hand():
    # Probabilities (3/4, 1/4), right and wrong: both samples lie in the bin (1/2, 1].
    logits = torch.tensor([[3.0, 1.0], [3.0, 1.0]]).log()
    scores = score(logits, torch.tensor([0, 1]), num_bins=2)
    assert scores.accuracy == 0.5
    assert scores.nll == pytest.approx(-(math.log(3 / 4) + math.log(1 / 4)) / 2)
    assert scores.brier == pytest.approx((2 * (1 / 4) ** 2 + 2 * (3 / 4) ** 2) / 2)
    assert scores.ece == pytest.approx(0.75 - 0.5)
    assert scores.confidence == pytest.approx(0.75)
    assert scores.errors == 1


def test_networks_are_compared_by_accuracy_and_by_places_where_items_are_ranked():
    # The first of two users finds the next item first, the other one second, behind item 2.
    logits, targets = torch.tensor([[3.0, 1.0, 2.0]]).repeat(2, 1), torch.tensor([0, 2])
    plain = score(logits, targets, num_bins=2)
    assert (plain.quality, plain.compared_by.key) == (0.5, "accuracy")
    ranked = score(logits, targets, num_bins=2, had=torch.tensor([[1, 1]]))
    assert ranked.quality == pytest.approx((1 + 1 / math.log2(3)) / 2)
    assert (ranked.compared_by.key, ranked.accuracy) == ("ndcg10", 0.5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nll_and_brier_equal_independent_references(dtype):
    scores = score(LOGITS.to(dtype), TARGETS, num_bins=15)
    probabilities = softmax(LOGITS.double().numpy(), axis=1)
    one_hot = np.eye(7)[TARGETS.numpy()]
    assert scores.nll == pytest.approx(log_loss(TARGETS, probabilities, labels=range(7)), rel=1e-6)
    assert scores.brier == pytest.approx(((probabilities - one_hot) ** 2).sum(1).mean(), rel=1e-6)


@pytest.mark.parametrize("num_bins", [1, 10, 15])
def test_ece_equals_torchmetrics(num_bins):
    expected = multiclass_calibration_error(
        LOGITS.double().softmax(1), TARGETS, num_classes=7, n_bins=num_bins, norm="l1"
    )
    assert score(LOGITS, TARGETS, num_bins).ece == pytest.approx(expected.item(), abs=1e-6)


def test_confidence_tells_too_sure_from_not_sure_enough():
    # Both are off by 0.25, which is all that the ECE says.
    sure = score(torch.tensor([[3.0, 1.0]] * 2).log(), torch.tensor([0, 1]), num_bins=2)
    unsure = score(torch.tensor([[3.0, 1.0]] * 2).log(), torch.tensor([0, 0]), num_bins=2)
    assert sure.ece == pytest.approx(unsure.ece)
    assert sure.confidence - sure.accuracy == pytest.approx(0.25)
    assert unsure.confidence - unsure.accuracy == pytest.approx(-0.25)


def test_scores_are_finite_at_extreme_logits():
    logits = torch.tensor([[1e30, -1e30, 0.0], [-3e38, 3e38, 0.0]])
    scores = score(logits, torch.tensor([0, 0]), num_bins=15)
    assert all(math.isfinite(value) for value in asdict(scores).values() if value is not None)
    assert scores.brier == 1.0
    assert scores.ece == 0.5
    assert scores.confidence == 1.0


def test_perfect_certainty_scores_zero_error():
    scores = score(torch.eye(3) * 1e4, torch.arange(3), num_bins=10)
    errors = {"nll": 0.0, "brier": 0.0, "ece": 0.0, "errors": 0, "ranking": None}
    assert asdict(scores) == {"accuracy": 1.0, "confidence": 1.0} | errors


def test_a_confidence_on_an_edge_belongs_to_the_bin_below():
    bins = reliability(torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64), num_bins=2)
    assert bins.fraction == (1.0, 0.0)


def test_empty_bins_are_none_and_survive_json():
    bins = reliability(torch.tensor([[9.0, 0.0]]), torch.tensor([0]), num_bins=2)
    assert bins.confidence[0] is None
    assert bins.accuracy == (None, 1.0)
    assert json.loads(json.dumps(asdict(bins), allow_nan=False))["fraction"] == [0.0, 1.0]


def test_fractions_of_bins_sum_to_one():
    assert sum(reliability(LOGITS, TARGETS, 15).fraction) == pytest.approx(1.0)


def test_confusion_has_true_classes_in_rows():
    logits = torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    matrix = confusion(logits, torch.tensor([1, 2, 0]))
    assert matrix.tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 0]]


def test_confusion_equals_sklearn():
    expected = confusion_matrix(TARGETS, LOGITS.argmax(1), labels=range(7))
    assert confusion(LOGITS, TARGETS).tolist() == expected.tolist()


@pytest.mark.parametrize("function", [confusion, lambda *args: score(*args, num_bins=5)])
@pytest.mark.parametrize(
    ("logits", "targets"), [((3, 2), (4,)), ((3,), (3,)), ((3, 2), (3, 2)), ((0, 2), (0,))]
)
def test_shapes_that_do_not_fit_are_refused(function, logits, targets):
    with pytest.raises(ValueError, match=r"must be \(N, K\) and \(N,\)"):
        function(torch.zeros(logits), torch.zeros(targets, dtype=torch.int64))


def test_no_bins_are_refused():
    with pytest.raises(ValueError, match="num_bins: must be >= 1, got 0"):
        score(LOGITS, TARGETS, num_bins=0)
