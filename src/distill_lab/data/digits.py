"""Handwritten digits, 8x8: the 1,797 images that come with scikit-learn."""

from __future__ import annotations

from distill_lab.contracts import Arrays, DataInfo, Splits
from distill_lab.errors import DataError

NUM_SAMPLES = 1797
SHA256 = "b4e02db77f0215fab58a2edd64ed887be0b5ccf2ed174ba470c87353d8bcd897"


class Digits:
    """The default dataset: real, small, and there without a network.

    Source: Alpaydin and Kaynak 1998, "Optical Recognition of Handwritten Digits", UCI.

    Args:
        validation_fraction: in (0, 1), share of all samples that choices are made on.
        test_fraction: in (0, 1), share of all samples kept for the last stage.
        split_seed: decides which sample goes to which split; apart from the run's seed, so that
            runs with different seeds share their splits.

    Raises:
        ValueError: a fraction is out of range, leaves a split empty, or both together leave fewer
            than two samples to train on.
    """

    def __init__(self, validation_fraction: float, test_fraction: float, split_seed: int) -> None:
        self.num_validation = _count("validation_fraction", validation_fraction)
        self.num_test = _count("test_fraction", test_fraction)
        if NUM_SAMPLES - self.num_validation - self.num_test < 2:
            raise ValueError(
                f"validation_fraction + test_fraction: must leave >= 2 of {NUM_SAMPLES} samples to "
                f"train on, got {validation_fraction} + {test_fraction}."
            )
        self.split_seed = split_seed
        self.info = DataInfo(
            name="digits",
            input_shape=(1, 8, 8),
            num_classes=10,
            class_names=tuple("0123456789"),
            # Over the pixels of the training split at the defaults of conf/data/digits.yaml;
            # constants, so that they do not move with the split.
            mean=(0.3048,),
            std=(0.3761,),
        )

    def load(self) -> Splits:
        """Return the verified, un-normalised splits; the same arrays every time.

        Raises:
            DataError: the installed scikit-learn carries other images.
        """
        import torch
        from sklearn.datasets import load_digits

        from distill_lab.data.checksum import digest
        from distill_lab.data.split import stratified

        images, targets = load_digits(return_X_y=True)
        raw = {"inputs": images.astype("uint8"), "targets": targets.astype("uint8")}
        if digest(raw) != SHA256:
            raise DataError(
                "digits: the images of the installed scikit-learn differ from the pinned checksum. "
                "Install the version named in constraints.txt."
            )
        inputs = torch.from_numpy(raw["inputs"]).view(-1, 1, 8, 8).float() / 16
        classes = torch.from_numpy(raw["targets"]).long()
        sizes = (self.num_validation, self.num_test)
        validation, test, train = stratified(classes, sizes, self.split_seed)
        return Splits(
            train=Arrays(inputs[train], classes[train]),
            validation=Arrays(inputs[validation], classes[validation]),
            test=Arrays(inputs[test], classes[test]),
        )


def _count(name: str, fraction: float) -> int:
    if not 0 < fraction < 1:
        raise ValueError(f"{name}: must be in (0, 1), got {fraction}.")
    count = round(fraction * NUM_SAMPLES)
    if count == 0:
        raise ValueError(
            f"{name}: must be >= {1 / NUM_SAMPLES:.5f}, one sample of {NUM_SAMPLES}, "
            f"got {fraction}."
        )
    return count
