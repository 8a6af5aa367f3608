"""A student that ends in its teacher's classifier, behind a projector to the teacher's features."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from distill_lab.contracts import Component, DataInfo, placeholder
from distill_lab.models.checks import require

ENCODER = "encoder."  # before every tap of the student
REDUCTION = 2  # of the authors' published results


def with_classifier_of(teacher: Component, student: Component) -> Component:
    """Return the student as it is deployed with the teacher's classifier."""
    args = {"student": asdict(student), "teacher": asdict(teacher), "reduction": REDUCTION}
    return Component(f"{__name__}.{ReusedClassifier.__name__}", args)


class ReusedClassifier(nn.Module):
    """The student's encoder, a projector, the teacher's pooling and the teacher's classifier.

    Source: Chen et al. 2022 (SimKD), arXiv:2203.14001, and the authors' code. The classifier is
    new, of the teacher's shape, until `reuse` copies the teacher's into it.

    The projector is over maps where both networks have a `pool` without weights: convolutions of
    1x1, 3x3 and 1x1, each with batch norm and ReLU; maps larger than the teacher's are averaged to
    their size first. Otherwise, which is not in the paper, it is over the vectors that enter the
    classifiers: two linear layers with a ReLU between them; a teacher's vectors may be negative.

    Args:
        input_shape: of one input, for both networks.
        num_classes: K.
        vocabulary_size: number of token ids, for both; None: inputs are numbers.
        student: target and args of a network that ends in a linear `classifier`.
        teacher: of another; its weights are not made.
        reduction: width of the teacher's feature over that of the projector's middle, >= 1.

    Attributes:
        aligned_taps: of this network and of the teacher: training makes their features equal.

    Raises:
        ValueError: a knob is out of range, or a network does not end in its `classifier`.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, ...],
        num_classes: int,
        vocabulary_size: int | None = None,
        student: dict[str, Any],
        teacher: dict[str, Any],
        reduction: int,
    ) -> None:
        super().__init__()
        require("reduction", reduction, ">= 1", reduction >= 1)
        info = DataInfo("", input_shape, num_classes, (), (), (), vocabulary_size)
        ours, theirs = (_end_of(Component(**network), info) for network in (student, teacher))
        self.encoder: nn.Module = Component(**student).make_network(info)
        self.encoder.classifier = nn.Identity()
        if ours.pool is not None and theirs.pool is not None:
            self.encoder.pool = nn.Identity()
            self.projector = _of_maps(ours.maps, theirs.maps, reduction)
            self.pool = theirs.pool
            self.aligned_taps = ("projector", "pool:input")
        else:
            self.projector = _of_vectors(ours.width, theirs.width, reduction)
            self.pool = nn.Identity()
            self.aligned_taps = ("projector", "classifier:input")
        self.classifier = nn.Linear(theirs.width, num_classes, bias=theirs.has_bias)
        self.taps = [*(f"{ENCODER}{tap}" for tap in _taps_left(self.encoder)), "projector"]

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, K) of inputs (B, ...)."""
        logits: Tensor = self.classifier(self.pool(self.projector(self.encoder(inputs))))
        return logits

    def reuse(self, teacher: nn.Module) -> None:
        """Copy the classifier of a trained teacher, and freeze it."""
        self.classifier.load_state_dict(teacher.get_submodule("classifier").state_dict())
        self.classifier.requires_grad_(False)

    def constrain(self) -> None:
        """Limit the encoder's weights as it does; training calls this after every step."""
        constrain = getattr(self.encoder, "constrain", None)
        if constrain is not None:
            constrain()


class _End(NamedTuple):
    """The end of a network.

    Attributes:
        width: of the vectors that enter the classifier.
        has_bias: whether the classifier has one.
        pool: what makes these vectors of maps; None where nothing does, or it has weights.
        maps: (C, H, W) that enter it; () where there is none.
    """

    width: int
    has_bias: bool
    pool: nn.Module | None
    maps: tuple[int, ...]


def _end_of(network: Component, info: DataInfo) -> _End:
    """Run a network that has no memory once and look at what passes its end."""
    with torch.device("meta"):
        net = network.make_network(info).eval()
        inputs = placeholder(net, info.input_shape, batch_size=2)
    passed: dict[str, tuple[Tensor, Tensor]] = {}
    hooks = [
        child.register_forward_hook(
            lambda _, given, said, name=name: passed.update({name: (given[0], said)})
        )
        for name, child in net.named_children()
        if name in ("pool", "classifier")
    ]
    with torch.no_grad():
        logits = net(inputs)
    for hook in hooks:
        hook.remove()
    net.train()  # as new: the pool goes into another network
    classifier, pool = getattr(net, "classifier", None), getattr(net, "pool", None)
    ends = "classifier" in passed and passed["classifier"][1] is logits
    if not isinstance(classifier, nn.Linear) or not ends:
        raise ValueError(
            f"{network.label} does not end in a linear layer `classifier` alone. Take another "
            "network, or this one without a distillation token."
        )
    width, has_bias = classifier.in_features, classifier.bias is not None
    maps, vectors = (tuple(one.shape[1:]) for one in passed.get("pool", (inputs, logits)))
    if isinstance(pool, nn.Module) and len(maps) == 3 and vectors == maps[:1] == (width,):
        return _End(width, has_bias, None if pool.state_dict() else pool, maps)
    return _End(width, has_bias, None, ())


def _taps_left(encoder: nn.Module) -> list[str]:
    declared = getattr(encoder, "taps", [])
    return [tap for tap in declared if not isinstance(encoder.get_submodule(tap), nn.Identity)]


def _of_maps(student: tuple[int, ...], teacher: tuple[int, ...], reduction: int) -> nn.Sequential:
    size = tuple(map(min, student[1:], teacher[1:]))
    smaller = [] if size == student[1:] else [nn.AdaptiveAvgPool2d(size)]
    middle = max(teacher[0] // reduction, 1)
    convolutions = (
        _conv(student[0], middle, 1),
        _conv(middle, middle, 3),
        _conv(middle, teacher[0], 1),
    )
    return nn.Sequential(*smaller, *convolutions)


def _conv(fan_in: int, width: int, kernel_size: int) -> nn.Sequential:
    # No bias: batch norm subtracts it again.
    conv = nn.Conv2d(fan_in, width, kernel_size, padding=kernel_size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU())


def _of_vectors(student: int, teacher: int, reduction: int) -> nn.Sequential:
    middle = max(teacher // reduction, 1)
    return nn.Sequential(nn.Linear(student, middle), nn.ReLU(), nn.Linear(middle, teacher))
