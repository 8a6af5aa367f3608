from __future__ import annotations

import pytest

from distill_lab.config import compose as subject
from distill_lab.config import overrides
from distill_lab.config.compose import compose, composed, jobs, own_sweep
from distill_lab.config.groups import groups, networks, options, ready, takes_several
from distill_lab.config.overrides import read
from distill_lab.errors import ConfigError

UNREADABLE = [
    "a=[1,",
    "=3",
    "foo",
    "foo.bar",
    "a=b=c",
    "a==3",
    "name=ünïcödé",
    "-x=3",
    "name={a",
    "",
]
NO_OPTION = [
    ("temperature=constnat", "temperature", "'constnat'", "'constant'"),
    ("temperature=Constant", "temperature", "'Constant'", "'constant'"),
    ("architecture@student=mlp_3", "architecture@student", "'mlp_3'", "'mlp_30'"),
    ("regime@selection.regime=sgd_stp", "regime@selection.regime", "'sgd_stp'", "'sgd_step'"),
    ("loss=[ce,kdd]", "loss", "'kdd'", "'kd'"),
    ("loss=[[ce]]", "loss", "['ce']", "'ce'"),
    ("data=../data/fake", "data", "'../data/fake'", "'fake'"),
    ("data=digits,fakee", "data", "'fakee'", "'fake'"),
    ("data=null", "data", "null", ""),
    ("loss=null", "loss", "null", ""),
    ("loss=[ce,null]", "loss", "null", ""),
    ("data=", "data", "''", ""),
    ("data=3", "data", "3", ""),
    ("data=???", "data", "'???'", ""),
    ("experiments=no/such", "experiments", "'no/such'", ""),
    ("+experiments=no/such", "experiments", "'no/such'", ""),
    ("experiments=null", "experiments", "null", ""),
]
WRONG_CHOICE = [
    ("architecture=mlp_30", "architecture: choose it as architecture@teacher or architecture@stud"),
    ("architecture@techer=mlp_30", "architecture@techer: choose it as architecture@teacher or"),
    ("loss@student=kd", "loss@student: choose it as loss."),
    ("loss=[]", "loss: needs at least one option, e.g. loss=[ce]."),
    ("loss=[ce,kd,ce]", "loss: names 'ce' 2 times; name it once."),
    ("data=[digits,fake]", "data: takes one option, got ['digits', 'fake']."),
    ("data/foo=3", "data/foo: there is no such group. Did you mean 'data'?"),
    ("regmie@selection.regime=x", "Did you mean 'regime@selection.regime'?"),
    ("data=glob(*)", "data: can only be swept value by value"),
    ("hydra/launcher=jobs", "hydra/launcher: there is no launcher 'jobs'. Did you mean 'joblib'?"),
    ("hydra/launcher=null", "hydra/launcher: there is no launcher None. Launchers: basic, jobl"),
    ("hydra/launcher=[joblib]", "hydra/launcher: there is no launcher ['joblib']."),
    ("hydra/launcher=basic,joblib", "hydra/launcher: holds for the whole sweep; give it one value"),
    ("hydra.launcher.n_jobs=0", "hydra.launcher.n_jobs: must be how many jobs run at once, or -1"),
    ("regime.lr=interval(0,1)", "regime.lr: can only be swept value by value"),
]
UNMERGEABLE = [
    ("~loss", "loss: "),
    ("~bogus", "bogus: "),
    ("~data=fake", "data: "),
    ("+seed=3", "seed: "),
    ("+data=fake", "data: "),
    ("data={bogus: 1}", "data: "),
    ("hydra.foo=1", "hydra.foo: "),
    ("seed=${nothing}", "seed: Interpolation key 'nothing' not found"),
    ("name=${bogus:1}", "name: Unsupported interpolation type bogus"),
    ("name=${oc.env:DISTILL_LAB_NOT_SET}", "name: "),
]


@pytest.mark.parametrize("text", UNREADABLE)
def test_what_is_no_override_is_quoted_and_the_form_named(text):
    request = read([text, "seed=1"])
    assert len(request.problems) == 1
    assert request.problems[0].startswith(f"{text!r} is not an override of the form key=value")
    assert request.composable == ["++seed=1"]


@pytest.mark.parametrize(("text", "key", "given", "near"), NO_OPTION)
def test_an_unknown_option_is_named_with_the_nearest_and_all_there_are(text, key, given, near):
    [problem] = read([text]).problems
    assert problem.startswith(f"{key}: there is no option {given}.")
    assert (f"Did you mean {near}?" if near else "Options: ") in problem
    assert ", ".join(groups()[key])[:30] in problem


@pytest.mark.parametrize(("text", "said"), WRONG_CHOICE)
def test_a_choice_in_the_wrong_form_is_explained(text, said):
    [problem] = read([text]).problems
    assert said in problem


