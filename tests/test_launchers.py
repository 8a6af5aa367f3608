from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import BrokenExecutor
from types import SimpleNamespace

import pytest

from distill_lab import launchers
from distill_lab.config.launcher import NAMES, UNLIMITED, Launcher, launcher_of
from distill_lab.errors import ConfigError
from distill_lab.launchers import MORE_ROOM, ctrl_c_spares_children, lost_by, reach
from tests.launchers.conftest import require


@pytest.fixture
def ray(monkeypatch):
    """A cluster of 5 CPUs and one GPU, and what `init` was called with."""

    def init(**given):
        called.update(given)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as the real one
        if given.get("address") == "nowhere:1":
            raise ConnectionError("no\n cluster")

    called: dict = {}
    there = {"CPU": 5.0, "GPU": 1.0}
    fake = SimpleNamespace(init=init, cluster_resources=lambda: there)
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    return called


@pytest.mark.parametrize(
    ("launcher", "room"),
    [
        (Launcher("basic"), 1),
        (Launcher("joblib", 3), 3),
        (Launcher("submitit_local", UNLIMITED), UNLIMITED),
        (Launcher("ray", UNLIMITED), 5),
        (Launcher("ray", UNLIMITED, cores=2), 2),
        (Launcher("ray", UNLIMITED, num_gpus=0.5), 2),
        (Launcher("ray", UNLIMITED, cores=64), 1),  # a cluster may grow
    ],
)
def test_there_is_room_for_as_many_jobs_as_cores_and_gpus_allow(ray, launcher, room):
    assert reach(launcher) == room


def test_ray_gets_what_was_asked_for_and_quiet_workers_and_leaves_sigterm_to_us(ray):
    handler = signal.getsignal(signal.SIGTERM)
    own = {"env_vars": {"A": "1"}, "pip": ["x"]}
    reach(Launcher("ray", UNLIMITED, ray={"address": "auto", "runtime_env": own}))
    assert ray["address"] == "auto"
    assert ray["runtime_env"]["pip"] == ["x"]
    assert {"A": "1", "TQDM_DISABLE": "1"}.items() <= ray["runtime_env"]["env_vars"].items()
    assert signal.getsignal(signal.SIGTERM) is handler


def test_a_cluster_that_is_not_there_is_named_before_anything_starts(ray):
    said = "hydra.launcher.ray.init: cannot reach Ray at 'nowhere:1': no cluster"
    with pytest.raises(ConfigError, match=said):
        reach(Launcher("ray", UNLIMITED, ray={"address": "nowhere:1"}))


def test_without_slurms_commands_the_other_way_is_named(monkeypatch):
    monkeypatch.setattr(launchers.shutil, "which", lambda name: None if name == "srun" else name)
    with pytest.raises(ConfigError, match=r"submitit_slurm needs SLURM's srun; .*submitit_local"):
        reach(Launcher("submitit_slurm", 256))


def test_every_launcher_that_can_lose_a_job_says_how_jobs_have_more_memory():
    assert set(MORE_ROOM) == set(NAMES.values()) - {"basic"}
    assert lost_by(Launcher("joblib", 2)) == (BrokenExecutor,)


@pytest.mark.parametrize(("name", "more"), MORE_ROOM.items())
def test_what_gives_jobs_more_memory_is_taken_where_it_is_advised(name, more):
    for extra in ("joblib", "ray", "submitit"):
        require(f"hydra_plugins.hydra_{extra}_launcher")
    chosen = [] if more.startswith("hydra/launcher=") else [f"hydra/launcher={name}"]
    assert launcher_of([*chosen, more]).name in (name, "joblib")


@pytest.mark.parametrize(("name", "spared"), [("submitit_local", True), ("joblib", False)])
def test_ctrl_c_spares_the_local_controllers_of_submitit_and_reaches_this_process(name, spared):
    heard = []
    before = signal.signal(signal.SIGINT, lambda *given: heard.append(given))
    try:
        with ctrl_c_spares_children(Launcher(name, 2)):
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
            os.kill(os.getpid(), signal.SIGINT)
            child.send_signal(signal.SIGINT)
            try:
                ended = child.wait(10 if not spared else 1) is not None
            except subprocess.TimeoutExpired:
                ended = False
            child.kill()
            child.wait()
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(heard) == 1
    assert ended != spared
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, set())
