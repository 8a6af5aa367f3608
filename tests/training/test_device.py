from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from distill_lab.training.device import autocast, device_name, device_of


@pytest.mark.parametrize(
    ("accelerator", "found", "expected"),
    [
        ("cpu", "cuda", "cpu"),
        ("gpu", "cuda", "cuda"),
        ("auto", "cuda", "cuda"),
        ("auto", None, "cpu"),
    ],
)
def test_the_device_is_an_accelerator_where_there_is_one_and_it_may_be(
    hardware, monkeypatch, accelerator, found, expected
):
    device = None if found is None else torch.device(found)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: device)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: found is not None)
    assert device_of(replace(hardware, accelerator=accelerator)).type == expected


def test_a_cpu_is_named_by_what_it_can_compute(hardware):
    assert device_name(hardware) == f"cpu {torch.backends.cpu.get_cpu_capability()}"


@pytest.mark.parametrize(
    ("precision", "dtype"), [("32-true", torch.float32), ("bf16-mixed", torch.bfloat16)]
)
def test_a_matrix_product_has_the_precision_of_the_training(hardware, precision, dtype):
    with autocast(replace(hardware, precision=precision)):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype
