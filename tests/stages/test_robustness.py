from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from distill_lab.contracts import Arrays, DataInfo
from distill_lab.measure.ranking import ranking
from distill_lab.settings import Evaluation, Refine
from distill_lab.stages.context import Context
from distill_lab.stages.report_handoff import CONTROL, DISTILLED, TEACHER
from distill_lab.stages.robustness import answered, corruptions, of_samples, robustness

IMAGES = ["noise", "blur", "contrast", "shift"]
COSTS, REFINE = (3, [1], 1.0, 0.0, False), Refine(0, None, 2)
EVALUATION = Evaluation(15, 64, 200, IMAGES, 2000, *COSTS, 0.95, 0.7, 0.4, None, REFINE)
TEXT = DataInfo("texts", (6,), 2, ("a", "b"), (), (), 50, hidden_id=1, marks=(2, 3))
ITEMS = DataInfo("items", (4,), 9, tuple("abcdefghi"), (), (), 10, ranks_items=True)


class Constant(nn.Module):
    """Says the same logits of every row."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, inputs):
        return self.logits.expand(len(inputs), -1)


@pytest.fixture
def context_of(info, splits, hardware):
    def make(info=info, splits=splits, **changes):
        parts = SimpleNamespace(
            seed=0,
            data=SimpleNamespace(info=info),
            hardware=hardware,
            evaluation=replace(EVALUATION, **changes),
        )
        run = SimpleNamespace(log_text=lambda text, path: None)
        return Context(parts, splits, "checksum", run, store=None)

    return make


@pytest.fixture
def found_of(context_of, net_of, measured_of):
    def make(**changes):
        context = context_of(**changes)
        nets = {name: net_of(seed=n).eval() for n, name in enumerate((TEACHER, CONTROL, DISTILLED))}
        measured = measured_of(context, nets)
        logits = {name: item.logits for name, item in measured.items()}
        return robustness(context, measured), logits, context.splits.test.targets

    return make


def test_inputs_of_each_kind_have_corruptions_of_their_own(info, splits):
    assert list(corruptions(info, splits.test.inputs)) == IMAGES
    assert list(corruptions(info, 3 * splits.test.inputs - 1)) == ["noise"]  # no pixels
    assert list(corruptions(TEXT, torch.zeros(2, 6, dtype=torch.int64))) == ["hidden_words"]
    assert corruptions(replace(TEXT, hidden_id=None), torch.zeros(2, 6, dtype=torch.int64)) == {}
    assert list(corruptions(ITEMS, torch.zeros(2, 4, dtype=torch.int64))) == ["hidden_items"]


def test_words_are_hidden_and_marks_and_padding_are_not():
    rows = torch.tensor([[2, 7, 8, 9, 3, 0]]).repeat(3000, 1)
    made = corruptions(TEXT, rows)["hidden_words"](rows, 4, 0)
    assert torch.equal(made[:, [0, 4, 5]], rows[:, [0, 4, 5]])
    hidden = made[:, 1:4] == 1
    assert float(hidden.float().mean()) == pytest.approx(0.4, abs=0.02)
    assert torch.equal(made[:, 1:4][~hidden], rows[:, 1:4][~hidden])


def test_each_network_has_a_curve_under_each_corruption_that_begins_with_its_accuracy(found_of):
    found, logits, targets = found_of()
    assert {(one.network, one.corruption) for one in found.curves} == {
        (name, corruption) for name in (TEACHER, CONTROL, DISTILLED) for corruption in IMAGES
    }
    assert {len(one.quality) for one in found.curves} == {6}
    for one in found.curves:
        right = (logits[one.network].argmax(1) == targets).double().mean().item()
        assert one.quality[0] == pytest.approx(right)
    assert (found.num_corrupted, found.not_corrupted) == (24, "")


def test_the_corrupted_quality_is_the_mean_over_corruptions_and_severities(found_of):
    found, *_ = found_of()
    values = [value for one in found.curves if one.network == TEACHER for value in one.quality[1:]]
    assert len(values) == 20
    assert found.corrupted(TEACHER) == pytest.approx(sum(values) / 20)


def test_no_more_samples_are_corrupted_than_are_asked_for(found_of):
    found, *_ = found_of(num_corrupted_samples=7, corruptions=["blur"])
    assert found.num_corrupted == 7
    assert {one.corruption for one in found.curves} == {"blur"}


@pytest.mark.parametrize(
    ("names", "why"),
    [
        ([], "evaluation.corruptions names none"),
        (
            ["hidden_words"],
            "fake can have noise, blur, contrast, shift, and evaluation.corruptions not",
        ),
    ],
)
def test_it_is_said_why_nothing_is_corrupted(found_of, names, why):
    found, *_ = found_of(corruptions=names)
    assert (found.curves, found.num_corrupted, found.not_corrupted) == ([], 0, why)
    assert found.corrupted(TEACHER) is None


def test_tests_are_of_the_student_against_each_other_network(found_of):
    found, logits, targets = found_of()
    right = {name: said.argmax(1) == targets for name, said in logits.items()}
    for other in (CONTROL, TEACHER):
        counts = found.against(other)
        assert counts.only_first == int((right[DISTILLED] & ~right[other]).sum())
        assert counts.only_second == int((right[other] & ~right[DISTILLED]).sum())


def test_intervals_hold_the_numbers_they_are_of(found_of):
    found, logits, targets = found_of()
    accuracy = {n: (said.argmax(1) == targets).double().mean().item() for n, said in logits.items()}
    for one in found.certainties:
        assert one.quality.low <= accuracy[one.network] <= one.quality.high
    assert found.gain.low <= accuracy[DISTILLED] - accuracy[CONTROL] <= found.gain.high
    assert found.kept.low <= accuracy[DISTILLED] / accuracy[TEACHER] <= found.kept.high


def test_of_items_the_quality_is_ndcg_of_those_users_that_were_drawn(
    context_of, splits, measured_of
):
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(1, 10, (12, 4), generator=generator)
    targets = torch.randint(9, (12,), generator=generator)
    pairs = torch.stack([torch.arange(12).repeat_interleave(4), rows.flatten() - 1], 1).unique(
        dim=0
    )
    test = Arrays(rows, targets, pairs)
    context = context_of(
        ITEMS, splits._replace(test=test), num_corrupted_samples=5, corruptions=["hidden_items"]
    )
    logits = torch.linspace(1, -1, 9).tolist()
    nets = {name: Constant(logits).eval() for name in (TEACHER, CONTROL, DISTILLED)}
    measured = measured_of(context, nets)
    found = robustness(context, measured)
    some = context.sample(12, 5).sort().values
    own = torch.cat(
        [
            torch.stack([torch.full((4,), new), rows[old] - 1], 1).unique(dim=0)
            for new, old in enumerate(some.tolist())
        ]
    )
    expected = ranking(measured[TEACHER].logits[some], targets[some], own).ndcg10
    # The network does not look at the past, so hiding it changes nothing.
    assert found.curves[0].quality == pytest.approx([expected] * 6)
    assert found.classes == []


def test_an_item_is_right_where_it_is_among_the_first_ten():
    logits = torch.arange(20.0).flip(0).repeat(2, 1)
    arrays = Arrays(torch.zeros(2, 4), torch.tensor([9, 10]), torch.zeros(0, 2, dtype=torch.int64))
    assert answered(logits, arrays).tolist() == [True, False]
    assert of_samples(logits, arrays)[1] == 0


def test_a_later_job_asks_no_network_again_about_the_same_corrupted_samples(
    context_of, net_of, measured_of, monkeypatch
):
    monkeypatch.setattr("distill_lab.stages.context._remembered", {})
    nets = {name: net_of(seed=n).eval() for n, name in enumerate((TEACHER, CONTROL, DISTILLED))}
    context = context_of(corruptions=["blur"])
    first = robustness(context, measured_of(context, nets))
    measured = measured_of(context, {**nets, DISTILLED: net_of(seed=9).eval()})
    asked, predict = [], Context.predict
    monkeypatch.setattr(
        Context, "predict", lambda self, net, some: asked.append(net) or predict(self, net, some)
    )
    second = robustness(context, measured)
    assert asked == [measured[DISTILLED].net] * 6
    assert second.curves[:2] == first.curves[:2]
    robustness(context_of(corruptions=["noise"]), measured)
    assert asked[6:] == [item.net for item in measured.values()] * 5  # clean ones were had
    robustness(context_of(corruptions=["noise"], num_corrupted_samples=9), measured)
    assert len(asked) == 6 + 15 + 18
