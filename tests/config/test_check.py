"""`problems` on plain dicts, and `checked` on the strings a user types."""

from __future__ import annotations

from copy import deepcopy
from operator import itemgetter

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from distill_lab.config.check import build, component, grid, problems, settings_of
from distill_lab.config.compose import compose
from distill_lab.errors import ConfigError
from distill_lab.launch import checked

LOSS_CE = "{_target_: distill_lab.losses.ce.CE, weight: 1.0}"

# override, dotted key, what the sentence says
UNKNOWN = [
    ("temprature.value=4", "temprature", "no such section. Did you mean 'temperature'?"),
    ("sed=1", "sed", "Did you mean 'seed'?"),
    ("a.b.c=3", "a", "no such section. Sections: name, seed"),
    ("+bogus=1", "bogus", "no such section"),
    ("temperature.valu=4", "temperature.valu", "Did you mean 'value'? It takes value."),
    ("student.widht=[3]", "student.widht", "MLP takes no such argument. Did you mean 'widths'?"),
    ("regime.learning_rate=1", "regime.learning_rate", "Regime takes no such argument."),
    ("selection.regime.ephocs=1", "selection.regime.ephocs", "Did you mean 'epochs'?"),
    ("evaluation.refine.round=1", "evaluation.refine.round", "Did you mean 'rounds'?"),
    ("+loss.kd.bogus=1", "loss.kd.bogus", "KD takes no such argument. It takes weight."),
    ("student.input_shape=[1]", "student.input_shape", "MLP takes no such argument."),
    ("student._partial_=true", "student._partial_", "MLP takes no such argument."),
    ("loss.dkd.weight=1", "loss.dkd", "there is no such term in this run. Did you mean 'kd'?"),
    ("loss.kd=3", "loss.kd", "there is no such term"),
    ("student.widths={gird: [[3]]}", "student.widths.gird", "Did you mean 'grid'?"),
]
WRONG_TYPE = [
    ("seed=1.5", "seed", "must be int, got 1.5."),
    ("seed=true", "seed", "must be int, got true."),
    ("seed=null", "seed", "must be int, got null."),
    ("seed='1'", "seed", "must be int, got '1'."),
    ("seed=", "seed", "must be int, got ''."),
    ("seed=[1]", "seed", "must be int, got [1]."),
    ("seed=99999999999999999999", "seed", "within 64 bits"),
    ("name=3", "name", "must be str or null, got 3."),
    ("reuse=on", "reuse", "must be one of 'off', 'same_code', 'any_code', got 'on'."),
    ("reuse=same_cod", "reuse", "Did you mean 'same_code'?"),
    ("reuse=null", "reuse", "got null."),
    ("regime.lr=high", "regime.lr", "must be float, got 'high'."),
    ("regime.lr=inf", "regime.lr", "numbers must be finite"),
    ("regime.lr=nan", "regime.lr", "numbers must be finite"),
    ("regime.lr='0.1'", "regime.lr", "must be float, got '0.1'."),
    ("regime.clip_norm=x", "regime.clip_norm", "must be float or null, got 'x'."),
    ("regime.horizontal_flip=1", "regime.horizontal_flip", "must be bool, got 1."),
    ("regime.keep=Best", "regime.keep", "one of 'best', 'last', got 'Best'. Did you mean 'best'?"),
    ("regime.milestone_fractions=0.5", "regime.milestone_fractions", "a list of float, got 0.5."),
    ("regime.milestone_fractions=[1,x]", "regime.milestone_fractions", "got [1, 'x']."),
    ("regime.milestone_fractions=[0.5,null]", "regime.milestone_fractions", "got [0.5, None]."),
    ("student.widths=3", "student.widths", "must be a list of int, got 3."),
    ("student.widths=[1.5]", "student.widths", "must be a list of int, got [1.5]."),
    ("student.widths=[true]", "student.widths", "must be a list of int, got [True]."),
    ("student.dropout=null", "student.dropout", "must be float, got null."),
    ("student.widths={grid: []}", "student.widths.grid", "a list of candidates, not empty"),
    ("student.widths={grid: 3}", "student.widths.grid", "a list of candidates, not empty"),
    ("student.widths={grid: [3]}", "student.widths.grid", "must be a list of int, got 3."),
    ("student.dropout={grid: [0.1, x]}", "student.dropout.grid", "must be float, got 'x'."),
    ("temperature.value={grid: [1]}", "temperature.value", "must be float, got {'grid': [1]}."),
    ("design.max_parameters_fraction=Auto", "design.max_parameters_fraction", "mean 'auto'?"),
    ("tracking.uri=null", "tracking.uri", "must be str, got null."),
    ("teacher=3", "teacher", "must be a group of keys, got 3. Set architecture@teacher=<name>."),
    ("teacher=null", "teacher", "must be a group of keys, got null."),
    ("teacher=[1]", "teacher", "must be a group of keys, got [1]."),
    ("selection.regime=sgd_step", "selection.regime", "must be a group of keys, got 'sgd_step'."),
    ("evaluation.refine=null", "evaluation.refine", "must be a group of keys, got null."),
]
MISSING = [
    ("seed=???", "seed", "has no value; set seed=<int>."),
    ("regime.lr=???", "regime.lr", "Regime requires it; set regime.lr=<float>."),
    ("~temperature.value", "temperature.value", "Constant requires it"),
    ("~student.widths", "student.widths", "MLP requires it; set student.widths=<a list of int>."),
    ("~seed", "seed", "is missing. Choose one, e.g. seed=0."),
    ("~data", "data", "is missing. Set data=<name>."),
    ("~student", "student", "is missing. Set architecture@student=<name>."),
    ("+loss.new._target_=distill_lab.losses.ce.CE", "loss.new.weight", "CE requires it"),
]
WRONG_TARGET = [
    ("student._target_=os.system", "must start with 'distill_lab.models.'"),
    ("student._target_=distill_lab.losses.kd.KD", "must start with 'distill_lab.models.'"),
    (
        "regime._target_=distill_lab.settings.Hardware",
        "must start with 'distill_lab.settings.Regim",
    ),
    ("selection.regime._target_=os.system", "must start with 'distill_lab.settings.Regime'"),
    ("loss.kd._target_=distill_lab.losses.nothing.X", "no module 'distill_lab.losses.nothing'"),
    ("loss.kd._target_=distill_lab.losses.KD.KD", "Did you mean 'distill_lab.losses.kd'?"),
    ("loss.kd._target_=distill_lab.losses.kd.Kd", "has no 'Kd'. Did you mean 'kd'?"),
    ("loss.kd._target_=distill_lab.losses", "must start with 'distill_lab.losses.'"),
    ("loss.kd._target_=distill_lab.losses.", "has no ''"),
    ("loss.kd._target_=null", "a module of the working directory, got null."),
    ("loss.kd._target_=3", "a module of the working directory, got 3."),
    ("loss.kd._target_=distill_lab.losses.base.Loss", "Loss is abstract"),
    ("temperature._target_=distill_lab.temperature.Temperature", "Temperature is abstract"),
    ("temperature._target_=distill_lab.temperature._check", "has no '_check'"),
    ("data._target_=distill_lab.data.digits.NUM_SAMPLES", "NUM_SAMPLES is no dataset"),
]
SETTINGS = [
    ("regime.lr=-1", "regime.lr", "must be > 0, got -1."),
    ("selection.regime.lr=0", "selection.regime.lr", "must be > 0, got 0."),
    ("selection.seeds=[1,1]", "selection.seeds", "must be different integers, got [1, 1]."),
    ("evaluation.refine.rounds=-1", "evaluation.refine.rounds", "must be >= 0, got -1."),
    ("temperature.value=0", "temperature.value", "must be > 0, got 0."),
    (
        "weighting.schedules={ce: {stop: 1}, kd: {stop: 2}}",
        "weighting.schedules",
        "every term stops, and then nothing is trained.",
    ),
    (
        "weighting.schedules={kdd: {stop: 1}}",
        "weighting.schedules.kdd",
        "there is no such term in this run. Did you mean 'kd'?",
    ),
]
MADE = [
    ("~architecture@student", "student", "is missing. Set architecture@student=<name>."),
    ("student.widths=[0]", "student.widths", "must be a list of integers >= 1"),
    ("student.dropout={grid: [0.1, 2]}", "student.dropout", "must be in [0, 1), got 2."),
    ("loss.kd.weight=-1", "loss.kd.weight", "must be >= 0, got -1."),
    ("data.validation_fraction=2", "data.validation_fraction", "must be in (0, 1), got 2."),
]
TABLES = [UNKNOWN, WRONG_TYPE, MISSING, SETTINGS]


