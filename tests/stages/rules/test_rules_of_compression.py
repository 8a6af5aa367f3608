from __future__ import annotations

import pytest

from distill_lab.stages.rules.compression import int8, smaller

CNNS = ("architecture@teacher=cnn_teacher", "architecture@student=cnn_small")
SAME = ("architecture@teacher=mlp_800", "architecture@student=mlp_800")
"""A student as large as its teacher misses both goals."""
PRUNE = "compress.prune_structured_iterative"


def test_as_few_channels_go_as_meet_the_goals_that_are_missed(asked):
    """Of 64-800-800-10 without 40 % of the units 64-480-480-10 is left.

    It has 64*480 + 480*480 + 480*10 = 265,920 of 699,200 MACs, 38 %, and saves 62 % of them; with
    half of the units it is 64*400 + 400*400 + 400*10 = 189,600, 27 %, which saves 73 %.
    """
    found = asked(smaller, *SAME, teacher=0.95, student=0.94)
    expected = ["compress=[prune_structured_iterative]", f"{PRUNE}.fraction=0.5"]
    assert found == [*expected, f"{PRUNE}.epochs=4"]  # a tenth of 40 after each pruning


def test_a_goal_that_is_lower_is_met_with_more_channels(asked):
    found = asked(smaller, *SAME, "evaluation.goal_compute_saved=0.6", student=0.94)
    assert found[1] == f"{PRUNE}.fraction=0.4"  # 38 % of MACs and parameters are left


@pytest.mark.parametrize(
    ("given", "student"),
    [
        (SAME, 0.90),  # 94.7 % of the teacher's 0.95 is no quality to give away
        (("architecture@teacher=mlp_800", "architecture@student=mlp_30"), 0.95),  # misses no goal
        ((*SAME, "compress=[prune_unstructured]"), 0.95),
        ((*SAME, "design.reuse_classifier=true"), 0.95),
        ((*SAME, "evaluation.goal_compute_saved=0.99"), 0.95),  # by no pruning that leaves enough
        (("architecture@teacher=vit_small", "architecture@student=vit_small"), 0.95),
    ],
    ids=["too poor", "no goal missed", "compressed", "classifier", "out of reach", "attention"],
)
def test_nothing_is_pruned_where_it_is_not_called_for_or_cannot_be(asked, given, student):
    assert asked(smaller, *given, teacher=0.95, student=student) is None


def test_a_short_run_prunes_with_an_epoch_at_least(asked):
    assert asked(smaller, *SAME, "regime.epochs=4", student=0.94)[2] == f"{PRUNE}.epochs=1"


def test_a_student_well_above_the_goal_is_tried_in_int8(asked):
    """Of 5 % that may be lost less than half are: 0.927 / 0.95 is 97.6 %, 0.926 / 0.95 97.47 %."""
    assert asked(int8, *CNNS, teacher=0.95, student=0.927) == ["compress=[quantize_onnx]"]
    assert asked(int8, *CNNS, teacher=0.95, student=0.926) is None


def test_int8_comes_after_what_is_pruned_and_is_judged_by_it(asked):
    pruned = (*CNNS, "compress=[prune_structured]")
    assert asked(int8, *pruned, student=0.5, variant=0.94) == [
        "compress=[prune_structured,quantize_onnx]"
    ]
    assert asked(int8, *pruned, student=0.95, variant=0.92) is None


@pytest.mark.parametrize(
    "given",
    [
        (*CNNS, "compress=[quantize_onnx]"),
        (*CNNS, "compress=[export_onnx]"),
        (*CNNS, "compress=[prune_structured]", "variants.chains=[[prune_structured]]"),
        (*CNNS, "compress=[prune_structured]", "variants.of=[teacher]"),
        ("data=reuters_r8", "architecture@teacher=bert_tiny", "architecture@student=bilstm"),
    ],
    ids=lambda given: given[-1],
)
def test_int8_is_not_proposed_twice_nor_where_it_cannot_follow_or_reach(asked, given):
    assert asked(int8, *given, student=0.95) is None
