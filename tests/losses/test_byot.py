from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from scipy.special import log_softmax, rel_entr, softmax
from torch import nn

from distill_lab.contracts import Component, DistillBatch
from distill_lab.knowledge.taps import forward_with_taps
from distill_lab.losses.byot import BYOT, Exit, byot
from distill_lab.models.cnn import CNN
from distill_lab.training.connect import connected_objective

ARGUMENTS = {
    "weight": 1.0,
    "exits": "auto",
    "label_weight": 0.7,
    "divergence_weight": 0.3,
    "hint_weight": 0.03,
    "temperature": 3.0,
}
WEIGHTS = (0.7, 0.3, 0.03)
CLASSIFIER = nn.Linear(6, 5)


def small_net():
    torch.manual_seed(3)
    return CNN(
        input_shape=(3, 8, 8),
        num_classes=5,
        channels=[4, 6],
        convs_per_block=1,
        kernel_size=3,
        dropout=0.0,
    )


def objective(net, seed=0, **changes):
    term = Component("distill_lab.losses.byot.BYOT", ARGUMENTS | changes)
    return connected_objective({"byot": term}, net, [], (3, 8, 8), 10, seed)


def connected(shapes, **changes):
    loss = BYOT(**(ARGUMENTS | changes))
    loss.see_student(nn.Identity(), list(shapes), CLASSIFIER)
    loss.connect(shapes, (), 10)
    return loss


def batch_from(net, loss, num_samples=6):
    inputs = torch.randn(num_samples, 3, 8, 8)
    said = forward_with_taps(net, inputs, list(loss.needs.student))
    index = torch.arange(num_samples)
    return DistillBatch(said, (), index % 5, index, 4.0, inputs=inputs)


def test_value_of_two_classes_by_hand():
    # T = 2. Exit's logits 0, 0: CE = ln 2. Student's logits 2 ln 3, 0, softened 3/4, 1/4:
    # KL = 3/4 ln(3/2) + 1/4 ln(1/2), times 4. Features differ by 1 and 3: mean square 5.
    value = byot(
        torch.zeros(1, 2),
        torch.tensor([[1.0, 0.0]]),
        torch.tensor([[2 * math.log(3.0), 0.0]]),
        torch.tensor([[2.0, 3.0]]),
        torch.tensor([0]),
        2.0,
        0.5,
        0.25,
        0.1,
    )
    divergence = 4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    by_hand = 0.5 * math.log(2) + 0.25 * divergence + 0.1 * 5
    assert float(value) == pytest.approx(by_hand, rel=1e-6)


def test_agrees_with_scipy():
    torch.manual_seed(1)
    (early, last), (own, hint) = 3 * torch.randn(2, 7, 5), torch.randn(2, 7, 9)
    targets = torch.arange(7) % 5
    x, s = early.double().numpy(), last.double().numpy()
    labels = -log_softmax(x, axis=1)[range(7), targets.numpy()].mean()
    divergence = 9 * rel_entr(softmax(s / 3, axis=1), softmax(x / 3, axis=1)).sum(axis=1).mean()
    square = ((own - hint).double().numpy() ** 2).mean()
    value = byot(early, own, last, hint, targets, 3.0, *WEIGHTS)
    assert float(value) == pytest.approx(0.7 * labels + 0.3 * divergence + 0.03 * square, rel=1e-5)


def test_zero_without_labels_when_the_exit_says_what_the_student_says():
    logits, feature = torch.randn(4, 5), torch.randn(4, 9)
    value = byot(logits, feature, logits, feature, torch.arange(4), 3.0, 0.0, 0.3, 0.03)
    torch.testing.assert_close(value, torch.tensor(0.0), rtol=0, atol=1e-6)


def test_gradient_is_that_of_finite_differences_and_reaches_the_exit_alone():
    early, own = torch.randn(4, 5).double(), torch.randn(4, 9).double()
    last, hint = torch.randn(4, 5).double(), torch.randn(4, 9).double()
    given = [tensor.requires_grad_() for tensor in (early, own, last, hint)]
    byot(*given, torch.arange(4), 3.0, *WEIGHTS).backward()
    assert [tensor.grad is None for tensor in given] == [False, False, True, True]
    constants = (last.detach(), hint.detach(), torch.arange(4), 3.0, *WEIGHTS)
    assert torch.autograd.gradcheck(lambda a, b: byot(a, b, *constants), (early, own))


def test_labels_may_be_probabilities():
    (early, last), (own, hint) = torch.randn(2, 4, 5), torch.randn(2, 4, 9)
    one_hot = torch.eye(5)[:4]
    value = byot(early, own, last, hint, one_hot, 3.0, *WEIGHTS)
    torch.testing.assert_close(value, byot(early, own, last, hint, torch.arange(4), 3.0, *WEIGHTS))


@pytest.mark.parametrize(("classes", "width"), [(4, 9), (5, 8)])
def test_exit_and_student_must_have_equal_shapes(classes, width):
    early, own = torch.zeros(2, classes), torch.zeros(2, width)
    with pytest.raises(ValueError, match=r"of the exit are .* shapes must be equal"):
        byot(early, own, torch.zeros(2, 5), torch.zeros(2, 9), torch.arange(2), 3.0, *WEIGHTS)


