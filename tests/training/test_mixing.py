from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import kstest

from distill_lab.contracts import Batch
from distill_lab.training.mixing import Box, beta, cutmix, mixed, mixup, random_box

NUM_SAMPLES, NUM_CLASSES = 12, 5
HEIGHT, WIDTH = 24, 20


@pytest.fixture
def batch() -> Batch:
    """Each input is a one-hot of its own number, so a mixed one tells what it was mixed of."""
    index = torch.arange(NUM_SAMPLES) + 100
    inputs = torch.eye(NUM_SAMPLES, dtype=torch.float64)
    return Batch(inputs, index % NUM_CLASSES, index, torch.full_like(index, 3))


@pytest.fixture
def images(batch) -> Batch:
    """Each pixel of an image is the image's number."""
    numbers = torch.arange(float(NUM_SAMPLES)).view(-1, 1, 1, 1)
    return batch._replace(inputs=numbers.expand(-1, 2, HEIGHT, WIDTH).clone())


def same(first: Batch, second: Batch) -> bool:
    return all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def mixup_of(batch: Batch, seed: int = 0, alpha: float = 1.0) -> Batch:
    return mixed(batch, alpha, 0.0, NUM_CLASSES, seed)


def cutmix_of(batch: Batch, seed: int = 0, alpha: float = 1.0) -> Batch:
    return mixed(batch, 0.0, alpha, NUM_CLASSES, seed)


def partners_of(mixture: Batch, batch: Batch) -> torch.Tensor:
    """What is left of each row of a mixup when its own share is taken away, scaled to one."""
    share = float(mixture.inputs.diagonal().min())
    return (mixture.inputs - share * batch.inputs) / (1 - share)


def pasted(mixture: Batch, number: int) -> torch.Tensor:
    return mixture.inputs[number, 0] != number


def test_without_an_alpha_the_batch_is_left_as_it_is(batch):
    assert mixed(batch, 0.0, 0.0, NUM_CLASSES, seed=0) is batch


@pytest.mark.parametrize("alphas", [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0)])
def test_the_same_batch_is_mixed_in_the_same_way_whatever_was_drawn_before(images, alphas):
    first = mixed(images, *alphas, NUM_CLASSES, seed=5)
    torch.rand(3)
    mixed(images._replace(view=images.view + 1), *alphas, NUM_CLASSES, seed=5)
    assert same(first, mixed(images, *alphas, NUM_CLASSES, seed=5))


@pytest.mark.parametrize("mix", [mixup_of, cutmix_of])
def test_seed_view_and_first_sample_each_change_the_mixture(images, mix):
    first = mix(images).inputs
    assert not torch.equal(first, mix(images, seed=1).inputs)
    assert not torch.equal(first, mix(images._replace(view=images.view + 1)).inputs)
    assert not torch.equal(first, mix(images._replace(index=images.index + 1)).inputs)


@pytest.mark.parametrize("mix", [mixup_of, cutmix_of])
def test_index_view_and_the_batch_itself_are_left_alone(images, mix):
    before = images.inputs.clone()
    mixture = mix(images)
    assert torch.equal(images.inputs, before)
    assert torch.equal(mixture.index, images.index)
    assert torch.equal(mixture.view, images.view)


@pytest.mark.parametrize("mix", [mixup_of, cutmix_of])
@pytest.mark.parametrize("alpha", [1e-3, 1.0, 1e3])
def test_labels_are_probabilities(images, mix, alpha):
    targets = mix(images, alpha=alpha).targets
    assert targets.shape == (NUM_SAMPLES, NUM_CLASSES)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(NUM_SAMPLES))
    assert bool((targets >= 0).all())


@pytest.mark.parametrize("mix", [mixup_of, cutmix_of])
def test_a_batch_of_one_is_only_given_soft_labels(images, mix):
    one = Batch(*(value[:1] for value in images))
    mixture = mix(one)
    assert torch.equal(mixture.inputs, one.inputs)
    assert mixture.targets.tolist() == [[1.0, 0.0, 0.0, 0.0, 0.0]]


def test_every_sample_is_mixed_with_one_other_by_the_same_share(batch):
    partners = partners_of(mixup_of(batch), batch)
    ones = torch.ones(NUM_SAMPLES, dtype=torch.float64)
    for found in (partners.sum(dim=0), partners.sum(dim=1), partners.max(dim=1).values):
        torch.testing.assert_close(found, ones)


def test_mixup_mixes_labels_like_inputs(batch):
    mixture = mixup_of(batch)
    expected = mixture.inputs @ F.one_hot(batch.targets, NUM_CLASSES).double()
    torch.testing.assert_close(mixture.targets, expected)


