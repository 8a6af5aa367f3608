from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from distill_lab.contracts import DistillBatch, Output
from distill_lab.losses.crd import CRD, crd

NUM_SAMPLES = 40
CLASSES = torch.arange(NUM_SAMPLES) % 4
ARGUMENTS = {
    "weight": 0.8,
    "pairs": [["a", "b"]],
    "dimension": 8,
    "num_negatives": 16,
    "contrast_temperature": 0.07,
    "momentum": 0.5,
}


def connected(seed=1, teachers=1, **changes):
    torch.manual_seed(seed)
    loss = CRD(**(ARGUMENTS | changes))
    loss.connect({"a": (2, 5)}, ({"b": (2, 6, 4, 4)},) * teachers, NUM_SAMPLES)
    return loss


def batch(start, num_samples=8):
    torch.manual_seed(100 + start)
    index = torch.arange(start, start + num_samples) % NUM_SAMPLES
    student = Output(torch.zeros(num_samples, 4), {"a": torch.randn(num_samples, 5)})
    student.features["a"].requires_grad_()
    teacher = Output(torch.zeros(num_samples, 4), {"b": torch.randn(num_samples, 6, 4, 4)})
    return DistillBatch(student, (teacher,), CLASSES[index], index, 4.0)


def test_value_of_one_own_and_two_drawn_partners_by_hand():
    # K/N = 2/4. Own: P = 1, h = 1 / 1.5 = 2/3. Drawn: P = 1/2, h = 1/2; P = 1/4, h = 1/3.
    # -(ln 2/3 + ln 1/2 + ln 2/3) = 2 ln 3/2 + ln 2 = ln 9/2.
    negative = torch.tensor([[0.5, 0.25]]).log()
    assert float(crd(torch.zeros(1), negative, 4)) == pytest.approx(math.log(4.5), rel=1e-5)


def test_agrees_with_probabilities_in_numpy():
    positive, negative = torch.randn(5), torch.randn(5, 7)
    own, others = np.exp(positive.double().numpy()), np.exp(negative.double().numpy())
    noise = 7 / 30
    expected = -np.log(own / (own + noise)) - np.log(noise / (others + noise)).sum(axis=1)
    assert float(crd(positive, negative, 30)) == pytest.approx(expected.mean(), rel=1e-4)


def test_the_order_of_the_negatives_does_not_matter():
    positive, negative = torch.randn(5), torch.randn(5, 7)
    torch.testing.assert_close(crd(positive, negative.flip(1), 30), crd(positive, negative, 30))


def test_extreme_scores_give_a_finite_value_and_gradient():
    positive = torch.tensor([-1e3, 1e3], requires_grad=True)
    value = crd(positive, torch.tensor([[1e3], [-1e3]]), 10)
    value.backward()
    assert bool(torch.isfinite(value))
    assert bool(torch.isfinite(positive.grad).all())


@pytest.mark.parametrize("negative", [(3, 2), (2, 0), (2,)])
def test_scores_must_go_together(negative):
    with pytest.raises(ValueError, match=r"\(2,\).*\(B, K\) with K >= 1"):
        crd(torch.zeros(2), torch.zeros(negative), 10)


def test_first_value_is_that_of_the_definition_and_sets_z():
    loss = connected()
    contrast = loss.contrasts[0][0]
    one = batch(0)
    labels = loss.labels.index_copy(0, one.index, one.targets)
    negatives = loss._negatives(labels, one.targets, one.index)
    banks = contrast.student_bank.clone(), contrast.teacher_bank.clone()
    value = loss(one).detach()
    rows = torch.cat([one.index[:, None], negatives], dim=1)
    vectors = one.student.features["a"], one.teachers[0].features["b"].mean(dim=(2, 3))
    embeddings = [
        torch.nn.functional.normalize(embed(vector), dim=1).detach()
        for embed, vector in zip(
            (contrast.student_embedding, contrast.teacher_embedding), vectors, strict=True
        )
    ]
    expected = 0.0
    for number, (embedding, bank) in enumerate(zip(embeddings, banks[::-1], strict=True)):
        scores = torch.einsum("bd,bkd->bk", embedding, bank[rows]) / 0.07
        z = scores.exp().mean() * NUM_SAMPLES
        assert float(contrast.log_normalisers[number]) == pytest.approx(math.log(z), rel=1e-4)
        p = scores.exp() / z
        noise = 16 / NUM_SAMPLES
        chosen = (p[:, 0] / (p[:, 0] + noise)).log()
        expected -= (chosen + (noise / (p[:, 1:] + noise)).log().sum(dim=1)).mean()
    torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)


