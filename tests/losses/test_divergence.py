from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from scipy.special import rel_entr

from distill_lab.losses.divergence import kl_divergence


def log_softmax(seed, *shape, temperature=1.0):
    logits = 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return F.log_softmax(logits / temperature, dim=-1), F.log_softmax(
        logits.double() / temperature, dim=-1
    )


def test_a_value_worked_by_hand():
    student, teacher = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.25, 0.75]]).log()
    by_hand = 0.25 * torch.tensor(0.5).log() + 0.75 * torch.tensor(1.5).log()
    torch.testing.assert_close(kl_divergence(student, teacher), by_hand[None])


@pytest.mark.parametrize("shape", [(5, 7), (2, 5, 7)])
def test_it_is_the_relative_entropy_of_scipy(shape):
    (_, student), (_, teacher) = log_softmax(1, *shape), log_softmax(2, *shape)
    expected = rel_entr(teacher.exp().numpy(), student.exp().numpy()).sum(axis=-1)
    torch.testing.assert_close(kl_divergence(student, teacher), torch.from_numpy(expected))


def test_several_teachers_are_broadcast():
    (_, student), (_, teachers) = log_softmax(1, 5, 7), log_softmax(2, 3, 5, 7)
    each = torch.stack([kl_divergence(student, teacher) for teacher in teachers])
    torch.testing.assert_close(kl_divergence(student, teachers), each)


def test_float32_is_exact_where_both_are_nearly_uniform():
    student, student64 = log_softmax(1, 64, 100, temperature=20.0)
    teacher, teacher64 = log_softmax(2, 64, 100, temperature=20.0)
    exact = (teacher64.exp() * (teacher64 - student64)).sum(dim=1)
    torch.testing.assert_close(kl_divergence(student, teacher).double(), exact, rtol=3e-6, atol=0.0)


def test_it_is_zero_at_match_and_never_negative_beside_it():
    student, _ = log_softmax(1, 64, 1000, temperature=50.0)
    assert bool((kl_divergence(student, student) == 0).all())
    near = F.log_softmax(student + 1e-4 * torch.randn(student.shape), dim=1)
    assert float(kl_divergence(near, student).min()) > -1e-9


def test_a_class_that_one_of_them_excludes_is_finite():
    logits = torch.tensor([[1000.0, 0.0, -1000.0]])
    student, teacher = F.log_softmax(logits, dim=1), F.log_softmax(-logits, dim=1)
    assert float(kl_divergence(student, teacher)) == pytest.approx(2000.0)
