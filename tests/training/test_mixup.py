from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import kstest

from distill_lab.contracts import Batch
from distill_lab.training.mixup import mixup

NUM_SAMPLES, NUM_CLASSES = 12, 5


@pytest.fixture
def batch() -> Batch:
    """Each input is a one-hot of its own number, so a mixed one tells what it was mixed of."""
    index = torch.arange(NUM_SAMPLES)
    inputs = torch.eye(NUM_SAMPLES, dtype=torch.float64)
    return Batch(inputs, index % NUM_CLASSES, index, torch.zeros_like(index))


def mixed_with(batch: Batch, seed: int = 0, alpha: float = 1.0) -> Batch:
    return mixup(batch, alpha, NUM_CLASSES, torch.Generator().manual_seed(seed))


def shares(batch: Batch, alpha: float, num_draws: int) -> list[float]:
    """Of the first sample, in those draws in which it is mixed with another one."""
    generator = torch.Generator().manual_seed(0)
    drawn = [mixup(batch, alpha, NUM_CLASSES, generator).inputs[0] for _ in range(num_draws)]
    return [float(row[0]) for row in drawn if float(row[0]) < 1]


def test_labels_are_mixed_like_inputs(batch):
    mixed = mixed_with(batch)
    expected = mixed.inputs @ F.one_hot(batch.targets, NUM_CLASSES).double()
    torch.testing.assert_close(mixed.targets, expected)


def test_every_sample_is_mixed_with_one_other_by_the_same_share(batch):
    inputs = mixed_with(batch).inputs
    own = inputs.diagonal()
    share = float(own.min())
    assert 0 < share < 1
    partners = (inputs - share * batch.inputs) / (1 - share)
    ones = torch.ones(NUM_SAMPLES, dtype=torch.float64)
    for found in (partners.sum(dim=0), partners.sum(dim=1), partners.max(dim=1).values):
        torch.testing.assert_close(found, ones)


def test_index_and_view_stay_those_of_the_first_sample(batch):
    mixed = mixed_with(batch)
    assert torch.equal(mixed.index, batch.index)
    assert torch.equal(mixed.view, batch.view)


def test_the_batch_itself_is_left_alone(batch):
    before = batch.inputs.clone()
    mixed_with(batch)
    assert torch.equal(batch.inputs, before)


def test_the_generator_decides(batch):
    first, again, other = (mixed_with(batch, seed).inputs for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_batch_of_one_is_only_given_soft_labels(batch):
    one = Batch(*(value[:1] for value in batch))
    mixed = mixed_with(one)
    torch.testing.assert_close(mixed.inputs, one.inputs)
    assert mixed.targets.tolist() == [[1.0, 0.0, 0.0, 0.0, 0.0]]


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_the_share_follows_the_beta_distribution(batch, alpha):
    assert kstest(shares(batch, alpha, 2000), "beta", args=(alpha, alpha)).pvalue > 0.01


def test_a_tiny_alpha_hardly_ever_mixes_evenly(batch):
    # Beta(0.01, 0.01) has 1 % of its mass in [0.25, 0.75].
    even = [share for share in shares(batch, 0.01, 1000) if 0.25 <= share <= 0.75]
    assert len(even) < 30