def test_the_memory_moves_after_the_value_towards_the_embedding():
    loss = connected(momentum=0.25)
    contrast = loss.contrasts[0][0]
    one = batch(3)
    before = contrast.student_bank.clone()
    loss(one)
    embedding = contrast.student_embedding(one.student.features["a"]).detach()
    unit = embedding / embedding.norm(dim=1, keepdim=True)
    moved = 0.25 * before[one.index] + 0.75 * unit
    expected = before.clone()
    expected[one.index] = moved / moved.norm(dim=1, keepdim=True)
    torch.testing.assert_close(contrast.student_bank, expected)


def test_z_is_set_once():
    loss = connected()
    loss(batch(0))
    first = loss.contrasts[0][0].log_normalisers.clone()
    loss(batch(8))
    assert torch.equal(loss.contrasts[0][0].log_normalisers, first)


@pytest.mark.parametrize("how", ["eval", "no gradient"])
def test_nothing_is_learnt_outside_of_training(how):
    loss = connected()
    loss(batch(0))
    before = {key: value.clone() for key, value in loss.state_dict().items()}
    one = batch(8)
    if how == "eval":
        loss.eval()
    else:
        one.student.features["a"].requires_grad_(False)
    torch.testing.assert_close(loss(one), loss(one), rtol=0, atol=0)
    assert all(torch.equal(value, before[key]) for key, value in loss.state_dict().items())


def test_negatives_are_of_other_classes_and_equally_likely():
    loss = connected(num_negatives=10**6)
    assert loss._negatives(CLASSES, CLASSES[:2], torch.arange(2)).shape == (2, NUM_SAMPLES - 1)
    targets = torch.full((500,), 2)
    drawn = loss._negatives(CLASSES, targets, torch.arange(500) % NUM_SAMPLES)
    assert bool((CLASSES[drawn] != 2).all())
    counts = torch.bincount(drawn.flatten(), minlength=NUM_SAMPLES)[CLASSES != 2]
    expected = 500 * (NUM_SAMPLES - 1) / 30
    assert bool(((counts - expected).abs() < 6 * math.sqrt(expected)).all())


def test_a_sample_that_was_not_seen_may_be_a_negative_of_any_class():
    loss = connected()
    labels = torch.where(torch.arange(NUM_SAMPLES) < 8, CLASSES, -1)
    index = torch.zeros(500, dtype=torch.int64)
    drawn = loss._negatives(labels, index, index).unique()
    unseen = torch.arange(8, NUM_SAMPLES)
    assert bool(torch.isin(unseen, drawn).all())
    assert not bool(torch.isin(torch.tensor([0, 4]), drawn).any())


def test_samples_of_one_class_alone_are_contrasted_with_all_others():
    one, index = torch.zeros(NUM_SAMPLES, dtype=torch.int64), torch.tensor([0, 7, NUM_SAMPLES - 1])
    rows = connected(num_negatives=10**6)._negatives(one, one[:3], index)
    for own, drawn in zip(index.tolist(), rows, strict=True):
        assert own not in drawn
        assert drawn.unique().numel() > NUM_SAMPLES / 2


def test_a_low_temperature_has_a_finite_value_and_z():
    loss = connected(contrast_temperature=0.001)
    for start in (0, 8):
        assert bool(torch.isfinite(loss(batch(start))))
    assert bool(torch.isfinite(loss.contrasts[0][0].log_normalisers).all())


