from __future__ import annotations

from types import SimpleNamespace

import pytest

from distill_lab import launch
from distill_lab.config.compose import compose
from distill_lab.errors import ConfigError
from distill_lab.launch import check_jobs, checked, deep_problems, run_job


def test_checked_gives_the_parts_of_the_run():
    parts = checked(["data=fake", "seed=3", "loss=[kd]", "temperature.value=2"])
    assert parts.seed == 3
    assert parts.data.info.name == "fake"
    assert list(parts.loss) == ["kd"]
    assert parts.temperature.args == {"value": 2}


def test_faults_of_every_kind_come_in_one_error():
    with pytest.raises(ConfigError) as caught:
        checked(["=3", "data=dgits", "seed=1,2", "regime.lr=-1", "loss.kd.weight=-1", "~bogus"])
    assert str(caught.value).startswith("The config has 6 problems:\n  ")
    assert len(str(caught.value).splitlines()) == 7


def test_a_fault_in_one_part_does_not_hide_those_of_the_others():
    config = compose(["data.validation_fraction=2", "loss.ce.weight=-1"])
    config["student"]["dropout"] = "high"
    found = deep_problems(config, ["student.dropout: must be float, got 'high'."])
    assert [problem.split(":")[0] for problem in found] == [
        "data.validation_fraction",
        "loss.ce.weight",
    ]


def test_the_budget_is_left_out_on_request():
    config = compose(["design.max_parameters_fraction=0.000001"])
    [problem] = deep_problems(config)
    assert problem.startswith("design: none of the ")
    assert deep_problems(config, budget=False) == []


def test_torch_is_needed_only_where_an_override_that_looks_sound_touches_a_part():
    needs = launch._needs_torch
    assert not needs(["++temprature.value=1"], ["temprature: there is no such section."])
    assert not needs(["++student.widht=1"], ["student.widht: MLP takes no such argument."])
    assert not needs(["++regime.lr=-1"], ["regime.lr: must be > 0, got -1."])
    assert not needs(["architecture@student=mlp_30"], ["student.dropout: must be float."])
    assert needs(["architecture@teacher=mlp_30"], ["student.dropout: must be float."])
    assert needs(["++student.widths=[0]"], ["sed: there is no such section."])
    assert needs(["data=mnist"], ["sed: there is no such section."])


def experiment(workdir, params):
    """Write the experiment `mine`, a sweep of its own over these params."""
    (workdir / "experiments").mkdir()
    (workdir / "experiments/mine.yaml").write_text(
        f"# @package _global_\nhydra: {{sweeper: {{params: {params}}}}}\n"
    )


def test_the_jobs_of_an_experiments_own_sweep_are_checked(workdir):
    experiment(workdir, "{temperature.value: '4,-1', seed: '0,1'}")
    with pytest.raises(ConfigError) as caught:
        check_jobs(["experiments=mine"])
    assert caught.value.problems == ["temperature.value: must be > 0, got -1."]
    assert check_jobs(["experiments=mine", "temperature.value=1"]) == (2, [])


def test_a_key_that_an_experiment_sweeps_but_does_not_exist_is_named(workdir):
    experiment(workdir, "{temperature.valeu: '4,8'}")
    with pytest.raises(ConfigError, match=r"temperature\.valeu.*Did you mean 'value'"):
        check_jobs(["experiments=mine"])


def test_check_of_what_is_no_override_lists_all_problems():
    with pytest.raises(ConfigError) as caught:
        check_jobs(["=3", "seed=1.5"])
    assert len(caught.value.problems) == 2


def test_jobs_that_differ_in_seed_alone_are_checked_once(monkeypatch):
    seen = []
    monkeypatch.setattr(launch, "checked", lambda job: seen.append(job) or checked(job))
    assert check_jobs(["data=fake", "seed=0,1,2", "temperature.value=1,2"]) == (6, [])
    assert len(seen) == 2


def test_a_seed_that_is_no_number_is_found_among_others():
    with pytest.raises(ConfigError, match=r"seed: must be"):
        check_jobs(["data=fake", "seed=0,x,2"])