@pytest.fixture(scope="module")
def default():
    return compose([])


def changed(config, text):
    """A config with one override in it, as Hydra merges it but in no time."""
    override = OverridesParser.create().parse_override(text)
    *path, last = override.key_or_group.split(".")
    node = config = deepcopy(config)
    for name in path:
        node = node.setdefault(name, {})
    if text.startswith("~"):
        del node[last]
    else:
        node[last] = override.value()
    return config


def problems_with(*overrides):
    with pytest.raises(ConfigError) as caught:
        checked(overrides)
    return caught.value.problems


@pytest.mark.parametrize(("override", "key", "said"), UNKNOWN + WRONG_TYPE + MISSING + SETTINGS)
def test_one_fault_gives_one_sentence_with_its_key(default, override, key, said):
    [problem] = problems(changed(default, override))
    assert problem.startswith(f"{key}: ")
    assert said in problem
    assert problem.endswith((".", "?"))


@pytest.mark.parametrize(("override", "key", "said"), [*map(itemgetter(0), TABLES), *MADE])
def test_the_command_line_gives_the_same_sentence(override, key, said):
    [problem] = problems_with(override)
    assert problem.startswith(f"{key}: ")
    assert said in problem


@pytest.mark.parametrize(("override", "said"), WRONG_TARGET)
def test_a_wrong_target_is_refused_and_never_imported(default, override, said):
    [problem] = problems(changed(default, override))
    assert problem.startswith(f"{override.partition('=')[0]}: ")
    assert said in problem


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["loss.kd.weight=1", "loss=[ce]"], "loss.kd"),
        (["temperature=linear", "temperature.value=3"], "temperature.value"),
        (["regime=sgd_step", "regime.lr=-1"], "regime.lr"),
        (["loss={ce: 1}"], "loss.ce"),
        (["regime=dot_step", "regime.momentum=0.95"], "regime.dot_delta"),
        (["regime=dot_step", "hardware.precision=16-mixed"], "regime.optimizer"),
        (
            ["regime@selection.regime=dot_step", "hardware.precision=16-mixed"],
            "selection.regime.optimizer",
        ),
        ([f"+loss.keys={LOSS_CE}"], "loss.keys"),
        (["~loss.ce", "~loss.kd"], "loss"),
        (["data.validation_fraction=0.7", "data.test_fraction=0.6"], "data.validation_fraction +"),
    ],
)
def test_a_fault_of_two_overrides_together_is_found(overrides, key):
    [problem] = problems_with(*overrides)
    assert problem.startswith(key)