@pytest.mark.parametrize("wrong", [-1, NUM_SAMPLES])
def test_an_index_outside_the_training_samples_is_named(wrong):
    one = batch(0)
    index = one.index.clone()
    index[0] = wrong
    with pytest.raises(ValueError, match=rf"crd: index must be in \[0, {NUM_SAMPLES}\).*{wrong}"):
        connected()(replace(one, index=index))


def test_classes_are_learnt_as_samples_are_seen():
    loss = connected()
    loss(batch(4))
    seen = torch.arange(4, 12)
    assert torch.equal(loss.labels[seen], CLASSES[seen])
    assert int((loss.labels == -1).sum()) == NUM_SAMPLES - 8


def test_mixed_labels_count_as_the_likeliest_class():
    one = batch(0)
    mixed = 0.6 * torch.eye(4)[one.targets] + 0.4 * torch.eye(4)[one.targets.flip(0)]
    first, second = connected(), connected()
    torch.testing.assert_close(first(one), second(replace(one, targets=mixed)))


def test_a_resumed_training_goes_on_with_the_same_numbers():
    loss = connected(seed=1)
    for start in (0, 8, 16):
        loss(batch(start))
    again = connected(seed=2)
    again.load_state_dict(loss.state_dict())
    for start in (24, 0):
        torch.testing.assert_close(again(batch(start)), loss(batch(start)), rtol=0, atol=0)


def test_the_same_seed_gives_the_same_draws_whatever_else_is_drawn():
    first, second = connected(seed=3), connected(seed=3)
    value = first(batch(0))
    torch.rand(7)
    torch.testing.assert_close(second(batch(0)), value, rtol=0, atol=0)


def first_and_last(partner):
    """Mean value over epochs 1 and 12 of a student that is free to choose its features."""
    torch.manual_seed(0)
    features = torch.randn(NUM_SAMPLES, 6)
    student = torch.nn.Parameter(torch.randn(NUM_SAMPLES, 5))
    loss = connected()
    trained = [student, *loss.parameters()]
    epochs = []
    for _ in range(12):
        values = []
        for index in torch.randperm(NUM_SAMPLES).split(20):
            teacher = Output(torch.zeros(20, 4), {"b": features[partner(index)][:, :, None, None]})
            said = Output(torch.zeros(20, 4), {"a": student[index]})
            value = loss(DistillBatch(said, (teacher,), CLASSES[index], index, 4.0))
            gradients = torch.autograd.grad(value, trained)
            with torch.no_grad():
                for parameter, gradient in zip(trained, gradients, strict=True):
                    parameter -= 0.1 * gradient
            values.append(float(value.detach()))
        epochs.append(sum(values) / 2)
    return epochs[0], epochs[-1]


def test_the_value_falls_as_the_embeddings_come_to_agree():
    before, after = first_and_last(lambda index: index)
    _, shuffled = first_and_last(lambda index: torch.randint(NUM_SAMPLES, index.shape))
    assert after < 0.8 * before
    assert after < shuffled - 0.5


@pytest.mark.parametrize(
    ("name", "value", "must"),
    [
        ("dimension", 0, ">= 1"),
        ("num_negatives", 0, ">= 1"),
        ("contrast_temperature", 0.0, "> 0"),
        ("momentum", 1.0, r"in \[0, 1\)"),
    ],
)
def test_arguments_out_of_range_are_named(name, value, must):
    with pytest.raises(ValueError, match=f"{name}: must be {must}, got {value}"):
        CRD(**(ARGUMENTS | {name: value}))


def test_one_sample_has_nothing_to_be_contrasted_with():
    with pytest.raises(ValueError, match="needs 2 samples or more to contrast, got 1"):
        CRD(**ARGUMENTS).connect({"a": (1, 5)}, ({"b": (1, 6)},), 1)
