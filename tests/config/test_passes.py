from __future__ import annotations

from distill_lab.config.check import problems
from distill_lab.config.compose import compose
from distill_lab.config.passes import pass_configs


def test_without_a_chain_there_is_one_pass_with_the_config_itself():
    config = compose([])
    assert pass_configs(config) == [config]


def test_assistants_come_before_the_student_and_each_student_is_the_next_teacher():
    overrides = [
        "architecture@teacher=mlp_1200",
        "architecture@student=mlp_30",
        "student.widths=[31]",
        "chain.assistants=[mlp_800,mlp_300]",
        "chain.generations=2",
    ]
    passes = pass_configs(compose(overrides))
    widths = [(one["teacher"]["widths"], one["student"]["widths"]) for one in passes]
    assert widths == [  # the options, and what an override says of the student
        ([1200, 1200], [800, 800]),
        ([800, 800], [300, 300]),
        ([300, 300], [31]),
        ([31], [31]),
    ]


def test_an_assistant_that_is_no_architecture_is_named_with_the_nearest():
    [problem] = problems(compose(["chain.assistants=[mlp_80]"]))
    assert problem.startswith("chain.assistants: there is no architecture 'mlp_80'. Did you mean ")
    assert "'mlp_800'" in problem


def test_a_chain_is_not_refined():
    [problem] = problems(compose(["chain.generations=2", "evaluation.refine.rounds=1"]))
    assert problem.startswith("evaluation.refine.rounds: must be 0 where there is a chain")


def test_a_teacher_that_is_not_trained_is_one_candidate():
    for given in ("selection.from_run=abc", "selection.weights=abc"):
        [problem] = problems(compose([given, "selection.keep=2"]))
        assert problem.startswith("selection.keep: must be <= 1,")


def test_published_weights_are_of_the_first_teacher_alone():
    name = "selection.weights=ResNet18_Weights.IMAGENET1K_V1"
    passes = pass_configs(compose([name, "chain.generations=2"]))
    assert [one["selection"]["weights"] for one in passes] == [name.partition("=")[2], None]


def test_only_the_first_teacher_starts_from_pretrained_weights():
    name = "selection.pretrained=all-MiniLM-L6-v2"
    passes = pass_configs(compose([name, "chain.generations=2", "chain.assistants=[text_cnn]"]))
    started = [one["selection"]["pretrained"] for one in passes]
    assert started == [name.partition("=")[2], None, None]
    later = {**passes[1]["selection"], "from_run": "abc"}
    assert problems({**passes[1], "selection": later}) == []
