from __future__ import annotations

from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from distill_lab.contracts import Arrays, Batch
from distill_lab.data.augment import Augmentation
from distill_lab.data.fake import Fake
from distill_lab.data.module import DataModule
from distill_lab.data.normalise import normalise

# Lightning 2.6 still names a class that torch 2.14 renames; not about our loaders.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")

DATASET = Fake([2, 6, 6], 3, num_train=21, num_validation=520, num_test=9, noise=0.3, split_seed=0)
SPLITS = DATASET.load()


def module(
    info=DATASET.info, splits=SPLITS, batch_size=4, samples=None, seed=5, share=(0, 1), **drawn
):
    augmentation = Augmentation(seed, **drawn)
    return DataModule(info, splits, batch_size, augmentation, samples, share=share)


class Recorder(pl.LightningModule):
    """A toy network that keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(72, 3), nn.BatchNorm1d(3))
        self.seen: dict[str, list[Batch]] = {"train": [], "validation": []}

    def _loss(self, batch: Batch, split: str) -> torch.Tensor:
        self.seen[split].append(batch)
        loss = nn.functional.cross_entropy(self.net(batch.inputs), batch.targets)
        self.log(f"{split}/loss", loss)
        return loss

    def training_step(self, batch: Batch) -> torch.Tensor:
        return self._loss(batch, "train")

    def validation_step(self, batch: Batch) -> None:
        self._loss(batch, "validation")

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture(scope="module")
def recorded() -> dict[str, list[Batch]]:
    recorder, data = Recorder(), module(shift_pixels=1, horizontal_flip=True, cutout_pixels=2)
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(recorder, datamodule=data)
    return recorder.seen


def test_under_a_trainer_the_view_is_the_epoch(recorded):
    # 21 samples in batches of 4: five batches an epoch, the last sample alone is dropped.
    assert [batch.view.unique().tolist() for batch in recorded["train"]] == [[0]] * 5 + [[1]] * 5


def test_under_a_trainer_each_epoch_has_its_own_order(recorded):
    first, second = (
        torch.cat([batch.index for batch in recorded["train"][epoch * 5 : epoch * 5 + 5]])
        for epoch in range(2)
    )
    assert len(set(first.tolist())) == len(set(second.tolist())) == 20
    assert not torch.equal(first, second)


def test_training_inputs_are_augmented_by_the_seed_their_number_and_the_epoch(recorded):
    augmentation = Augmentation(5, shift_pixels=1, horizontal_flip=True, cutout_pixels=2)
    for batch in recorded["train"]:
        pixels = SPLITS.train.inputs[batch.index]
        numbers = augmentation.draw(batch.index, batch.view, 6, 6)
        frame = augmentation.frame(pixels, len(pixels))
        expected = augmentation.apply(pixels, numbers, DATASET.info, frame)
        assert torch.equal(batch.inputs, expected)
        assert torch.equal(batch.targets, SPLITS.train.targets[batch.index])


def test_passes_without_a_trainer_are_those_of_the_epochs_under_one(recorded):
    data = module(shift_pixels=1, horizontal_flip=True, cutout_pixels=2)
    batches = [batch for view in range(2) for batch in data.train_pass(view, torch.device("cpu"))]
    for batch, expected in zip(batches, recorded["train"], strict=True):
        assert all(torch.equal(*pair) for pair in zip(batch, expected, strict=True))


def test_validation_comes_whole_in_order_and_only_normalised(recorded):
    assert [len(batch.index) for batch in recorded["validation"]] == [*[128] * 4, 8] * 2
    for batch in recorded["validation"]:
        assert bool((batch.index.diff() == 1).all())
        assert batch.view.count_nonzero() == 0
        pixels = SPLITS.validation.inputs[batch.index]
        assert torch.equal(batch.inputs, normalise(pixels, DATASET.info))


def test_without_a_trainer_the_view_is_zero():
    assert all(batch.view.count_nonzero() == 0 for batch in module().train_dataloader())


def test_without_augmentation_inputs_are_only_normalised():
    batch = next(iter(module().train_dataloader()))
    expected = normalise(SPLITS.train.inputs[batch.index], DATASET.info)
    assert torch.equal(batch.inputs, expected)


def test_the_seed_decides_the_order():
    first, same, other = (
        next(iter(module(seed=seed).train_dataloader())).index.tolist() for seed in (5, 5, 6)
    )
    assert first == same != other


@pytest.mark.parametrize(
    ("name", "value"), [("batch_size", 0), ("shift_pixels", -1), ("cutout_pixels", -1)]
)
def test_an_argument_out_of_range_is_named(name, value):
    with pytest.raises(ValueError, match=f"^{name}: must be >= "):
        module(**{name: value})


def test_one_training_sample_is_refused():
    one = Arrays(SPLITS.train.inputs[:1], SPLITS.train.targets[:1])
    with pytest.raises(ValueError, match="train must have >= 2 samples, got 1"):
        module(splits=SPLITS._replace(train=one))


@pytest.mark.parametrize("split", ["train", "validation"])
def test_fewer_samples_than_processes_are_refused(split):
    arrays = getattr(SPLITS, split)
    few = Arrays(arrays.inputs[:2], arrays.targets[:2])
    with pytest.raises(ValueError, match=f"{split} must have a sample for each of 3 processes, g"):
        module(splits=SPLITS._replace(**{split: few}), share=(0, 3))


def test_processes_divide_the_validation_split_in_order():
    parts = [list(module(share=(rank, 3)).val_dataloader()) for rank in range(3)]
    assert [[len(batch.index) for batch in part] for part in parts] == [
        [128, 46],
        [128, 45],
        [128, 45],
    ]
    numbers = torch.cat([batch.index for part in parts for batch in part])
    assert numbers.tolist() == list(range(520))


@pytest.mark.parametrize(
    "augmentation", [{"shift_pixels": 1}, {"horizontal_flip": True}, {"cutout_pixels": 1}]
)
def test_augmentation_of_what_is_no_image_is_refused(augmentation):
    info = Fake([1, 1, 1], 2, 2, 2, 2, 0.0, 0).info
    flat = type(info)(**vars(info) | {"input_shape": (72,)})
    with pytest.raises(ValueError, match=r"unless inputs are \(C, H, W\)"):
        module(info=flat, **augmentation)


def test_inputs_and_targets_move_to_the_device_while_index_and_view_stay():
    batch = next(iter(module().train_dataloader()))
    there = module().transfer_batch_to_device(batch, torch.device("meta"), 0)
    assert there.inputs.device.type == there.targets.device.type == "meta"
    assert there.index is batch.index
    assert there.view is batch.view


def test_on_the_cpu_a_batch_stays_what_it_is():
    batch = next(iter(module().train_dataloader()))
    there = module().transfer_batch_to_device(batch, torch.device("cpu"), 0)
    assert all(new is old for new, old in zip(there, batch, strict=True))


def test_batches_are_made_on_the_device_of_the_trainer():
    data = module(shift_pixels=1)
    data.trainer = SimpleNamespace(
        current_epoch=4, strategy=SimpleNamespace(root_device=torch.device("meta"))
    )
    for loader in (data.train_dataloader(), data.val_dataloader()):
        batch = next(iter(loader))
        assert batch.inputs.device.type == batch.targets.device.type == "meta"
        assert batch.index.device.type == "cpu"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_on_a_gpu_the_batches_are_those_of_the_cpu():
    changes = {"shift_pixels": 1, "horizontal_flip": True, "cutout_pixels": 2}
    here, there = module(**changes), module(**changes)
    there.trainer = SimpleNamespace(
        current_epoch=0, strategy=SimpleNamespace(root_device=torch.device("cuda", 0))
    )
    for expected, batch in zip(here.train_dataloader(), there.train_dataloader(), strict=True):
        torch.testing.assert_close(batch.inputs.cpu(), expected.inputs)
        assert torch.equal(batch.index, expected.index)
