"""Steps of compression and their chains, checked before torch is imported."""

from __future__ import annotations

import pytest

from distill_lab.config.check import build, problems
from distill_lab.config.compose import compose
from distill_lab.config.passes import pass_configs
from distill_lab.errors import ConfigError
from distill_lab.launch import checked

TWO = "compress=[prune_structured,quantize_dynamic]"


def test_nothing_is_compressed_by_default():
    config = compose([])
    assert config["compress"] == {}
    assert build(config).compress == {}


@pytest.mark.parametrize(
    "names", [("prune_structured", "export_onnx"), ("export_onnx", "prune_structured")]
)
def test_steps_come_in_the_order_in_which_they_are_named(names):
    parts = build(compose([f"compress=[{','.join(names)}]"]))
    assert list(parts.compress) == list(names)
    assert parts.variants.wanted(parts.compress) == [list(names)]


def test_chains_that_are_named_are_made():
    chains = "[[prune_structured],[prune_structured,quantize_dynamic]]"
    parts = checked([TWO, f"variants.chains={chains}"])
    assert parts.variants.wanted(parts.compress) == [
        ["prune_structured"],
        ["prune_structured", "quantize_dynamic"],
    ]


def test_an_empty_list_of_steps_may_stand_in_a_sweep():
    assert checked(["compress=[]", "variants=compared"]).compress == {}


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["compress=[quantise_dynamic]"],
            "compress: there is no option 'quantise_dynamic'. Did you",
        ),
        (
            [TWO, "compress.prune_structured.fraction=1.5"],
            "compress.prune_structured.fraction: must be in",
        ),
        (
            [TWO, "compress.prune_structured.epohcs=1"],
            "PruneStructured takes no such argument. Did you",
        ),
        ([TWO, "compress.quantise_dynamic=1"], "compress.quantise_dynamic: there is no such step"),
        (
            [TWO, "variants.of=[studnet]"],
            "variants.of: must be a list of one of 'student', 'control', 't",
        ),
        (
            [TWO, "variants.of=student"],
            "'teacher', got 'student'. Set variants.of=[student].",
        ),
        (
            ["compress.prune_structured.fraction=0.3"],
            "there is no such step in this run. To add it, set compress=[prune_structured].",
        ),
        (
            [TWO, "compress.quantize_onnx.num_samples=9"],
            "To add it, set compress=[prune_structured,quantize_dynamic,quantize_onnx].",
        ),
        (["variants=compared"], "variants: nothing is compressed; add compress=[<step>,...]"),
        ([TWO, "variants.lr_fraction=0"], "variants.lr_fraction: must be > 0, got 0"),
        (
            [TWO, "variants.chains=[[prune_structured,quantize_dynamic,prune_unstructured]]"],
            "variants.chains: there is no step 'prune_unstructured' in this run. Did you mean",
        ),
        (
            [TWO, "variants.chains=[[prune_structured]]"],
            "compress.quantize_dynamic: is in no chain of variants.chains; add it to one",
        ),
    ],
)
def test_a_fault_is_named_with_its_key(overrides, said):
    with pytest.raises(ConfigError) as caught:
        checked(overrides)
    [problem] = caught.value.problems
    assert said in problem


def test_only_the_last_pass_of_a_chain_of_students_is_compressed():
    passes = pass_configs(compose([TWO, "chain.generations=3"]))
    assert [list(one["compress"]) for one in passes] == [
        [],
        [],
        ["prune_structured", "quantize_dynamic"],
    ]


def test_a_step_must_be_of_this_package():
    node = {"_target_": "torch.nn.Linear"}
    [problem] = problems({**compose([]), "compress": {"linear": node}})
    assert problem.startswith("compress.linear._target_: must start with 'distill_lab.compress.'")
