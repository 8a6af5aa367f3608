from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn

from distill_lab.contracts import LossValue
from distill_lab.errors import RunError
from distill_lab.losses.ce import CE
from distill_lab.losses.kd import KD
from distill_lab.losses.objective import Objective
from distill_lab.settings import Hardware
from distill_lab.temperature import Constant
from distill_lab.training.balance import GradientBalance
from distill_lab.training.distiller import Distiller
from distill_lab.training.dot import DOT, momenta, next_buffers
from distill_lab.training.fit import fit
from distill_lab.training.stepper import Stepper
from distill_lab.training.supervised import Supervised


def number(value: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor(value, dtype=torch.float64))


def take(dot: DOT, weight: nn.Parameter, task: float | None, distillation: float | None) -> float:
    """The weight after a step with these gradients; None: none."""
    weight.grad = None if task is None else torch.full_like(weight, task)
    aside = None if distillation is None else torch.full_like(weight, distillation)
    dot.add_distillation([aside])
    dot.step()
    return float(weight.detach())


def draws(count: int, *shape: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(shape, generator=generator) for _ in range(count)]


def assert_same(first: dict, second: dict, **tolerance: float) -> None:
    assert list(first) == list(second)
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], **tolerance)


def test_momenta_differ_where_there_are_two_gradients():
    assert momenta(0.5, 0.25, both=True) == (0.25, 0.75)
    assert momenta(0.5, 0.25, both=False) == (0.5, 0.5)


def test_each_buffer_has_a_factor_of_its_own():
    buffers = next_buffers(
        [torch.tensor([2.0, 4.0]), torch.tensor(8.0)],
        [torch.tensor([1.0, -1.0]), torch.tensor(3.0)],
        [0.5, 0.25],
    )
    assert buffers[0].tolist() == [2.0, 1.0]
    assert float(buffers[1]) == 5.0


def test_two_steps_worked_by_hand():
    weight = number(1.0)
    dot = DOT([weight], lr=0.1, momentum=0.5, delta=0.25, weight_decay=0.5)
    # Task: 1 + 0.5 * 1 = 1.5. Distillation: 2. The weight: 1 - 0.1 * 3.5.
    assert take(dot, weight, 1.0, 2.0) == pytest.approx(0.65)
    # Task: 0.25 * 1.5 + (3 + 0.5 * 0.65) = 3.7. Distillation: 0.75 * 2 - 1 = 0.5.
    assert take(dot, weight, 3.0, -1.0) == pytest.approx(0.65 - 0.1 * 4.2)


def test_weights_with_one_gradient_alone_have_the_momentum_and_decay_of_sgd():
    for only_task in (True, False):
        weight, reference = number(1.0), number(1.0)
        dot = DOT([weight], lr=0.1, momentum=0.5, delta=0.25, weight_decay=0.5)
        sgd = torch.optim.SGD([reference], lr=0.1, momentum=0.5, weight_decay=0.5)
        for gradient in (1.0, 3.0, -2.0):
            reference.grad = torch.full_like(reference, gradient)
            sgd.step()
            pair = (gradient, None) if only_task else (None, gradient)
            assert take(dot, weight, *pair) == pytest.approx(float(reference.detach()))


def test_a_buffer_without_a_gradient_decays_on():
    weight = number(0.0)
    dot = DOT([weight], lr=1.0, momentum=0.5, delta=0.25, weight_decay=0.0)
    assert take(dot, weight, 1.0, 4.0) == -5.0
    # The buffers are 0.5 * 1 + 1 and 0.5 * 4.
    assert take(dot, weight, 1.0, None) == -5.0 - 1.5 - 2.0


def test_a_weight_without_any_gradient_stays():
    weight = number(1.0)
    dot = DOT([weight], lr=1.0, momentum=0.5, delta=0.25, weight_decay=0.5)
    take(dot, weight, 1.0, 4.0)
    before = float(weight.detach())
    assert take(dot, weight, None, None) == before


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_without_a_distillation_gradient_it_is_sgd_bit_by_bit(momentum, decay):
    weight, reference = (nn.Parameter(torch.ones(7, 5)) for _ in range(2))
    dot = DOT([weight], 0.1, momentum, delta=min(momentum, 0.075), weight_decay=decay)
    sgd = torch.optim.SGD([reference], 0.1, momentum, weight_decay=decay, fused=False)
    for gradient in draws(5, 7, 5):
        weight.grad, reference.grad = gradient.clone(), gradient.clone()
        dot.step()
        sgd.step()
        assert torch.equal(weight, reference)


