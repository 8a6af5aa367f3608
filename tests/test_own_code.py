"""Networks, losses and data of your own, in the working directory."""

from __future__ import annotations

import re
import sys

import pytest
import torch

from distill_lab import fingerprint
from distill_lab.config import groups
from distill_lab.config.signature import parsed, signature_of
from distill_lab.config.space import axes
from distill_lab.data.checksum import checksum
from distill_lab.errors import ConfigError, DataError
from distill_lab.every_config import _check_choice
from distill_lab.fingerprint import source_hash
from distill_lab.launch import checked, run_job
from distill_lab.own_code import make_importable, module_file
from distill_lab.search.run import what_is_asked

pytestmark = pytest.mark.usefixtures("no_figures")

QUICK = [
    "data=fake",
    "regime.epochs=1",
    "selection.regime.epochs=1",
    "knowledge.student_epochs=0",
    "knowledge.num_samples=64",
    "design.latency_repeats=1",
    "evaluation.latency_repeats=1",
    "evaluation.energy_seconds=0",
    "evaluation.register_as=null",
    "architecture@teacher=mlp_30",
    "hardware.threads=1",
]
NETWORK = """
from torch import nn

from own_parts.layers import hidden


class Wide(nn.Module):
    def __init__(self, *, input_shape: tuple[int, ...], num_classes: int, width: int) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"width: must be >= 1, got {width}.")
        size = 1
        for side in input_shape:
            size *= side
        self.body = nn.Sequential(nn.Flatten(), hidden(size, width), nn.ReLU())
        self.classifier = nn.Linear(width, num_classes)
        self.taps = ["body"]

    def forward(self, inputs):
        return self.classifier(self.body(inputs))
"""
LAYERS = """
from torch import nn


def hidden(size, width):
    return nn.Linear(size, width)
"""
LOSS = '''
from distill_lab.losses.base import Loss


class Distance(Loss):
    """Mean absolute difference of logits."""

    def __init__(self, weight: float, power: float) -> None:
        super().__init__(weight)
        self.power = power

    def forward(self, batch):
        return (batch.student.logits - batch.teachers[0].logits).abs().pow(self.power).mean()
'''
DATA = """
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset, random_split


class Blobs(pl.LightningDataModule):
    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def setup(self, stage: str) -> None:
        generator = torch.Generator().manual_seed(0)
        self.targets = torch.arange(self.count) % 3
        noise = torch.rand(self.count, 1, 4, 4, generator=generator)
        inputs = 0.2 * noise + self.targets[:, None, None, None] / 4
        parts = [self.count // 2, self.count // 4, self.count // 4]
        if not hasattr(self, "splits"):
            self.splits = random_split(TensorDataset(inputs, self.targets), parts)

    def _loader(self, part):
        return DataLoader(self.splits[part], batch_size=7, shuffle=True)

    def train_dataloader(self):
        return self._loader(0)

    def val_dataloader(self):
        return self._loader(1)

    def test_dataloader(self):
        return self._loader(2)
"""
FILES = {
    "own_parts/__init__.py": "",
    "own_parts/layers.py": LAYERS,
    "own_networks.py": NETWORK,
    "own_losses.py": LOSS,
    "own_data.py": DATA,
    "conf/architecture/wide.yaml": "_target_: own_networks.Wide\nwidth: 6\n",
    "conf/loss/distance.yaml": (
        "# @package loss.distance\n_target_: own_losses.Distance\nweight: 1.0\npower: 1.0\n"
    ),
}
BLOBS = [
    "data=data_module",
    "data.module=own_data.Blobs",
    "+data.arguments.count=64",
    "data.input_shape=[1, 4, 4]",
    "data.num_classes=3",
    "data.mean=[0.5]",
    "data.std=[0.3]",
]


@pytest.fixture
def own(workdir, monkeypatch):
    """A working directory with code and options of one's own."""
    for name, text in FILES.items():
        (workdir / name).parent.mkdir(parents=True, exist_ok=True)
        (workdir / name).write_text(text)
    monkeypatch.setattr(sys, "path", list(sys.path))
    forget()
    yield workdir
    for name in list(sys.modules):
        if name.startswith("own_") and name != "own_code":
            del sys.modules[name]
    forget()


