from __future__ import annotations

import pytest

from distill_lab.stages.rules.capacity import assistant, larger

MLPS = ("architecture@teacher=mlp_1200", "architecture@student=mlp_30")
"""On digits 1,532,410 and 3,190 parameters; mlp_300 has 112,810 and mlp_800 700,810."""
TOO_SMALL = {"teacher": 0.95, "student": 0.90}  # 94.7 % of it


def test_a_wider_budget_is_proposed_where_larger_candidates_were_outside_of_it(asked):
    wider = ["design.max_parameters_fraction=0.8"]
    assert asked(larger, **TOO_SMALL, in_budget=2) == wider
    assert asked(larger, teacher=0.95, student=0.903, in_budget=2) is None  # 95.05 %


def test_a_small_student_without_larger_candidates_is_not_told_to_grow(asked):
    assert asked(larger, **TOO_SMALL, in_budget=3) is None


def test_a_budget_is_widened_to_all_of_the_teacher_at_most(asked):
    given = "design.max_parameters_fraction=0.9"
    assert asked(larger, given, **TOO_SMALL, in_budget=2) == ["design.max_parameters_fraction=1"]


@pytest.mark.parametrize(
    "given",
    [
        "design.max_parameters_fraction=1.0",
        "design.max_parameters_fraction=2.0",
        "design.max_parameters_fraction=null",
        "design.max_macs_fraction=0.5",
        "design.max_latency_ms=5",
        "design.max_memory_mib=9",
    ],
)
def test_a_budget_that_does_not_keep_them_out_or_not_alone_is_left(asked, given):
    assert asked(larger, given, **TOO_SMALL, in_budget=2) is None


def test_the_network_nearest_to_the_geometric_mean_is_the_assistant(asked):
    assert asked(assistant, *MLPS, **TOO_SMALL) == ["chain.assistants=[mlp_300]"]


def test_a_student_that_keeps_enough_needs_no_assistant(asked):
    assert asked(assistant, *MLPS, teacher=0.95, student=0.903) is None


@pytest.mark.parametrize(
    "given",
    [
        ("architecture@teacher=mlp_300", "architecture@student=mlp_300"),
        ("architecture@teacher=vit_small", "architecture@student=vit_tiny"),
        (*MLPS, "loss=[ce]"),
        (*MLPS, "selection.from_run=abc"),
        (*MLPS, "design.reuse_classifier=true"),
        (*MLPS, "design.max_latency_ms=5"),
        (*MLPS, "design.max_memory_mib=9"),
    ],
    ids=lambda given: given[-1],
)
def test_none_is_proposed_where_none_lies_between_or_a_chain_cannot_be(asked, given):
    assert asked(assistant, *given, **TOO_SMALL) is None


def test_an_assistant_outside_the_budget_makes_way_for_the_next(asked):
    """As students of the teacher mlp_300 has 7.4 % and mlp_800 46 % of its parameters."""
    narrow = "design.max_parameters_fraction=0.05"
    assert asked(assistant, *MLPS, narrow, **TOO_SMALL) is None
    of_assistant = "design.max_parameters_fraction=0.08"  # mlp_30 has 2.8 % of mlp_300's
    assert asked(assistant, *MLPS, of_assistant, **TOO_SMALL) == ["chain.assistants=[mlp_300]"]


def test_an_assistant_that_the_loss_cannot_read_is_not_proposed(asked):
    """A third hidden layer is in neither mlp_300 nor mlp_800."""
    deep = (
        "architecture@teacher=mlp_1200",
        "teacher.widths=[1200,1200,1200]",
        "architecture@student=mlp_30",
        "student.widths=[30,30,30]",
        "loss=[ce,kd,sp]",
        "loss.sp.pairs=[[hidden.2,hidden.2]]",
    )
    assert asked(assistant, *deep[:4], **TOO_SMALL) is not None
    assert asked(assistant, *deep, **TOO_SMALL) is None
