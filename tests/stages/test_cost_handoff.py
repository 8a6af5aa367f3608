from __future__ import annotations

import pytest

from distill_lab.measure.energy import Energy, PowerSource
from distill_lab.measure.timing import Latency, Throughput
from distill_lab.settings import Price
from distill_lab.stages.cost_handoff import PYTORCH, RunningCost, RunningCosts, Training
from distill_lab.stages.handoffs import from_plain, to_plain

# 0.36 $ an hour of a core, 1 kWh at 0.5 $, a million inferences a day.
PRICE = Price(0.36, 36.0, 0.5, 1e6, "DEU")


def network(name, per_second, joules=None, runtime=PYTORCH, on_gpu=False):
    latency = Latency(1.0, 2.0, 3.0, 4.0, 1000 / per_second)
    # The speed at batch 1 is on no bill.
    speeds = [Throughput(1, 1.0, 1.0, 1.0, 3), Throughput(8, 1.0, per_second, 1e9, 3)]
    energy = None if joules is None else Energy(joules, watts=10.0, grams_per_kwh=400.0)
    return RunningCost(name, runtime, on_gpu, latency, speeds, energy)


def costs(*networks, threads=1):
    source = PowerSource("somehow", is_measured=False)
    return RunningCosts(list(networks), PRICE, threads, source, "", [Training("student", 60.0)])


@pytest.fixture
def pair():
    """A million take 1,000 s and 3.6 MJ of the teacher, 100 s and 0.36 MJ of the student."""
    return costs(network("teacher", 1000, 3.6), network("student", 10_000, 0.36))


def test_the_metrics_are_those_worked_by_hand(pair):
    a_year = 365 * ((0.1 + 0.5) - (0.01 + 0.05))
    assert pair.metrics("student", "teacher") == pytest.approx(
        {
            "cost/latency_p99_ms": 0.1,
            "cost/latency_p99_ms_teacher": 1.0,
            "cost/throughput": 10_000,
            "cost/throughput_teacher": 1000,
            "cost/energy_j": 0.36,
            "cost/energy_j_teacher": 3.6,
            "cost/usd_per_million": 0.06,
            "cost/usd_per_million_teacher": 0.6,
            "cost/yearly_saving_usd": a_year,
        }
    )


def test_a_year_saves_electricity_and_its_carbon_too(pair):
    saved = pair.yearly_saving(*pair.networks)
    assert (saved.kwh, saved.kg) == pytest.approx((365 * 0.9, 365 * 0.9 * 0.4))


def test_energy_that_was_not_told_is_in_no_metric():
    found = costs(network("teacher", 1000), network("student", 10_000))
    metrics = found.metrics("student", "teacher")
    assert not [key for key in metrics if "energy" in key]
    assert metrics["cost/usd_per_million"] == pytest.approx(0.01)


def test_as_many_cores_are_paid_for_as_there_are_threads():
    found = costs(network("teacher", 1000), threads=4)
    assert found.bill(found.of("teacher")).usd == pytest.approx(0.4)


def test_a_gpu_has_a_price_of_its_own():
    found = costs(network("teacher", 1000, on_gpu=True), threads=4)
    assert found.bill(found.of("teacher")).usd == pytest.approx(10)


def test_a_training_takes_the_power_of_inference_for_its_seconds(pair):
    assert pair.training_joules(Training("student", 60.0)) == 600
    assert costs(network("student", 1)).training_joules(Training("student", 60.0)) is None


def test_a_network_is_found_as_pytorch_runs_it():
    found = costs(network("teacher", 9, runtime="ONNX Runtime"), network("teacher", 1000))
    assert found.of("teacher") is found.networks[1]


def test_what_could_not_be_exported_has_no_bill(pair):
    failed = RunningCost("teacher", "ONNX Runtime", False, None, [], None, "an operator")
    assert pair.bill(failed) is pair.yearly_bill(failed) is None
    assert pair.yearly_saving(pair.of("teacher"), failed) is None


def test_the_tag_says_what_energy_is(pair):
    assert pair.tags == {"energy": "estimated"}
    without = RunningCosts([], PRICE, 1, None, "no such sensor", [])
    assert without.tags == {"energy": "none: no such sensor"}


def test_it_is_read_back_as_it_was(pair):
    failed = RunningCost("teacher", "ONNX Runtime", False, None, [], None, "an operator")
    whole = costs(*pair.networks, failed)
    assert from_plain(RunningCosts, to_plain(whole)) == whole
