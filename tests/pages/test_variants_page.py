from __future__ import annotations

import pytest

from distill_lab.measure.cost import Cost
from distill_lab.measure.fidelity import Fidelity
from distill_lab.measure.scores import Scores
from distill_lab.pages.variants import int8_in_time, variants
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

SCORES = Scores(0.9, 0.1, 0.1, 0.0, 0.9, 1)
ON_VALIDATION = Scores(0.8, 0.1, 0.1, 0.0, 0.9, 1)


def variant(*steps, ms, runtime="PyTorch", float_ms=None):
    where = Weights("run", "file", "hash")
    said = (SCORES, 1.0, 0.0)
    return Variant(
        DISTILLED,
        list(steps),
        runtime,
        float_ms is not None,
        where,
        *said,
        50,
        80,
        512,
        ms,
        ON_VALIDATION,
        None,
        1.0,
        float_ms,
    )


def report(*made):
    cost = Cost(100, 80, 400, 2.0, 2.0, 1.0)
    rows = [
        Row(name, "MLP", SCORES, 1.0, 0.0, cost, 2048) for name in (TEACHER, CONTROL, DISTILLED)
    ]
    return Report(rows, [], [], SCORES, "m", 1.0, Fidelity(1.0, 0.0), None, list(made))


@pytest.mark.parametrize(
    ("ms", "verdict"),
    [
        (3.0, "int8 does not pay in time"),
        (2.1, "int8 takes about as long as float"),
        (1.9, "int8 takes about as long as float"),
        (1.0, "int8 pays in time"),
    ],
)
def test_int8_is_held_against_the_same_in_float(ms, verdict):
    int8 = variant("quantize_onnx", ms=ms, float_ms=2.0, runtime="ONNX Runtime")
    assert int8_in_time(report(variant("prune", ms=9.0), int8)) == [
        f"{verdict}: student distilled + quantize_onnx takes {ms:.4g} ms, the same in float 2 ms, "
        "both by ONNX Runtime."
    ]


def test_the_section_says_how_much_smaller_and_faster():
    [section] = variants(report(variant("prune", ms=0.5)))
    [[line]] = section.tables
    assert (line["smaller"], line["faster"], line["points"]) == ("4.00 x", "4.00 x", 0.0)
    assert variants(report()) == []


def test_a_variant_is_a_line_of_the_table_and_of_the_metrics():
    made = report(variant("prune", "int8", ms=0.5))
    last = table(made)[-1]
    assert last[""] == "student distilled + prune + int8"
    assert (last["KiB on disk"], last["latency ms"], last["MACs"]) == (0.5, 0.5, 80)
    key = "compressed/student distilled/prune.int8/test/accuracy"
    assert made.metrics[key] == made.metrics["compressed/last/test/accuracy"] == 0.9
    assert made.headline.endswith("0 proposals, 1 variant")


def test_a_report_survives_its_json_and_one_of_before_has_no_variants():
    made = report(variant("prune", ms=0.5))
    assert from_plain(Report, to_plain(made)) == made
    old = to_plain(made)
    for one in old["variants"]:
        del one["float_latency_ms"]
    assert int8_in_time(from_plain(Report, old)) == []
    del old["variants"]
    for row in old["rows"]:
        del row["file_bytes"]
    assert table(from_plain(Report, old))[-1]["KiB on disk"] is None