@pytest.mark.parametrize("shape", [(3, 8, 8), (3, 2, 1), (3, 1, 1), (7, 3), (3,)])
@pytest.mark.parametrize("num_samples", [1, 4])
def test_an_exit_reads_any_layer_in_a_batch_of_any_size(shape, num_samples):
    layer = Exit((2, *shape), width=6, num_classes=5)
    feature = torch.randn(num_samples, *shape, requires_grad=True)
    logits, own = layer(feature)
    assert logits.shape == (num_samples, 5)
    assert own.shape == (num_samples, 6)
    logits.sum().backward()
    assert bool(torch.isfinite(feature.grad).all())


def test_an_exit_halves_maps_and_normalises_them_before_the_mean():
    layer, maps = Exit((2, 3, 8, 8), width=6, num_classes=5), torch.randn(4, 3, 8, 8)
    convolved = nn.functional.conv2d(maps, layer.layer.weight, stride=2, padding=1)
    assert convolved.shape == (4, 6, 4, 4)
    mean, var = convolved.mean(dim=(0, 2, 3)), convolved.var(dim=(0, 2, 3), unbiased=False)
    normal = (convolved - mean[:, None, None]) / (var[:, None, None] + 1e-5).sqrt()
    own = normal.clamp(min=0).mean(dim=(2, 3))
    logits, found = layer(maps)
    torch.testing.assert_close(found, own)
    torch.testing.assert_close(logits, layer.classifier(own))


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 3, 1, 1)])
def test_no_convolution_of_one_pixel_has_a_stride(shape):
    layer = Exit(shape, width=6, num_classes=5).layer
    assert layer.kernel_size == (3, 3) or layer.stride == (1, 1)


def test_auto_takes_every_layer_that_can_be_read_but_the_last():
    shapes = {"a": (2, 4, 8, 8), "b": (2,), "c": (2, 7, 4), "d": (2, 4), "e": (2, 6, 2, 2)}
    loss = connected(shapes)
    assert loss.needs.student == ("a", "c", "d", "e")
    assert [layer.classifier.in_features for layer in loss.exits] == [6, 6, 6]


def test_named_layers_have_the_exits():
    loss = connected({"a": (2, 4, 8, 8), "b": (2, 4, 4, 4), "e": (2, 7, 6)}, exits=["b"])
    assert loss.needs.student == ("b", "e")
    assert len(loss.exits) == 1


@pytest.mark.parametrize(
    ("shapes", "exits"),
    [
        ({"only": (2, 6)}, "auto"),
        ({"a": (2,), "e": (2, 6)}, "auto"),
        ({"a": (2,), "e": (2, 6)}, ["a"]),
        ({"a": (2, 6), "e": (2, 6)}, ["a", "e"]),
        ({"a": (2, 6), "e": (2, 6, 2, 2, 2)}, "auto"),
    ],
)
def test_layers_that_cannot_have_an_exit_are_refused(shapes, exits):
    with pytest.raises(ValueError, match=r"exits: must be layers before the last one"):
        connected(shapes, exits=exits)


def test_a_student_without_a_linear_classifier_is_refused():
    loss = BYOT(**ARGUMENTS)
    with pytest.raises(ValueError, match=r"exits: need .* classifier None"):
        loss.see_student(nn.Identity(), ["a", "b"], None)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("exits", []),
        ("label_weight", -0.1),
        ("divergence_weight", -0.1),
        ("hint_weight", -0.1),
        ("temperature", 0.0),
    ],
)
def test_arguments_out_of_range_are_refused(key, value):
    with pytest.raises(ValueError, match=f"{key}: must be"):
        BYOT(**(ARGUMENTS | {key: value}))


def test_term_is_the_sum_over_exits_with_the_mean_of_the_last_layer_as_hint():
    net = small_net()
    loss = objective(net, exits=["blocks.0", "blocks.1"]).losses["byot"]
    batch = batch_from(net, loss)
    said = batch.student.features
    assert set(said) == {"blocks.0", "blocks.1", "pool"}
    expected = 0.0
    for tap, layer in zip(("blocks.0", "blocks.1"), loss.exits, strict=True):
        logits, own = layer(said[tap])
        hint = said["blocks.1"].mean(dim=(2, 3))  # what the pool says
        expected += byot(logits, own, batch.student.logits, hint, batch.targets, 3.0, *WEIGHTS)
    torch.testing.assert_close(loss(batch), expected)


def test_gradient_reaches_the_layers_under_the_exits_and_neither_output_nor_last_layer():
    net = small_net()
    loss = objective(net, exits=["blocks.0"], label_weight=0.0).losses["byot"]
    loss(batch_from(net, loss)).backward()
    assert all(float(p.grad.abs().sum()) > 0 for p in net.blocks[0].parameters())
    assert all(p.grad is None for p in net.blocks[1].parameters())
    assert all(p.grad is None for p in net.classifier.parameters())
    assert all(p.grad is not None for p in loss.parameters())


def test_exits_depend_on_the_seed_alone_and_leave_the_student_as_it_is():
    net = small_net()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    torch.manual_seed(8)
    one = objective(net)
    torch.manual_seed(9)
    other = objective(net)
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert before.keys() == net.state_dict().keys()
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_the_order_of_the_samples_does_not_matter():
    net = small_net()
    loss = objective(net).losses["byot"]
    batch = batch_from(net, loss)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    features = {tap: feature[order] for tap, feature in batch.student.features.items()}
    student = replace(batch.student, logits=batch.student.logits[order], features=features)
    permuted = replace(batch, student=student, targets=batch.targets[order])
    torch.testing.assert_close(loss(permuted), loss(batch))