def forget():
    """Files are read once per process; these tests write others."""
    for kept in (parsed, signature_of, fingerprint._parsed, groups._ready_values):
        kept.cache_clear()


def go(*overrides):
    given = [*QUICK, *overrides]
    return run_job(checked(given), given)


def problems(*overrides):
    with pytest.raises(ConfigError) as refused:
        checked([*QUICK, *overrides])
    return refused.value.problems


def test_a_network_and_a_loss_of_ones_own_are_options_like_others(own):
    done = go("architecture@student=wide", "student.width=5", "loss=[ce,distance]")
    student = done.report.rows[-1]
    assert student.cost.parameters == 64 * 5 + 5 + 5 * 4 + 4
    assert "wide" in groups.options("architecture")


def test_their_knobs_are_checked_before_anything_starts(own):
    assert problems("architecture@student=wide", "student.width=0") == [
        "student.width: must be >= 1, got 0."
    ]
    [problem] = problems("architecture@student=wide", "student.widht=3")
    assert "Wide takes no such argument. Did you mean 'width'?" in problem
    [problem] = problems("loss=[ce,distance]", "loss.distance.power=x")
    assert problem.startswith("loss.distance.power: must be float")


def test_a_change_of_the_code_that_they_reach_is_another_code(own):
    before = source_hash(["own_networks"])
    forget()
    assert source_hash(["own_networks"]) == before
    (own / "own_parts" / "layers.py").write_text(LAYERS.replace("Linear(size", "Linear(1 * size"))
    forget()
    assert source_hash(["own_networks"]) != before


def test_relative_imports_are_followed(own):
    (own / "own_parts" / "a.py").write_text("from . import layers\nfrom .b import X\n")
    (own / "own_parts" / "b.py").write_text("X = 1\n")
    before = source_hash(["own_parts.a"])
    for name, text in (("b", "X = 2\n"), ("layers", "Y = 1\n")):
        (own / "own_parts" / f"{name}.py").write_text(text)
        forget()
        after = source_hash(["own_parts.a"])
        assert after != before
        before = after


def test_a_data_module_is_collected_once_and_trained_on(own):
    data = checked([*QUICK, *BLOBS]).data
    splits = data.load()
    torch.manual_seed(7)
    assert checksum(data.load()) == checksum(splits)  # though it draws its split at random
    given = [*BLOBS, "architecture@student=wide", "selection.regime.epochs=20"]
    first = go(*given)
    assert "1 teacher" in go(*given, "seed=1").reused
    assert first.report.rows[0].scores.accuracy > 0.5  # a third by chance
    assert [len(split.targets) for split in splits] == [32, 16, 16]
    assert splits.train.inputs.dtype == torch.float32
    every = torch.cat([split.targets for split in splits])
    assert every.bincount().tolist() == [22, 21, 21]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("data.module=own_data.Blob", "has no attribute 'Blob'"),
        ("+data.arguments.colour=1", "unexpected keyword argument 'colour'"),
        ("data.input_shape=[1, 4, 5]", r"data.input_shape: must be \[1, 4, 4\]"),
        ("data.num_classes=2", "data.num_classes: must be > 2, the largest target"),
        ("data.module=own_dat.Blobs", "must be a class in a module of the working directory"),
        ("data.arguments.count=1", "data.module: own_data.Blobs: "),
    ],
)
def test_what_a_data_module_does_not_give_is_named(own, change, text):
    with pytest.raises(DataError, match=text):
        checked([*QUICK, *BLOBS, change]).data.load()


BROKEN = {
    "logits of another shape": (
        "self.classifier(self.body(inputs))",
        "self.body(inputs)",
        r"student._target_: own_networks.Wide must return logits \(B, 4\), it returns \(2, 6\)",
    ),
    "a layer of another size": (
        "hidden(size, width)",
        "hidden(size + 1, width)",
        "student._target_: own_networks.Wide: RuntimeError: mat1 and mat2",
    ),
    "an import that fails": (
        "from torch import nn",
        "import nothing_of_that_name\nfrom torch import nn",
        "ModuleNotFoundError: No module named 'nothing_of_that_name'",
    ),
    "no python": ("class Wide", "class class", "own_networks.py cannot be read: invalid syntax"),
    "no network": ("(nn.Module)", "", "student._target_: must be a network, torch's nn.Module"),
}


