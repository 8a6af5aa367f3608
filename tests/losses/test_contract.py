"""What every loss keeps to; each yaml of conf/loss is found and checked by itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

from distill_lab.contracts import Component, DistillBatch, Extra, Output
from distill_lab.losses.base import Loss
from distill_lab.losses.objective import Objective
from distill_lab.losses.pairs import PairLoss
from distill_lab.temperature import Constant
from distill_lab.training.distiller import Distiller

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in (ROOT / "conf" / "loss").glob("*.yaml"))
SHARED = {"base", "batch_norm", "checks", "classifier", "labels", "objective", "pairs"}
SHARED |= {"divergence", "precision", "regressor", "unit", "weighting"}
NOT_A_TERM = {"__init__", *SHARED}
NUM_SAMPLES = 100
NUM_CLASSES = 5
CHANNELS = 8
all_losses = pytest.mark.parametrize("name", NAMES)


def component(name: str) -> Component:
    node = yaml.safe_load((ROOT / "conf" / "loss" / f"{name}.yaml").read_text())
    assert list(node) == [name], "a yaml holds one term, under the name of its file"
    return Component(node[name].pop("_target_"), node[name])


def class_of(name: str) -> type[Loss]:
    module, _, cls = component(name).target.rpartition(".")
    return getattr(import_module(module), cls)


def output(loss: Loss, taps: tuple[str, ...], seed: int, num_samples: int) -> Output:
    torch.manual_seed(seed)
    logits = 3 * torch.randn(num_samples, NUM_CLASSES)
    axes = max(loss.axes) if isinstance(loss, PairLoss) else 4
    shape = {2: (CHANNELS,), 3: (7, CHANNELS), 4: (CHANNELS, 4, 4)}[axes]
    features = {tap: torch.randn(num_samples, *shape) for tap in taps}
    for tap in taps:
        if tap.endswith(":attention"):
            features[tap] = torch.randn(num_samples, 2, 7, 7).softmax(dim=-1)
        if tap.endswith("_head"):
            features[tap] = torch.randn(num_samples, NUM_CLASSES)
        if tap.endswith(":qkv"):
            features[tap] = torch.randn(num_samples, 7, 3 * CHANNELS)
    return Output(logits, features, nn.Linear(CHANNELS, NUM_CLASSES))


def give_layers(loss: Loss) -> Loss:
    show_student(loss)
    if isinstance(loss, PairLoss) and loss.auto:
        pairs = [(f"{name}{loss.suffix}",) * 2 for name in ("first", "second")]
        loss.pairs = pairs if loss.choice == "all" else pairs[:1]
    return loss


def show_student(loss: Loss) -> nn.Module:
    torch.manual_seed(7)
    last = nn.Linear(CHANNELS, NUM_CLASSES)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, CHANNELS), nn.ReLU(), last)
    net.aligned_taps = ("first", "first")  # as a student with the teacher's classifier has them
    loss.see_student(net, ["first", "second", "third"], last)
    return net


def batch_for(loss: Loss, num_samples: int = 6) -> DistillBatch:
    give_layers(loss)
    student = output(loss, loss.needs.student, 1, num_samples)
    teacher = output(loss, loss.needs.teacher, 2, num_samples)
    torch.manual_seed(3)
    index = torch.randperm(NUM_SAMPLES)[:num_samples]
    targets = torch.arange(num_samples) % NUM_CLASSES
    inputs = torch.randn(num_samples, 3, 8, 8)
    batch = DistillBatch(
        student, (teacher,), targets, index, 4.0, epoch=1.5, num_epochs=4, inputs=inputs
    )
    extra = loss.extra_inputs(inputs)
    if extra is None:
        return batch
    answers = [output(loss, (), seed, len(extra)) for seed in (5, 6)]
    return replace(batch, extra=Extra(answers[0], (answers[1],)))


def connect(loss: Loss, batch: DistillBatch) -> Loss:
    def shapes(one: Output) -> dict[str, tuple[int, ...]]:
        return {tap: tuple(feature.shape) for tap, feature in one.features.items()}

    torch.manual_seed(4)
    loss.connect(shapes(batch.student), tuple(map(shapes, batch.teachers)), NUM_SAMPLES)
    return loss


def make(name: str, num_samples: int = 6) -> tuple[Loss, DistillBatch]:
    loss: Loss = component(name).make()
    batch = batch_for(loss, num_samples)
    return connect(loss, batch), batch


def each(one: Output, change) -> Output:
    features = {tap: change(value) for tap, value in one.features.items()}
    return Output(change(one.logits), features, one.classifier)


def tensors(one: Output) -> list[Tensor]:
    return [one.logits, *one.features.values()]


def leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().clone().requires_grad_()


def with_gradients(batch: DistillBatch) -> DistillBatch:
    teachers = tuple(each(teacher, leaf) for teacher in batch.teachers)
    return replace(batch, student=each(batch.student, leaf), teachers=teachers)


def same_networks(batch: DistillBatch) -> DistillBatch:
    """The teacher's logits, and features wherever both have the tap, are the student's."""
    (teacher,) = batch.teachers
    features = {
        tap: batch.student.features.get(tap, value) for tap, value in teacher.features.items()
    }
    teachers = (Output(batch.student.logits, features, batch.student.classifier),)
    extra = batch.extra and replace(batch.extra, teachers=(batch.extra.student,))
    return replace(batch, teachers=teachers, extra=extra)


def drawn(loss: Callable[[DistillBatch], Tensor], batch: DistillBatch) -> Tensor:
    """The value, with the same random numbers each time."""
    torch.manual_seed(8)
    return loss(batch)


def check_gradient_reaches_the_student_alone(loss: Loss, batch: DistillBatch) -> None:
    batch = with_gradients(batch)
    loss(batch).backward()
    reached = [t.grad for t in tensors(batch.student) if t.grad is not None]
    assert any(bool(gradient.abs().sum() > 0) for gradient in reached)
    for teacher in batch.teachers:
        told = [*tensors(teacher), *teacher.classifier.parameters()]
        assert all(t.grad is None for t in told)


def check_zero_at_match(loss: Loss, batch: DistillBatch) -> None:
    torch.testing.assert_close(loss(same_networks(batch)), torch.tensor(0.0), rtol=0, atol=1e-6)
    assert float(loss(batch).detach()) > 1e-3


def check_finite(loss: Loss, batch: DistillBatch) -> None:
    batch = with_gradients(batch)
    value = loss(batch)
    value.backward()
    assert bool(torch.isfinite(value))
    gradients = [t.grad for t in tensors(batch.student) if t.grad is not None]
    assert gradients
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)


def test_every_loss_module_has_one_yaml_and_one_test_file():
    modules = {path.stem for path in (ROOT / "src/distill_lab/losses").glob("*.py")} - NOT_A_TERM
    tests = {path.stem.removeprefix("test_") for path in Path(__file__).parent.glob("test_*.py")}
    assert modules == set(NAMES)
    assert modules == tests - NOT_A_TERM - {"contract"}


@all_losses
def test_yaml_names_a_loss_of_the_module_it_is_called_after(name):
    assert component(name).target.rpartition(".")[0] == f"distill_lab.losses.{name}"
    assert issubclass(class_of(name), Loss)


@all_losses
def test_yaml_lists_every_argument_in_order(name):
    assert list(component(name).args) == list(inspect.signature(class_of(name)).parameters)


@all_losses
def test_negative_weight_is_refused(name):
    given = component(name)
    negative = replace(given, args=given.args | {"weight": -0.5})
    with pytest.raises(ValueError, match=r"weight: must be >= 0, got -0\.5"):
        negative.make()


@all_losses
def test_value_is_a_float32_scalar(name):
    loss, batch = make(name)
    value = loss(batch)
    assert value.shape == ()
    assert value.dtype == torch.float32


@all_losses
def test_value_does_not_depend_on_the_weight(name):
    given = component(name)
    heavier: Loss = replace(given, args=given.args | {"weight": 7.0}).make()
    loss, batch = make(name)
    give_layers(heavier)
    torch.testing.assert_close(connect(heavier, batch)(batch), loss(batch))


@all_losses
def test_gradient_reaches_the_student_alone(name):
    check_gradient_reaches_the_student_alone(*make(name))


@pytest.mark.parametrize("name", [name for name in NAMES if not class_of(name).order_matters])
def test_order_of_samples_does_not_matter(name):
    loss, batch = make(name)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    permuted = replace(
        batch,
        student=each(batch.student, lambda t: t[order]),
        teachers=tuple(each(teacher, lambda t: t[order]) for teacher in batch.teachers),
        targets=batch.targets[order],
        index=batch.index[order],
        extra=None,
        inputs=batch.inputs[order],
    )
    torch.testing.assert_close(loss(permuted), loss(batch))


@pytest.mark.parametrize("name", [name for name in NAMES if class_of(name).zero_at_match])
def test_zero_when_student_equals_teacher_and_above_it_otherwise(name):
    check_zero_at_match(*make(name))


@pytest.mark.parametrize("name", [name for name in NAMES if not class_of(name).uses_teacher])
def test_a_loss_that_uses_no_teacher_has_a_value_without_one(name):
    loss, batch = make(name)
    torch.testing.assert_close(loss(replace(batch, teachers=())), loss(batch))


@all_losses
def test_a_teacher_given_twice_counts_as_one(name):
    loss, batch = make(name)
    extra = batch.extra and replace(batch.extra, teachers=batch.extra.teachers * 2)
    twice = replace(batch, teachers=batch.teachers * 2, extra=extra)
    again = give_layers(component(name).make())
    torch.testing.assert_close(connect(again, twice)(twice), loss(batch))


@all_losses
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_extreme_logits_give_a_finite_value_and_gradient(name, dtype):
    def extreme(one: Output, factor: float) -> Output:
        def pushed(tensor: Tensor) -> Tensor:
            return torch.where(tensor > 0, factor, -factor)

        heads = {tap: pushed(t) for tap, t in one.features.items() if tap.endswith("_head")}
        pushed_one = Output(pushed(one.logits), one.features | heads, one.classifier)
        return each(pushed_one, lambda t: t.to(dtype))

    loss, batch = make(name)
    signs = torch.where(batch.student.logits > 0, 1.0, -1.0)
    teacher = replace(batch.teachers[0], logits=-signs)  # of the other opinion throughout
    extra = batch.extra and Extra(
        extreme(batch.extra.student, 1e3), (extreme(batch.extra.teachers[0], -1e3),)
    )
    student = extreme(batch.student, 1e3)
    far = replace(batch, student=student, teachers=(extreme(teacher, 1e3),), extra=extra)
    check_finite(loss, far)


@all_losses
def test_half_precision_is_computed_in_float32(name):
    loss, batch = make(name)
    rounded = replace(
        batch,
        student=each(batch.student, lambda t: t.half()),
        teachers=tuple(each(teacher, lambda t: t.half()) for teacher in batch.teachers),
    )
    widened = replace(
        rounded,
        student=each(rounded.student, lambda t: t.float()),
        teachers=tuple(each(teacher, lambda t: t.float()) for teacher in rounded.teachers),
    )
    value = loss(rounded)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(widened))


@all_losses
def test_a_batch_of_one_gives_a_finite_value_and_gradient(name):
    check_finite(*make(name, num_samples=1))


@all_losses
def test_equal_networks_give_a_finite_value_and_gradient(name):
    loss, batch = make(name)
    check_finite(loss, same_networks(batch))


@all_losses
def test_mixed_labels_give_a_finite_value_and_gradient(name):
    loss, batch = make(name)
    one_hot = F.one_hot(batch.targets, NUM_CLASSES).float()
    check_finite(loss, replace(batch, targets=0.7 * one_hot + 0.3 * one_hot.flip(0)))


@all_losses
@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8])
def test_labels_may_be_of_any_integer_type(name, dtype):
    (loss, batch), (plain, _) = make(name), make(name)
    value = drawn(loss, replace(batch, targets=batch.targets.to(dtype)))
    torch.testing.assert_close(value, drawn(plain, batch))


@all_losses
def test_a_loss_that_does_not_read_labels_has_the_same_value_for_any(name):
    (loss, batch), (plain, _) = make(name), make(name)
    others = replace(batch, targets=(batch.targets + 1) % NUM_CLASSES)
    assert loss.reads_labels or torch.equal(drawn(loss, others), drawn(plain, batch))


@all_losses
def test_features_of_zeros_give_a_finite_value_and_gradient(name):
    loss, batch = make(name)
    student = each(batch.student, torch.zeros_like)
    check_finite(loss, replace(batch, student=student))
    check_finite(loss, replace(batch, teachers=(each(batch.teachers[0], torch.zeros_like),)))


@all_losses
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_rounds_nothing(name, dtype):
    (loss, batch), (plain, _) = make(name), make(name)
    expected = drawn(plain, batch)
    with torch.autocast("cpu", dtype):
        value = drawn(loss, batch)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, expected)


def test_autocast_rounds_nothing_in_the_pure_functions_either():
    made = {name: make(name) for name in NAMES}
    # The layers of the others follow autocast where the term itself does not end it.
    bare = [name for name, (loss, _) in made.items() if not list(loss.parameters())]
    assert {"kd", "at", "sp", "nst", "pkt", "rkd"} <= {*bare}
    for name in bare:
        (loss, batch), (plain, _) = made[name], make(name)
        with torch.autocast("cpu", torch.bfloat16):
            value = drawn(loss.forward, batch)
        torch.testing.assert_close(value, drawn(plain, batch), msg=name)


@pytest.mark.parametrize("name", [name for name in NAMES if class_of(name).full_gradient])
def test_float64_gradient_is_that_of_finite_differences(name):
    loss, batch = make(name, num_samples=4)
    loss = loss.double()
    batch = replace(
        batch,
        student=each(batch.student, lambda t: t.double()),
        teachers=tuple(each(teacher, lambda t: t.double()) for teacher in batch.teachers),
        extra=batch.extra
        and Extra(
            each(batch.extra.student, lambda t: t.double()),
            tuple(each(teacher, lambda t: t.double()) for teacher in batch.extra.teachers),
        ),
        inputs=batch.inputs.double(),
    )
    drawn(loss, with_gradients(batch))  # what is set by the first batch stays
    before = deepcopy(loss.state_dict())
    parameters = [p for p in loss.parameters() if class_of(name).descends and p.requires_grad]
    inputs = [leaf(tensor) for tensor in tensors(batch.student)]
    directions = [torch.randn_like(tensor) for tensor in (*inputs, *parameters)]

    def value(step: float) -> Tensor:
        loss.load_state_dict(before)
        with torch.no_grad():
            for parameter, direction in zip(parameters, directions[len(inputs) :], strict=True):
                parameter += step * direction
        moved = [a + step * b for a, b in zip(inputs, directions, strict=False)]
        features = dict(zip(batch.student.features, moved[1:], strict=True))
        student = Output(moved[0], features, batch.student.classifier)
        return drawn(loss, replace(batch, student=student))

    gradients = torch.autograd.grad(value(0.0), [*inputs, *parameters], allow_unused=True)
    slope = sum(
        float((g * d).sum()) for g, d in zip(gradients, directions, strict=True) if g is not None
    )
    step = 1e-6
    numeric = float(value(step).detach() - value(-step).detach()) / (2 * step)
    assert slope == pytest.approx(numeric, rel=1e-3, abs=1e-6)


@all_losses
def test_its_state_is_all_that_it_goes_on_from(name):
    loss, batch = make(name)
    drawn(loss, with_gradients(batch))  # memories move
    other, _ = make(name)
    for tensor in other.state_dict().values():
        if isinstance(tensor, Tensor):
            tensor.zero_()
    other.load_state_dict(loss.state_dict())
    torch.testing.assert_close(drawn(other, batch), drawn(loss, batch))


@all_losses
def test_all_its_tensors_are_registered(name):
    loss, batch = make(name)
    drawn(loss, batch)
    assert [key for module in loss.modules() for key in loose(module)] == []


def loose(module: nn.Module) -> list[str]:
    """Attributes with tensors or modules that no checkpoint and no move to a device would find."""
    registered = ("_parameters", "_buffers", "_modules")
    return [key for key, value in vars(module).items() if key not in registered and holds(value)]


def holds(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(holds, value.values()))
    if isinstance(value, list | tuple | set):
        return any(map(holds, value))
    return isinstance(value, Tensor | nn.Module)


@all_losses
def test_its_parameters_are_trained_and_belong_to_the_term_alone(name, regime, net_of):
    loss, batch = make(name)
    drawn(loss, with_gradients(batch)).backward()
    mine = {id(p): key for key, p in loss.named_parameters() if p.requires_grad}
    assert [key for key, p in loss.named_parameters() if id(p) in mine and p.grad is None] == []
    student = net_of()
    trainee = Distiller(student, [], Objective({name: loss}), Constant(4.0), regime(), 3, 0)
    (group,) = trainee.configure_optimizers().param_groups
    assert mine.keys() <= {id(p) for p in group["params"]}
    exported = [*student.parameters(), *batch.student.classifier.parameters()]
    assert mine.keys().isdisjoint(map(id, exported))


def test_a_student_that_was_seen_is_left_as_it_was():
    for name in NAMES:
        loss: Loss = component(name).make()
        student = show_student(loss)
        connect(loss, batch_for(loss))
        assert list(student.state_dict()) == ["1.weight", "1.bias", "3.weight", "3.bias"]


class CrossEntropyNotKL(Loss):
    """torchtune's fault: its "KL" leaves out the teacher's entropy."""

    def forward(self, batch: DistillBatch) -> Tensor:
        teacher = F.softmax(batch.teachers[0].logits.detach(), dim=1)
        return F.cross_entropy(batch.student.logits, teacher)


class TeacherNotDetached(Loss):
    """The right value, with a gradient to the teacher as well."""

    def forward(self, batch: DistillBatch) -> Tensor:
        student = F.log_softmax(batch.student.logits, dim=1)
        teacher = F.log_softmax(batch.teachers[0].logits, dim=1)
        return F.kl_div(student, teacher, reduction="batchmean", log_target=True)


class HalfPrecisionSoftmax(Loss):
    """Divides by probabilities that are 0 at extreme logits."""

    def forward(self, batch: DistillBatch) -> Tensor:
        student, teacher = (
            F.softmax(one.logits, dim=1) for one in (batch.student, *batch.teachers)
        )
        return (teacher.detach() * (teacher.detach() / student).log()).sum(dim=1).mean()


def test_these_checks_catch_cross_entropy_in_place_of_kl():
    loss = CrossEntropyNotKL(weight=1.0)
    with pytest.raises(AssertionError):
        check_zero_at_match(loss, batch_for(loss))


def test_these_checks_catch_a_teacher_that_is_not_detached():
    loss = TeacherNotDetached(weight=1.0)
    check_zero_at_match(loss, batch_for(loss))
    with pytest.raises(AssertionError):
        check_gradient_reaches_the_student_alone(loss, batch_for(loss))


def test_these_checks_catch_an_overflow_at_extreme_logits():
    loss = HalfPrecisionSoftmax(weight=1.0)
    batch = batch_for(loss)
    extreme = replace(batch, student=each(batch.student, lambda t: 1e3 * t))
    check_finite(loss, batch)
    with pytest.raises(AssertionError):
        check_finite(loss, extreme)
