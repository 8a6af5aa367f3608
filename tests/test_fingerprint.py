from __future__ import annotations

import shutil
from copy import deepcopy

import pytest

from distill_lab import fingerprint as fingerprint_module
from distill_lab.config.check import build
from distill_lab.config.compose import compose
from distill_lab.fingerprint import FOLDER, fingerprint, source_hash, targets
from distill_lab.plan import STAGES, fingerprints

ALL = {stage.name for stage in STAGES}
MLPS = ["architecture@teacher=mlp_teacher", "architecture@student=mlp_student"]
A = "import torch\nfrom probe_package import b\n\n\ndef f():\n    return 1\n"
DYNAMIC = {"_target_": "distill_lab.compress.quantize_linear.QuantizeLinear", "dynamic": True}
AFTER_DESIGN = {"4 loss", "5 control", "5 train", "6 evaluate"}


def forget():
    """Have source files read again, which is done once per process, as a test edited some."""
    fingerprint_module._path_of_ours.cache_clear()
    fingerprint_module._parsed.cache_clear()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of the name we look at, `a` importing `b` importing `c`; returns a writer."""
    root = tmp_path / "probe_package"
    root.mkdir()
    monkeypatch.setattr(fingerprint_module, "PACKAGE", root.name)
    monkeypatch.setattr(fingerprint_module, "FOLDER", root)

    def write(name, text):
        (root / f"{name}.py").write_text(text)
        forget()
        return source_hash(["probe_package.a"])

    write("__init__", "")
    write("c", "X = 1\n")
    write("b", "from probe_package.c import X\n")
    write("a", A)
    yield write
    forget()


@pytest.mark.parametrize(
    "text",
    [
        "# a comment\n" + A,
        '"""A module."""\n' + A,
        A.replace("    return", '    """Return one."""\n    return'),
        A.replace("return 1", "return  (1)  # one"),
    ],
)
def test_comments_docstrings_and_layout_do_not_count(package, text):
    assert package("a", text) == package("a", A)


@pytest.mark.parametrize(
    "text", [A.replace("1", "2"), A.replace("def f", "def g"), A + "X = 'text'\n", ""]
)
def test_code_counts(package, text):
    assert package("a", text) != package("a", A)


def test_imports_are_followed_to_the_end(package):
    before = package("a", A)
    assert package("c", "X = 2\n") != before
    assert package("c", "X = 1  # the same\n") == before


def test_imports_inside_functions_are_followed(package):
    package("a", "def f():\n    from probe_package.b import X\n    return X\n")
    before = package("c", "X = 1\n")
    assert package("c", "X = 2\n") != before


def test_an_import_loop_ends(package):
    before = package("c", "import probe_package.a\n")
    assert package("c", "import probe_package.a\nX = 1\n") != before


def test_a_file_that_nothing_imports_does_not_count(package):
    before = package("a", A)
    assert package("d", "X = 1\n") == before


TYPES = "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from probe_package import d\n"


def test_what_only_a_type_checker_imports_is_not_followed(package):
    package("d", "X = 1\n")
    before = package("a", TYPES + A)
    assert package("d", "X = 2\n") == before
    assert package("a", TYPES.replace("import d", "import e") + A) == before


def test_the_other_branch_of_type_checking_is_code(package):
    package("d", "X = 1\n")
    before = package("a", TYPES + "else:\n    d = 3\n" + A)
    assert package("a", TYPES + "else:\n    d = 4\n" + A) != before


def test_the_order_of_keys_does_not_matter_but_that_of_items_does():
    assert fingerprint({"a": 1, "b": {"c": 2, "d": 3}}) == fingerprint(
        {"b": {"d": 3, "c": 2}, "a": 1}
    )
    assert fingerprint([1, 2]) != fingerprint([2, 1])
    assert fingerprint(1, 2) != fingerprint([1, 2])
    assert fingerprint({"a": 1}) != fingerprint({"a": "1"})
    assert fingerprint({"a": None}) != fingerprint({})


def test_a_known_fingerprint_stays_what_it_is():
    # sha256sum of the text [{"a": 1}]
    known = "2696610e78752a9e7bd0c4b0404b2fb01a41a19bf23c9b8efa066811c8555d6b"
    assert fingerprint({"a": 1}) == known


def test_targets_are_the_modules_of_all_components_at_any_depth():
    tree = {"_target_": "a.b.C", "x": {"y": {"_target_": "d.E"}}, "z": [1], "w": {"_target_": 3}}
    assert list(targets(tree)) == ["a.b", "d"]


@pytest.fixture(scope="module")
def default():
    return compose(MLPS)


def changed_by(default, key, value, data="d"):
    config = deepcopy(default)
    *path, last = key.split(".")
    node = config
    for name in path:
        node = node[name]
    assert node[last] != value
    node[last] = value
    before, after = fingerprints(build(default), "d"), fingerprints(build(config), data)
    changed = {name for name in ALL if before[name].same_code != after[name].same_code}
    assert changed == {name for name in ALL if before[name].any_code != after[name].any_code}
    return changed


@pytest.mark.parametrize(
    ("key", "value", "stages"),
    [
        ("temperature.value", 2.0, {"4 loss", "5 train", "6 evaluate"}),
        ("loss.kd.weight", 0.5, {"4 loss", "5 train", "6 evaluate"}),
        ("regime.lr", 0.5, {"5 control", "5 train", "6 evaluate"}),
        ("evaluation.num_bins", 3, {"6 evaluate"}),
        ("evaluation.refine.rounds", 3, set()),
        ("price.usd_per_kwh", 0.5, set()),
        ("price.country", "DEU", {"6 evaluate"}),
        ("design.pick", "proxy", {"3 student", *AFTER_DESIGN}),
        ("knowledge.num_samples", 64, ALL - {"1 teacher"}),
        ("student.dropout", 0.5, ALL - {"1 teacher"}),
        ("seed", 1, ALL - {"1 teacher"}),
        ("teacher.dropout", 0.5, ALL),
        ("selection.regime.lr", 0.5, ALL),
        ("hardware.precision", "bf16-mixed", ALL),
        ("hardware.channels_last", False, ALL),
        ("hardware.compile", True, ALL),
        ("hardware.threads", 1, set()),
        ("cache.fill", "off", set()),
        ("cache.folder", "elsewhere", set()),
        ("cache.views", 2, set()),
        ("cache.features", "all", set()),
        ("cache.dtype", "fp16", {"5 train", "6 evaluate"}),
        ("cache.top_k", 2, {"5 train", "6 evaluate"}),
        ("compress", {"quantize_dynamic": DYNAMIC}, {"6 evaluate"}),
        ("variants.of", ["teacher"], set()),
        ("tracking.uri", "sqlite:///other.db", set()),
        ("tracking.experiment", "other", set()),
        ("name", "other", set()),
        ("reuse", "off", set()),
    ],
)
def test_a_key_changes_the_stages_that_it_can_change_the_result_of(default, key, value, stages):
    assert changed_by(default, key, value) == stages


def test_the_order_of_the_steps_counts_and_so_do_their_variants():
    two = "compress=[prune_structured,export_onnx]"
    asked = [[two], ["compress=[export_onnx,prune_structured]"], [two, "variants=compared"]]
    prints = [fingerprints(build(compose([*MLPS, *given])), "d")["6 evaluate"] for given in asked]
    assert len({one.any_code for one in prints}) == 3


def test_other_data_change_every_stage(default):
    assert changed_by(default, "name", "other", data="other") == ALL


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """A copy of the package's sources that can be edited."""
    folder = tmp_path_factory.mktemp("copy") / "distill_lab"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def prints_of(config, folder):
    """Fingerprints of a run as the sources in a folder are now."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fingerprint_module, "FOLDER", folder)
        forget()
        found = fingerprints(build(config), "d")
    forget()
    return found


@pytest.fixture(scope="module")
def unedited(copied):
    """Of the default run, as `default`, by the sources as they are."""
    return prints_of(compose(MLPS), copied)


@pytest.mark.parametrize(
    ("file", "stages"),
    [
        ("losses/kd.py", {"4 loss", "5 train", "6 evaluate"}),
        ("models/mlp.py", ALL),
        ("data/digits.py", ALL),
        ("temperature.py", {"4 loss", "5 train", "6 evaluate"}),
        ("losses/label_smoothing.py", set()),
        ("losses/new_one.py", set()),
        ("models/cifar_resnet.py", set()),
        ("report/html.py", set()),
        ("report/tables.py", ALL),
        ("compress/stored.py", {"6 evaluate"}),
        ("compress/export_onnx.py", set()),
        ("cli.py", set()),
    ],
)
def test_an_edited_file_changes_the_stages_that_reach_it(default, copied, unedited, file, stages):
    path = copied / file
    text = path.read_text() if path.exists() else None
    try:
        path.write_text((text or "") + "\nEDITED = True\n")
        edited = prints_of(default, copied)
    finally:
        path.write_text(text) if text is not None else path.unlink()
    assert {name for name in ALL if edited[name].same_code != unedited[name].same_code} == stages
    assert all(edited[name].any_code == unedited[name].any_code for name in ALL)


def test_weights_to_start_from_count_by_what_they_are_and_not_by_where_they_lie(monkeypatch):
    def first(digest, *overrides):
        monkeypatch.setattr("distill_lab.plan.encoder_digest", lambda name, folder: digest)
        return fingerprints(build(compose(list(overrides))), "data")["1 teacher"]

    pretrained = "selection.pretrained=checkpoint"
    assert first("a", pretrained) == first("a", pretrained, "selection.folder=elsewhere")
    assert first("a", pretrained) != first("b", pretrained)
    assert first("a", pretrained).any_code != first("b", pretrained).any_code
    assert first("a", pretrained) != first("a")
    assert first("a") == first("a", "selection.folder=elsewhere")
