"""What goes wrong in torch is told to the user: where it was, and what to do."""

from __future__ import annotations

import pytest
import torch

from distill_lab.errors import RunError, out_of_memory, told_of, without_secret


def asked_of_torch() -> BaseException:
    try:
        torch.empty(2**60)
    except RuntimeError as error:
        return error
    raise AssertionError("there is so much memory")


ON_A_GPU = RuntimeError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has ...")


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (asked_of_torch(), f"({2**62} bytes more were asked for)"),
        (ON_A_GPU, "(2.50 GiB more were asked for)"),
        (MemoryError(), "there is no memory left. Lower"),
    ],
    ids=["cpu", "gpu", "python"],
)
def test_an_error_of_no_memory_says_what_to_lower(error, wanted):
    hint = out_of_memory(error)
    assert wanted in hint
    assert "Lower regime.batch_size" in hint


def test_any_other_error_is_none_of_memory():
    assert out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("taps do not fit"), "2 fill: taps do not fit"),
        (ON_A_GPU, "2 fill: there is no memory left (2.50 GiB more were asked for). Lower"),
        (MemoryError(), "2 fill: there is no memory left. Lower"),
    ],
    ids=["value", "gpu", "python"],
)
def test_what_the_user_can_mend_is_told_with_its_place(error, said):
    with pytest.raises(RunError) as told, told_of("2 fill"):
        raise error
    assert str(told.value).startswith(said)
    assert told.value.__cause__ is error


def test_a_fault_of_the_program_passes_as_it_is():
    with pytest.raises(RuntimeError, match="shapes"), told_of("2 fill"):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


@pytest.mark.parametrize("name", ["password", "sslpassword", "PassWord", "passwd"])
def test_a_password_among_the_parameters_of_an_address_is_hidden(name):
    told = without_secret(
        f"no answer from 'postgresql:///db?host=here&{name}=geheim&port=1', sorry"
    )
    assert told == f"no answer from 'postgresql:///db?host=here&{name}=***&port=1', sorry"
