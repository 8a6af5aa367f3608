from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from distill_lab.contracts import DistillBatch, Output
from distill_lab.losses.ft import FT, ft

GOLDEN = json.loads((Path(__file__).parent / "golden_ft.json").read_text())
ARGS = {"rate": 0.5, "warmup_epochs": 2, "reconstruction_weight": 0.25}


def batch_of(student, *teachers, epoch=5.0):
    logits = torch.zeros(len(student), 3)
    said = tuple(Output(logits, {"late": feature}) for feature in teachers)
    index = torch.arange(len(logits))
    output = Output(logits, {"late": student})
    return DistillBatch(output, said, index % 3, index, 4.0, epoch=epoch, num_epochs=10)


def connected(batch, **changes):
    loss = FT(1.0, [["late", "late"]], **(ARGS | changes))
    shapes = [
        {tap: tuple(feature.shape) for tap, feature in one.features.items()}
        for one in (batch.student, *batch.teachers)
    ]
    torch.manual_seed(4)
    loss.connect(shapes[0], tuple(shapes[1:]), 10)
    return loss


def parts(loss, batch):
    """The translator's factor, the paraphraser's, and the reconstruction, of the one teacher."""
    transfer = loss.transfers[0][0]
    factor = transfer.encoder(batch.teachers[0].features["late"])
    return transfer.translator(batch.student.features["late"]), factor, transfer.decoder(factor)


def test_value_of_two_positions_by_hand():
    # Squares (9, 16) have length sqrt(337), (1, 0) have length 1.
    student = torch.tensor([[[[3.0, -4.0]]]])
    teacher = torch.tensor([[[[2.0, 0.0]]]])
    length = math.sqrt(337)
    by_hand = (abs(9 / length - 1) + 16 / length) / 2
    assert float(ft(student, teacher)) == pytest.approx(by_hand)


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["name"])
def test_value_and_gradient_are_those_of_repdistiller(case):
    student = torch.tensor(case["student_factor"], requires_grad=True)
    value = ft(student, torch.tensor(case["teacher_factor"]))
    value.backward()
    torch.testing.assert_close(value, torch.tensor(case["value"]), rtol=1e-4, atol=1e-6)
    expected = torch.tensor(case["student_gradient"])
    torch.testing.assert_close(student.grad, expected, rtol=1e-4, atol=1e-6)


def test_agrees_with_the_definition_computed_by_numpy():
    student, teacher = torch.randn(3, 2, 4, 5), torch.randn(3, 6, 4, 5)
    energies = [(f.double().numpy() ** 2).mean(axis=1).reshape(3, -1) for f in (student, teacher)]
    first, second = (e / np.linalg.norm(e, axis=1, keepdims=True) for e in energies)
    assert float(ft(student, teacher)) == pytest.approx(np.abs(first - second).mean(), rel=1e-5)


def test_length_and_sign_of_a_factor_do_not_matter():
    student, teacher = torch.randn(3, 2, 4, 4), torch.randn(3, 5, 4, 4)
    torch.testing.assert_close(ft(-7 * student, teacher), ft(student, teacher))


def test_zero_and_finite_when_student_equals_teacher():
    factor = torch.randn(3, 4, 5, 5)
    student = factor.clone().requires_grad_()
    value = ft(student, factor)
    value.backward()
    assert float(value.detach()) == 0.0
    assert bool(torch.isfinite(student.grad).all())


@pytest.mark.parametrize("scale", [0.0, 1e-6, 1e3])
def test_factors_of_any_length_are_finite(scale):
    student = (scale * torch.ones(1, 2, 3, 3)).half().requires_grad_()
    value = ft(student, torch.randn(1, 2, 3, 3).half())
    value.backward()
    assert value.dtype == torch.float32
    assert bool(torch.isfinite(value))
    assert bool(torch.isfinite(student.grad).all())


def test_factors_must_be_maps_of_one_batch():
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(2, 3, 4, 4\).*maps"):
        ft(torch.zeros(2, 3), torch.zeros(2, 3, 4, 4))
    with pytest.raises(ValueError, match="the same B samples"):
        ft(torch.zeros(1, 3, 4, 4), torch.zeros(2, 3, 4, 4))