def test_with_delta_zero_it_is_sgd_along_the_sum_of_the_gradients():
    weight, reference = (nn.Parameter(torch.ones(7, 5)) for _ in range(2))
    dot = DOT([weight], 0.1, momentum=0.9, delta=0.0, weight_decay=0.1)
    sgd = torch.optim.SGD([reference], 0.1, momentum=0.9, weight_decay=0.1)
    for task, aside in zip(draws(8, 7, 5)[:4], draws(8, 7, 5)[4:], strict=True):
        weight.grad, reference.grad = task.clone(), task + aside
        dot.add_distillation([aside])
        dot.step()
        sgd.step()
        torch.testing.assert_close(weight, reference)


def test_distillation_gradients_add_up_until_the_step_and_are_forgotten_then():
    weight = number(0.0)
    dot = DOT([weight], lr=1.0, momentum=0.0, delta=0.0, weight_decay=0.0)
    dot.add_distillation([torch.full_like(weight, 1.0)])
    assert take(dot, weight, None, 2.0) == -3.0
    assert take(dot, weight, None, 2.0) == -5.0


def test_clipping_shortens_both_gradients_as_their_sum():
    weight = nn.Parameter(torch.zeros(2))
    dot = DOT([weight], lr=1.0, momentum=0.0, delta=0.0, weight_decay=0.0)
    weight.grad, aside = torch.tensor([6.0, 0.0]), torch.tensor([0.0, 8.0])
    dot.add_distillation([aside])
    dot.clip(5.0)
    assert weight.grad.tolist() == pytest.approx([3.0, 0.0])
    dot.step()
    assert weight.tolist() == pytest.approx([-3.0, -4.0])
    assert aside.tolist() == [0.0, 8.0]


def test_state_and_settings_survive_a_round_trip():
    first, weight = number(1.0), number(0.0)
    dot = DOT([first], lr=0.1, momentum=0.5, delta=0.25, weight_decay=0.5)
    take(dot, first, 1.0, 2.0)
    weight.data.copy_(first.data)
    again = DOT([weight], lr=0.7, momentum=0.0, delta=0.0, weight_decay=0.0)
    again.load_state_dict(deepcopy(dot.state_dict()))
    assert sorted(again.state[weight]) == ["distillation", "task"]
    assert take(again, weight, 3.0, -1.0) == take(dot, first, 3.0, -1.0) == pytest.approx(0.23)


@pytest.mark.parametrize(("momentum", "delta"), [(0.9, 0.1), (0.05, 0.06), (0.5, -0.1)])
def test_momenta_outside_their_range_are_refused(momentum, delta):
    with pytest.raises(ValueError, match=r"^delta: must be >= 0, <= momentum and < 1 - momentum"):
        DOT([number(0.0)], 0.1, momentum, delta, 0.0)


def stepper_of(regime, weight: nn.Parameter, num_batches: int, **changes) -> Stepper:
    plain = regime(epochs=1, lr=1.0, optimizer="dot", **changes)
    dot = DOT([weight], 1.0, momentum=0.5, delta=0.25, weight_decay=0.0)
    return Stepper(dot, plain, num_batches, torch.amp.GradScaler("cpu", enabled=False))


def value_of(weight: nn.Parameter, task: float, distillation: float) -> LossValue:
    """What has these gradients, in one graph."""
    shared = weight * 2.0
    parts = shared * (task / 2.0), shared * (distillation / 2.0)
    return LossValue(sum(parts), {}, (parts[0],), (parts[1],))


def test_a_stepper_keeps_the_gradients_of_the_two_parts_apart(regime):
    weight = number(0.0)
    made = stepper_of(regime, weight, 2)
    made.backward(value_of(weight, 1.0, 2.0), 0)
    assert float(weight.detach()) == -3.0
    made.backward(value_of(weight, 3.0, -1.0), 1)
    # Buffers: 0.25 * 1 + 3 and 0.75 * 2 - 1.
    assert float(weight.detach()) == -3.0 - 3.25 - 0.5


def test_a_stepper_follows_the_mean_of_each_part_over_the_batches_of_a_step(regime):
    weight = number(0.0)
    made = stepper_of(regime, weight, 4, accumulate_batches=2)
    pairs = [(0.0, 1.0), (2.0, 3.0), (2.0, -4.0), (4.0, 2.0)]
    for batch, pair in enumerate(pairs):
        made.backward(value_of(weight, *pair), batch)
    # Means 1 and 2, then 3 and -1, as above.
    assert float(weight.detach()) == -3.0 - 3.25 - 0.5


def test_a_stepper_clips_the_sum_of_the_means(regime):
    weight = number(0.0)
    made = stepper_of(regime, weight, 2, accumulate_batches=2, clip_norm=1.5)
    made.backward(value_of(weight, 2.0, 1.0), 0)
    made.backward(value_of(weight, 0.0, 3.0), 1)
    assert float(weight.detach()) == pytest.approx(-1.5)
    assert float(made.optimizer.state[weight]["task"]) == pytest.approx(0.5)
    assert float(made.optimizer.state[weight]["distillation"]) == pytest.approx(1.0)


