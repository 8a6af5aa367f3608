from __future__ import annotations

from dataclasses import replace

import pytest

from distill_lab.measure.cost import Cost
from distill_lab.measure.energy import Energy, PowerSource
from distill_lab.measure.fidelity import Fidelity
from distill_lab.measure.scores import Scores
from distill_lab.measure.timing import Latency, Throughput
from distill_lab.pages.cost import cost
from distill_lab.settings import Price
from distill_lab.stages.cost_handoff import PYTORCH, RunningCost, RunningCosts, Training
from distill_lab.stages.report_handoff import CONTROL, DISTILLED, TEACHER, Report, Row

SCORES = Scores(0.9, 0.1, 0.1, 0.0, 0.9, 1)
LATENCY = Latency(1.0, 2.0, 3.0, 4.0, 5.0)
SAVED = {TEACHER: 1000.0, CONTROL: 10_000.0, DISTILLED: 10_000.0}


def network(name, joules=None, watts=None, **changes):
    # A core is 0.36 $ an hour, 0.0001 $ a second.
    speeds = [Throughput(1, 400, 500, 600, 9), Throughput(8, 1.0, SAVED[name], 1e9, 9)]
    watts = watts or (joules or 0) * SAVED[name]
    energy = None if joules is None else Energy(joules, watts, 400.0)
    cost = RunningCost(name, PYTORCH, False, LATENCY, speeds, energy, file_bytes=2048)
    return replace(cost, **changes)


def report(networks, source=None, no_energy=""):
    price = Price(0.36, 2.0, 0.0, 1e6, "DEU")
    trainings = [Training(CONTROL, 30.0), Training(DISTILLED, 60.0)]
    running = RunningCosts(networks, price, 2, source, no_energy, trainings)
    counted = Cost(1, 1, 1, 1.0, 1.0, 1.0)
    rows = [Row(name, "MLP", SCORES, 1.0, 0.0, counted) for name in SAVED]
    fidelity = Fidelity(1.0, 0.0)
    return Report(rows, [], [], SCORES, "m", 1.0, fidelity, None, running=running)


@pytest.fixture
def whole():
    """Of a million inferences the teacher's take 3.6 MJ, the others' 0.36: a kWh and a tenth."""
    networks = [network(TEACHER, 3.6), network(CONTROL, 0.36), network(DISTILLED, 0.36)]
    return report(networks, PowerSource("somehow", is_measured=False))


def test_the_table_of_power_and_price_is_that_worked_by_hand(whole):
    [section] = cost(whole)
    teacher, control, student = section.tables[2]
    # Two threads: 0.0002 $ a second. 1,000 seconds a million of the teacher's, 100 of the others'.
    # 3.6 J a thousand times a second, and 0.36 J ten thousand times, are 3.6 kW.
    assert list(teacher.values()) == [TEACHER, 1000, 3600, 3.6] + [
        pytest.approx(value) for value in (0.2, 0.4, 73)
    ] + [None]
    assert list(student.values())[1:] == pytest.approx([10_000, 3600, 0.36, 0.02, 0.04, 7.3, 65.7])
    assert list(teacher) == [
        "at batch 8",
        "samples per second",
        "W, estimated",
        "J each, estimated",
        "$ per million",
        "kg CO2 per million",
        "$ a year",
        "$ a year saved",
    ]
    assert control | {"at batch 8": DISTILLED} == student


def test_times_and_speeds_stand_with_their_spread(whole):
    time, speed, *_ = cost(whole)[0].tables
    assert time[0] == {
        "batch 1": TEACHER,
        "on": "CPU",
        "p50 ms": 2.0,
        "p90 ms": 4.0,
        "p99 ms": 5.0,
        "p25 to p75 ms": "1 to 3",
        "KiB on disk": 2.0,
    }
    assert speed[0]["batch 1"] == "500 (400 to 600)"


def test_a_year_and_the_trainings_are_told_in_what_they_take(whole):
    [section] = cost(whole)
    # 365 times 0.18 $, 0.9 kWh and 0.36 kg.
    saving = "-65.7 $, -328.5 kWh, -131.4 kg CO2, estimated."
    assert f"A year of the student instead of the teacher: {saving}" in section.text
    line = section.tables[3][1]
    # 10,000 a second at 0.36 J are 3.6 kW, for 60 s 0.06 kWh; each inference saves 3.24 J.
    assert list(line.values()) == [
        DISTILLED,
        60.0,
        *(pytest.approx(value) for value in (216, 24, 216_000 / 3.24)),
    ]


def test_energy_of_a_busy_machine_is_said_to_be_too_high(whole):
    busy = [network(TEACHER, 3.6), network(CONTROL, 0.36), network(DISTILLED, 0.36, watts=360)]
    said = [" ".join(cost(report(made))[0].text) for made in (busy, whole.running.networks)]
    assert ["a network ran at 10% of its median speed" in one for one in said] == [True, False]


def test_without_energy_the_reason_stands_there_and_its_cells_are_empty():
    networks = [network(name) for name in SAVED]
    [section] = cost(report(networks, no_energy="no such sensor"))
    assert "No energy was told: no such sensor" in section.text
    assert len(section.tables) == 3
    assert section.tables[2][2]["J each"] is section.tables[2][2]["kg CO2 per million"] is None
    assert section.tables[2][2]["$ a year saved"] == pytest.approx(65.7)
    [(_, caption)] = section.figures
    assert caption.startswith("Samples per second")


def test_what_could_not_be_exported_is_a_dash_with_its_reason(whole):
    why = "teacher by ONNX Runtime: no such operator"
    failed = RunningCost(TEACHER, "ONNX Runtime", False, None, [], None, why)
    [section] = cost(report([*whole.running.networks, failed], whole.running.source))
    assert why in section.text
    for table in section.tables[:3]:
        name, *cells = table[-1].values()
        assert name == "teacher, ONNX Runtime"
        assert set(cells) <= {None, "CPU"}


def test_at_one_batch_size_there_is_no_curve_over_it():
    slow = [Throughput(1, 1, 2, 3, 9)]
    single = [network(name, 1.0, watts=2.0, throughput=slow) for name in SAVED]
    [section] = cost(report(single, PowerSource("somehow", is_measured=True)))
    [(figure, caption)] = section.figures
    assert caption == "What each network knows, and the energy of an answer."
    assert figure.axes[0].get_xlabel() == "J per inference, measured"
    assert "J each, measured" in section.tables[2][0]


def test_a_network_on_a_gpu_is_said_to_be(whole):
    [section] = cost(report([network(name, on_gpu=True) for name in SAVED]))
    assert section.text[0].startswith("Measured on the GPU, exports and int8 on the CPU, after a")


def test_a_report_that_did_not_look_has_no_section(whole):
    assert cost(replace(whole, running=None)) == []
