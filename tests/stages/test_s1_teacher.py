from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from distill_lab.config.check import build
from distill_lab.config.compose import compose
from distill_lab.contracts import Component
from distill_lab.errors import RunError
from distill_lab.measure.cost import Cost
from distill_lab.measure.ranking import Ranking
from distill_lab.measure.scores import Scores
from distill_lab.models.published import Published
from distill_lab.settings import Selection
from distill_lab.stages import s1_teacher
from distill_lab.stages.context import Context
from distill_lab.stages.handoffs import Candidate, Weights
from distill_lab.stages.s1_teacher import rank
from distill_lab.tracking.store import Store


def candidate(name, accuracy, ece=0.0, macs=100):
    scores = Scores(accuracy, nll=0.1, brier=0.1, ece=ece, confidence=accuracy, errors=1)
    cost = Cost(10, macs, 40, 1.0, 1.0, 1.0)
    return Candidate(name, Component(name), 0, Weights("run", "path", "hash"), scores, cost, 0.0)


@pytest.fixture
def selection(regime):
    weights = {"ece_weight": 0.1, "cost_weight": 0.01}
    return Selection(
        regime(),
        [0],
        keep=1,
        **weights,
        label_smoothing=0.0,
        from_run=None,
        weights=None,
        pretrained=None,
        folder="data_cache",
    )


def names(ranked):
    return [each.architecture.target for each in ranked]


def test_higher_accuracy_ranks_first(selection):
    assert names(rank([candidate("a", 0.8), candidate("b", 0.9)], selection)) == ["b", "a"]


def test_where_items_are_ranked_the_places_count(selection):
    def ranked(name, accuracy, ndcg):
        one = candidate(name, accuracy)
        found = Ranking(0.5, ndcg, 0.5, None, None)
        return replace(one, scores=replace(one.scores, ranking=found))

    first, second = rank([ranked("a", 0.9, 0.1), ranked("b", 0.8, 0.2)], selection)
    assert names([first, second]) == ["b", "a"]
    assert first.score == pytest.approx(0.2 - 0.01)  # less the weight of cost


def test_at_equal_accuracy_the_better_calibrated_ranks_first(selection):
    tried = [candidate("a", 0.9, ece=0.05), candidate("b", 0.9, ece=0.01)]
    assert names(rank(tried, selection)) == ["b", "a"]


def test_at_equal_accuracy_the_cheaper_ranks_first(selection):
    assert names(rank([candidate("a", 0.9), candidate("b", 0.9, macs=50)], selection)) == ["b", "a"]


def test_score_is_accuracy_less_weighted_ece_and_relative_macs(selection):
    ranked = rank([candidate("a", 0.9, ece=0.2, macs=50), candidate("b", 0.5)], selection)
    assert ranked[0].score == pytest.approx(0.9 - 0.1 * 0.2 - 0.01 * 0.5)


def test_accuracy_outweighs_cost_by_default_order(selection):
    heavy = replace(selection, cost_weight=1.0)
    assert names(rank([candidate("a", 0.9), candidate("b", 0.5, macs=1)], heavy)) == ["b", "a"]


@pytest.fixture
def load(workdir, monkeypatch):
    """Runs stage 1 with weights that are said to be published; returns the teacher in its store."""
    store = Store("sqlite:///mlflow.db", "distill-lab", "mlartifacts")

    def go(state_dict):
        class Fake(Published):
            def state_dict(self):
                return state_dict() if callable(state_dict) else state_dict

        monkeypatch.setattr(s1_teacher, "published", lambda name: Fake(name, 0, (), ()))
        asked = ["data=fake", "teacher.channels=[4, 8]", "selection.weights=Some_Weights"]
        parts = build(compose([*asked, "hardware.threads=1"]))
        with store.start("1 teacher", {}) as run:
            context = Context(parts, parts.data.load(), "checksum", run, store)
            [teacher] = s1_teacher.run(context).kept
            return teacher, context.trained_network(teacher), store.children(run.id)

    return go


def network(seed):
    parts = build(compose(["data=fake", "teacher.channels=[4, 8]"]))
    torch.manual_seed(seed)
    return parts.teachers[0].make_network(parts.data.info)


def test_published_weights_are_the_teacher_and_nothing_is_trained(load):
    given = network(seed=7)
    teacher, net, trained = load(given.state_dict())
    assert teacher.label == "Some_Weights"
    assert trained == []
    for name, weights in given.state_dict().items():
        assert torch.equal(net.state_dict()[name], weights), name
    validation = build(compose(["data=fake"])).data.load().validation
    answers = given.eval()(validation.inputs).argmax(1)
    right = (answers == validation.targets).double().mean().item()
    assert teacher.scores.accuracy == pytest.approx(right)


def test_weights_that_cannot_be_had_or_do_not_fit_are_told_with_their_key(load):
    def no_connection():
        raise OSError("Name or service not known")

    for state_dict, said in ((no_connection, "Name or service"), ({}, "Missing key")):
        with pytest.raises(RunError, match=rf"^selection\.weights: Some_Weights .* {said}"):
            load(state_dict)
