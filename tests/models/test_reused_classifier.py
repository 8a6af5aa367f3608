from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from distill_lab.contracts import Component, DataInfo
from distill_lab.knowledge.taps import classifier_of, default_taps, forward_with_taps, tap_shapes
from distill_lab.measure.cost import count_macs, count_parameters
from distill_lab.models.reused_classifier import ReusedClassifier, with_classifier_of
from distill_lab.training.supervised import Supervised

INFO = DataInfo("tiny", (1, 8, 8), 3, ("a", "b", "c"), (0.5,), (0.5,))
VIT = {"patch_size": 4, "dim": 6, "depth": 1, "num_heads": 1, "mlp_ratio": 1.0, "dropout": 0.0}


def cnn(*channels):
    knobs = {"convs_per_block": 1, "kernel_size": 3, "dropout": 0.0}
    return Component("distill_lab.models.cnn.CNN", {"channels": list(channels)} | knobs)


def mlp(*widths, max_norm=None):
    knobs = {"dropout": 0.0, "input_dropout": 0.0, "max_norm": max_norm}
    return Component("distill_lab.models.mlp.MLP", {"widths": list(widths)} | knobs)


def vit(distillation_token=False):
    return Component("distill_lab.models.vit.ViT", VIT | {"distillation_token": distillation_token})


def made(teacher, student, seed=0):
    torch.manual_seed(seed)
    return with_classifier_of(teacher, student).make_network(INFO)


def images(num=4, seed=0):
    return torch.randn(num, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def reusing(teacher=None, student=None):
    """A trained teacher (its weights are drawn) and a student that has its classifier."""
    teacher, student = teacher or cnn(6, 8), student or cnn(2, 4)
    torch.manual_seed(9)
    trained = teacher.make_network(INFO)
    net = made(teacher, student)
    net.reuse(trained)
    return net, trained


@pytest.mark.parametrize(
    ("teacher", "student"), [(cnn(6, 8), cnn(2, 4)), (mlp(5), mlp(3)), (vit(), cnn(2, 4))]
)
def test_logits_are_what_the_teachers_classifier_says_to_the_projected_feature(teacher, student):
    net, trained = reusing(teacher, student)
    said = forward_with_taps(net.eval(), images(), ["projector"])
    projected = said.features["projector"]
    vectors = projected.mean(dim=(2, 3)) if projected.ndim == 4 else projected
    torch.testing.assert_close(said.logits, trained.classifier(vectors))


def test_a_student_whose_feature_is_the_teachers_says_what_the_teacher_says():
    net, trained = reusing()
    seen = forward_with_taps(trained.eval(), images(), [net.aligned_taps[1]])
    feature = seen.features[net.aligned_taps[1]]
    torch.testing.assert_close(net.classifier(net.pool(feature)), seen.logits)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "dot"])
def test_a_frozen_classifier_stays_as_it_is_while_the_rest_is_trained(train, regime, optimizer):
    net, trained = reusing()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    under = regime(optimizer=optimizer, weight_decay=0.1, lr=0.05, ema_decay=0.9)
    after = train(Supervised(net, under, 3, seed=0)).net.state_dict()
    for key, value in trained.classifier.state_dict().items():
        assert torch.equal(after[f"classifier.{key}"], value)
    moved = [key for key in before if not torch.equal(before[key], after[key])]
    assert {key.partition(".")[0] for key in moved} == {"encoder", "projector"}


def test_without_reuse_the_classifier_is_trained_too(train, regime):
    net = made(cnn(6, 8), cnn(2, 4))
    before = net.classifier.weight.detach().clone()
    after = train(Supervised(net, regime(), 3, seed=0)).net
    assert not torch.equal(after.classifier.weight, before)


def test_the_teacher_is_left_as_it_was():
    net, trained = reusing()
    assert all(weight.requires_grad for weight in trained.parameters())
    assert net.classifier.weight is not trained.classifier.weight


def test_a_new_network_is_in_training_mode_throughout():
    assert all(module.training for module in made(cnn(6, 8), cnn(2, 4)).modules())


def test_it_is_rebuilt_from_json_and_takes_its_weights():
    net, _ = reusing()
    component = with_classifier_of(cnn(6, 8), cnn(2, 4))
    plain = json.loads(json.dumps({"target": component.target, "args": component.args}))
    again = Component(**plain).make_network(INFO)
    again.load_state_dict(net.state_dict())
    assert torch.equal(again.eval()(images()), net.eval()(images()))


def test_its_cost_is_that_of_encoder_projector_and_classifier():
    net = made(cnn(6, 8), cnn(2, 4))
    # Encoder: 9 * 2 and 9 * 2 * 4 weights. Projector, middle 8 / 2 = 4: 4 * 4, 9 * 4 * 4 and 4 * 8.
    encoder, projector, norms = 18 + 72, 16 + 144 + 32, 2 * (2 + 4 + 4 + 4 + 8)
    assert count_parameters(net) == encoder + projector + norms + (8 + 1) * 3
    # The first convolution sees 8 x 8 positions, all others 4 x 4.
    assert count_macs(net, INFO.input_shape) == 64 * 18 + 16 * (72 + projector) + 8 * 3