@pytest.mark.parametrize(
    ("name", "extra"), [("joblib", "joblib"), ("ray", "ray"), ("submitit_slurm", "slurm")]
)
def test_a_launcher_that_is_not_installed_is_named_with_its_extra(monkeypatch, name, extra):
    monkeypatch.setattr(overrides, "launchers", lambda: ["basic"])
    [problem] = read([f"hydra/launcher={name}"]).problems
    assert problem == (
        f"hydra/launcher: {name!r} is an extra that is not installed: "
        f"pip install 'distill-lab[{extra}]'."
    )


def test_a_launcher_is_no_part_of_a_job():
    asked = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=1,2"]
    assert jobs(asked) == [["seed=1"], ["seed=2"]]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=x"], "hydra.launcher.n_jobs: Value 'x'"),
        (["hydra.launcher.n_jobs=2"], "hydra.launcher.n_jobs: Key 'n_jobs' not in"),
    ],
)
def test_a_wrong_key_of_the_launcher_is_named(asked, said):
    with pytest.raises(ConfigError) as caught:
        jobs([*asked, "seed=1,2"])
    [problem] = caught.value.problems
    assert problem.startswith(said)
    assert ("add hydra/launcher=joblib" in problem) == (len(asked) == 1)


def test_every_wrong_override_is_reported_at_once():
    problems = read([text for text, *_ in NO_OPTION] + [text for text, _ in WRONG_CHOICE]).problems
    assert len(problems) == len(NO_OPTION) + len(WRONG_CHOICE)


def test_long_lists_of_options_are_cut(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    [problem] = read(["architecture@student=x"]).problems
    assert problem.endswith(" ....")


def test_a_sweep_is_noted_and_composed_with_its_first_value():
    request = read(["seed=3,4", "loss=[ce],[ce,kd]", "regime.epochs=range(2,9)", "name='a,b'"])
    assert request.sweeps == ["seed", "loss", "regime.epochs"]
    assert request.composable == ["++seed=3", "loss=[ce]", "++regime.epochs=2", "++name='a,b'"]
    assert not request.problems


@pytest.mark.parametrize(("text", "said"), UNMERGEABLE)
def test_an_override_that_cannot_be_merged_is_named_by_key(text, said):
    request = read([text, "seed=7"] if "seed" not in text else [text])
    config, _, found = composed(request.composable)
    assert not request.problems
    assert len(found) == 1
    assert found[0].startswith(said)
    assert "\n" not in found[0]
    assert "search path" not in found[0]
    assert config["seed"] == (0 if "seed" in text else 7)


def test_all_overrides_that_cannot_be_merged_are_reported_and_the_others_merged():
    wanted = ["~bogus", "seed=${nothing}", "regime.lr=0.5", "hydra.foo=1", "temperature=linear"]
    config, _, found = composed(read(wanted).composable)
    assert sorted(problem.partition(":")[0] for problem in found) == ["bogus", "hydra.foo", "seed"]
    assert config["regime"]["lr"] == 0.5
    assert config["temperature"]["_target_"].endswith("Linear")


def test_compose_raises_them_all():
    with pytest.raises(ConfigError) as caught:
        compose(["~bogus", "~nothing"])
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("overrides", "widths"),
    [
        (["student.widths=[32]"], [32]),
        (["student.widths={grid: [[4], [5]]}"], {"grid": [[4], [5]]}),
        (["architecture@student=mlp_30", "student.widths=[9]"], [9]),
        (
            ["student.widths={grid: [[4], [5]]}", "architecture@student=mlp_30"],
            {"grid": [[4], [5]]},
        ),
    ],
)
def test_a_list_and_a_grid_can_take_each_others_place(overrides, widths):
    assert compose(read(overrides).composable)["student"]["widths"] == widths


def test_unicode_and_very_long_values_come_through():
    name = "'" + "ünï😀, " * 1000 + "'"
    assert compose(read([f"name={name}"]).composable)["name"] == name.strip("'")


def test_interpolations_are_resolved_and_missing_values_kept():
    config = compose(["seed=${regime.epochs}", "regime.lr=???"])
    assert config["seed"] == config["regime"]["epochs"]
    assert config["regime"]["lr"] == "???"


def test_jobs_are_all_combinations_the_last_key_fastest():
    assert jobs(["seed=0,1", "name=x", "loss=[ce],[kd]"]) == [
        [f"seed={seed}", "name=x", f"loss=[{loss}]"] for seed in (0, 1) for loss in ("ce", "kd")
    ]


def test_a_list_in_the_place_of_a_grid_can_be_swept_and_can_stand_beside_a_sweep():
    assert jobs(["student.widths=[8],[9]"]) == [["student.widths=[8]"], ["student.widths=[9]"]]
    assert jobs(["student.widths=[8]", "seed=1,2"])[1] == ["student.widths=[8]", "seed=2"]


