"""The two pairs of networks that every loop trains, and what each loop is told of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

NUM_THREADS = 2
COMMON = (
    "regime=sgd_step",
    "loss=[ce,kd]",
    "loss.ce.weight=0.1",
    "loss.kd.weight=0.9",
    "temperature.value=4",
    "data.num_validation=64",
    "data.num_test=64",
    f"hardware.threads={NUM_THREADS}",
)
PAIRS = {
    "resnet": (
        "data=fake_cifar",
        "data.num_classes=100",
        "architecture@teacher=resnet56",
        "architecture@student=resnet20",
        "regime.batch_size=64",
        "regime.shift_pixels=4",
        "regime.horizontal_flip=true",
    ),
    "mlp": (
        "data=fake",
        "data.input_shape=[1,28,28]",
        "data.num_classes=10",
        "architecture@teacher=mlp_1200",
        "architecture@student=mlp_800",
        "regime.batch_size=128",
        "regime.shift_pixels=2",
    ),
}
NUM_STEPS = {"resnet": 20, "mlp": 200}
"""Of an epoch: some seconds each on two cores."""
QUICK_STEPS = 2


@dataclass(frozen=True)
class Task:
    """What a loop that does not use the package's config has to know; plain values.

    Attributes:
        teacher: dotted path and arguments of the network.
        student: likewise.
        input_shape: (C, H, W).
        num_classes: K.
        num_images: of an epoch, a multiple of the batch.
        batch_size: B.
        shift_pixels: random crop with this padding.
        horizontal_flip: whether half of the images are mirrored.
        mean: of the pixels, in every channel.
        std: of the pixels, in every channel.
        lr: of SGD.
        momentum: of SGD.
        weight_decay: of SGD.
        ce_weight: of the cross-entropy with the labels.
        kd_weight: of the divergence from the teacher.
        temperature: of both softmaxes.
    """

    teacher: tuple[str, dict[str, Any]]
    student: tuple[str, dict[str, Any]]
    input_shape: tuple[int, ...]
    num_classes: int
    num_images: int
    batch_size: int
    shift_pixels: int
    horizontal_flip: bool
    mean: float
    std: float
    lr: float
    momentum: float
    weight_decay: float
    ce_weight: float
    kd_weight: float
    temperature: float

    @property
    def plain(self) -> dict[str, Any]:
        """As it is sent to another process."""
        return asdict(self)


def overrides_of(pair: str, quick: bool = False) -> list[str]:
    """Return the request for a pair, as it would be given to `distill-lab`."""
    batch = next(word for word in PAIRS[pair] if word.startswith("regime.batch_size="))
    num_images = (QUICK_STEPS if quick else NUM_STEPS[pair]) * int(batch.partition("=")[2])
    return [*PAIRS[pair], *COMMON, f"data.num_train={num_images}"]


def task_of(overrides: list[str]) -> Task:
    """Compose and check a request with the package and take out what other loops need."""
    from distill_lab.launch import checked

    parts = checked(overrides)
    info, regime = parts.data.info, parts.regime
    (teacher,), (student,) = parts.teachers, parts.students
    return Task(
        teacher=(teacher.target, teacher.args),
        student=(student.target, student.args),
        input_shape=info.input_shape,
        num_classes=info.num_classes,
        num_images=parts.config["data"]["num_train"],
        batch_size=regime.batch_size,
        shift_pixels=regime.shift_pixels,
        horizontal_flip=regime.horizontal_flip,
        mean=info.mean[0],
        std=info.std[0],
        lr=regime.lr,
        momentum=regime.momentum,
        weight_decay=regime.weight_decay,
        ce_weight=parts.loss["ce"].args["weight"],
        kd_weight=parts.loss["kd"].args["weight"],
        temperature=parts.temperature.args["value"],
    )
