from __future__ import annotations

import pytest
import torch
from scipy.ndimage import gaussian_filter

from distill_lab.measure.corruptions import (
    IMAGES,
    SEVERITIES,
    blur,
    contrast,
    feature_noise,
    noise,
    shift,
    without_items,
)

BATCH = torch.rand(6, 3, 20, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("severity", SEVERITIES)
def test_images_stay_images_of_their_shape(name, severity):
    made = IMAGES[name](BATCH, severity, 0)
    assert made.shape == BATCH.shape
    assert made.dtype == BATCH.dtype
    assert 0 <= float(made.min()) <= float(made.max()) <= 1


@pytest.mark.parametrize("name", IMAGES)
def test_each_severity_is_further_from_the_image_than_the_one_before(name):
    size = [(IMAGES[name](BATCH, severity, 0) - BATCH).square().mean() for severity in SEVERITIES]
    assert size[0] > 0
    assert sorted(size) == size
    assert size[-1] > size[0]


@pytest.mark.parametrize("function", [noise, shift, feature_noise])
def test_the_seed_decides_and_nothing_else_does(function):
    first = function(BATCH, 3, 5)
    torch.manual_seed(17)
    assert torch.equal(function(BATCH, 3, 5), first)
    assert not torch.equal(function(BATCH, 3, 6), first)


@pytest.mark.parametrize("function", [*IMAGES.values(), feature_noise])
def test_what_is_given_is_not_written_over(function):
    before = BATCH.clone()
    function(BATCH, 5, 0)
    assert torch.equal(BATCH, before)


def test_noise_has_the_deviation_of_imagenet_c():
    grey = torch.full((20, 1, 64, 64), 0.5)
    made = noise(grey, 1, 0)
    assert float(made.mean()) == pytest.approx(0.5, abs=0.002)
    assert float(made.std()) == pytest.approx(0.08, abs=0.002)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_blur_equals_scipys(severity):
    sigma = {1: 0.4, 2: 0.5, 3: 0.65, 4: 1.0, 5: 1.6}[severity]  # of 20 pixels
    expected = gaussian_filter(
        BATCH.double().numpy(), (0, 0, sigma, sigma), mode="mirror", truncate=3.0
    )
    made = blur(BATCH.double(), severity, 0)
    torch.testing.assert_close(made, torch.from_numpy(expected), atol=1e-12, rtol=0)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_blur_is_seen_on_the_smallest_dataset_too(severity):
    digits = BATCH[:, :1, :8, :8]
    assert float((blur(digits, severity, 0) - digits).abs().mean()) > 0.01


def test_blur_of_the_smallest_images_is_defined():
    assert blur(torch.ones(1, 1, 1, 1), 5, 0).item() == pytest.approx(1.0)
    assert blur(torch.rand(2, 1, 2, 40), 5, 0).shape == (2, 1, 2, 40)


def test_contrast_worked_by_hand():
    image = torch.tensor([[0.0, 1.0], [1.0, 1.0]]).view(1, 1, 2, 2)  # of mean 0.75
    made = contrast(image, 3, 0)  # a fifth of each distance is left
    assert made.flatten().tolist() == pytest.approx([0.6, 0.8, 0.8, 0.8])


def test_contrast_of_one_channel_is_not_that_of_another():
    image = torch.stack([torch.zeros(4, 4), torch.ones(4, 4)])[None]
    assert torch.equal(contrast(image, 5, 0), image)


def test_a_shift_moves_the_image_in_one_of_four_directions_and_fills_with_black():
    image = torch.arange(1.0, 17.0).view(1, 1, 4, 4).repeat(40, 1, 1, 1)
    made = shift(image, 1, 0)  # 0.05 of 4 pixels, rounded up: one
    zero = torch.zeros(4)
    possible = [
        torch.vstack([zero, image[0, 0, :-1]]),
        torch.vstack([image[0, 0, 1:], zero]),
        torch.hstack([zero[:, None], image[0, 0, :, :-1]]),
        torch.hstack([image[0, 0, :, 1:], zero[:, None]]),
    ]
    found = [[torch.equal(one[0], other) for other in possible] for one in made]
    assert all(sum(line) == 1 for line in found)
    assert all(any(line[number] for line in found) for number in range(4))


def test_noise_of_features_is_in_units_of_their_deviation():
    inputs = 10 * torch.randn(100, 1, 20, 20, generator=torch.Generator().manual_seed(1))
    added = feature_noise(inputs, 4, 0) - inputs
    assert float(added.std()) == pytest.approx(10.0, rel=0.02)


def test_items_are_taken_out_and_the_others_move_together_in_their_order():
    rows = torch.tensor([[5, 3, 8, 2, 9, 0, 0], [4, 0, 0, 0, 0, 0, 0]])
    for seed in range(20):
        made = without_items(rows, 5, seed)
        left = made[0][made[0] > 0].tolist()
        assert left == [item for item in [5, 3, 8, 2, 9] if item in left]
        assert left[-1] == 9  # the latest one
        assert made[0, len(left) :].sum() == 0
        assert made[1].tolist() == rows[1].tolist()


def test_the_share_of_items_that_is_asked_for_is_taken_out():
    rows = torch.arange(1, 101).repeat(200, 1)
    left = (without_items(rows, 3, 0) > 0).float().mean()
    assert float(left) == pytest.approx(0.7, abs=0.01)
