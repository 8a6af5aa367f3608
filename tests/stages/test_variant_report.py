from __future__ import annotations

from distill_lab.measure.cost import Cost
from distill_lab.measure.fidelity import Fidelity
from distill_lab.measure.scores import Scores
from distill_lab.stages.handoffs import Weights, from_plain, to_plain
from distill_lab.stages.report_handoff import (
    CONTROL,
    DISTILLED,
    TEACHER,
    Report,
    Row,
    Variant,
    table,
)
from distill_lab.stages.variant_report import int8_in_time, of_variants

SCORES = Scores(0.9, 0.1, 0.1, 0.0, 0.9, 1)
ON_VALIDATION = Scores(0.8, 0.1, 0.1, 0.0, 0.9, 1)


def variant(*steps, ms, macs=80, runtime="PyTorch", is_int8=False):
    where = Weights("run", "file", "hash")
    said = (SCORES, 1.0, 0.0)
    return Variant(
        DISTILLED,
        list(steps),
        runtime,
        is_int8,
        where,
        *said,
        50,
        macs,
        512,
        ms,
        ON_VALIDATION,
        None,
        1.0,
    )


def report(*variants):
    cost = Cost(100, 80, 400, 2.0, 2.0, 1.0)
    rows = [
        Row(name, "MLP", SCORES, 1.0, 0.0, cost, 2048) for name in (TEACHER, CONTROL, DISTILLED)
    ]
    return Report(rows, [], [], SCORES, "m", 1.0, Fidelity(1.0, 0.0), None, list(variants))


class Run:
    def __init__(self):
        self.paths = []

    def log_figure(self, figure, path):
        self.paths.append(path)


def test_int8_is_held_against_the_network_it_was_made_of():
    slower = report(variant("quantize_dynamic", ms=3.0, is_int8=True))
    [said] = int8_in_time(slower)
    assert said == (
        "int8 does not pay in time: student distilled + quantize_dynamic takes 3 ms, student "
        "distilled 2 ms."
    )
    faster = report(variant("quantize_dynamic", ms=1.0, is_int8=True))
    assert int8_in_time(faster)[0].startswith("int8 pays in time: ")


def test_int8_is_held_against_float_of_its_own_runtime_and_size():
    onnx = {"runtime": "ONNX Runtime"}
    both = report(
        variant("prune", "export_onnx", ms=0.9, macs=40, **onnx),
        variant("export_onnx", ms=1.5, macs=80, **onnx),
        variant("quantize_aware", ms=1.8, macs=80),
        variant("quantize_aware", "quantize_onnx", ms=1.4, macs=80, is_int8=True, **onnx),
        variant("prune", "quantize_onnx", ms=1.2, macs=40, is_int8=True, **onnx),
    )
    first, second = int8_in_time(both)
    assert first.startswith("int8 pays in time: student distilled + quantize_aware + quantize_onnx")
    assert first.endswith("1.4 ms, student distilled + export_onnx 1.5 ms.")
    assert second.startswith("int8 does not pay in time: ")
    assert second.endswith("1.2 ms, student distilled + prune + export_onnx 0.9 ms.")


def test_without_such_a_network_nothing_is_claimed():
    alone = variant("quantize_onnx", ms=1.2, is_int8=True, runtime="ONNX Runtime")
    [said] = int8_in_time(report(alone))
    assert said.endswith("takes 1.2 ms; in float no network of its MACs was run by ONNX Runtime.")


def test_the_section_says_how_much_smaller_and_faster():
    run = Run()
    [section] = of_variants(run, report(variant("prune", ms=0.5)))
    [[line]] = section.tables
    assert (line["smaller"], line["faster"], line["points"]) == ("4.00 x", "4.00 x", 0.0)
    assert run.paths == ["size.png", "latency.png"]
    assert of_variants(run, report()) == []


def test_a_variant_is_a_line_of_the_table_and_of_the_metrics():
    made = report(variant("prune", "int8", ms=0.5))
    last = table(made)[-1]
    assert last[""] == "student distilled + prune + int8"
    assert (last["KiB on disk"], last["latency ms"], last["MACs"]) == (0.5, 0.5, 80)
    key = "compressed/student distilled/prune.int8/test/accuracy"
    assert made.metrics[key] == 0.9
    assert made.headline.endswith("0 proposals, 1 variant")


def test_a_report_survives_its_json_and_one_of_before_has_no_variants():
    made = report(variant("prune", ms=0.5))
    assert from_plain(Report, to_plain(made)) == made
    old = to_plain(made)
    del old["variants"]
    for row in old["rows"]:
        del row["file_bytes"]
    assert table(from_plain(Report, old))[-1]["KiB on disk"] is None
