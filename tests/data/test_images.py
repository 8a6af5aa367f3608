from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from distill_lab.contracts import Arrays, DataInfo
from distill_lab.data import workers
from distill_lab.data.augment import Augmentation
from distill_lab.data.decode import Decoder
from distill_lab.data.images import Images
from distill_lab.data.loader import Loader

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),  # on one core
]
INFO = DataInfo("toy", (3, 8, 8), 3, ("a", "b", "c"), (0.5,) * 3, (0.25,) * 3)
NUM_IMAGES = 11


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> list[str]:
    """Files of noise, of several sizes."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    found = [str(folder / f"{number}.png") for number in range(NUM_IMAGES)]
    for number, path in enumerate(found):
        pixels = rng.integers(0, 256, (10 + number, 20 - number, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return found


@pytest.fixture
def images(paths, monkeypatch):
    monkeypatch.setattr(workers, "START", "fork")

    def make(varies: bool = False, num_workers: int = 0) -> Images:
        return Images(paths, Decoder(3, 10, 8), "signature", varies, num_workers)

    return make


def whole(images: Images) -> torch.Tensor:
    return torch.cat([images[number : number + 1] for number in range(len(images))])


def test_they_have_length_and_shape_of_the_tensor_they_stand_for(images):
    made = images()
    assert len(made) == NUM_IMAGES
    assert made.shape == whole(made).shape == (NUM_IMAGES, 3, 8, 8)


def test_pixels_are_bytes_as_float32_between_0_and_1(images):
    pixels = images()[:]
    assert pixels.dtype == torch.float32
    assert torch.equal(pixels, (pixels * 255).round() / 255)
    # Noise of all greys, smoothed a little.
    assert 0 <= pixels.min() < 0.2
    assert 0.8 < pixels.max() <= 1


@pytest.mark.parametrize(
    "index", [torch.tensor([3, 0, 3]), slice(2, 5), slice(None), torch.tensor([], dtype=torch.long)]
)
def test_they_are_indexed_like_the_tensor(images, index):
    assert torch.equal(images()[index], whole(images())[index])


def test_many_are_decoded_as_few_are(images, monkeypatch):
    expected = whole(images())
    monkeypatch.setattr("distill_lab.data.images.DECODED_AT_ONCE", 4)
    assert torch.equal(images()[:], expected)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("size", [4, 11, 50])
def test_they_are_split_like_the_tensor(images, num_workers, size):
    found = list(images(num_workers=num_workers).split(size))
    expected = whole(images()).split(size)
    assert len(found) == len(expected)
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))


def parts_read(images: Images, index: list[int], seed: int | None, view: int) -> torch.Tensor:
    return torch.cat(list(images.read(torch.tensor(index).split(3), seed, view)))


def test_a_random_part_is_a_function_of_seed_sample_and_view(images):
    made, index = images(varies=True), list(range(NUM_IMAGES))
    first = parts_read(made, index, 1, 2)
    assert torch.equal(parts_read(made, index, 1, 2), first)
    assert torch.equal(parts_read(made, [7, 2], 1, 2), first[[7, 2]])
    assert not torch.equal(parts_read(made, index, 1, 3), first)
    assert not torch.equal(parts_read(made, index, 2, 2), first)


def test_evaluation_sees_the_middle_also_where_training_sees_random_parts(images):
    middle = (whole(images()) * 255).round().byte()
    index = list(range(NUM_IMAGES))
    assert torch.equal(parts_read(images(varies=True), index, None, 2), middle)
    assert torch.equal(parts_read(images(varies=False), index, 1, 2), middle)
    assert not torch.equal(parts_read(images(varies=True), index, 1, 2), middle)


def passes(images: Images) -> list[torch.Tensor]:
    """Two training passes and one of evaluation, every tensor of every batch."""
    split = Arrays(images, torch.arange(NUM_IMAGES) % 3)
    views = iter([0, 1])
    training = Augmentation(3, shift_pixels=1, horizontal_flip=True, cutout_pixels=2)
    loader = Loader(split, INFO, 4, training, view=lambda: next(views))
    batches = [*loader, *loader, *Loader(split, INFO, 4)]
    return [tensor for batch in batches for tensor in batch]


def test_no_number_of_processes_changes_a_batch(images):
    alone, two = (passes(images(varies=True, num_workers=number)) for number in (0, 2))
    # Eleven samples in batches of four, three times; four tensors each.
    assert len(alone) == 3 * 3 * 4
    assert all(torch.equal(*pair) for pair in zip(alone, two, strict=True))


def test_a_loader_yields_what_it_yields_of_the_tensor(images):
    assert all(
        torch.equal(*pair) for pair in zip(passes(images()), passes(whole(images())), strict=True)
    )


def test_a_loader_without_augmentation_yields_the_middle(images):
    split = Arrays(images(varies=True), torch.zeros(NUM_IMAGES, dtype=torch.long))
    (batch,) = Loader(split, INFO, NUM_IMAGES)
    # Normalised by mean 0.5 and deviation 0.25.
    assert torch.equal(batch.inputs, (whole(images()) - 0.5) / 0.25)


def test_batches_go_to_the_device(images):
    split = Arrays(images(), torch.zeros(NUM_IMAGES, dtype=torch.long))
    augmentation = Augmentation(0, shift_pixels=1)
    for batch in Loader(split, INFO, 4, augmentation, device=torch.device("meta")):
        assert batch.inputs.device.type == batch.targets.device.type == "meta"
        assert batch.inputs.dtype == torch.float32
