from __future__ import annotations

import pytest
import torch

from distill_lab.data.counter import Stream, bits, permutation, splitmix64, uniform, uniforms

INDEX = torch.arange(20_000)


def signed(number: int) -> int:
    return number - 2**64 if number >= 2**63 else number


def test_splitmix64_gives_the_published_first_outputs_of_seed_1234567():
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    states = torch.tensor([signed((1234567 + n * 0x9E3779B97F4A7C15) % 2**64) for n in range(3)])
    assert splitmix64(states).tolist() == [signed(number) for number in published]


@pytest.mark.parametrize("seed", [0, 1, -1, 2**63, 2**64 + 7])
def test_numbers_fill_the_unit_interval_evenly(seed):
    numbers = uniform(seed, INDEX, 0, Stream.FLIP)
    assert numbers.dtype == torch.float32
    assert 0 <= numbers.min() < 0.001
    assert 0.999 < numbers.max() < 1
    # Five standard errors of the mean of 20,000 uniform numbers: 5 / sqrt(12 * 20000) = 0.0102.
    assert numbers.mean().item() == pytest.approx(0.5, abs=0.0102)
    # Each of ten bins holds 2,000 +- five times sqrt(20000 * 0.1 * 0.9) = 42.4.
    assert (numbers.histc(10, 0, 1) - 2000).abs().max() < 5 * 42.4


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((0, 0, 0), (0, 0, 1)),
        ((0, 0, 0), (0, 1, 0)),
        ((0, 0, 0), (1, 0, 0)),
        ((0, 0, 1), (0, 1, 0)),
        ((0, 1, 0), (1, 0, 0)),
    ],
)
def test_seeds_views_and_streams_are_uncorrelated(first, second):
    pair = torch.stack(
        [uniform(seed, INDEX, view, stream) for seed, view, stream in (first, second)]
    )
    # Five standard errors of a correlation that is zero: 5 / sqrt(20000).
    assert abs(torch.corrcoef(pair)[0, 1].item()) < 5 / 20_000**0.5


def test_neighbouring_samples_are_uncorrelated():
    numbers = uniform(0, INDEX, 0, 0)
    pair = torch.stack([numbers[:-1], numbers[1:]])
    assert abs(torch.corrcoef(pair)[0, 1].item()) < 5 / 20_000**0.5


def test_a_sample_keeps_its_number_in_any_batch():
    whole = uniform(3, INDEX, 5, 1)
    some = torch.tensor([17, 4, 19_999])
    assert torch.equal(uniform(3, some, torch.full((3,), 5), 1), whole[some])


def test_one_batch_may_mix_views():
    mixed = uniform(3, torch.tensor([8, 8]), torch.tensor([0, 1]), 1)
    assert mixed[0] == uniform(3, torch.tensor([8]), 0, 1)
    assert mixed[1] == uniform(3, torch.tensor([8]), 1, 1)
    assert mixed[0] != mixed[1]


def test_permutation_holds_every_sample_once_and_moves_with_seed_and_view():
    first = permutation(100, 0, 0, Stream.SHUFFLE)
    assert sorted(first.tolist()) == list(range(100))
    assert torch.equal(first, permutation(100, 0, 0, Stream.SHUFFLE))
    assert not torch.equal(first, permutation(100, 0, 1, Stream.SHUFFLE))
    assert not torch.equal(first, permutation(100, 1, 0, Stream.SHUFFLE))


def test_several_numbers_are_those_of_splitmix64_from_the_bits_of_the_sample_on():
    found = uniforms(3, torch.tensor([5, 6]), 2, Stream.CROP, 4)
    assert found.dtype == torch.float32
    for row, index in zip(found.tolist(), (5, 6), strict=True):
        state = bits(3, torch.tensor([index]), 2, Stream.CROP).item()
        for number in row:
            (output,) = splitmix64(torch.tensor([signed(state % 2**64)])).tolist()
            assert number == (output % 2**64 >> 40) / 2**24
            state += 0x9E3779B97F4A7C15


def test_several_numbers_of_a_sample_are_uncorrelated():
    found = uniforms(0, INDEX, 0, Stream.CROP, 3)
    off_diagonal = torch.corrcoef(found.T) - torch.eye(3)
    # Five standard errors of a correlation that is zero: 5 / sqrt(20000).
    assert off_diagonal.abs().max().item() < 5 / 20_000**0.5
    assert (found.mean(0) - 0.5).abs().max().item() < 0.0102


def test_every_stream_has_a_number_of_its_own():
    # An alias would be left out of the list.
    assert len(Stream) == len(Stream.__members__)
