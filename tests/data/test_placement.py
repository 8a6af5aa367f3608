from __future__ import annotations

import pytest
import torch

from distill_lab.contracts import Arrays
from distill_lab.data.placement import free_bytes, moved, resident, select

CPU, META = torch.device("cpu"), torch.device("meta")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
SPLIT = Arrays(torch.rand(8, 4), torch.arange(8))  # 8 * 4 * 4 = 128 bytes of inputs


@pytest.fixture
def free(monkeypatch):
    def give(count: int) -> None:
        monkeypatch.setattr("distill_lab.data.placement.free_bytes", lambda device: count)

    return give


def test_on_the_cpu_a_split_stays_what_it_is():
    assert resident(SPLIT, CPU) is SPLIT


def test_a_split_that_takes_half_of_the_free_memory_moves_to_the_device(free):
    free(256)
    moved_split = resident(SPLIT, META)
    assert (moved_split.inputs.device, moved_split.targets.device) == (META, META)


def test_of_a_split_that_takes_more_only_the_targets_move(free):
    free(255)
    moved_split = resident(SPLIT, META)
    assert moved_split.inputs is SPLIT.inputs
    assert moved_split.targets.device == META


def test_what_is_no_cuda_device_holds_no_split():
    assert free_bytes(CPU) == free_bytes(META) == 0


def test_select_returns_rows_that_may_be_written_over():
    rows = select(SPLIT.inputs, torch.tensor([3, 0]), CPU)
    assert torch.equal(rows, SPLIT.inputs[[3, 0]])
    rows.zero_()
    assert SPLIT.inputs.count_nonzero() > 0


def test_select_takes_rows_from_the_host_to_the_device():
    assert select(SPLIT.inputs, torch.tensor([3, 0]), META).device == META


def test_what_is_there_already_is_not_copied():
    assert moved(SPLIT.inputs, CPU) is SPLIT.inputs


@pytest.mark.gpu
@needs_gpu
def test_a_small_split_lies_on_the_gpu_and_its_rows_are_right():
    gpu = torch.device("cuda", 0)
    inputs, targets, _ = resident(SPLIT, gpu)
    assert inputs.device == targets.device == gpu
    index = torch.tensor([3, 0])
    assert torch.equal(select(inputs, index, gpu).cpu(), SPLIT.inputs[index])
    assert torch.equal(select(SPLIT.inputs, index, gpu).cpu(), SPLIT.inputs[index])
