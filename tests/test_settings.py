from __future__ import annotations

import math
import re

import pytest

from distill_lab.settings import (
    Cache,
    Chain,
    Design,
    Evaluation,
    Hardware,
    Knowledge,
    Price,
    Refine,
    Regime,
    Selection,
    Tracking,
    Variants,
    Weighting,
)

REGIME = {
    "epochs": 30,
    "batch_size": 64,
    "optimizer": "sgd",
    "lr": 0.05,
    "momentum": 0.9,
    "dot_delta": 0.075,
    "weight_decay": 5e-4,
    "schedule": "step",
    "warmup_fraction": 0.05,
    "milestone_fractions": [0.5, 0.75],
    "decay_factor": 0.1,
    "clip_norm": 1.0,
    "ema_decay": 0.999,
    "early_stop_epochs": 5,
    "keep": "best",
    "accumulate_batches": 2,
    "mixup_alpha": 0.2,
    "cutmix_alpha": 0.2,
    "shift_pixels": 4,
    "horizontal_flip": True,
    "cutout_pixels": 4,
    "mask_words": 0.0,
    "ngram_rows": 0.0,
    "leave_out_classes": [3],
    "num_samples": 1800,
    "num_labels": 600,
    "label_noise": 0.0,
}
SOUND = {
    Regime: REGIME,
    Tracking: {
        "uri": "http://127.0.0.1:5001",
        "artifact_location": "s3://bucket/folder",
        "experiment": "distill-lab",
        "sweep_run_id": None,
        "job": 1,
    },
    Chain: {"assistants": ["mlp_300"], "generations": 2},
    Selection: {
        "regime": Regime(**REGIME),
        "seeds": [0, 1],
        "keep": 1,
        "ece_weight": 0.1,
        "cost_weight": 0.0,
        "label_smoothing": 0.1,
        "from_run": "abc",
        "weights": None,
        "pretrained": None,
        "folder": "data_cache",
    },
    Knowledge: {"temperatures": [1.0, 4.0], "num_samples": 16, "student_epochs": 0},
    Design: {
        "reuse_classifier": False,
        "copy_layers": [0, 2],
        "max_parameters_fraction": 0.4,
        "max_macs_fraction": 0.3,
        "max_latency_ms": 10.0,
        "max_memory_mib": 64.0,
        "pick": "largest",
        "proxy_epochs": 1,
        "latency_repeats": 1,
    },
    Refine: {"rounds": 0, "max_minutes": 30.0, "patience": 2},
    Evaluation: {
        "num_bins": 2,
        "num_train_samples": 1,
        "num_resamples": 1,
        "corruptions": ["noise", "shift"],
        "num_corrupted_samples": 1,
        "latency_repeats": 1,
        "batch_sizes": [1, 8],
        "throughput_seconds": 0.5,
        "energy_seconds": 0.0,
        "time_onnx": True,
        "goal_accuracy_kept": 0.95,
        "goal_compute_saved": 0.7,
        "goal_parameters_fraction": 0.4,
        "register_as": None,
        "refine": Refine(0, None, 2),
    },
    Price: {
        "usd_per_cpu_hour": 0.0,
        "usd_per_gpu_hour": 2.0,
        "usd_per_kwh": 0.3,
        "inferences_per_day": 1e6,
        "country": "DEU",
    },
    Variants: {
        "chains": [["prune"], ["prune", "int8"]],
        "of": ["student", "control"],
        "lr_fraction": 0.1,
    },
    Weighting: {
        "schedules": {"kd": {"stop": 5}, "at": {"linear": [0, 1.5]}},
        "balance": "off",
        "balance_every": 50,
    },
    Cache: {
        "fill": "lazy",
        "folder": "kept",
        "dtype": "fp32",
        "views": 2,
        "top_k": 5,
        "features": "pooled",
    },
    Hardware: {
        "accelerator": "cpu",
        "devices": 1,
        "precision": "32-true",
        "channels_last": False,
        "compile": False,
        "threads": 2,
        "checkpoint_minutes": 1.0,
        "strategy": "single_device",
        "num_nodes": 1,
    },
}