def test_memory_that_no_student_fits_in_is_found_before_anything_runs():
    with pytest.raises(ConfigError, match=r"design: none of .* peak_memory_mib"):
        checked(["design.max_memory_mib=0.0001"])


class FakeStore:
    def __init__(self, *where):
        self.where = where


def done(model):
    report = SimpleNamespace(model=model, proposals=["next"])
    left = {"overrides": [], "handed_over": None}
    return SimpleNamespace(report=report, model=model, run_id=f"run of {model}", **left)


@pytest.fixture
def calls(monkeypatch):
    """What `run_job` hands to the workflow and the refinement, in order.

    What is handed over is called by its run.
    """
    made = []

    def run(*args, watch=None):
        made.append(args)
        return done("logged")

    def refine(*args):
        made.append(args)
        return done("refined")

    def hand_over(store, parts, run_id, overrides):
        return SimpleNamespace(model=f"version of {run_id}")

    monkeypatch.setattr("distill_lab.tracking.store.Store", FakeStore)
    monkeypatch.setattr("distill_lab.handover.hand_over.hand_over", hand_over)
    monkeypatch.setattr("distill_lab.workflow.run", run)
    monkeypatch.setattr("distill_lab.refine.refine", refine)
    return made


@pytest.mark.parametrize(
    ("overrides", "given", "name"),
    [
        ([], None, "digits, defaults"),
        (["seed=2", "temperature.value=8"], None, "seed=2 temperature=8"),
        (["name=mine", "seed=2"], None, "mine"),
        (["name=mine", "seed=2"], "from the sweep", "from the sweep"),
    ],
)
def test_a_run_is_named_by_the_sweep_the_config_or_its_overrides(calls, overrides, given, name):
    finished = run_job(checked(overrides), overrides, given)
    assert finished.model == "version of run of logged"
    [(_, store, run_name, tags, parent)] = calls
    assert run_name == name
    asked = " ".join(overrides)
    assert tags == {"overrides": asked, "command": f"distill-lab {asked}".strip()}
    assert parent is None
    assert store.where == ("sqlite:///mlflow.db", "distill-lab", "mlartifacts", False)


def test_a_job_of_a_sweep_is_tagged_and_lies_below_it(calls):
    finished = run_job(checked(["tracking.sweep_run_id=abc", "tracking.job=4"]), ["seed=1"])
    assert finished.model == "logged"
    assert finished.handed_over is None
    [(_, _, _, tags, parent)] = calls
    assert tags == {"overrides": "seed=1", "command": "distill-lab seed=1", "job": "4"}
    assert parent == "abc"


def test_refinement_follows_where_rounds_are_asked_for(calls):
    parts = checked(["evaluation.refine.rounds=2"])
    assert run_job(parts, ["seed=1"]).model == "version of run of refined"
    first, _, overrides, evaluation, check = calls[1]
    assert (first.model, overrides, evaluation.refine.rounds) == ("logged", ["seed=1"], 2)
    assert check is checked


def test_a_run_knows_what_a_proposal_is_added_to_without_the_wish_to_refine(calls):
    overrides = ["seed=1", "evaluation.refine.rounds=0", "++evaluation.refine.rounds=0"]
    finished = run_job(checked(["seed=1"]), overrides)
    assert finished.overrides == ["seed=1"]
    assert finished.proposals == ["next"]


def test_no_secret_is_in_a_name_or_tag(calls):
    secret = "regime.search.storage=postgresql://ann:pw@host/db"
    run_job(checked(["seed=1"]), [secret])
    [(_, _, name, tags, _)] = calls
    shown = "regime.search.storage=postgresql://***@host/db"
    assert tags == {"overrides": shown, "command": f"distill-lab {shown}"}
    assert name == "storage=postgresql://***@host/db"


def test_half_precision_that_only_a_gpu_has_is_refused_before_a_run_is_made(workdir):
    request = ["data=fake", "hardware.precision=16-mixed"]
    with pytest.raises(ConfigError, match=r"hardware.precision: 16-mixed needs a GPU; use bf16"):
        run_job(checked(request), request)
    assert list(workdir.iterdir()) == []
