"""Terms over layers between a network of patches and one of maps, in both directions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml

from distill_lab.contracts import Component, DistillBatch
from distill_lab.knowledge.taps import classifier_of, forward_with_taps
from distill_lab.models.bert import Bert
from distill_lab.models.cnn import CNN
from distill_lab.models.mlp import MLP
from distill_lab.models.vit import ViT
from distill_lab.training.connect import connected_objective

FOLDER = Path(__file__).parents[2] / "conf" / "loss"
SHAPE = (1, 16, 16)
OF_MAPS = ["at", "cwd", "dist_plus", "fitnet", "fsp", "ft", "ickd", "kdsvd", "mgd", "nst"]
OF_MAPS += ["reviewkd", "vid"]
POOLED = ["cc", "crd", "de", "info_nce", "pad", "pkt", "rkd", "sp", "srd"]
OF_TOKENS = ["cosine", "hidden_mse", "pkd"]
OF_ATTENTION = ["attention_kl", "attention_mse", "minilm"]
SHOWN_TO_A_CLASSIFIER = ["ca_mkd_features", "cat_kd", "sdd"]
BEFORE_AN_ACTIVATION = ["ab", "ofd"]


def cnn():
    torch.manual_seed(1)
    return CNN(
        input_shape=SHAPE,
        num_classes=4,
        channels=[4, 8],
        convs_per_block=1,
        kernel_size=3,
        dropout=0.0,
    )


def vit(token=False, patch_size=4):
    torch.manual_seed(2)
    return ViT(
        input_shape=SHAPE,
        num_classes=4,
        patch_size=patch_size,
        dim=8,
        depth=3,
        num_heads=2,
        mlp_ratio=1.0,
        dropout=0.0,
        distillation_token=token,
    )


def mlp():
    return MLP(
        input_shape=SHAPE,
        num_classes=4,
        widths=[8, 8],
        dropout=0.0,
        input_dropout=0.0,
        max_norm=None,
    )


def text():
    return Bert(
        input_shape=(16,),
        num_classes=4,
        vocabulary_size=11,
        mask_id=None,
        num_layers=2,
        width=8,
        num_heads=2,
        feed_forward=8,
        dropout=0.0,
    )


def term(name, **args):
    node = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())[name]
    return {name: Component(node.pop("_target_"), node | args)}


def connected(name, student, teacher, **args):
    return connected_objective(term(name, **args), student, [teacher], SHAPE, 20, seed=0)


def batch_for(objective, student, teacher):
    torch.manual_seed(3)
    inputs = torch.randn(6, *SHAPE)

    def says(net, taps):
        return replace(forward_with_taps(net, inputs, list(taps)), classifier=classifier_of(net))

    with torch.no_grad():
        said = says(teacher.eval(), objective.needs.teacher)
    ours = says(student, objective.needs.student)
    numbers = torch.arange(6)
    return DistillBatch(  # after what some terms do before they teach
        ours, (said,), numbers % 4, numbers, 4.0, epoch=2.0, num_epochs=4, inputs=inputs
    )


@pytest.mark.parametrize("name", [*OF_MAPS, *POOLED])
@pytest.mark.parametrize(
    ("student", "teacher"), [(cnn, vit), (vit, cnn), (lambda: vit(token=True), vit)]
)
def test_a_term_trains_a_student_of_another_kind(name, student, teacher):
    student, teacher = student(), teacher()
    objective = connected(name, student, teacher)
    value = objective(batch_for(objective, student, teacher)).total
    value.backward()
    assert bool(torch.isfinite(value))
    first = next(student.parameters())
    assert bool(torch.isfinite(first.grad).all())
    assert bool(first.grad.abs().sum() > 0)


def test_auto_reads_patches_as_a_map_where_the_other_side_is_one():
    pairs = connected("at", cnn(), vit()).losses["at"].pairs
    assert pairs == [("blocks.0", "blocks.0:map"), ("blocks.1", "blocks.2:map")]
    pairs = connected("cwd", vit(), cnn()).losses["cwd"].pairs
    assert pairs == [("blocks.2:map", "blocks.1")]


def test_auto_reads_tokens_as_they_are_where_both_sides_have_as_many():
    assert connected("fitnet", vit(), vit()).losses["fitnet"].pairs == [("blocks.1", "blocks.1")]


@pytest.mark.parametrize("other", [{"token": True}, {"patch_size": 8}])
def test_auto_reads_maps_where_one_side_has_more_tokens(other):
    pairs = connected("fitnet", vit(**other), vit()).losses["fitnet"].pairs
    assert pairs == [("blocks.1:map", "blocks.1:map")]


def test_attention_transfer_from_patches_is_that_of_their_map_by_hand():
    student, teacher = cnn(), vit()
    objective = connected("at", student, teacher, pairs=[["blocks.1", "blocks.2:map"]])
    batch = batch_for(objective, student, teacher)
    tokens = forward_with_taps(teacher, batch.inputs, ["blocks.2"]).features["blocks.2"]
    theirs = tokens[:, 1:].square().mean(dim=2)  # (B, 16), row by row
    # The student's 8 x 8 is averaged to the 4 x 4 patches: each of 2 x 2 positions.
    maps = batch.student.features["blocks.1"].reshape(6, 8, 4, 2, 4, 2).mean(dim=(3, 5))
    ours = maps.square().mean(dim=1).flatten(1)
    expected = F.mse_loss(ours / ours.norm(dim=1)[:, None], theirs / theirs.norm(dim=1)[:, None])
    torch.testing.assert_close(objective.values(batch)["at"], expected)


@pytest.mark.parametrize(
    ("names", "advice"),
    [
        (OF_TOKENS, "e.g. fitnet"),
        (OF_ATTENTION, "take two networks that have it"),
        (SHOWN_TO_A_CLASSIFIER, "Take networks that average a map for their classifier"),
        (BEFORE_AN_ACTIVATION, "e.g. fitnet"),
    ],
)
@pytest.mark.parametrize(("student", "teacher"), [(cnn, vit), (vit, cnn)])
def test_what_cannot_be_compared_is_an_error_with_taps_shapes_and_advice(
    names, advice, student, teacher
):
    for name in names:
        with pytest.raises(ValueError, match=rf"^loss\.{name}: .*{advice}") as caught:
            connected(name, student(), teacher())
        assert r"blocks.1" in str(caught.value)
        assert r"(2, 17, " in str(caught.value) or r"(2, 2, 17, 17)" in str(caught.value)


def test_attention_that_a_student_does_not_have_is_said_to_be_lacking():
    with pytest.raises(ValueError, match=r"Student: no layer; teacher: blocks\.0:attention"):
        connected("attention_mse", cnn(), vit())


@pytest.mark.parametrize(
    ("student", "teacher", "pair", "shown"),
    [
        (cnn, vit, ["blocks.1", "blocks.2"], r"\(2, 8, 8, 8\), .*\(2, 17, 8\).*'blocks.2:map'"),
        (vit, cnn, ["blocks.2", "blocks.1"], r"\(2, 17, 8\), .*\(2, 8, 8, 8\).*'blocks.2:map'"),
        (
            lambda: vit(token=True),
            vit,
            ["blocks.1", "blocks.1"],
            r"\(2, 18, 8\), .*\(2, 17, 8\).*'blocks.1:map' and 'blocks.1:map'",
        ),
    ],
)
def test_named_tokens_that_could_be_maps_are_told_how(student, teacher, pair, shown):
    with pytest.raises(ValueError, match=rf"^loss\.fitnet: pairs: student .* is {shown}"):
        connected("fitnet", student(), teacher(), pairs=[pair])


def test_vectors_and_maps_are_not_compared():
    with pytest.raises(ValueError, match=r"hidden.1' is \(2, 8\), teacher 'blocks.1' is \(2, 8, 8"):
        connected("fitnet", mlp(), cnn(), pairs=[["hidden.1", "blocks.1"]])
    with pytest.raises(ValueError, match=r"loss\.at: pairs: auto finds 0 of 1 .* e\.g\. rkd"):
        connected("at", mlp(), vit())


def test_words_are_no_map():
    loss = term("at", pairs=[["encoder.encoder.layer.0:map"] * 2])
    with pytest.raises(ValueError, match=r"loss\.at: taps: 'encoder\.encoder\.layer\.0' of Bert"):
        connected_objective(loss, text(), [text()], (16,), 20, seed=0)


@pytest.mark.parametrize("name", SHOWN_TO_A_CLASSIFIER)
def test_a_map_of_patches_is_not_shown_to_a_classifier_of_class_tokens(name):
    with pytest.raises(ValueError, match=rf"loss\.{name}: pairs: 'blocks\.2:map' are patches"):
        connected(name, cnn(), vit(), pairs=[["blocks.1", "blocks.2:map"]])
