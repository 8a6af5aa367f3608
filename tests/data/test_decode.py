from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as reference

from distill_lab.data.decode import NUM_NUMBERS, Box, Decoder, Request, middle, random_box, resized
from distill_lab.data.decode import read as read_image
from distill_lab.errors import DataError

RNG = np.random.default_rng(0)


def image(width: int, height: int) -> Image.Image:
    return Image.fromarray(RNG.integers(0, 256, (height, width, 3), dtype=np.uint8))


def numbers(*attempts: tuple[float, ...]) -> list[float]:
    """Of the given attempts; those that follow ask for the whole area and a square."""
    rest = [(1.0, 0.5, 0.0, 0.0)] * (NUM_NUMBERS // 4 - len(attempts))
    return [number for attempt in [*attempts, *rest] for number in attempt]


@pytest.mark.parametrize("size", [(50, 40), (40, 50), (33, 97), (36, 36), (20, 31)])
def test_the_middle_is_that_of_torchvision(size):
    original = image(*size)
    expected = reference.center_crop(reference.resize(original, [36]), [32, 32])
    assert np.array_equal(np.asarray(middle(original, 36, 32)), np.asarray(expected))


def test_a_part_is_scaled_as_torchvision_does():
    original = image(50, 40)
    expected = reference.resized_crop(original, 5, 7, 22, 31, [16, 16])
    found = resized(original, Box(left=7, top=5, width=31, height=22), 16)
    assert np.array_equal(np.asarray(found), np.asarray(expected))


def test_the_first_box_that_fits_is_taken():
    # 0.08 + 0.5 * 0.92 = 0.54 of 100 * 100; half way between the logs of 3/4 and 4/3 lies 1.
    side = round((0.54 * 100 * 100) ** 0.5)
    assert random_box(100, 100, numbers((0.5, 0.5, 0.0, 0.999))) == (100 - side, 0, side, side)
    # The whole area cannot be wider than high in a square, so the second attempt counts.
    two = numbers((1.0, 0.9, 0.0, 0.0), (0.5, 0.5, 0.999, 0.0))
    assert random_box(100, 100, two) == (0, 100 - side, side, side)


@pytest.mark.parametrize(
    ("size", "box"),
    [
        # No square of the whole area fits either, so it is the middle, at most 4/3 as long as wide.
        ((400, 30), (180, 0, 40, 30)),
        ((30, 400), (0, 180, 30, 40)),
    ],
)
def test_where_none_fits_it_is_the_middle(size, box):
    assert random_box(*size, numbers()) == box


def test_boxes_lie_inside_and_have_the_areas_and_ratios_of_the_paper():
    rows = torch.rand(2000, NUM_NUMBERS, generator=torch.Generator().manual_seed(0)).tolist()
    boxes = [random_box(400, 300, row) for row in rows]
    assert all(0 <= b.left <= 400 - b.width and 0 <= b.top <= 300 - b.height for b in boxes)
    areas = [b.width * b.height / 120_000 for b in boxes]
    ratios = [b.width / b.height for b in boxes]
    # Sides are rounded to whole pixels, the shortest is about 84 long.
    assert min(areas) == pytest.approx(0.08, abs=0.005)
    assert 0.9 < max(areas) <= 1
    assert min(ratios) == pytest.approx(3 / 4, abs=0.02)
    assert max(ratios) == pytest.approx(4 / 3, abs=0.02)
    assert len(Counter(boxes)) > 1900


@pytest.mark.parametrize(("channels", "mode"), [(3, "RGB"), (1, "L")])
def test_a_batch_is_the_bytes_of_its_files(tmp_path, channels, mode):
    originals = [image(8, 8), image(8, 8)]
    paths = [str(tmp_path / f"{number}.png") for number in range(2)]
    for original, path in zip(originals, paths, strict=True):
        original.save(path)
    found = Decoder(channels, 8, 8)[Request(paths, None)]
    assert found.dtype == torch.uint8
    for place, original in enumerate(originals):
        pixels = np.asarray(original.convert(mode)).reshape(8, 8, channels)
        assert np.array_equal(found[place].permute(1, 2, 0).numpy(), pixels)


def test_with_numbers_each_file_has_its_own_part(tmp_path):
    original = image(100, 100)
    original.save(tmp_path / "0.png")
    rows = [numbers((0.5, 0.5, 0.0, 0.0)), numbers((0.5, 0.5, 0.999, 0.0))]
    request = Request([str(tmp_path / "0.png")] * 2, np.array(rows, np.float32))
    found = Decoder(3, 36, 32)[request]
    for place, top in enumerate((0, 27)):
        expected = reference.resized_crop(original, top, 0, 73, 73, [32, 32])
        assert np.array_equal(found[place].permute(1, 2, 0).numpy(), np.asarray(expected))


def test_a_palette_and_a_transparent_image_become_colour(tmp_path):
    image(8, 8).convert("P").save(tmp_path / "palette.png")
    image(8, 8).convert("RGBA").save(tmp_path / "transparent.png")
    paths = [str(tmp_path / f"{name}.png") for name in ("palette", "transparent")]
    assert Decoder(3, 8, 8)[Request(paths, None)].shape == (2, 3, 8, 8)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"no image"])
def test_a_damaged_file_is_named(tmp_path, suffix, damage):
    path = tmp_path / f"broken.{suffix}"
    image(64, 64).save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=rf"broken\.{suffix}: cannot be read as an image .* again"):
        read_image(str(path), "RGB")
    assert "cannot be read as an image" in Decoder(3, 8, 8)[Request([str(path)], None)]


def test_a_file_that_went_away_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.png: cannot be read as an image"):
        read_image(str(tmp_path / "gone.png"), "RGB")