def test_a_stepper_needs_no_task(regime):
    weight = number(0.0)
    made = stepper_of(regime, weight, 2)
    loss = weight * 1.0
    made.backward(LossValue(loss, {}, (), (loss,)), 0)
    assert float(weight.detach()) == -1.0


@pytest.fixture
def distil(net_of, regime):
    """Makes a distiller of a fresh student and a fixed teacher, by SGD or DOT."""

    def make(optimizer: str, terms: dict | None = None, **changes) -> Distiller:
        plain = {"lr": 0.05, "epochs": 4, "keep": "last", "weight_decay": 0.01}
        return Distiller(
            net_of(),
            [net_of(seed=1)],
            Objective(terms or {"ce": CE(weight=0.5), "kd": KD(weight=0.5)}),
            Constant(4.0),
            regime(optimizer=optimizer, **(plain | changes)),
            num_classes=3,
            seed=0,
        )

    return make


def test_a_distillation_learns_and_is_another_than_that_of_sgd(distil, train):
    dot, sgd = (train(distil(name)) for name in ("dot", "sgd"))
    assert dot.curve[-1]["train/loss/kd"] < dot.curve[0]["train/loss/kd"]
    assert dot.curve[-1]["train/loss/total"] < dot.curve[0]["train/loss/total"]
    weights = [fitted.net.state_dict()["classifier.weight"] for fitted in (dot, sgd)]
    assert float((weights[0] - weights[1]).abs().max()) > 1e-3


@pytest.mark.parametrize("changes", [{}, {"clip_norm": 0.1}, {"accumulate_batches": 2}], ids=str)
def test_a_distillation_with_delta_zero_is_that_of_sgd(distil, train, changes):
    states = [
        train(distil(name, dot_delta=0.0, **changes)).net.state_dict() for name in ("dot", "sgd")
    ]
    assert_same(*states, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "terms",
    [
        lambda: {"ce": CE(weight=1.0)},
        lambda: {"kd": KD(weight=1.0)},
        lambda: {"ce": CE(weight=1.0), "kd": KD(weight=0.0)},
        lambda: {"ce": CE(weight=0.0), "kd": KD(weight=1.0)},
    ],
    ids=["labels alone", "teacher alone", "distillation off", "labels off"],
)
def test_one_kind_of_term_alone_is_trained_by_sgd(distil, train, terms):
    states = [train(distil(name, terms())).net.state_dict() for name in ("dot", "sgd")]
    assert_same(*states, rtol=1e-4, atol=1e-6)


def test_a_training_on_labels_is_that_of_sgd(net_of, regime, train):
    states = [
        train(Supervised(net_of(), regime(optimizer=name, clip_norm=0.5), 3, seed=0)).net
        for name in ("dot", "sgd")
    ]
    assert_same(*(net.state_dict() for net in states), rtol=1e-4, atol=1e-6)


def test_16_bit_gradients_are_refused(distil, info, splits, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    hardware = Hardware("auto", 1, "16-mixed", channels_last=False, compile=False, threads=1)
    trainee = distil("dot")
    with pytest.raises(RunError, match=r"^regime\.optimizer: dot .*hardware\.precision=bf16-mixed"):
        fit(trainee, info, splits, trainee.regime, hardware, 0, "a test", lambda row, epoch: None)


def test_bf16_trains_weights_in_float32(distil, info, splits):
    hardware = Hardware("cpu", 1, "bf16-mixed", channels_last=False, compile=False, threads=1)
    trainee = distil("dot")
    fitted = fit(
        trainee, info, splits, trainee.regime, hardware, 0, "a test", lambda row, epoch: None
    )
    assert {value.dtype for value in fitted.net.state_dict().values()} == {torch.float32}
    assert fitted.curve[-1]["train/loss/total"] < fitted.curve[0]["train/loss/total"]


@pytest.mark.slow
@pytest.mark.parametrize(("optimizer", "balance_every"), [("dot", None), ("sgd", 2)])
def test_a_compiled_network_is_gone_through_twice_whatever_the_size_of_the_batch(
    distil, info, splits, optimizer, balance_every
):
    states = []
    for wanted in (False, True):
        hardware = Hardware("cpu", 1, "32-true", channels_last=False, compile=wanted, threads=1)
        trainee = distil(optimizer, batch_size=20, epochs=2)
        if balance_every is not None:
            trainee._balance = GradientBalance(trainee.objective, trainee.net, balance_every)
        fitted = fit(
            trainee, info, splits, trainee.regime, hardware, 0, "a test", lambda row, epoch: None
        )
        states.append(fitted.net.state_dict())
    assert_same(*states, rtol=1e-3, atol=1e-5)
