from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from distill_lab.contracts import DistillBatch, Output
from distill_lab.losses.base import Loss, Needs
from distill_lab.losses.ce import CE
from distill_lab.losses.kd import KD
from distill_lab.losses.objective import Objective


class Hint(Loss):
    """Reads taps and owns a regressor between them."""

    def __init__(self, weight: float, student: tuple[str, ...], teacher: tuple[str, ...]) -> None:
        super().__init__(weight)
        self._needs = Needs(student, teacher)

    @property
    def needs(self) -> Needs:
        return self._needs

    def connect(self, student_shapes, teacher_shapes, num_samples):
        widths = student_shapes[self._needs.student[0]][1], teacher_shapes[0]["deep"][1]
        if widths[0] > 10:
            raise ValueError("student tap is too wide.")
        self.regressor = nn.Linear(*widths)
        self.num_samples = num_samples

    def forward(self, batch):
        return self.regressor.weight.square().sum()


def hint() -> Hint:
    return Hint(0.5, ("early", "deep"), ("deep",))


def test_total_is_the_sum_of_weight_times_term(batch_of):
    batch = batch_of(torch.randn(4, 3), torch.randn(4, 3))
    value = Objective({"ce": CE(weight=0.25), "kd": KD(weight=2.0)})(batch)
    expected = 0.25 * CE(weight=1.0)(batch) + 2.0 * KD(weight=1.0)(batch)
    torch.testing.assert_close(value.total, expected)


def test_the_total_has_a_part_that_reads_a_teacher_and_one_that_does_not(batch_of):
    batch = batch_of(torch.randn(4, 3, requires_grad=True), torch.randn(4, 3))
    terms = {"ce": CE(weight=0.25), "kd": KD(weight=2.0), "again": KD(weight=0.5)}
    value = Objective(terms)(batch)
    kd = KD(weight=1.0)(batch)
    torch.testing.assert_close(list(value.task), [0.25 * CE(weight=1.0)(batch)])
    torch.testing.assert_close(list(value.distillation), [2.0 * kd, 0.5 * kd])
    torch.testing.assert_close(sum([*value.task, *value.distillation]), value.total)


def test_a_term_that_cannot_teach_is_in_neither_part(batch_of):
    batch = batch_of(torch.randn(4, 3, requires_grad=True), torch.randn(4, 3))
    value = Objective({"ce": CE(weight=1.0), "kd": KD(weight=0.0)})(batch)
    assert (len(value.task), len(value.distillation)) == (1, 0)
    value = Objective({"ce": CE(weight=1.0)})(batch_of(torch.randn(4, 3)))
    assert (value.task, value.distillation) == ((), ())


def test_terms_are_unweighted_and_in_order(batch_of):
    batch = batch_of(torch.randn(4, 3), torch.randn(4, 3))
    terms = Objective({"kd": KD(weight=2.0), "ce": CE(weight=0.25)})(batch).terms
    assert list(terms) == ["kd", "ce"]
    torch.testing.assert_close(terms["kd"], KD(weight=1.0)(batch))
    torch.testing.assert_close(terms["ce"], CE(weight=1.0)(batch))


def test_a_term_of_weight_zero_is_measured_and_teaches_nothing(batch_of):
    student = torch.randn(4, 3, requires_grad=True)
    value = Objective({"ce": CE(weight=0.0)})(batch_of(student))
    value.total.backward()
    assert float(value.terms["ce"].detach()) > 0
    assert not bool(student.grad.any())


class Doubled(CE):
    """Asks about every sample once more, and is not finite from the third epoch on."""

    def extra_inputs(self, inputs):
        return inputs

    def forward(self, batch):
        return super().forward(batch) / float(batch.epoch < 2)


def test_a_stopped_term_is_not_computed_and_asks_nothing(batch_of):
    objective = Objective({"ce": CE(1.0), "twice": Doubled(1.0)}, {"twice": {"stop": 1.5}})
    batch = batch_of(torch.randn(4, 3))
    assert list(objective(replace(batch, epoch=1.4, num_epochs=3)).terms) == ["ce", "twice"]
    stopped = objective(replace(batch, epoch=2.5, num_epochs=3))
    assert list(stopped.terms) == ["ce"]
    assert stopped.total == stopped.terms["ce"]
    inputs = torch.zeros(4, 2)
    assert list(objective.extra_inputs(inputs, epoch=1.4)) == ["twice"]
    assert objective.extra_inputs(inputs, epoch=1.5) == {}


def test_one_term_must_not_stop():
    with pytest.raises(ValueError, match=r"schedules: every term stops, and then nothing is"):
        Objective({"ce": CE(1.0)}, {"ce": {"stop": 1}})


def test_at_least_one_term_is_needed():
    with pytest.raises(ValueError, match=r"loss: needs at least one term, e\.g\. loss=\[ce,kd\]"):
        Objective({})


def test_needs_of_all_terms_are_named_once_in_order():
    second = Hint(1.0, ("deep", "logits"), ("stem", "deep"))
    needs = Objective({"a": hint(), "b": second, "ce": CE(weight=1.0)}).needs
    assert needs == Needs(("early", "deep", "logits"), ("deep", "stem"))


def test_connect_hands_every_term_the_shapes_and_the_number_of_samples():
    objective = Objective({"ce": CE(weight=1.0), "hint": hint()})
    objective.connect({"early": (2, 3), "deep": (2, 4)}, ({"deep": (2, 7)},), 99)
    assert objective.losses["hint"].regressor.weight.shape == (7, 3)
    assert objective.losses["hint"].num_samples == 99


def test_what_a_term_builds_belongs_to_the_objective():
    objective = Objective({"hint": hint()})
    objective.connect({"early": (2, 3), "deep": (2, 4)}, ({"deep": (2, 7)},), 99)
    assert set(objective.state_dict()) == {
        "terms.hint.regressor.weight",
        "terms.hint.regressor.bias",
    }
    assert len(list(objective.parameters())) == 2


def test_a_term_that_reads_a_teacher_is_refused_without_one():
    with pytest.raises(ValueError, match=r"loss\.kd: reads a teacher, but there is none"):
        Objective({"ce": CE(weight=1.0), "kd": KD(weight=1.0)}).connect({}, (), 10)


def test_terms_that_read_no_teacher_need_none():
    Objective({"ce": CE(weight=1.0)}).connect({}, (), 10)


def test_an_error_while_connecting_names_the_term():
    with pytest.raises(ValueError, match=r"loss\.hint: student tap is too wide"):
        Objective({"hint": hint()}).connect({"early": (2, 30)}, ({"deep": (2, 7)},), 99)


class Product(Loss):
    """Multiplies matrices, which autocast would do in half precision."""

    def forward(self, batch):
        logits = batch.student.logits.float()
        return (logits @ logits.T).sum()


def test_terms_are_computed_in_float32_under_autocast():
    torch.manual_seed(0)
    student = Output(torch.randn(4, 3).bfloat16())
    batch = DistillBatch(student, (), torch.zeros(4).long(), torch.arange(4), 1.0)
    objective = Objective({"product": Product(1.0)})
    expected = objective(batch).total
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(objective(batch).total, expected)
        assert torch.equal(Product(1.0)(batch), expected)
        assert not torch.equal(Product(1.0).forward(batch), expected)