def test_seven_different_faults_are_reported_together_once_each():
    found = problems_with(
        "sed=1",
        "temperature.valu=3",
        "data=dgits",
        "regime.lr=fast",
        "student.widths=[0]",
        "loss.kd.weight=-1",
        "a=[1,",
    )
    keys = [problem.split(":")[0].split(" ")[0] for problem in found]
    expected = ["'a=[1,'", "data", "loss.kd.weight", "regime.lr", "sed", "student.widths"]
    assert sorted(keys) == [*expected, "temperature.valu"]


def test_faults_of_one_section_do_not_hide_each_other():
    keys = ["regime.lr=-1", "regime.epochs=0", "regime.keep=no", "regime.x=1", "~regime.momentum"]
    keys += ["selection.regime.lr=x", "selection.keep=0", "selection.regime.epochs=0"]
    found = problems_with(*keys)
    assert sorted(problem.split(":")[0] for problem in found) == sorted(
        text.strip("~").partition("=")[0] for text in keys
    )


def test_several_values_are_a_sweep_and_do_not_hide_other_faults():
    found = problems_with("seed=1,2", "loss=[ce],[kd]", "temperature.valu=3")
    assert found[:2] == [
        "seed: several values are a sweep; add -m.",
        "loss: several values are a sweep; add -m.",
    ]
    assert [problem.split(":")[0] for problem in found[2:]] == ["temperature.valu"]


def test_a_very_long_value_is_answered_too():
    [problem] = problems_with("regime.lr='" + "x" * 10_000 + "'")
    assert problem.startswith("regime.lr: must be float")


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["reuse=off"],
        ["name='ünïcödé, 😀'"],
        ["name=null"],
        ["seed=-1"],
        ["seed=1", "seed=2"],
        ["~loss.kd"],
        ["+loss=label_smoothing"],
        [f"+loss.more={LOSS_CE}"],
        ["student.widths=[32]"],
        ["student.dropout={grid: [0.1, 0.2]}"],
        ["data=fake", "data.num_classes=7"],
        ["regime@selection.regime=sgd_step"],
        ["regime=dot_step"],
        ["regime=dot_step", "hardware.precision=bf16-mixed"],
        ["regime.momentum=0.95"],
        ["design.max_parameters_fraction=null"],
        ["temperature={value: 3}"],
        ["hydra.run.dir=elsewhere"],
    ],
    ids=" ".join,
)
def test_a_sound_request_passes(overrides):
    assert checked(overrides).config["seed"] is not None


def test_reuse_off_stays_a_word():
    assert checked(["reuse=off"]).reuse == "off"


def test_the_default_config_has_no_problem_and_is_left_as_it_was(default):
    before = deepcopy(default)
    assert problems(default) == []
    assert default == before


def test_the_parts_of_the_default_config(default):
    parts = build(default)
    assert (parts.seed, parts.reuse, parts.name) == (0, "same_code", None)
    assert list(parts.loss) == ["ce", "kd"]
    assert parts.loss["kd"].args == {"weight": 0.9}
    assert parts.selection.regime.optimizer == "adamw"
    assert parts.evaluation.refine.rounds == 0
    assert parts.config == {k: v for k, v in default.items() if k != "regime.search"}
    assert parts.search is None


def test_a_grid_is_every_combination_of_its_knobs():
    node = {"_target_": "a.Net", "widths": {"grid": [[1], [2]]}, "p": {"grid": [0, 1]}, "k": [3]}
    assert [point.args for point in grid(node)] == [
        {"widths": [1], "p": 0, "k": [3]},
        {"widths": [1], "p": 1, "k": [3]},
        {"widths": [2], "p": 0, "k": [3]},
        {"widths": [2], "p": 1, "k": [3]},
    ]
    assert {point.target for point in grid(node)} == {"a.Net"}


def test_a_component_keeps_its_arguments_apart_from_its_target():
    made = component({"_target_": "a.B", "x": 1})
    assert (made.target, made.args) == ("a.B", {"x": 1})


def test_nested_settings_are_made(default):
    assert settings_of(default["evaluation"]).refine.rounds == 0
