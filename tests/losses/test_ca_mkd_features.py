from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from torch import nn

from distill_lab.contracts import DistillBatch, Output
from distill_lab.losses.ca_mkd_features import CAMKDFeatures, ca_mkd_features

PAIRS = [["last", "final"]]


def output(tap, feature, num_classes=3):
    width = feature.shape[1]
    return Output(torch.zeros(len(feature), 3), {tap: feature}, nn.Linear(width, num_classes))


def batch_of(student, *teachers):
    index = torch.arange(len(student))
    said = tuple(output("final", teacher) for teacher in teachers)
    return DistillBatch(output("last", student), said, index % 3, index, 4.0)


def connected(batch):
    loss = CAMKDFeatures(1.0, PAIRS)
    student = {tap: tuple(f.shape) for tap, f in batch.student.features.items()}
    teachers = tuple(
        {tap: tuple(f.shape) for tap, f in one.features.items()} for one in batch.teachers
    )
    torch.manual_seed(4)
    loss.connect(student, teachers, 10)
    return loss


def test_value_of_two_teachers_by_hand():
    # Squared errors 4 and mean(1, 9) = 5; cross-entropies ln 4 and ln 2 on label 0 give 1/3, 2/3.
    projected = [torch.tensor([[2.0]]), torch.tensor([[1.0, 3.0]])]
    teachers = [torch.tensor([[0.0]]), torch.tensor([[0.0, 0.0]])]
    predicted = torch.tensor([[[0.0, math.log(3)]], [[0.0, 0.0]]])
    value = ca_mkd_features(projected, teachers, predicted, torch.tensor([0]))
    assert float(value) == pytest.approx(4 / 3 + 2 * 5 / 3)


def test_term_agrees_with_a_computation_in_numpy():
    batch = batch_of(torch.randn(6, 4, 2, 2), torch.randn(6, 3, 2, 2), torch.randn(6, 5, 2, 2))
    loss = connected(batch)
    labels, wrong, errors = batch.targets.numpy(), [], []
    for regressor, teacher in zip(loss.regressors, batch.teachers, strict=True):
        weight = regressor.layer.weight.detach().numpy()[:, :, 0, 0]
        bias = regressor.layer.bias.detach().numpy()
        student = batch.student.features["last"].numpy()
        ours = np.einsum("bchw,dc->bdhw", student, weight) + bias[:, None, None]
        head = teacher.classifier
        z = ours.mean((2, 3)) @ head.weight.detach().numpy().T + head.bias.detach().numpy()
        wrong.append(-log_softmax(z, axis=1)[range(6), labels])
        errors.append(((ours - teacher.features["final"].numpy()) ** 2).mean((1, 2, 3)))
    expected = ((1 - softmax(np.stack(wrong), axis=0)) * np.stack(errors)).sum(axis=0).mean()
    assert float(loss(batch).detach()) == pytest.approx(expected, rel=1e-4)


def test_gradient_reaches_student_and_projectors():
    # The published code cuts the hint loss off its graph.
    student = torch.randn(6, 4, 2, 2, requires_grad=True)
    batch = batch_of(student, torch.randn(6, 3, 2, 2), torch.randn(6, 5, 2, 2))
    loss = connected(batch)
    loss(batch).backward()
    reached = [student, *loss.parameters()]
    assert len(reached) == 5
    assert all(bool(one.grad.abs().sum() > 0) for one in reached)


def test_the_classifiers_of_teachers_get_no_gradient():
    batch = batch_of(torch.randn(6, 4, requires_grad=True), torch.randn(6, 3), torch.randn(6, 5))
    connected(batch)(batch).backward()
    heads = [teacher.classifier for teacher in batch.teachers]
    assert all(p.grad is None for head in heads for p in head.parameters())


def test_gradient_is_that_of_errors_at_fixed_weights():
    ours = [torch.randn(6, 3, requires_grad=True), torch.randn(6, 5, requires_grad=True)]
    teachers = [torch.randn(6, 3), torch.randn(6, 5)]
    predicted = torch.stack([one[:, :3] for one in ours])
    targets = torch.arange(6) % 3
    wrong = -predicted.detach().log_softmax(dim=2)[:, range(6), targets]
    weights = 1 - wrong.softmax(dim=0)
    ca_mkd_features(ours, teachers, predicted, targets).backward()
    for weight, one, teacher in zip(weights, ours, teachers, strict=True):
        expected = weight[:, None] * 2 * (one.detach() - teacher) / one.shape[1] / 6
        torch.testing.assert_close(one.grad, expected)


def test_a_teacher_given_three_times_has_the_value_of_once():
    student, teacher = torch.randn(6, 4), torch.randn(6, 3)
    once = batch_of(student, teacher)
    thrice = replace(once, teachers=once.teachers * 3)
    torch.testing.assert_close(connected(thrice)(thrice), connected(once)(once))


def test_maps_of_other_sizes_are_pooled_to_the_smaller():
    batch = batch_of(torch.randn(6, 4, 4, 4), torch.randn(6, 3, 2, 2))
    pooled = batch_of(
        nn.functional.avg_pool2d(batch.student.features["last"], 2),
        batch.teachers[0].features["final"],
    )
    torch.testing.assert_close(connected(batch)(batch), connected(pooled)(pooled))


def test_a_layer_that_the_classifier_cannot_read_is_named():
    batch = batch_of(torch.randn(6, 4), torch.randn(6, 3))
    wide = replace(batch.teachers[0], classifier=nn.Linear(7, 3))
    with pytest.raises(ValueError, match=r"'final' has 3 channels.*classifier reads 7 features"):
        connected(batch)(replace(batch, teachers=(wide,)))
    none = replace(batch.teachers[0], classifier=None)
    with pytest.raises(ValueError, match="'final' needs a linear classifier"):
        connected(batch)(replace(batch, teachers=(none,)))


def test_more_than_one_pair_is_refused():
    with pytest.raises(ValueError, match="pairs: must be one"):
        CAMKDFeatures(1.0, PAIRS * 2)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"\(1, 2\).*\(1, 3\)"):
        ca_mkd_features(
            [torch.zeros(1, 2)], [torch.zeros(1, 3)], torch.zeros(1, 1, 2), torch.tensor([0])
        )