@pytest.mark.parametrize(("old", "new", "text"), BROKEN.values(), ids=BROKEN)
def test_what_is_wrong_with_a_network_is_named_before_anything_starts(own, old, new, text):
    path = own / "own_networks.py"
    path.write_text(NETWORK.replace(old, new))
    forget()
    [problem] = problems("architecture@student=wide")
    assert re.search(text, problem), problem


def test_a_function_is_not_called_to_see_what_it_is(own):
    (own / "own_script.py").write_text("def clean():\n    open('called', 'w').close()\n")
    (own / "conf" / "loss" / "script.yaml").write_text(
        "# @package loss.script\n_target_: own_script.clean\n"
    )
    [problem] = problems("loss=[ce,script]")
    assert "must be a loss term" in problem
    assert not (own / "called").exists()


def test_every_option_of_ones_own_is_checked_with_the_others(own, capsys):
    make_importable()
    _check_choice("architecture@student=wide")
    _check_choice("loss=[distance]")


def test_a_constructor_may_be_inherited(own):
    (own / "own_heirs.py").write_text(
        "from own_networks import Wide\n\n\nclass Heir(Wide):\n    pass\n"
    )
    (own / "conf" / "architecture" / "heir.yaml").write_text("_target_: own_heirs.Heir\nwidth: 3\n")
    assert checked([*QUICK, "architecture@student=heir"]).students[0].args == {"width": 3}


def test_the_name_of_an_installed_module_is_not_taken_for_ones_own(own):
    (own / "queue.py").write_text(NETWORK)
    assert module_file("queue") is None
    [problem] = problems("student._target_=queue.Wide")
    assert "or be in a module of the working directory" in problem


def test_a_package_that_a_module_lies_in_counts(own):
    before = source_hash(["own_parts.layers"])
    (own / "own_parts" / "__init__.py").write_text("X = 1\n")
    forget()
    assert source_hash(["own_parts.layers"]) != before


@pytest.mark.parametrize(
    "target", ["os.system", "own_networks.missing.Wide", "..own_networks.Wide", "json.loads"]
)
def test_what_is_no_module_of_the_working_directory_is_refused(own, target):
    [problem] = problems(f"student._target_={target}")
    assert "or be in a module of the working directory" in problem


def test_settings_are_never_ones_own(own):
    (own / "own_settings.py").write_text("class Regime:\n    pass\n")
    [problem] = problems("regime._target_=own_settings.Regime")
    assert problem.startswith("regime._target_: must start with 'distill_lab.settings.Regime'")


def test_a_module_is_found_by_its_path_and_not_imported(own):
    (own / "own_trap.py").write_text("raise SystemExit\n")
    assert module_file("own_trap") == own / "own_trap.py"
    assert module_file("own_parts") == own / "own_parts" / "__init__.py"
    assert module_file("own parts") is None
    assert module_file("") is None


@pytest.mark.parametrize(
    ("space", "around"),
    [
        ("regime.search.space={temperature.value:[2,4]}", ["loss=[ce,distance]"]),
        ("regime.search.space={loss:[[ce],[ce,distance]]}", []),
    ],
)
def test_a_search_with_other_code_of_yours_is_another_study(own, space, around):
    def asked(reuse):
        parts = checked(["data=fake", *around, space, f"reuse={reuse}"])
        return what_is_asked(parts, axes(parts.search.space, parts.config))

    before = [asked(reuse) for reuse in ("same_code", "any_code")]
    (own / "own_losses.py").write_text(LOSS.replace(".mean()", ".sum()"))
    forget()
    after = [asked(reuse) for reuse in ("same_code", "any_code")]
    assert [key for key in before[0] if before[0][key] != after[0][key]] == ["code"]
    assert before[1] == after[1]