@pytest.mark.parametrize(
    ("name", "wrong"), [("rate", 0.0), ("warmup_epochs", -1), ("reconstruction_weight", 0.0)]
)
def test_numbers_out_of_range_are_refused(name, wrong):
    with pytest.raises(ValueError, match=f"{name}: must be .*got {wrong}"):
        FT(1.0, "auto", **(ARGS | {name: wrong}))


@pytest.mark.parametrize(("rate", "channels"), [(0.5, 4), (2.0, 16), (0.01, 1)])
def test_the_rate_sets_the_channels_of_both_factors(rate, channels):
    batch = batch_of(torch.randn(2, 3, 4, 4), torch.randn(2, 8, 4, 4))
    translated, factor, reconstruction = parts(connected(batch, rate=rate), batch)
    assert translated.shape == factor.shape == (2, channels, 4, 4)
    assert reconstruction.shape == (2, 8, 4, 4)


def test_after_the_warm_up_the_term_is_the_distance_plus_the_weighted_reconstruction():
    batch = batch_of(torch.randn(2, 3, 4, 4), torch.randn(2, 8, 4, 4))
    loss = connected(batch).eval()
    translated, factor, reconstruction = parts(loss, batch)
    error = F.mse_loss(reconstruction, batch.teachers[0].features["late"])
    torch.testing.assert_close(loss(batch), ft(translated, factor) + 0.25 * error)


@pytest.mark.parametrize(("epoch", "learns"), [(0.0, False), (1.99, False), (2.0, True)])
def test_the_student_learns_after_the_warm_up_and_the_paraphraser_throughout(epoch, learns):
    student = torch.randn(2, 3, 4, 4, requires_grad=True)
    batch = batch_of(student, torch.randn(2, 8, 4, 4), epoch=epoch)
    loss = connected(batch)
    loss(batch).backward()
    assert (float(student.grad.abs().sum()) > 0) is learns
    transfer = loss.transfers[0][0]
    taught = [*transfer.encoder.parameters(), *transfer.decoder.parameters()]
    assert all(float(parameter.grad.abs().sum()) > 0 for parameter in taught)


def test_the_paraphraser_learns_from_its_reconstruction_alone():
    batch = batch_of(torch.randn(2, 3, 4, 4), torch.randn(2, 8, 4, 4))
    other = replace(batch, student=Output(batch.student.logits, {"late": torch.ones(2, 3, 4, 4)}))
    gradients = []
    for one in (batch, other, replace(batch, epoch=0.0)):
        loss = connected(batch)
        weights = list(loss.transfers[0][0].encoder.parameters())
        gradients.append(torch.autograd.grad(loss(one), weights))
    torch.testing.assert_close(gradients[0], gradients[1])
    torch.testing.assert_close(gradients[0], gradients[2])


def test_the_reconstruction_gets_better():
    maps = torch.rand(16, 8, 4, 4)
    batch = batch_of(torch.randn(16, 3, 4, 4), maps, epoch=0.0)
    loss = connected(batch, rate=1.0, reconstruction_weight=1.0)
    before = loss(batch).detach()
    weights = [
        *loss.transfers[0][0].encoder.parameters(),
        *loss.transfers[0][0].decoder.parameters(),
    ]
    for _ in range(30):
        gradients = torch.autograd.grad(loss(batch), weights)
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients, strict=True):
                weight -= 0.5 * gradient
    assert float(loss(batch).detach()) < 0.7 * float(before)


def test_a_batch_of_one_1x1_map_is_finite():
    student = torch.randn(1, 3, 1, 1, requires_grad=True)
    batch = batch_of(student, torch.randn(1, 8, 1, 1))
    value = connected(batch)(batch)
    value.backward()
    assert bool(torch.isfinite(value))
    assert bool(torch.isfinite(student.grad).all())


def test_several_teachers_count_by_their_mean():
    student, first, second = torch.randn(3, 2, 4, 5, 5).unbind()
    single = [batch_of(student, teacher) for teacher in (first, second)]
    both = batch_of(student, first, second)
    expected = sum(connected(batch)(batch) for batch in single) / 2
    torch.testing.assert_close(connected(both)(both), expected)
