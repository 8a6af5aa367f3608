"""A training that several processes share gives what one process gives, but for rounding."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from distill_lab.errors import ConfigError
from distill_lab.launch import DOMAINS, NETWORKS, checked
from distill_lab.temperature import Linear
from distill_lab.training.connect import connected_objective
from distill_lab.training.distiller import Distiller
from distill_lab.training.fit import fit
from distill_lab.training.supervised import Supervised

ROOT = Path(__file__).parents[2]
LOSSES = {path.stem for path in (ROOT / "conf" / "loss").glob("*.yaml")}
LOSSES -= {"simkd"}  # its student is not one of the options
NUM_TRAIN = 47  # with batches of 14 the last one has 5, of which one process gets 3 and one 2


def without_dropout(net: nn.Module) -> nn.Module:
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return net


@pytest.fixture
def compare(info, splits, hardware):
    """Trains alone, then with another process; curves and weights must be the same."""

    def run(make, on=(info, splits), tolerance=1e-4, strategy="ddp"):
        data, arrays = on
        train = arrays.train
        few = train._replace(inputs=train.inputs[:NUM_TRAIN], targets=train.targets[:NUM_TRAIN])
        arrays = arrays._replace(train=few)
        ended = []
        for machine in (hardware, replace(hardware, strategy=strategy, devices=2)):
            rows: list = []
            trainee = make()
            fitted = fit(
                trainee,
                data,
                arrays,
                trainee.regime,
                machine,
                0,
                "a test",
                lambda row, epoch, rows=rows: rows.append((epoch, row)),
            )
            assert rows == list(enumerate(fitted.curve))
            ended.append(fitted)
        alone, together = ended
        assert together.kept_epoch == alone.kept_epoch
        for one, other in zip(alone.curve, together.curve, strict=True):
            assert other == pytest.approx(one, rel=tolerance, abs=tolerance)
        for name, value in alone.net.state_dict().items():
            found = together.net.state_dict()[name]
            torch.testing.assert_close(found, value, rtol=tolerance, atol=tolerance, msg=name)

    return run


def sound(name: str):
    """Parts of a run in which the student learns by this loss."""
    for domain in DOMAINS:
        for networks in NETWORKS if domain == () else ((),):
            where = domain or ("data=fake",)
            given = [*where, *networks, f"loss=[ce,{name}]" if name != "ce" else "loss=[ce]"]
            try:
                return checked([*given, "design.max_parameters_fraction=null"])
            except ConfigError:
                continue
    raise AssertionError(f"no networks for {name}")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_any_loss_is_that_of_the_whole_batch(compare, regime, name):
    parts = sound(name)
    if parts.data.info.name not in ("fake", "fake_text"):
        pytest.skip("its data are downloaded")
    info = parts.data.info

    def net_of(architecture, seed):
        torch.manual_seed(seed)
        return without_dropout(architecture.make_network(info))

    settings = regime(epochs=3, batch_size=14, optimizer="sgd", lr=0.003)

    def make():
        student, teacher = net_of(parts.students[0], 0), net_of(parts.teachers[0], 1)
        objective = connected_objective(
            parts.loss, student, [teacher], info.input_shape, NUM_TRAIN, 0
        )
        return Distiller(
            student, [teacher], objective, Linear(8.0, 1.0), settings, info.num_classes, 0
        )

    compare(make, on=(info, parts.data.load()))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "sgd", "accumulate_batches": 2, "shift_pixels": 1, "cutmix_alpha": 0.5},
    ],
    ids=str,
)
def test_sharded(compare, net_of, regime, changes):
    settings = regime(**{"batch_size": 14, "optimizer": "sgd", **changes})
    compare(lambda: Supervised(net_of(), settings, 3, seed=0), strategy="fsdp")
