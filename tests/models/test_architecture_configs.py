"""Every yaml of a network builds, grids included; published networks have their published size."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
import torch
import yaml

from distill_lab.contracts import Component, DataInfo, placeholder
from distill_lab.measure.cost import count_macs, count_parameters

FOLDER = Path(__file__).parents[2] / "conf" / "architecture"
DIGITS = DataInfo("digits", (1, 8, 8), 10, tuple("0123456789"), (0.5,), (0.5,))
TEXT = DataInfo("text", (12,), 10, tuple("0123456789"), (), (), vocabulary_size=11)
SOUND = DataInfo("sound", (1, 40, 96), 10, tuple("0123456789"), (0.0,), (1.0,))
# Counted on RepDistiller's and mdistiller's networks: convolutions and linear layers, 3 x 32 x 32,
# 100 classes.
PUBLISHED = [
    ("resnet8", 83_892, 12_507_392),
    ("resnet14", 181_108, 26_663_168),
    ("resnet20", 278_324, 40_818_944),
    ("resnet32", 472_756, 69_130_496),
    ("resnet44", 667_188, 97_442_048),
    ("resnet56", 861_620, 125_753_600),
    ("resnet110", 1_736_564, 253_155_584),
    ("resnet8x4", 1_233_540, 177_071_104),
    ("resnet32x4", 7_433_860, 1_083_040_768),
    ("wrn_16_1", 180_916, 26_663_168),
    ("wrn_16_2", 703_284, 101_118_464),
    ("wrn_40_1", 569_780, 83_286_272),
    ("wrn_40_2", 2_255_156, 327_610_880),
    ("vgg8_bn", 3_965_028, 96_192_512),
    ("vgg11_bn", 9_277_284, 209_438_720),
    ("vgg13_bn", 9_462_180, 284_936_192),
    ("vgg16_bn", 14_774_436, 398_182_400),
    ("vgg19_bn", 20_086_692, 511_428_608),
    ("mobilenet_v2_half", 812_836, 6_523_648),
    ("shufflenet_v1", 949_258, 38_691_456),
    ("shufflenet_v2", 1_355_528, 44_504_448),
    ("resnet50_cifar", 23_705_252, 1_298_014_208),
    ("resnet18_cifar", 11_220_132, 555_468_800),
]
# A block of w -> w channels has 18 w^2 + 4 w parameters. Each of the three takes 18 * 16^2 * 32^2
# multiply-accumulates. wrn_10_1 is wrn_16_1 without one block per stage.
BY_HAND = ("wrn_10_1", 180_916 - 4_672 - 18_560 - 73_984, 26_663_168 - 3 * 4_718_592)


def candidates(path):
    knobs = yaml.safe_load(path.read_text())
    target = knobs.pop("_target_")
    values = [value["grid"] if isinstance(value, dict) else [value] for value in knobs.values()]
    return [Component(target, dict(zip(knobs, choice, strict=True))) for choice in product(*values)]


def parameters_of(architecture):
    with torch.device("meta"):
        net = architecture.make_network(DIGITS)
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_candidate_builds_for_its_domain_and_has_resolvable_taps(path):
    for architecture in candidates(path):
        pictures = SOUND if path.stem.startswith("kwt") else DIGITS
        info = TEXT if architecture.takes_vocabulary else pictures
        with torch.device("meta"):
            net = architecture.make_network(info)
            assert net(placeholder(net, info.input_shape, batch_size=2)).shape == (2, 10)
        assert net.taps
        for tap in net.taps:
            net.get_submodule(tap)


@pytest.mark.parametrize(("name", "parameters", "macs"), [*PUBLISHED, BY_HAND])
def test_parameters_and_macs_are_the_published_ones(name, parameters, macs):
    (architecture,) = candidates(FOLDER / f"{name}.yaml")
    with torch.device("meta"):
        net = architecture.make(input_shape=(3, 32, 32), num_classes=100)
    assert count_parameters(net) == parameters
    assert count_macs(net, (3, 32, 32)) == macs


@pytest.mark.parametrize("family", ["mlp", "cnn"])
def test_some_default_student_is_within_forty_percent_of_every_default_teacher(family):
    teachers = [parameters_of(each) for each in candidates(FOLDER / f"{family}_teacher.yaml")]
    students = [parameters_of(each) for each in candidates(FOLDER / f"{family}_student.yaml")]
    assert min(students) < 0.4 * min(teachers)
