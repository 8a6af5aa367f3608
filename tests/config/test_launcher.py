from __future__ import annotations

import os
from pathlib import Path

import pytest

from distill_lab.config.launcher import UNLIMITED, Launcher, launcher_of
from distill_lab.config.overrides import read
from distill_lab.errors import ConfigError
from tests.launchers.conftest import require

RAY, SLURM = "hydra/launcher=ray", "hydra/launcher=submitit_slurm"


@pytest.fixture(autouse=True)
def _extras():
    for name in ("joblib", "ray", "submitit"):
        require(f"hydra_plugins.hydra_{name}_launcher")


@pytest.mark.parametrize(
    ("asked", "name", "at_once", "cores"),
    [
        ([], "basic", 1, 1),
        (["hydra/launcher=basic"], "basic", 1, 1),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=3"], "joblib", 3, 1),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=1", "seed=1,2"], "joblib", 1, 1),
        (["hydra/launcher=joblib"], "joblib", len(os.sched_getaffinity(0)), 1),
        ([RAY], "ray", UNLIMITED, 1),
        ([RAY, "+hydra.launcher.ray.remote.num_cpus=4"], "ray", UNLIMITED, 4),
        (["hydra/launcher=submitit_local"], "submitit_local", UNLIMITED, 1),
        ([SLURM], "submitit_slurm", 256, 1),
        ([SLURM, "hydra.launcher.cpus_per_task=4"], "submitit_slurm", 256, 4),
        ([SLURM, "hydra.launcher.array_parallelism=1"], "submitit_slurm", 1, 1),
    ],
)
def test_a_launcher_says_how_many_jobs_run_at_once_on_how_many_cores(asked, name, at_once, cores):
    found = launcher_of(asked)
    assert (found.name, found.at_once, found.cores) == (name, at_once, cores)


def test_what_ray_is_begun_with_and_what_a_job_takes_of_a_gpu_are_kept():
    address = "hydra.launcher.ray.init.address=head:6379"
    found = launcher_of([RAY, address, "+hydra.launcher.ray.remote.num_gpus=0.5"])
    assert (found.ray, found.num_gpus) == ({"address": "head:6379"}, 0.5)


def test_the_folder_of_a_launcher_is_below_the_one_of_the_command(workdir):
    assert Path(launcher_of([]).folder).parent == workdir / ".distill_lab/sweeps"


def test_a_launcher_of_ones_own_is_an_option_that_extends_another(workdir):
    file = workdir / "conf/hydra/launcher/cluster.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("defaults: [submitit_slurm]\ncpus_per_task: 8\narray_parallelism: 2\n")
    asked = ["hydra/launcher=cluster", "hydra.launcher.mem_gb=3"]
    assert read(asked).problems == []
    found = launcher_of(asked)
    assert (found.name, found.at_once, found.cores) == ("submitit_slurm", 2, 8)


def test_a_launcher_that_starts_machines_of_its_own_is_refused_with_what_to_do_instead():
    with pytest.raises(ConfigError, match="RayAWSLauncher is not supported; there are basic, jobl"):
        launcher_of(["hydra/launcher=ray_aws"])
    with pytest.raises(ConfigError, match="`ray up`; then hydra/launcher=ray"):
        launcher_of(["hydra/launcher=ray_aws"])


def test_jobs_are_in_processes_of_their_own_but_for_hydras_own_launcher_and_a_joblib_of_one():
    assert not Launcher().apart
    assert not Launcher("joblib", 1).apart
    assert Launcher("joblib", 2).apart
    assert Launcher("ray", UNLIMITED).apart
    assert Launcher("submitit_slurm", 1).apart