def cases(cls: type, name: str, *values: object) -> list[tuple[type, str, object]]:
    return [(cls, name, value) for value in values]


@pytest.mark.parametrize("cls", SOUND)
def test_sound_values_are_kept_as_given(cls):
    assert vars(cls(**SOUND[cls])) == SOUND[cls]


@pytest.mark.parametrize(
    ("cls", "name", "value"),
    [
        *cases(Regime, "epochs", 0, -1),
        *cases(Regime, "batch_size", 0),
        *cases(Regime, "lr", 0.0, -0.1, math.nan),
        *cases(Regime, "momentum", -0.1, 1.0, math.nan),
        *cases(Regime, "dot_delta", -0.1, math.nan),
        *cases(Regime, "weight_decay", -1e-6),
        *cases(Regime, "warmup_fraction", -0.1, 1.0),
        *cases(Regime, "milestone_fractions", [0.0, 0.5], [0.5, 1.0], [0.75, 0.5]),
        *cases(Regime, "decay_factor", 0.0, -0.1),
        *cases(Regime, "clip_norm", 0.0, -1.0),
        *cases(Regime, "ema_decay", 0.0, 1.0),
        *cases(Regime, "early_stop_epochs", 0),
        *cases(Regime, "mixup_alpha", -0.1),
        *cases(Regime, "accumulate_batches", 0),
        *cases(Regime, "cutmix_alpha", -0.1),
        *cases(Regime, "shift_pixels", -1),
        *cases(Regime, "cutout_pixels", -1),
        *cases(Regime, "mask_words", -0.1, 1.1),
        *cases(Evaluation, "batch_sizes", [], [8, 1], [8, 8], [0, 1]),
        *cases(Evaluation, "throughput_seconds", 0.0, math.nan),
        *cases(Evaluation, "energy_seconds", -0.1, math.nan),
        *cases(Price, "usd_per_cpu_hour", -0.1, math.nan),
        *cases(Price, "usd_per_gpu_hour", -0.1),
        *cases(Price, "usd_per_kwh", -0.1),
        *cases(Price, "inferences_per_day", 0.0),
        *cases(Price, "country", "", "de", "deu", "DE1", "ÄÖÜ"),
        *cases(Variants, "chains", [], [[]], [["int8", "int8"]]),
        *cases(Variants, "of", [], ["student", "student"]),
        *cases(Variants, "lr_fraction", 0.0, -1.0),
        *cases(Regime, "ngram_rows", -0.1, 1.1),
        *cases(Regime, "leave_out_classes", [-1], [3, 3]),
        *cases(Regime, "num_samples", 0),
        *cases(Regime, "num_labels", 0),
        *cases(Regime, "label_noise", -0.1, 1.1, math.nan),
        *cases(Chain, "generations", 0),
        *cases(Selection, "seeds", [], [1, 1]),
        *cases(Selection, "keep", 0),
        *cases(Selection, "ece_weight", -0.1),
        *cases(Selection, "cost_weight", -0.1),
        *cases(Selection, "label_smoothing", -0.1, 1.0),
        *cases(Selection, "weights", "beside a run"),
        *cases(Selection, "pretrained", "beside a run"),
        *cases(Knowledge, "temperatures", [], [0.0, 1.0], [8.0, 1.0], [1.0, 1.0], [1.0, math.nan]),
        *cases(Knowledge, "num_samples", 15),
        *cases(Evaluation, "num_resamples", 0),
        *cases(Evaluation, "corruptions", ["blur", "blur"]),
        *cases(Evaluation, "num_corrupted_samples", 0),
        *cases(Knowledge, "student_epochs", -1),
        *cases(Design, "max_parameters_fraction", 0.0, -0.4),
        *cases(Design, "max_macs_fraction", 0.0),
        *cases(Design, "max_latency_ms", 0.0),
        *cases(Design, "max_memory_mib", 0.0),
        *cases(Design, "proxy_epochs", 0),
        *cases(Design, "latency_repeats", 0),
        *cases(Refine, "rounds", -1),
        *cases(Refine, "max_minutes", 0.0, -1.0, math.nan),
        *cases(Refine, "patience", 0),
        *cases(Evaluation, "num_bins", 1),
        *cases(Evaluation, "num_train_samples", 0),
        *cases(Evaluation, "latency_repeats", 0),
        *cases(Evaluation, "register_as", "it's", 'so"so', "a/b", "a:b", " "),
        *cases(Evaluation, "goal_accuracy_kept", -0.1, 1.1),
        *cases(Evaluation, "goal_compute_saved", -0.1, 1.1),
        *cases(Evaluation, "goal_parameters_fraction", -0.1, 1.1),
        *cases(Cache, "folder", "", " "),
        *cases(Cache, "views", 0),
        *cases(Cache, "top_k", 0),
        *cases(Hardware, "devices", 0, 2),
        *cases(Hardware, "num_nodes", 0, 2),
        *cases(Hardware, "threads", 0),
        *cases(Hardware, "checkpoint_minutes", 0.0),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(cls, name, value):
    with pytest.raises(ValueError, match=rf"^{name}: must be .*, got {re.escape(repr(value))}\.$"):
        cls(**(SOUND[cls] | {name: value}))


@pytest.mark.parametrize(
    ("cls", "name", "value"),
    [
        *cases(Regime, "epochs", 1),
        *cases(Regime, "momentum", 0.0),
        *cases(Regime, "dot_delta", 0.0),
        *cases(Regime, "weight_decay", 0.0),
        *cases(Regime, "warmup_fraction", 0.0),
        *cases(Regime, "milestone_fractions", []),
        *cases(Regime, "mixup_alpha", 0.0),
        *cases(Regime, "shift_pixels", 0),
        *cases(Evaluation, "goal_accuracy_kept", 0.0, 1.0),
    ],
)
def test_the_ends_of_a_closed_range_are_admitted(cls, name, value):
    assert getattr(cls(**(SOUND[cls] | {name: value})), name) == value


@pytest.mark.parametrize(("momentum", "delta"), [(0.9, 0.1), (0.9, 0.2), (0.05, 0.06), (0.0, 0.1)])
def test_both_momenta_of_dot_are_momenta(momentum, delta):
    changes = {"momentum": momentum, "dot_delta": delta}
    Regime(**(REGIME | changes))  # of no account to another optimizer
    words = rf"^dot_delta: must be <= momentum and < 1 - momentum.*{momentum}, got {delta}\.$"
    with pytest.raises(ValueError, match=words):
        Regime(**(REGIME | changes | {"optimizer": "dot"}))


@pytest.mark.parametrize(
    ("momentum", "delta"), [(0.9, 0.075), (0.9, 0.0), (0.25, 0.25), (0.0, 0.0)]
)
def test_the_momenta_of_dot_may_reach_zero(momentum, delta):
    changes = {"optimizer": "dot", "momentum": momentum, "dot_delta": delta}
    assert Regime(**(REGIME | changes)).dot_delta == delta


@pytest.mark.parametrize(
    ("cls", "name"),
    [
        (Regime, "clip_norm"),
        (Regime, "ema_decay"),
        (Regime, "early_stop_epochs"),
        (Design, "max_parameters_fraction"),
        (Design, "max_macs_fraction"),
        (Design, "max_latency_ms"),
        (Design, "max_memory_mib"),
        (Cache, "views"),
        (Cache, "top_k"),
        (Hardware, "threads"),
        (Refine, "max_minutes"),
        (Hardware, "checkpoint_minutes"),
    ],
)
def test_null_means_no_limit(cls, name):
    assert getattr(cls(**(SOUND[cls] | {name: None})), name) is None


def test_a_training_is_shared_by_the_processes_of_all_machines():
    several = {"strategy": "ddp", "devices": 4, "num_nodes": 3}
    assert Hardware(**(SOUND[Hardware] | several)).num_processes == 12
    assert Hardware(**SOUND[Hardware]).num_processes == 1


def test_the_budget_of_parameters_may_be_left_to_the_grid():
    auto = Design(**(SOUND[Design] | {"max_parameters_fraction": "auto"}))
    assert auto.max_parameters_fraction == "auto"


@pytest.mark.parametrize(
    ("changes", "exact"),
    [
        ({}, True),
        ({"views": 1}, True),
        ({"dtype": "fp16"}, False),
        ({"top_k": 2}, False),
        ({"dtype": "fp16", "top_k": 2, "fill": "off"}, True),
    ],
)
def test_a_cache_is_exact_where_it_keeps_all_of_an_answer(changes, exact):
    assert Cache(**(SOUND[Cache] | {"top_k": None} | changes)).exact is exact


@pytest.mark.parametrize(
    "schedule",
    [
        {"stop": 0},
        {"stop": [1, 2]},
        {"warmup": -1},
        {"warmup": True},
        {"linear": 0.5},
        {"linear": [0, -1]},
        {"cosine": [0, 1, 2]},
        {"linaer": [0, 1]},
        {"stop": 1, "warmup": 1},
        {},
        0.5,
        None,
    ],
)
def test_a_schedule_that_is_none_is_refused_with_the_kinds_there_are(schedule):
    given = SOUND[Weighting] | {"schedules": {"kd": schedule}}
    rule = r"schedules\.kd: must be \{linear: \[from, to\]\}, .* or \{stop: epochs\}, got"
    with pytest.raises(ValueError, match=rule):
        Weighting(**given)


def test_a_balance_looks_at_the_gradients_at_least_every_so_often():
    with pytest.raises(ValueError, match="balance_every: must be > 0, got 0"):
        Weighting(**(SOUND[Weighting] | {"balance_every": 0}))


def test_where_all_samples_have_labels_the_regime_on_labels_is_the_same():
    given = Regime(**(REGIME | {"num_labels": None}))
    assert given.on_labels(40) is given


@pytest.mark.parametrize(("labels", "epochs", "patience"), [(20, 21, 14), (5, 42, 28), (50, 10, 7)])
def test_where_few_have_labels_they_are_passed_over_for_the_same_steps(labels, epochs, patience):
    batches = {"batch_size": 16, "epochs": 6, "early_stop_epochs": 4}
    given = Regime(**(REGIME | batches | {"num_samples": 100, "num_labels": labels}))
    found = given.on_labels(100)  # 7 steps an epoch; of 20 labels 2, of 5 labels 1, of 50 labels 4
    assert (found.num_samples, found.num_labels) == (labels, None)
    assert (found.epochs, found.early_stop_epochs) == (epochs, patience)
    steps = found.epochs * -(-labels // 16)
    assert abs(steps - 6 * 7) <= 2  # half an epoch of theirs


@pytest.mark.parametrize(
    "address",
    [
        "http://ann:geheim@host:5001",
        "postgresql://ann:geh@eim@host/db",
        "postgresql+psycopg:///db?host=here&password=geheim",
        "https://:geheim@host",
        "https://geheim@host",
        "postgresql://ann@host/db?sslmode=require&sslpassword=geheim",
        "mysql://host/db?PASSWD=geheim",
    ],
)
def test_an_address_with_a_password_is_refused_and_not_told(address):
    for name in ("uri", "artifact_location"):
        with pytest.raises(ValueError, match=f"^{name}: must have no password") as told:
            Tracking(**SOUND[Tracking] | {name: address})
        assert "geh" not in str(told.value)


@pytest.mark.parametrize(
    "address",
    [
        "sqlite:///mlflow.db",
        "http://host:5001",
        "postgresql+psycopg://ann@/mlflow?host=/srv/lab/socket",
        "mlartifacts",
    ],
)
def test_an_address_without_a_password_is_admitted(address):
    assert Tracking(**SOUND[Tracking] | {"uri": address}).uri == address
