from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from distill_lab.contracts import Component
from distill_lab.errors import RunError
from distill_lab.measure.cost import count_parameters
from distill_lab.models.reused_classifier import ReusedClassifier
from distill_lab.settings import Design
from distill_lab.stages.context import Context
from distill_lab.stages.handoffs import (
    LayerPair,
    StudentDesign,
    TeacherChoice,
    from_plain,
    to_plain,
)
from distill_lab.stages.s3_student import run

DESIGN = {
    "reuse_classifier": False,
    "copy_layers": None,
    "max_parameters_fraction": None,
    "max_macs_fraction": None,
    "max_latency_ms": None,
    "max_memory_mib": None,
    "pick": "largest",
    "proxy_epochs": 1,
    "latency_repeats": 1,
}
KNOWLEDGE = SimpleNamespace(
    pairs=[LayerPair("blocks.1", "blocks.0", 0.9), LayerPair("pool", "pool", 0.8)]
)


def cnn(*channels):
    knobs = {"convs_per_block": 1, "kernel_size": 3, "dropout": 0.0}
    return Component("distill_lab.models.cnn.CNN", {"channels": list(channels)} | knobs)


def num_parameters(architecture, info):
    return count_parameters(architecture.make_network(info))


@pytest.fixture
def design(info, splits, hardware, regime):
    """Runs stage 3 on two small networks, under a teacher whose weights are not needed."""
    logged = {}
    mute = SimpleNamespace(
        logged=logged,
        log_text=lambda text, path: logged.update({path: text}),
        log_figure=lambda figure, path: None,
        log_metrics=lambda metrics, step=0: logged.update(metrics),
    )
    best = SimpleNamespace(
        architecture=cnn(6, 8), cost=SimpleNamespace(parameters=1000, macs=10**6)
    )

    def make(**changes):
        parts = SimpleNamespace(
            seed=0,
            data=SimpleNamespace(info=info),
            students=(cnn(2, 4), cnn(2, 6)),
            design=Design(**DESIGN | changes),
            selection=SimpleNamespace(regime=regime()),
            hardware=hardware,
            reuse="off",
        )
        context = Context(parts, splits, "checksum", mute, store=None)
        return run(context, TeacherChoice([best], 1), KNOWLEDGE)

    make.logged = logged
    return make


def test_the_largest_candidate_is_picked_with_the_pairs_that_it_has_layers_for(design):
    found = design()
    assert (found.label, found.architecture) == ("CNN channels=[2, 6]", cnn(2, 6))
    assert found.pairs == KNOWLEDGE.pairs


def test_with_the_classifier_reused_the_candidates_are_what_is_deployed(design, info):
    plain, found = design(), design(reuse_classifier=True)
    net = found.architecture.make_network(info)
    assert isinstance(net, ReusedClassifier)
    assert found.label == plain.label
    assert found.cost.parameters == count_parameters(net) > plain.cost.parameters
    assert found.cost.macs > plain.cost.macs
    assert "ReusedClassifier student=(CNN channels=[2, 6]" in design.logged["candidates.csv"]


def test_pairs_of_layers_are_named_as_they_are_inside_and_the_pool_is_gone(design):
    found = design(reuse_classifier=True)
    assert found.pairs == [LayerPair("encoder.blocks.1", "blocks.0", 0.9)]


def test_the_budget_is_that_of_what_is_deployed(design, info):
    plain = num_parameters(cnn(2, 4), info)
    assert design(max_parameters_fraction=plain / 1000).architecture == cnn(2, 4)
    with pytest.raises(RunError, match="design: none of the 2 student candidates"):
        design(max_parameters_fraction=plain / 1000, reuse_classifier=True)


def test_a_short_training_may_pick_what_is_deployed(design):
    found = design(reuse_classifier=True, pick="proxy")
    assert found.architecture.target.endswith("ReusedClassifier")


def test_where_items_are_ranked_a_short_training_picks_by_their_places(design, info, monkeypatch):
    def fit(context, trainee, seed, title, prefix=""):
        larger = "[2, 6]" in title
        row = {"val/accuracy": float(larger), "val/ndcg10": 1 - float(larger)}
        return SimpleNamespace(curve=[row], kept_epoch=1)

    monkeypatch.setattr(Context, "fit", fit)
    assert design(pick="proxy").architecture == cnn(2, 6)
    monkeypatch.setattr(Context, "info", replace(info, ranks_items=True))
    assert design(pick="proxy").architecture == cnn(2, 4)
    assert "proxy_ndcg10" in design.logged["candidates.csv"]


def test_the_design_survives_json_and_is_made_again(design, info):
    found = design(reuse_classifier=True)
    again = from_plain(StudentDesign, to_plain(found))
    assert again == found
    assert num_parameters(again.architecture, info) == found.cost.parameters