def test_an_experiment_is_found_in_the_working_directory_and_may_bring_its_own_sweep(workdir):
    (workdir / "experiments/mine").mkdir(parents=True)
    (workdir / "experiments/mine/paper.yaml").write_text("title: not an experiment")
    (workdir / "experiments/mine/first.yaml").write_text(
        "# @package _global_\nregime: {epochs: 5}\n"
        "hydra: {sweeper: {params: {regime.lr: '0.1,0.2'}}}\n"
    )
    assert "mine/first" in groups()["experiments"]
    assert "mine/paper" not in groups()["experiments"]
    assert compose(["experiments=mine/first"])["regime"]["epochs"] == 5
    swept = jobs(["experiments=mine/first"])
    assert [job[0] for job in swept] == ["regime.lr=0.1", "regime.lr=0.2"]
    assert own_sweep(["experiments=mine/first"]) == {"regime.lr": "0.1,0.2"}


def test_an_override_takes_the_place_of_an_experiments_own_sweep_of_the_key(workdir):
    (workdir / "experiments").mkdir()
    (workdir / "experiments/mine.yaml").write_text(
        "# @package _global_\nhydra: {sweeper: {params: {regime.lr: '1,2', seed: '0,1'}}}\n"
    )
    assert own_sweep(["experiments=mine", "++regime.lr=3"]) == {"seed": "0,1"}
    assert own_sweep(["experiments=mine", "regime.lr=3", "seed=4,5"]) == {}
    assert jobs(["experiments=mine", "regime.lr=3"]) == [
        [f"seed={seed}", "experiments=mine", "regime.lr=3"] for seed in (0, 1)
    ]
    assert own_sweep(["seed=1,2"]) == {}


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("hydra.sweep=???", r"hydra.sweep: must be a section, got '\?\?\?'"),
        ("+hydra.sweeper.params=${oc.env:HOME}", "hydra.sweeper.params: must be keys with values"),
        ("hydra.sweeper.params=${oc.env:NO_SUCH}", "hydra.sweeper: .*NO_SUCH"),
        ("hydra.job.chdir=true", "hydra.job.chdir: jobs work where the sweep was started"),
        ("hydra=null", "hydra: Hydra cannot use this: .* NoneType"),
        ("++hydra.sweeper.params.seed=${seed}", "hydra.sweeper.params.seed: Hydra cannot use this"),
    ],
)
def test_what_hydras_own_section_cannot_have_is_named(override, problem):
    with pytest.raises(ConfigError, match=problem):
        jobs([override])


def test_groups_appear_once_per_place_and_only_losses_and_steps_take_several():
    assert groups()["architecture@teacher"] == groups()["architecture@student"]
    assert options("temperature") == ["constant", "cosine", "linear", "stop", "warmup"]
    assert [key for key in groups() if takes_several(key)] == ["loss", "compress"]


def test_networks_by_name_are_those_that_stand_for_one():
    found = networks()
    assert found["mlp_30"]["widths"] == [30, 30]
    assert set(options("architecture")) - found.keys() >= {"mlp_student", "cnn_teacher"}  # grids


def test_ready_values_are_those_of_the_first_option_with_the_target():
    assert ready("distill_lab.temperature.Linear") == {"start": 8.0, "end": 2.0}
    assert ready("distill_lab.losses.kd.KD") == {"weight": 0.9}
    refine = {"rounds": 0, "max_minutes": None, "patience": 2}
    assert ready("distill_lab.settings.Refine") == refine
    assert ready("distill_lab.nothing.X") == {}


def test_lists_that_replace_grids_cost_no_more_compositions(monkeypatch):
    asked, real = [], subject._composed
    monkeypatch.setattr(subject, "_composed", lambda given: asked.append(given) or real(given))
    many = ["data=fake", "seed=1", "student.widths=[16]", "regime.epochs=2", "teacher.channels=[4]"]
    config, _, found = composed(many)
    assert (config["student"]["widths"], config["teacher"]["channels"]) == ([16], [4])
    assert found == []
    assert len(asked) == 1


def test_a_list_that_replaces_a_grid_stays_where_the_grid_was():
    knobs = list(compose([])["student"])
    assert list(compose(["student.widths=[16]"])["student"]) == knobs
    assert list(compose(["++student.widths=[16]"])["student"]) == knobs


def test_a_deletion_of_what_is_not_there_sets_nothing():
    _, _, found = composed(["~seed=[1]"])
    assert [problem.partition(":")[0] for problem in found] == ["seed"]


def test_a_list_of_no_key_is_named_though_others_replace_grids():
    config, _, found = composed(["student.nothing=[1]", "student.widths=[16]"])
    assert config["student"]["widths"] == [16]
    assert [problem.partition(":")[0] for problem in found] == ["student.nothing"]
