from __future__ import annotations

import pytest

from distill_lab.config.compose import compose
from distill_lab.config.groups import groups
from distill_lab.config.recipes import RECIPES, far_from_recipes


def advice(*overrides):
    return far_from_recipes(compose(overrides))


def test_the_default_run_is_close_to_its_recipe():
    assert advice() == []


def test_a_weight_of_a_hundredth_is_named_with_the_published_one():
    assert advice("loss.kd.weight=0.009") == [
        "loss.kd.weight: 0.009 is far from the published 0.9."
    ]


@pytest.mark.parametrize("weight", [0, 0.1, 8])
def test_a_weight_of_the_same_magnitude_and_a_term_that_is_off_are_no_matter(weight):
    assert advice(f"loss.kd.weight={weight}") == []


def test_a_temperature_that_nobody_published_is_named():
    [sentence] = advice("temperature.value=40")
    assert sentence == "temperature: 40 is not the 1 to 20 that kd was published with."


def test_both_ends_of_a_schedule_are_held_against_the_recipe():
    [sentence] = advice("temperature=linear", "temperature.start=4", "temperature.end=0.5")
    assert sentence.startswith("temperature: 0.5")


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["loss=[ce,nkd]", "loss.nkd.temperature=100"], "loss.nkd.temperature: 100 is far from"),
        (["loss=[ce,tf_kd]", "loss.tf_kd.temperature=0.001"], "loss.tf_kd.temperature: 0.001 is"),
        (
            ["loss=[ce,mlkd]", "loss.mlkd.temperatures=[4,90]"],
            "90 is far from the published 2 to 6",
        ),
        (["loss=[ce,nkd]", "loss.nkd.nontarget_weight=5000"], "5000 is far from the published 1.5"),
        (["loss=[ce,ebkd]", "temperature.value=200"], "temperature: 200 is not the 4 that ebkd"),
        (["loss=[ce,deit_soft]", "temperature.value=200"], "200 is not the 3 that deit_soft"),
        (["loss=[ce,dist_plus]"], "temperature: 4 is not the 1 that dist_plus"),
        (["loss.ce.weight=10"], "loss.ce.weight: 10 is far from the 0.1 that kd has beside it."),
        (["loss=[ce,simkd]"], "loss.simkd: was published without cross-entropy beside it"),
    ],
)
def test_what_is_inside_a_term_and_beside_it_is_looked_at_too(overrides, sentence):
    assert any(sentence in one for one in advice(*overrides))


def test_arguments_that_switch_a_part_off_are_no_matter():
    assert advice("loss=[ce,rkd]", "loss.rkd.angle_weight=0") == []


def test_a_missing_schedule_is_named_as_the_override_that_sets_it():
    overrides = ("loss=[ce,dkd]", "weighting.schedules={dkd: {warmup: 20}}")
    [sentence] = advice(overrides[0])
    assert "weighting.schedules={dkd: {warmup: 20}}" in sentence
    assert advice(*overrides) == []


def test_a_schedule_is_as_long_as_the_published_one_or_has_its_share_of_the_training():
    def of_ab(epochs, stop):
        schedule = f"weighting.schedules={{ab: {{stop: {stop}}}}}"
        return advice("loss=[ce,ab]", f"regime.epochs={epochs}", schedule)

    assert of_ab(240, 30) == of_ab(12, 1) == of_ab(12, 10) == []
    [sentence] = of_ab(240, 1)
    assert sentence.startswith("weighting.schedules.ab: ab was published with weighting.schedules=")


@pytest.mark.parametrize("schedule", ["{dkd: {stop: 20}}", "{dkd: {cosine: [0, 1]}}"])
def test_a_schedule_of_another_kind_is_named(schedule):
    [sentence] = advice("loss=[ce,dkd]", f"weighting.schedules={schedule}")
    assert "{warmup: 20}" in sentence


def test_a_schedule_that_nobody_published_is_named():
    assert advice("weighting.schedules={kd: {stop: 1}}") == [
        "weighting.schedules.kd: kd was published with a constant weight."
    ]


def test_a_term_that_holds_the_cross_entropy_stands_without_it():
    [sentence] = advice("loss=[ce,label_smoothing]")
    assert sentence == (
        "loss.label_smoothing: was published without cross-entropy beside it; leave out ce."
    )
    assert advice("loss=[label_smoothing]") == []


def test_recipes_are_of_losses_that_exist():
    assert set(RECIPES) <= set(groups()["loss"])
