"""What many tests share: a seed, a tiny dataset, networks and batches, a regime, a training."""

from __future__ import annotations

import io
import shutil
import signal
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from distill_lab import picture
from distill_lab.contracts import DataInfo, DistillBatch, Output, Splits
from distill_lab.data.fake import Fake
from distill_lab.models.cnn import CNN
from distill_lab.models.mlp import MLP
from distill_lab.settings import Hardware, Regime
from distill_lab.tracking import sqlite

if TYPE_CHECKING:
    from distill_lab.training.fit import Fitted
    from distill_lab.training.trainee import Trainee

collect_ignore_glob = ["*conftest.py"]  # no modules with doctests, which these would be taken for
FAKE = {
    "input_shape": [1, 8, 8],
    "num_classes": 3,
    "num_train": 48,
    "num_validation": 24,
    "num_test": 24,
    "noise": 0.2,
    "split_seed": 0,
}
REGIME = {
    "epochs": 2,
    "batch_size": 16,
    "optimizer": "adamw",
    "lr": 0.01,
    "momentum": 0.9,
    "dot_delta": 0.075,
    "weight_decay": 0.0,
    "schedule": "constant",
    "warmup_fraction": 0.0,
    "milestone_fractions": [0.5, 0.75],
    "decay_factor": 0.1,
    "clip_norm": None,
    "ema_decay": None,
    "early_stop_epochs": None,
    "keep": "best",
    "accumulate_batches": 1,
    "mixup_alpha": 0.0,
    "cutmix_alpha": 0.0,
    "shift_pixels": 0,
    "horizontal_flip": False,
    "cutout_pixels": 0,
    "mask_words": 0.0,
    "ngram_rows": 0.0,
    "leave_out_classes": [],
    "num_samples": None,
    "num_labels": None,
    "label_noise": 0.0,
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests of whole runs, which take longest: no worker waits for them at the end.

    They are in no folder of their own. pytest-xdist hands out files in this order as it is told not
    to have its own (`--no-loadscope-reorder`).
    """
    here = Path(__file__).parent
    items.sort(key=lambda item: item.path.parent != here)


@pytest.fixture(autouse=True, scope="session")
def _ctrl_c_is_heard() -> Iterator[None]:
    """A shell that starts the tests in the background has them, and all they start, ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def exits_with_143() -> Iterator[None]:
    """SIGTERM ends the program, as the command line has it."""

    def leave(number, frame):
        raise SystemExit(143)

    before = signal.signal(signal.SIGTERM, leave)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(autouse=True)
def _fixed_seed_and_one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def _stores_are_copied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A new SQLite store is a copy of the first one, as to make one takes a second.

    `tracking/test_store.py` makes them.
    """
    first = tmp_path_factory.mktemp("empty") / "mlflow.db"
    make = sqlite.make

    @wraps(make)
    def copy(path: Path) -> None:
        if not path.exists():
            make(first)
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(first, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite, "make", copy)
        yield


@pytest.fixture(scope="module")
def no_figures() -> Iterator[None]:
    """Whole runs draw no figures, which is much of their time; for modules that look at none.

    `test_run_report.py` draws those of whole runs.
    """
    pixel = io.BytesIO()
    Image.new("RGB", (1, 1)).save(pixel, "png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(picture, "_draw", lambda _: pixel.getvalue())
        yield


@pytest.fixture(scope="session")
def info() -> DataInfo:
    """Of the tiny dataset: 1x8x8 images of three classes."""
    return Fake(**FAKE).info


@pytest.fixture(scope="session")
def splits() -> Splits:
    """48 training, 24 validation and 24 test images; do not write into them."""
    return Fake(**FAKE).load()


@pytest.fixture
def regime() -> Callable[..., Regime]:
    """Makes a regime of two short epochs; keywords change single values."""

    def make(**changes: Any) -> Regime:
        return Regime(**(REGIME | changes))

    return make


@pytest.fixture
def hardware() -> Hardware:
    """One CPU thread, full precision."""
    return Hardware("cpu", 1, "32-true", channels_last=False, compile=False, threads=1)


@pytest.fixture
def batch_of() -> Callable[..., DistillBatch]:
    """Makes a loss's batch of logits (B, K), one teacher per further tensor."""

    def make(
        student: Tensor, *teachers: Tensor, targets: Tensor | None = None, temperature: float = 4.0
    ) -> DistillBatch:
        index = torch.arange(len(student))
        chosen = index % student.shape[1] if targets is None else targets
        outputs = tuple(Output(logits) for logits in teachers)
        return DistillBatch(Output(student), outputs, chosen, index, temperature)

    return make


@pytest.fixture
def net_of(info: DataInfo) -> Callable[..., nn.Module]:
    """Makes a network for the tiny dataset; the seed decides its initial weights."""

    def make(width: int = 8, seed: int = 0, **knobs: Any) -> nn.Module:
        torch.manual_seed(seed)
        plain = {"widths": [width], "dropout": 0.0, "input_dropout": 0.0, "max_norm": None}
        shapes = {"input_shape": info.input_shape, "num_classes": info.num_classes}
        return MLP(**(plain | shapes | knobs))

    return make


@pytest.fixture
def train(info: DataInfo, splits: Splits, hardware: Hardware) -> Callable[..., Fitted]:
    """Fits a trainee under its own regime."""
    from distill_lab.training.fit import fit  # Lightning takes seconds, and few tests need it

    def run(
        trainee: Trainee,
        seed: int = 0,
        on: Splits = splits,
        log: Callable[[dict[str, float], int], None] = lambda row, epoch: None,
    ) -> Fitted:
        return fit(trainee, info, on, trainee.regime, hardware, seed, "a test", log)

    return run


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the working directory during the test."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def cnn() -> nn.Module:
    """Two blocks of 4 and 8 channels on 1x8x8 images of 3 classes; batch norms have seen data."""
    torch.manual_seed(0)
    net = CNN(
        input_shape=(1, 8, 8),
        num_classes=3,
        channels=[4, 8],
        convs_per_block=1,
        kernel_size=3,
        dropout=0.0,
    )
    for _ in range(20):
        net.train()(torch.randn(32, 1, 8, 8))
    return net.eval()


@pytest.fixture
def mlp() -> nn.Module:
    """64-16-8-3 on 1x8x8 images."""
    torch.manual_seed(0)
    knobs = {"dropout": 0.0, "input_dropout": 0.0, "max_norm": None}
    return MLP(input_shape=(1, 8, 8), num_classes=3, widths=[16, 8], **knobs).eval()


@pytest.fixture
def images() -> torch.Tensor:
    """64 images."""
    torch.manual_seed(1)
    return torch.randn(64, 1, 8, 8)
