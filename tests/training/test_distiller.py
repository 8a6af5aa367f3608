from __future__ import annotations

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from distill_lab.contracts import DistillBatch
from distill_lab.losses.base import Loss, Needs
from distill_lab.losses.ce import CE
from distill_lab.losses.kd import KD
from distill_lab.losses.objective import Objective
from distill_lab.temperature import Constant, Linear
from distill_lab.training.balance import GradientBalance
from distill_lab.training.distiller import Distiller
from distill_lab.training.group import Group
from distill_lab.training.predict import predict_logits
from distill_lab.training.supervised import Supervised
from distill_lab.training.synced_norm import synced_batch_norms


class Hint(Loss):
    """Matches the first hidden layers through a regressor of its own."""

    @property
    def needs(self) -> Needs:
        return Needs(("hidden.0",), ("hidden.0",))

    def connect(self, student_shapes, teacher_shapes, num_samples):
        self.regressor = nn.Linear(student_shapes["hidden.0"][1], teacher_shapes[0]["hidden.0"][1])

    def forward(self, batch: DistillBatch):
        hint = batch.teachers[0].features["hidden.0"]
        return F.mse_loss(self.regressor(batch.student.features["hidden.0"]), hint)


class Recorder(KD):
    """Keeps the batches it is given."""

    def __init__(self, weight: float) -> None:
        super().__init__(weight)
        self.batches: list[DistillBatch] = []

    def forward(self, batch: DistillBatch):
        self.batches.append(batch)
        return super().forward(batch)