def test_mixup_by_hand(batch):
    two = Batch(*(value[:2] for value in batch))
    mixture = mixup(two, 0.75, torch.tensor([1, 0]), NUM_CLASSES)
    assert mixture.inputs[:, :2].tolist() == [[0.75, 0.25], [0.25, 0.75]]
    assert mixture.targets.tolist() == [[0.75, 0.25, 0, 0, 0], [0.25, 0.75, 0, 0, 0]]


def test_cutmix_by_hand(images):
    two = Batch(*(value[:2] for value in images))
    two = two._replace(inputs=two.inputs[:, :, :6, :4])
    mixture = cutmix(two, Box(top=1, bottom=4, left=2, right=4), torch.tensor([1, 0]), NUM_CLASSES)
    expected = torch.zeros(6, 4)
    expected[1:4, 2:4] = 1
    for channel in range(2):
        assert torch.equal(mixture.inputs[0, channel], expected)
        assert torch.equal(mixture.inputs[1, channel], 1 - expected)
    # 6 of 24 pixels are pasted.
    assert mixture.targets.tolist() == [[0.75, 0.25, 0, 0, 0], [0.25, 0.75, 0, 0, 0]]


@pytest.mark.parametrize("seed", range(8))
def test_cutmix_pastes_a_box_of_one_other_image_and_counts_its_area(images, seed):
    mixture = cutmix_of(images, seed)
    for number in range(NUM_SAMPLES):
        other = mixture.inputs[number][:, pasted(mixture, number)].unique().long()
        assert len(other) <= 1
        left = 1 - float(pasted(mixture, number).float().mean())
        label = torch.zeros(NUM_CLASSES)
        for place, share in ((number, left), (int(other[0]) if len(other) else number, 1 - left)):
            label[images.targets[place]] += share
        torch.testing.assert_close(mixture.targets[number], label)


def test_cutmix_pastes_the_same_box_into_all_images(images):
    mixture = cutmix_of(images)
    others = [n for n in range(NUM_SAMPLES) if bool(pasted(mixture, n).any())]
    assert len(others) > 1
    for number in others:
        assert torch.equal(pasted(mixture, number), pasted(mixture, others[0]))


def test_cutmix_of_vectors_is_refused_with_the_key_and_what_to_do(batch):
    with pytest.raises(ValueError, match=r"^regime\.cutmix_alpha: .*shape \(12,\).*mixup_alpha"):
        cutmix_of(batch)


def test_with_both_a_fair_coin_decides_for_the_whole_batch(images):
    draws = [mixed(images, 1.0, 1.0, NUM_CLASSES, seed).inputs for seed in range(200)]
    whole = [bool((inputs == inputs.round()).all()) for inputs in draws]  # pixels were not added up
    # Of 200 fair coins, 60 to 140 heads but for one time in a hundred million.
    assert 60 < sum(whole) < 140


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_the_share_follows_the_beta_distribution(alpha):
    generator = torch.Generator().manual_seed(0)
    shares = [beta(alpha, generator) for _ in range(2000)]
    assert kstest(shares, "beta", args=(alpha, alpha)).pvalue > 0.01


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_of_different_batches_follow_it_too(batch, alpha):
    shares = []
    for view in range(1000):
        mixture = mixup_of(batch._replace(view=torch.full_like(batch.view, view)), alpha=alpha)
        shares.append(float(mixture.inputs.diagonal().min()))
    assert kstest(shares, "beta", args=(alpha, alpha)).pvalue > 0.01


def test_a_tiny_alpha_hardly_ever_mixes_evenly():
    # Beta(0.01, 0.01) has 1 % of its mass in [0.25, 0.75].
    generator = torch.Generator().manual_seed(0)
    even = [
        share for share in (beta(0.01, generator) for _ in range(1000)) if 0.25 <= share <= 0.75
    ]
    assert len(even) < 30


def test_partners_are_a_different_permutation_in_each_view(batch):
    found = set()
    for view in range(20):
        mixture = mixup_of(batch._replace(view=torch.full_like(batch.view, view)))
        found.add(tuple(partners_of(mixture, batch).argmax(dim=1).tolist()))
    assert len(found) == 20


@pytest.mark.parametrize(("share", "sides"), [(0.0, (32, 20)), (0.75, (16, 10)), (1.0, (0, 0))])
def test_a_box_has_the_sides_of_the_paper_where_no_border_cuts_it(share, sides):
    generator = torch.Generator().manual_seed(0)
    boxes = [random_box(share, 32, 20, generator) for _ in range(2000)]
    assert max(box.bottom - box.top for box in boxes) == sides[0]
    assert max(box.right - box.left for box in boxes) == sides[1]


def test_a_box_stays_inside_and_its_centre_reaches_every_pixel():
    generator = torch.Generator().manual_seed(0)
    boxes = [random_box(0.9, 8, 8, generator) for _ in range(500)]  # half a side is one pixel
    assert {box.bottom - 1 for box in boxes} == set(range(8))
    assert all(0 <= box.top < box.bottom <= 8 and 0 <= box.left < box.right <= 8 for box in boxes)