def test_maps_larger_than_the_teachers_are_averaged_before_they_are_projected():
    net, trained = reusing(cnn(4, 6, 8), cnn(2, 4))
    assert net.aligned_taps == ("projector", "pool:input")
    shapes = tap_shapes(net, INFO.input_shape, ["encoder", "projector"])
    assert shapes == {"encoder": (2, 4, 4, 4), "projector": (2, 8, 2, 2)}
    assert tap_shapes(trained, INFO.input_shape, ["pool:input"])["pool:input"] == (2, 8, 2, 2)


def test_maps_smaller_than_the_teachers_keep_their_size():
    net = made(cnn(6, 8), cnn(2, 3, 4))
    assert tap_shapes(net, INFO.input_shape, ["projector"])["projector"] == (2, 8, 2, 2)


@pytest.mark.parametrize(
    ("teacher", "student"),
    [(mlp(8), cnn(2, 4)), (cnn(6, 8), mlp(4)), (vit(), mlp(4)), (cnn(6, 8), vit())],
)
def test_vectors_are_projected_where_not_both_networks_pool_maps(teacher, student):
    net, trained = reusing(teacher, student)
    ours, theirs = net.aligned_taps
    assert (ours, theirs) == ("projector", "classifier:input")
    shape = tap_shapes(net, INFO.input_shape, [ours])[ours]
    assert shape == tap_shapes(trained, INFO.input_shape, [theirs])[theirs]


def test_taps_are_the_encoders_without_its_pool_and_then_the_projector():
    net = made(cnn(6, 8), cnn(2, 4))
    assert default_taps(net) == ["encoder.blocks.0", "encoder.blocks.1", "projector"]
    over_vectors = made(mlp(8), cnn(2, 4))
    assert default_taps(over_vectors)[-2:] == ["encoder.pool", "projector"]
    assert classifier_of(net) is net.classifier
    assert len(tap_shapes(net, INFO.input_shape, default_taps(net))) == 3


def test_a_student_of_this_kind_can_be_the_next_teacher():
    first = with_classifier_of(cnn(6, 8), cnn(2, 4))
    net, trained = reusing(first, cnn(2, 2))
    assert torch.equal(net.classifier.weight, trained.classifier.weight)
    assert tap_shapes(trained, INFO.input_shape, ["pool:input"])["pool:input"] == (2, 8, 4, 4)


def test_the_encoders_limits_hold():
    net = made(mlp(8), mlp(4, max_norm=0.1))
    net.constrain()
    assert float(net.encoder.hidden[0][0].weight.norm(dim=1).max().detach()) <= 0.1001
    made(cnn(6, 8), cnn(2, 4)).constrain()  # has none


@pytest.mark.parametrize(("teacher", "student"), [(vit(True), cnn(2)), (cnn(2), vit(True))])
def test_a_network_whose_logits_come_from_elsewhere_too_is_refused(teacher, student):
    with pytest.raises(ValueError, match=r"^ViT .* does not end in a linear layer `classifier`"):
        made(teacher, student)


def test_a_pool_with_weights_is_not_reused():
    component = with_classifier_of(Component(f"{__name__}.Weighted"), cnn(2, 4))
    assert component.make_network(INFO).aligned_taps == ("projector", "classifier:input")


class Weighted(nn.Module):
    """Its pool learns which channels count."""

    def __init__(self, *, input_shape, num_classes):
        super().__init__()
        self.pool = nn.Sequential(nn.Conv2d(1, 1, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(1, num_classes, bias=False)

    def forward(self, inputs):
        return self.classifier(self.pool(inputs))


def test_a_classifier_without_bias_is_reused_without():
    torch.manual_seed(0)
    trained = Weighted(input_shape=INFO.input_shape, num_classes=3)
    net = with_classifier_of(Component(f"{__name__}.Weighted"), cnn(2)).make_network(INFO)
    net.reuse(trained)
    assert net.classifier.bias is None


def test_a_reduction_below_one_is_refused_and_one_above_the_width_leaves_a_channel():
    args = with_classifier_of(cnn(6, 8), cnn(2, 4)).args
    shapes = {"input_shape": INFO.input_shape, "num_classes": 3}
    with pytest.raises(ValueError, match="reduction: must be >= 1, got 0"):
        ReusedClassifier(**shapes, **args | {"reduction": 0})
    net = ReusedClassifier(**shapes, **args | {"reduction": 100})
    assert net(images()).shape == (4, 3)


def test_a_label_names_both_networks():
    label = with_classifier_of(mlp(8), mlp(4)).label
    assert label == "ReusedClassifier student=(MLP widths=[4]) teacher=(MLP widths=[8]) reduction=2"
