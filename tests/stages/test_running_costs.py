from __future__ import annotations

from types import SimpleNamespace

import pytest
from torch import nn

from distill_lab.measure.energy import Energy, NoMeterError, PowerSource
from distill_lab.measure.timing import Latency
from distill_lab.settings import Evaluation, Hardware, Price, Refine
from distill_lab.stages import running_costs as module
from distill_lab.stages.cost_handoff import Training
from distill_lab.stages.running_costs import Asked, device_latency, running_costs

ESTIMATED = PowerSource("somehow", is_measured=False)
MEASURED_BEFORE = Latency(1.0, 2.0, 3.0, 4.0, 5.0)


class Meter:
    """In place of codecarbon: each call takes 8 joules; some networks cannot be metered."""

    source = ESTIMATED

    def __init__(self, country):
        self.country, self.asked = country, []

    def read(self, ask, seconds, on_gpu):
        ask()
        self.asked.append((seconds, on_gpu))
        return Energy(8.0, 4.0, 500.0)


class NoSensor(Meter):
    def read(self, ask, seconds, on_gpu):
        raise NoMeterError("counted nothing")


@pytest.fixture
def context(info, splits):
    def make(**changes):
        keys = {
            "num_bins": 15,
            "num_train_samples": 8,
            "num_resamples": 10,
            "corruptions": [],
            "num_corrupted_samples": 8,
            "latency_repeats": 3,
            "batch_sizes": [1, 4],
            "throughput_seconds": 0.01,
            "energy_seconds": 0.5,
            "time_onnx": False,
            "goal_accuracy_kept": 0.9,
            "goal_compute_saved": 0.5,
            "goal_parameters_fraction": 0.5,
            "register_as": None,
            "refine": Refine(0, None, 2),
        }
        parts = SimpleNamespace(
            evaluation=Evaluation(**keys | changes),
            price=Price(0.1, 1.0, 0.0, 1000.0, "DEU"),
            hardware=Hardware("cpu", 1, "32-true", False, False, 1),
        )
        tags: dict[str, str] = {}
        run = SimpleNamespace(set_tags=tags.update, tags=tags)
        return SimpleNamespace(parts=parts, info=info, splits=splits, run=run)

    return make


@pytest.fixture(autouse=True)
def _no_codecarbon(monkeypatch):
    monkeypatch.setattr(module, "EnergyMeter", Meter)
    module._meter_of.cache_clear()
    yield
    module._meter_of.cache_clear()


def asked(net, name="teacher", **knobs):
    return Asked(name, net, net, MEASURED_BEFORE, **knobs)


def test_each_network_has_a_speed_at_every_batch_size_and_an_energy_at_the_last(context, mlp, cnn):
    found = running_costs(context(), [asked(mlp), asked(cnn, "student")], [], [])
    assert [one.name for one in found.networks] == ["teacher", "student"]
    for one in found.networks:
        assert [at.batch_size for at in one.throughput] == [1, 4]
        assert all(0 < at.lower <= at.per_second <= at.upper for at in one.throughput)
        assert one.energy == Energy(2.0, 4.0, 500.0)  # 8 joules for the 4 of a batch
        assert (one.latency, one.on_gpu, one.missing) == (MEASURED_BEFORE, False, "")
    assert (found.threads, found.source, found.no_energy) == (1, ESTIMATED, "")


def test_compressed_networks_come_last_and_the_run_says_what_energy_is(context, mlp):
    given = context()
    variant = asked(mlp, "teacher + int8", runtime="ONNX Runtime", on_cpu=True)
    found = running_costs(given, [asked(mlp)], [variant], [Training("student", 3.0)])
    assert [(one.name, one.runtime) for one in found.networks] == [
        ("teacher", "PyTorch"),
        ("teacher + int8", "ONNX Runtime"),
    ]
    assert found.trainings == [Training("student", 3.0)]
    assert given.run.tags == {"energy": "estimated"}


def test_no_meter_is_asked_where_there_is_no_time_for_it(context, mlp, monkeypatch):
    monkeypatch.setattr(module, "EnergyMeter", None)
    found = running_costs(context(energy_seconds=0.0), [asked(mlp)], [], [])
    assert found.networks[0].energy is found.source is None
    assert found.no_energy == "evaluation.energy_seconds is 0."


def test_a_machine_without_a_meter_says_why_and_the_rest_is_measured(context, mlp, monkeypatch):
    def none(country):
        raise NoMeterError(f"no sensor in {country}")

    monkeypatch.setattr(module, "EnergyMeter", none)
    found = running_costs(context(), [asked(mlp)], [], [])
    assert (found.source, found.no_energy) == (None, "no sensor in DEU")
    assert len(found.networks[0].throughput) == 2


def test_a_network_whose_energy_was_not_counted_says_why(context, mlp, monkeypatch):
    monkeypatch.setattr(module, "EnergyMeter", NoSensor)
    [one] = running_costs(context(), [asked(mlp)], [], []).networks
    assert (one.energy, one.missing) == (None, "teacher: counted nothing")


class Unexportable(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 3)

    def forward(self, inputs):
        flat = inputs.flatten(1)
        return self.layer(flat if float(flat.sum()) == 0 else flat + 1)


def test_networks_are_timed_in_onnx_runtime_too_where_they_can_be_exported(context, mlp):
    given = [asked(mlp), asked(Unexportable(), "student")]
    found = running_costs(context(time_onnx=True), given, [], []).networks
    by_onnx = [one for one in found if one.runtime == "ONNX Runtime"]
    assert [one.name for one in by_onnx] == ["teacher", "student"]
    assert 0 < by_onnx[0].latency.p50_ms < 1000
    assert [at.batch_size for at in by_onnx[0].throughput] == [1, 4]
    assert by_onnx[0].energy == Energy(2.0, 4.0, 500.0)
    weights = 4 * sum(one.numel() for one in mlp.parameters())
    assert weights < by_onnx[0].file_bytes < weights + 20_000  # a graph of few operators
    assert (by_onnx[1].latency, by_onnx[1].throughput, by_onnx[1].energy) == (None, [], None)
    assert by_onnx[1].missing.startswith("student by ONNX Runtime: Unexportable cannot be exported")


def test_latency_is_of_as_many_passes_as_are_asked_for_and_leaves_the_network_alone(context, mlp):
    passes = []
    mlp.train().register_forward_hook(lambda *given: passes.append(1))
    assert device_latency(context(), mlp).p50_ms > 0
    assert len(passes) == 5 + 3  # warm-up, then latency_repeats
    assert mlp.training
