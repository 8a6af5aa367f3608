from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from distill_lab.knowledge.packing import AllValues, TopLogits, packing_of_logits

LOGITS = torch.tensor([[0.1, 3.0, -2.0, 1.0, 0.5], [7.0, -7.0, 0.0, 0.0, 1.0]])


def there_and_back(packing, values):
    return packing.unpack(packing.pack(values))


def test_fp32_keeps_every_bit():
    odd = [0.1, -0.0, 1e-45, 3.4e38, math.inf, -math.inf, math.nan, 1 / 3]
    values = torch.tensor([odd, odd[::-1]])
    back = there_and_back(AllValues(8, "fp32"), values)
    assert torch.equal(back.view(torch.int32), values.view(torch.int32))


def test_fp16_rounds_as_torch_does():
    values = 10 * torch.randn(50, 7)
    assert torch.equal(there_and_back(AllValues(7, "fp16"), values), values.half().float())


def test_bfloat16_answers_are_kept_whole_in_fp32():
    values = torch.randn(4, 6).bfloat16()
    assert torch.equal(there_and_back(AllValues(6, "fp32"), values), values.float())


def test_a_value_too_large_for_fp16_is_refused_with_the_way_out():
    with pytest.raises(ValueError, match=r"cache.dtype: .* 65,504, .* 7e\+04.* cache.dtype=fp32"):
        AllValues(2, "fp16").pack(torch.tensor([[1.0, -7e4]]))


def test_an_infinite_logit_is_no_overflow():
    values = torch.tensor([[1.0, -math.inf]])
    assert torch.equal(there_and_back(AllValues(2, "fp16"), values), values)


@pytest.mark.parametrize(
    ("packing", "size"),
    [
        (AllValues(10, "fp32"), 40),
        (AllValues(10, "fp16"), 20),
        (TopLogits(1000, 10, "fp16"), 10 * 2 + 4 + 10 * 2),
        (TopLogits(1000, 10, "fp32"), 10 * 4 + 4 + 10 * 2),
        (TopLogits(100_000, 50, "fp16"), 50 * 2 + 4 + 50 * 4),
    ],
)
def test_rows_are_as_long_as_counted_by_hand(packing, size):
    count = packing.count if isinstance(packing, AllValues) else packing.num_classes
    assert packing.row_bytes == size
    assert packing.pack(torch.randn(3, count)).shape == (3, size)


def test_the_largest_logits_come_back_and_the_rest_share_what_they_weighed():
    back = there_and_back(TopLogits(5, 2, "fp32"), LOGITS)
    assert back[0, [1, 3]].tolist() == [3.0, 1.0]
    rest = math.log((math.exp(0.1) + math.exp(-2.0) + math.exp(0.5)) / 3)
    assert back[0, [0, 2, 4]].tolist() == pytest.approx([rest] * 3)
    assert back[1, [0, 4]].tolist() == [7.0, 1.0]
    assert back[1, [1, 2, 3]].tolist() == pytest.approx([math.log((math.exp(-7) + 2) / 3)] * 3)


def test_at_temperature_one_the_kept_classes_have_their_probabilities():
    logits = 3 * torch.randn(20, 30)
    back = there_and_back(TopLogits(30, 4, "fp32"), logits)
    top = logits.topk(4, dim=1).indices
    expected = logits.double().softmax(dim=1).gather(1, top)
    actual = back.double().softmax(dim=1).gather(1, top)
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("num_classes", [300, 65_536, 65_537, 70_000])
def test_the_last_class_can_be_the_largest(num_classes):
    logits = torch.zeros(1, num_classes)
    logits[0, -1] = 9.0
    back = there_and_back(TopLogits(num_classes, 3, "fp16"), logits)
    assert back.argmax() == num_classes - 1
    assert back[0, -1] == 9.0


@pytest.mark.parametrize("top_k", [None, 10, 11])
def test_as_many_as_there_are_classes_is_all_of_them(top_k):
    assert packing_of_logits(10, top_k, "fp32") == AllValues(10, "fp32")


def test_fewer_than_the_classes_are_the_largest():
    assert packing_of_logits(10, 9, "fp16") == TopLogits(10, 9, "fp16")


def test_packed_rows_are_bytes_of_one_row_per_sample():
    rows = AllValues(3, "fp32").pack(torch.ones(2, 3))
    assert rows.dtype == np.uint8
    assert rows[0].tobytes() == np.ones(3, "<f4").tobytes()
