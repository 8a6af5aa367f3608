from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from distill_lab.contracts import Component
from distill_lab.losses.base import Loss, Needs
from distill_lab.losses.pairs import PairLoss
from distill_lab.training.connect import connected_objective, with_pairs

CE = Component("distill_lab.losses.ce.CE", {"weight": 0.1})
KD = Component("distill_lab.losses.kd.KD", {"weight": 0.9})


class Hint(Loss):
    """Reads one tap of each network and owns a regressor per teacher."""

    def __init__(self, weight: float, student_layer: str, teacher_layer: str) -> None:
        super().__init__(weight)
        self.student_layer, self.teacher_layer = student_layer, teacher_layer

    @property
    def needs(self) -> Needs:
        return Needs((self.student_layer,), (self.teacher_layer,))

    def connect(self, student_shapes, teacher_shapes, num_samples):
        self.num_samples = num_samples
        width = student_shapes[self.student_layer][1]
        self.regressors = nn.ModuleList(
            nn.Linear(width, shapes[self.teacher_layer][1]) for shapes in teacher_shapes
        )

    def forward(self, batch):
        raise NotImplementedError


def hint(student_layer: str = "hidden.0", teacher_layer: str = "hidden.0") -> Component:
    layers = {"student_layer": student_layer, "teacher_layer": teacher_layer}
    return Component(f"{__name__}.Hint", {"weight": 1.0} | layers)


@pytest.fixture
def connect(info, net_of):
    def run(loss, teachers=None, student=None, seed=0):
        teachers = [net_of(5)] if teachers is None else teachers
        return connected_objective(loss, student or net_of(8), teachers, info.input_shape, 48, seed)

    return run


def test_terms_are_made_under_their_names_with_their_numbers(connect):
    losses = connect({"ce": CE, "kd": KD}).losses
    assert {name: loss.weight for name, loss in losses.items()} == {"ce": 0.1, "kd": 0.9}


def test_regressors_fit_the_shapes_of_every_teachers_taps(connect, net_of):
    term = connect({"hint": hint()}, [net_of(5), net_of(7)]).losses["hint"]
    assert [tuple(r.weight.shape) for r in term.regressors] == [(5, 8), (7, 8)]
    assert term.num_samples == 48


def test_the_seed_alone_decides_the_regressors(connect):
    weights = []
    for seed in (0, 0, 1):
        torch.rand(3)  # what was drawn before does not matter
        term = connect({"hint": hint()}, seed=seed).losses["hint"]
        weights.append(term.regressors[0].weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_random_state_is_left_as_it_was(connect, net_of):
    teachers, student = [net_of(5)], net_of(8)
    before = torch.get_rng_state()
    connect({"hint": hint()}, teachers, student)
    assert torch.equal(torch.get_rng_state(), before)


def test_it_works_on_networks_without_memory(connect, net_of):
    with torch.device("meta"):
        term = connect({"hint": hint()}, [net_of(5)], net_of(8)).losses["hint"]
    assert term.regressors[0].weight.is_meta


def test_losses_on_labels_need_no_teacher(connect):
    assert list(connect({"ce": CE}, teachers=[]).losses) == ["ce"]


def test_a_loss_that_reads_a_teacher_is_refused_without_one(connect):
    with pytest.raises(ValueError, match=r"^loss\.kd: reads a teacher, but there is none"):
        connect({"kd": KD}, teachers=[])


def test_a_number_out_of_range_is_named_with_its_dotted_key(connect):
    wrong = Component(KD.target, {"weight": -1.0})
    with pytest.raises(ValueError, match=r"^loss\.kd\.weight: must be >= 0, got -1\.0"):
        connect({"kd": wrong})


@pytest.mark.parametrize("layers", [("hiden.0", "hidden.0"), ("hidden.0", "hiden.0")])
def test_a_tap_that_does_not_exist_is_named_with_its_term_and_the_nearest(connect, layers):
    with pytest.raises(ValueError, match=r"^loss\.hint: .*'hiden\.0'.*nearest are 'hidden\.0'"):
        connect({"ce": CE, "hint": hint(*layers)})


class OfLayers(PairLoss):
    """Reads layers of any kind, the same on both sides."""

    def forward(self, batch):
        raise NotImplementedError


class OfMaps(OfLayers):
    axes = (4,)


class OfClassified(OfLayers):
    classified = ("student", "teacher")


def of_layers(pairs="auto", kind="OfLayers") -> Component:
    return Component(f"{__name__}.{kind}", {"weight": 1.0, "pairs": pairs})


def deep(*widths):
    layers = [nn.Sequential(nn.Linear(a, b), nn.ReLU()) for a, b in pairwise((4, *widths))]
    net = nn.Sequential(*layers, nn.Linear(widths[-1], 3))
    net.taps = [str(number) for number in range(len(widths))]
    return net


def pairs_of(student, teacher, proposed=(), loss=None):
    loss = {"layers": loss or of_layers()}
    objective = connected_objective(loss, student, [teacher], (4,), 10, 0, proposed=proposed)
    return objective.losses["layers"].pairs


def test_auto_takes_what_stage_2_proposes():
    proposed = [("0", "1"), ("1", "1")]
    assert pairs_of(deep(5, 5), deep(6, 6, 6), proposed) == proposed


def test_without_a_proposal_layers_are_paired_by_depth():
    assert pairs_of(deep(5, 5), deep(6, 6, 6)) == [("0", "0"), ("1", "2")]


def test_a_proposal_that_cannot_be_read_gives_way_to_depth():
    assert pairs_of(deep(5), deep(6, 6), [("9", "9")]) == [("0", "0")]


@pytest.mark.parametrize(("pair", "tap"), [(["0", "1"], "0"), (["1", "0"], "0")])
def test_a_layer_that_its_networks_classifier_does_not_read_is_refused(pair, tap):
    loss = of_layers([["1", "1"]], "OfClassified")
    assert pairs_of(deep(5, 7), deep(6, 8), loss=loss) == [("1", "1")]
    message = rf"^loss\.layers: pairs: '{tap}' has [56] channels.*classifier reads [78] features"
    with pytest.raises(ValueError, match=message):
        pairs_of(deep(5, 7), deep(6, 8), loss=of_layers([pair], "OfClassified"))


def test_named_pairs_are_kept():
    assert pairs_of(deep(5, 5), deep(6), loss=of_layers([["1", "0"]])) == [("1", "0")]


def test_layers_of_the_wrong_kind_are_an_error_that_names_the_term():
    with pytest.raises(ValueError, match=r"loss\.layers: pairs: auto finds 0 of 1 pairs"):
        pairs_of(deep(5), deep(6), loss=of_layers(kind="OfMaps"))


def test_a_wrong_suffix_lists_the_kinds_there_are():
    with pytest.raises(ValueError, match=r"loss\.layers: taps: .*0:preactivation.*got '0:act'"):
        pairs_of(deep(5), deep(6), loss=of_layers([["0:act", "0"]]))


def test_with_pairs_puts_layers_in_the_place_of_auto():
    loss = {"kd": KD, "layers": of_layers()}
    named = with_pairs(loss, {"layers": [["0", "1"]]})
    assert named["kd"] == KD
    assert named["layers"].args == {"weight": 1.0, "pairs": [["0", "1"]]}


def test_a_layer_that_shows_nothing_of_the_kind_is_named_with_the_term():
    with pytest.raises(ValueError, match=r"loss\.layers: taps: '2' of Sequential shows no preact"):
        pairs_of(deep(5, 5), deep(6), loss=of_layers([["2:preactivation", "0"]]))
