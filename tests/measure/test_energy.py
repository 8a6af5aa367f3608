from __future__ import annotations

import signal
import socket
import time

import pytest

from distill_lab.measure import energy
from distill_lab.measure.energy import (
    EnergyMeter,
    NoMeterError,
    PowerSource,
    require_country,
)

WORLD, GERMANY = 475, 381  # g CO2 per kWh in the tables of codecarbon 3.3


def busy(seconds=0.02):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def talking(monkeypatch, workdir):
    """A config of codecarbon's that asks for everything that would leave the machine or a file."""
    (workdir / ".codecarbon.config").write_text(
        "[codecarbon]\nsave_to_file=true\nsave_to_api=true\nlog_level=debug\n"
        "emissions_endpoint=http://127.0.0.1:9\nelectricitymaps_api_token=x\n"
        "co2_signal_api_token=x\nallow_multiple_runs=false\n"
    )
    return workdir


def test_codecarbon_tells_the_energy_of_a_call_and_keeps_to_itself(talking, no_network, capfd):
    handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    meter = EnergyMeter("DEU")
    found = meter.read(busy, seconds=0.2)
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert [path.name for path in talking.iterdir()] == [".codecarbon.config"]
    assert capfd.readouterr() == ("", "")
    assert found.grams_per_kwh == pytest.approx(GERMANY, abs=1)
    # A call is 20 ms, or longer where other programs run.
    assert 0.5 < found.watts < 2000
    assert found.joules >= 0.99 * found.watts * 0.02
    assert meter.source.word == ("measured" if "RAPL" in meter.source.how else "estimated")


def test_without_a_country_the_electricity_is_the_worlds(no_network):
    assert EnergyMeter(None).read(busy, seconds=0.01).grams_per_kwh == pytest.approx(WORLD)


def test_a_country_that_is_not_known_is_refused():
    require_country("FRA")
    with pytest.raises(NoMeterError, match="knows no country 'XYZ'"):
        EnergyMeter("XYZ")


@pytest.mark.parametrize(
    ("parts", "word", "how"),
    [
        (["RAM()", "CPU(Cpu Load)"], "estimated", "estimated from the load"),
        (["RAM()", "CPU(AMD EPYC > 85W [generic])"], "estimated", "estimated from the load"),
        (["RAM()", "CPU(Intel Rapl)"], "measured", "measured, as a whole, by RAPL"),
        (["CPU(Cpu Load)", "GPU() (NVIDIA H200)"], "estimated", "GPU, where it computes, measured"),
    ],
)
def test_what_was_measured_and_what_was_estimated_is_said(parts, word, how):
    found = energy._source(parts)
    assert (found.word, how in found.how) == (word, True)
    assert PowerSource("", True).word == "measured"


class Counter:
    """In place of codecarbon's tracker: 10 W of CPU, 5 of memory and 100 of GPU for 8 seconds."""

    final = None

    def start_task(self, name=None):
        pass

    def stop_task(self, name=None):
        return self.final


class Counted:
    cpu_energy, ram_energy, gpu_energy = (watts * 8 / 3.6e6 for watts in (10, 5, 100))
    energy_consumed = cpu_energy + ram_energy + gpu_energy
    emissions = 0.3 * energy_consumed  # kg


@pytest.fixture
def counter(monkeypatch):
    """A meter whose clock moves by two seconds with each call of `ask`."""
    now = [0.0]
    monkeypatch.setattr(energy.time, "perf_counter", lambda: now[0])
    meter = EnergyMeter.__new__(EnergyMeter)
    meter._tracker = Counter()

    def ask():
        now[0] += 2.0

    return meter, ask


def test_joules_are_shared_among_the_calls(counter):
    meter, ask = counter
    meter._tracker.final = Counted()
    found = meter.read(ask, seconds=7.0)  # 4 calls, 8 seconds
    assert (found.joules, found.watts) == pytest.approx((15 * 8 / 4, 15))
    assert found.grams_per_kwh == pytest.approx(300)


def test_a_gpu_counts_where_it_computes(counter):
    meter, ask = counter
    meter._tracker.final = Counted()
    assert meter.read(ask, seconds=7.0, on_gpu=True).watts == pytest.approx(115)


def test_a_tracker_that_counts_nothing_is_no_meter(counter):
    meter, ask = counter
    with pytest.raises(NoMeterError, match="counted no energy"):
        meter.read(ask, seconds=1.0)


def test_a_machine_that_codecarbon_cannot_work_on_is_told_with_its_reason(monkeypatch):
    def broken(country):
        raise OSError("no such sensor")

    monkeypatch.setattr(energy, "_tracker", broken)
    with pytest.raises(NoMeterError, match="codecarbon: OSError: no such sensor"):
        EnergyMeter(None)
