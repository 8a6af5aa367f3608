from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from distill_lab.contracts import DistillBatch, Output
from distill_lab.losses.info_nce import InfoNCE, info_nce


def test_value_of_two_samples_by_hand():
    # Cosines 1 with the own partner and 0 with the other; at temperature 1/ln 3 the odds are 3 : 1.
    value = info_nce(torch.eye(2), 5 * torch.eye(2), 1 / math.log(3))
    assert float(value) == pytest.approx(math.log(4 / 3), rel=1e-5)


def test_agrees_with_scipy():
    student, teacher = torch.randn(6, 4), torch.randn(6, 4)
    a, b = (x.double().numpy() for x in (student, teacher))
    lengths = np.outer(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1))
    scores = (a @ b.T) / lengths / 0.1
    rows, columns = (np.diag(log_softmax(scores, axis=axis)).mean() for axis in (0, 1))
    assert float(info_nce(student, teacher, 0.1)) == pytest.approx(-(rows + columns) / 2, rel=1e-4)


def test_the_sides_can_be_exchanged():
    student, teacher = torch.randn(6, 4), torch.randn(6, 4)
    torch.testing.assert_close(info_nce(teacher, student, 0.1), info_nce(student, teacher, 0.1))


def test_log_of_the_batch_size_when_all_embeddings_agree():
    same = torch.ones(6, 4)
    assert float(info_nce(same, same, 0.07)) == pytest.approx(math.log(6), rel=1e-5)


def test_a_batch_of_one_is_zero_with_a_gradient():
    student = torch.randn(1, 4, requires_grad=True)
    value = info_nce(student, torch.randn(1, 4), 0.07)
    value.backward()
    assert float(value.detach()) == 0.0
    assert bool((student.grad == 0).all())


def test_a_vector_of_zeros_points_nowhere_and_has_a_small_gradient():
    student = torch.zeros(3, 4, dtype=torch.float16, requires_grad=True)
    info_nce(student, torch.eye(3, 4), 0.1).backward()
    assert not bool(student.grad.any())


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(2, 4\).*Project them"):
        info_nce(torch.zeros(2, 3), torch.zeros(2, 4), 0.07)


def test_temperature_must_be_above_zero():
    with pytest.raises(ValueError, match="temperature must be > 0, got 0"):
        info_nce(torch.zeros(2, 3), torch.zeros(2, 3), 0.0)


@pytest.mark.parametrize(
    ("name", "value", "must"), [("dimension", 0, ">= 1"), ("contrast_temperature", 0.0, "> 0")]
)
def test_arguments_out_of_range_are_named(name, value, must):
    arguments = {"weight": 0.8, "pairs": "auto", "dimension": 8, "contrast_temperature": 0.07}
    with pytest.raises(ValueError, match=f"{name}: must be {must}, got {value}"):
        InfoNCE(**(arguments | {name: value}))


def test_term_compares_linear_projections_of_pooled_features():
    loss = InfoNCE(weight=0.8, pairs=[["a", "b"]], dimension=5, contrast_temperature=0.2)
    student, teacher = torch.randn(4, 3, 2, 2), torch.randn(4, 6)
    loss.connect({"a": tuple(student.shape)}, ({"b": tuple(teacher.shape)},), 100)
    batch = DistillBatch(
        Output(torch.zeros(4, 2), {"a": student}),
        (Output(torch.zeros(4, 2), {"b": teacher}),),
        torch.zeros(4, dtype=torch.int64),
        torch.arange(4),
        4.0,
    )
    first, last = loss.student_projections.parameters()
    other, shift = loss.teacher_projections.parameters()
    projected = student.mean(dim=(2, 3)) @ first.T + last
    expected = info_nce(projected, teacher @ other.T + shift, 0.2)
    torch.testing.assert_close(loss(batch), expected)
