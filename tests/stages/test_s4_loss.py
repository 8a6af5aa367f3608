from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from distill_lab.contracts import Component
from distill_lab.stages.context import Context
from distill_lab.stages.handoffs import LayerPair, TeacherChoice
from distill_lab.stages.s4_loss import run, suggested_weights

LOSS = {
    "ce": Component("distill_lab.losses.ce.CE", {"weight": 0.5}),
    "kd": Component("distill_lab.losses.kd.KD", {"weight": 1.0}),
    "sp": Component("distill_lab.losses.sp.SP", {"weight": 2.0, "pairs": "auto"}),
}
PAIRS = [LayerPair("hidden.0", "hidden.0", 0.9)]
KNOBS = {"widths": [8], "input_dropout": 0.0, "max_norm": None}


@pytest.fixture
def connected(info, splits, net_of):
    """Runs stage 4 on a student with dropout, under a teacher that is made of a seed."""
    parts = SimpleNamespace(
        seed=0,
        data=SimpleNamespace(info=info),
        loss=LOSS,
        temperature=Component("distill_lab.temperature.Constant", {"value": 4.0}),
    )
    mute = SimpleNamespace(log_text=lambda text, path: None, log_metrics=lambda metrics: None)
    taught = net_of(seed=1).eval()  # here, as it sets the seed
    store = SimpleNamespace(load_weights=lambda net, *where: taught)
    net = Component("distill_lab.models.mlp.MLP", KNOBS | {"dropout": 0.5})
    weights = SimpleNamespace(run_id="", path="", sha256="")
    teacher = TeacherChoice([SimpleNamespace(architecture=net, weights=weights)], 1)
    context = Context(parts, splits, "checksum", mute, store)
    return lambda: run(
        context, teacher, SimpleNamespace(architecture=net, pairs=PAIRS, initial=None)
    )


def test_the_dry_step_does_not_depend_on_what_was_drawn_before(connected):
    torch.manual_seed(1)
    first = connected()
    torch.manual_seed(2)
    assert connected() == first


def test_a_term_knows_its_weight_and_whether_it_uses_a_teacher(connected):
    terms = connected().terms
    assert [(t.name, t.weight, t.uses_teacher) for t in terms] == [
        ("ce", 0.5, False),
        ("kd", 1.0, True),
        ("sp", 2.0, True),
    ]


def test_a_term_that_compares_layers_takes_the_pairs_of_stage_2_and_hands_them_on(connected):
    result = connected()
    assert result.pairs == {"sp": [["hidden.0", "hidden.0"]]}
    assert [row["layers"] for row in result.table] == ["", "", "hidden.0 from hidden.0"]


def test_weights_stay_while_no_gradient_is_ten_times_another():
    assert suggested_weights([1.0, 0.9], [1.0, 9.9]) == [1.0, 0.9]


def test_a_drowned_term_is_raised_and_the_drowning_one_lowered_to_equal_length():
    weights, norms = [1.0, 2.0], [1.0, 19.0]
    better = suggested_weights(weights, norms)
    lengths = [new / old * norm for new, old, norm in zip(better, weights, norms, strict=True)]
    assert lengths == pytest.approx([10.0, 10.0])


def test_a_term_without_gradient_keeps_its_weight():
    assert suggested_weights([1.0, 1.0, 3.0], [1.0, 99.0, 0.0])[2] == 3.0


def test_a_lone_term_keeps_its_weight():
    assert suggested_weights([0.9], [123.0]) == [0.9]