class Spy(nn.Module):
    """Keeps the inputs it is given and the mode it is in."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.inputs: list[torch.Tensor] = []
        self.modes: set[bool] = set()

    def forward(self, inputs):
        self.inputs.append(inputs)
        self.modes.add(self.net.training)
        return self.net(inputs)


def batch_norm_net() -> nn.Module:
    torch.manual_seed(5)
    return nn.Sequential(
        nn.Flatten(), nn.BatchNorm1d(64), nn.Dropout(0.5), nn.Linear(64, 6), nn.Linear(6, 3)
    )


@pytest.fixture
def distil(net_of, regime):
    """Makes a distiller of a fresh student; keywords change its parts or its regime."""

    def make(*teachers, terms=None, temperature=None, student=None, **changes) -> Distiller:
        return Distiller(
            student or net_of(),
            list(teachers),
            Objective(terms or {"kd": KD(weight=1.0)}),
            temperature or Constant(4.0),
            regime(**changes),
            num_classes=3,
            seed=0,
        )

    return make


def test_the_teacher_stays_in_eval_mode(distil):
    teacher = batch_norm_net().train()
    distiller = distil(teacher)
    assert distiller.train().net.training
    assert not any(module.training for module in teacher.modules())


def test_the_teacher_is_in_eval_mode_in_every_step(distil, train):
    spy = Spy(batch_norm_net())
    train(distil(spy))
    assert spy.modes == {False}


def test_the_teacher_is_in_neither_parameters_nor_state_nor_modules(distil):
    teacher = batch_norm_net()
    distiller = distil(teacher)
    own = {id(parameter) for parameter in teacher.parameters()}
    assert not own & {id(parameter) for parameter in distiller.parameters()}
    assert set(distiller.state_dict()) == {f"net.{key}" for key in distiller.net.state_dict()}
    assert teacher not in set(distiller.modules())


def test_the_optimizer_does_not_know_the_teacher(distil, train):
    teacher = batch_norm_net()
    distiller = distil(teacher)
    train(distiller)
    (group,) = distiller.trainer.optimizers[0].param_groups
    own = {id(parameter) for parameter in teacher.parameters()}
    assert not own & {id(parameter) for parameter in group["params"]}


def test_the_teacher_has_no_gradient_and_does_not_change(distil, train):
    teacher = batch_norm_net()
    before = deepcopy(teacher.state_dict())
    train(distil(teacher, weight_decay=0.1))
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    after = teacher.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_the_loss_gets_the_student_with_gradient_and_the_teachers_without(distil, train, net_of):
    recorder = Recorder(weight=1.0)
    train(distil(net_of(seed=1), net_of(seed=2), terms={"kd": recorder}, epochs=1, batch_size=16))
    assert len(recorder.batches) == 3
    for batch in recorder.batches:
        assert batch.student.logits.requires_grad
        assert [teacher.logits.requires_grad for teacher in batch.teachers] == [False, False]


def test_teachers_come_in_order_and_read_the_students_inputs(distil, train, net_of, info, splits):
    first, second, recorder = net_of(seed=1), net_of(seed=2), Recorder(weight=1.0)
    train(distil(first, second, terms={"kd": recorder}))
    for batch in recorder.batches:
        for teacher, output in zip((first, second), batch.teachers, strict=True):
            logits = predict_logits(teacher, splits.train, info)[batch.index]
            torch.testing.assert_close(output.logits, logits)
        assert torch.equal(batch.targets, splits.train.targets[batch.index])


def test_teacher_and_student_see_the_same_mixed_inputs(distil, train, net_of):
    teacher, student = Spy(net_of(seed=1)), Spy(net_of())
    train(distil(teacher, student=student, mixup_alpha=1.0, epochs=1))
    assert len(teacher.inputs) == 3
    for seen, taught in zip(student.inputs, teacher.inputs, strict=False):
        assert torch.equal(seen, taught)


def test_validation_uses_the_student_alone(distil, train, net_of):
    teacher, recorder = Spy(net_of(seed=1)), Recorder(weight=1.0)
    train(distil(teacher, terms={"kd": recorder}, epochs=2, batch_size=16))
    assert len(teacher.inputs) == len(recorder.batches) == 6


def test_taps_of_both_networks_reach_the_loss(distil, net_of, regime, train):
    hint = Hint(weight=1.0)
    hint.connect({"hidden.0": (2, 8)}, ({"hidden.0": (2, 5)},), 48)
    curve = train(distil(net_of(5, seed=1), terms={"hint": hint}, epochs=6)).curve
    assert curve[-1]["train/loss/hint"] < curve[0]["train/loss/hint"]


def test_what_a_loss_owns_is_trained_and_not_handed_on(distil, net_of, train):
    hint = Hint(weight=1.0)
    hint.connect({"hidden.0": (2, 8)}, ({"hidden.0": (2, 5)},), 48)
    before = hint.regressor.weight.detach().clone()
    distiller = distil(net_of(5, seed=1), terms={"hint": hint})
    fitted = train(distiller)
    (group,) = distiller.trainer.optimizers[0].param_groups
    assert any(parameter is hint.regressor.weight for parameter in group["params"])
    assert not torch.equal(hint.regressor.weight, before)
    assert "objective.terms.hint.regressor.weight" in distiller.state_dict()
    assert set(fitted.net.state_dict()) == set(net_of().state_dict())


def test_the_temperature_of_each_step_follows_its_schedule(distil, net_of, train):
    recorder = Recorder(weight=1.0)
    curve = train(
        distil(net_of(seed=1), terms={"kd": recorder}, temperature=Linear(8.0, 2.0), batch_size=16)
    ).curve
    temperatures = [batch.temperature for batch in recorder.batches]
    assert temperatures == pytest.approx([8.0, 7.0, 6.0, 5.0, 4.0, 3.0])
    assert [row["train/temperature"] for row in curve] == pytest.approx([6.0, 3.0])


def test_the_curve_has_every_term_unweighted(distil, net_of, train):
    terms = {"ce": CE(weight=0.1), "kd": KD(weight=0.9)}
    (row,) = train(distil(net_of(seed=1), terms=terms, epochs=1)).curve
    assert set(row) == {
        "train/loss/ce",
        "train/loss/kd",
        "train/loss/total",
        "train/lr",
        "train/temperature",
        "val/accuracy",
        "val/nll",
    }
    expected = 0.1 * row["train/loss/ce"] + 0.9 * row["train/loss/kd"]
    assert row["train/loss/total"] == pytest.approx(expected, rel=1e-5)


def test_teachers_are_not_run_where_no_term_uses_one(distil, net_of, train):
    teacher = Spy(net_of(seed=1))
    train(distil(teacher, terms={"ce": CE(weight=1.0)}, epochs=1))
    assert teacher.inputs == []


def test_labels_alone_are_the_control_bit_by_bit(distil, net_of, regime, train):
    distilled = train(distil(net_of(seed=1), terms={"ce": CE(weight=1.0)}, shift_pixels=1))
    control = train(Supervised(net_of(), regime(shift_pixels=1), 3, seed=0))
    for name, value in control.net.state_dict().items():
        assert torch.equal(distilled.net.state_dict()[name], value)


def test_without_labels_the_student_comes_to_agree_with_a_good_teacher(
    distil, net_of, regime, train, info, splits
):
    teacher = train(Supervised(net_of(16, seed=1), regime(epochs=8), 3, seed=0)).net
    unlabeled = splits.train._replace(targets=torch.zeros_like(splits.train.targets))
    taught = predict_logits(teacher, splits.validation, info).argmax(dim=1)

    def agreement(student: nn.Module) -> float:
        answers = predict_logits(student, splits.validation, info).argmax(dim=1)
        return float((answers == taught).float().mean())

    before = agreement(net_of(seed=2))
    distiller = distil(teacher, student=net_of(seed=2), epochs=20, keep="last")
    after = agreement(train(distiller, on=splits._replace(train=unlabeled)).net)
    assert before < 0.7
    assert after > 0.9


class Rotated(Recorder):
    """Asks about every sample upside down as well."""

    def extra_inputs(self, inputs):
        return inputs.flip(-1)


def test_a_term_gets_answers_to_its_further_inputs_and_others_do_not(distil, net_of, train):
    teacher, asking, plain = net_of(3).eval(), Rotated(1.0), Recorder(1.0)
    trainee = distil(teacher, terms={"asking": asking, "plain": plain}, epochs=1, lr=1e-9)
    train(trainee)
    extra = asking.batches[0].extra
    assert extra.student.logits.requires_grad
    assert not extra.teachers[0].logits.requires_grad
    assert not torch.equal(extra.teachers[0].logits, asking.batches[0].teachers[0].logits)
    assert all(batch.extra is None for batch in plain.batches)


def test_the_batch_norms_of_several_processes_count_further_inputs_once(distil, net_of, cnn):
    """Every process asks about all of them, so it does so by itself: here no other is there."""
    asking, inputs = Rotated(1.0), torch.rand(4, 1, 8, 8)
    trainee = distil(net_of(3), terms={"asking": asking}, student=cnn)
    trainee.train()
    alone = deepcopy(cnn).train()
    alone(inputs.flip(-1))
    with synced_batch_norms(cnn, Group(size=2)):
        synced = [vars(module).get("forward") for module in cnn.modules()]
        trainee._extra(inputs)
        assert [vars(module).get("forward") for module in cnn.modules()] == synced
    assert any(synced)
    for name, value in alone.named_buffers():
        assert torch.equal(cnn.get_buffer(name), value), name


def test_terms_know_the_epoch_and_the_classifiers(distil, net_of, train):
    recorder = Recorder(1.0)
    trainee = distil(net_of(3), terms={"kd": recorder}, epochs=3)
    train(trainee)
    per_epoch = len(recorder.batches) // 3
    assert [int(batch.epoch) for batch in recorder.batches] == sorted([0, 1, 2] * per_epoch)
    assert recorder.batches[per_epoch].epoch == 1.0
    assert {batch.num_epochs for batch in recorder.batches} == {3}
    assert recorder.batches[0].student.classifier is trainee.net.classifier
    assert recorder.batches[0].teachers[0].classifier.weight.shape == (3, 3)


def test_weights_that_change_are_in_the_curve(distil, net_of, train, regime):
    terms = {"ce": CE(1.0), "kd": KD(0.5)}
    trainee = distil(net_of(3), terms=terms, epochs=3)
    trainee.objective.schedules["kd"] = {"stop": 1}
    train(trainee)
    assert [row["train/weight/kd"] for row in trainee.curve] == [0.5, 0.0, 0.0]
    assert "train/weight/ce" not in trainee.curve[0]
    assert ["train/loss/kd" in row for row in trainee.curve] == [True, False, False]


def test_a_weight_in_the_curve_is_that_of_the_epochs_last_step(distil, net_of, train):
    trainee = distil(net_of(3), terms={"ce": CE(1.0), "kd": KD(0.5)}, epochs=2)
    trainee.objective.schedules["kd"] = {"linear": [1, 0]}
    train(trainee)
    # 3 steps an epoch: after 2 of 6 steps, and after 5, the factor is 1 - 2/6 and 1 - 5/6.
    assert [row["train/weight/kd"] for row in trainee.curve] == pytest.approx(
        [0.5 * 4 / 6, 0.5 / 6]
    )


def test_caches_of_teachers_that_no_term_reads_are_left_alone(net_of, regime):
    objective = Objective({"ce": CE(1.0)})
    trainee = Distiller(
        net_of(), [net_of(3)], objective, Constant(4.0), regime(), 3, seed=0, caches=[None]
    )
    assert len(trainee.networks) == 1


def test_a_teacher_that_no_running_term_reads_is_not_asked(distil, net_of, train):
    teacher, calls = net_of(3), []
    teacher.register_forward_hook(lambda *_: calls.append(1))
    trainee = distil(teacher, terms={"ce": CE(1.0), "kd": KD(0.5)}, epochs=3)
    trainee.objective.schedules["kd"] = {"stop": 1}
    train(trainee)
    assert len(calls) == 3


def test_a_balance_changes_the_weights_by_the_gradients(distil, net_of, train):
    trainee = distil(net_of(3), terms={"ce": CE(1.0), "kd": KD(1e-4)}, epochs=2)
    trainee._balance = GradientBalance(trainee.objective, trainee.net, every=1)
    train(trainee)
    assert trainee.objective.scales["ce"] != 1.0
    assert "train/weight/ce" in trainee.curve[0]
