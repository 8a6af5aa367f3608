"""The run-level settings: what no network, loss or dataset owns.

Each class is the schema of one config group; its fields are the keys of the group's yaml. They
hold and check numbers, nothing else, and import nothing heavy, so a wrong value is answered in
well under a second.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, Literal


def _require(name: str, value: Any, rule: str, ok: bool) -> None:
    if not ok:
        raise ValueError(f"{name}: must be {rule}, got {value!r}.")


def _positive(name: str, value: float | None) -> None:
    _require(name, value, "> 0", value is None or value > 0)


def _no_password(name: str, address: str | None) -> None:
    """Refuse an address that would be kept and shown with the config, and its password with it."""
    if address is not None and PASSWORD.search(address):
        raise ValueError(
            f"{name}: must have no password, as a config is kept. Leave it out. Give a tracking "
            "server's user in MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD or in "
            "~/.mlflow/credentials, a PostgreSQL's password in PGPASSWORD or in ~/.pgpass."
        )


def _fraction(name: str, value: float | None) -> None:
    _require(name, value, "in [0, 1]", value is None or 0 <= value <= 1)


PASSWORD = re.compile(r"://[^/\s]*:\S*@|^https?://[^/\s]*@|[?&]\w*passw(?:or)?d=", re.IGNORECASE)
"""In an address: user:password@, a user of a website, as a token is, or a parameter of a database.

A database's user alone is none.
"""
OF_NUMBERS = ("mixup_alpha", "cutmix_alpha", "shift_pixels", "horizontal_flip", "cutout_pixels")
OF_WORDS = ("mask_words", "ngram_rows")
AUGMENTING = (*OF_NUMBERS, *OF_WORDS)
"""Keys of a regime under which a sample's inputs differ from epoch to epoch, by what they are."""


@dataclass(frozen=True)
class Regime:
    """How a network is trained (stages 1 and 5)."""

    epochs: int
    batch_size: int
    optimizer: Literal["sgd", "adamw", "dot"]
    lr: float
    momentum: float
    dot_delta: float
    weight_decay: float
    schedule: Literal["constant", "step", "cosine", "one_cycle"]
    warmup_fraction: float
    milestone_fractions: list[float]
    decay_factor: float
    clip_norm: float | None
    ema_decay: float | None
    early_stop_epochs: int | None
    keep: Literal["best", "last"]
    accumulate_batches: int
    mixup_alpha: float
    cutmix_alpha: float
    shift_pixels: int
    horizontal_flip: bool
    cutout_pixels: int
    mask_words: float
    ngram_rows: float
    leave_out_classes: list[int]
    num_samples: int | None
    num_labels: int | None
    label_noise: float

    def __post_init__(self) -> None:
        for name in (
            "epochs",
            "batch_size",
            "lr",
            "decay_factor",
            "clip_norm",
            "early_stop_epochs",
            "accumulate_batches",
            "num_samples",
            "num_labels",
        ):
            _positive(name, getattr(self, name))
        for name in (
            "momentum",
            "dot_delta",
            "weight_decay",
            "mixup_alpha",
            "cutmix_alpha",
            "shift_pixels",
            "cutout_pixels",
        ):
            _require(name, getattr(self, name), ">= 0", getattr(self, name) >= 0)
        for name in (*OF_WORDS, "label_noise"):
            _fraction(name, getattr(self, name))
        _require("momentum", self.momentum, "< 1", self.momentum < 1)
        if self.optimizer == "dot":
            rule = f"<= momentum and < 1 - momentum, with momentum {self.momentum}"
            ok = self.dot_delta <= self.momentum and self.momentum + self.dot_delta < 1
            _require("dot_delta", self.dot_delta, rule, ok)
        _require(
            "warmup_fraction", self.warmup_fraction, "in [0, 1)", 0 <= self.warmup_fraction < 1
        )
        _require(
            "ema_decay",
            self.ema_decay,
            "in (0, 1)",
            self.ema_decay is None or 0 < self.ema_decay < 1,
        )
        ascending = sorted(self.milestone_fractions) == self.milestone_fractions
        inside = all(0 < fraction < 1 for fraction in self.milestone_fractions)
        _require(
            "milestone_fractions",
            self.milestone_fractions,
            "ascending, each in (0, 1)",
            ascending and inside,
        )
        classes = self.leave_out_classes
        distinct = len(set(classes)) == len(classes) and all(number >= 0 for number in classes)
        _require("leave_out_classes", classes, "distinct numbers >= 0", distinct)

    @property
    def mixes(self) -> bool:
        """Whether the samples of a batch are mixed with each other."""
        return self.mixup_alpha > 0 or self.cutmix_alpha > 0

    def on_labels(self, num_samples: int) -> Regime:
        """Return what trains a student without a teacher: on samples with a label alone.

        It takes about as many steps, and as many without a better one before it stops.

        Args:
            num_samples: that a student with a teacher is trained on.
        """
        if self.num_labels is None:
            return self
        longer = ceil(num_samples / self.batch_size) / ceil(self.num_labels / self.batch_size)
        patience = self.early_stop_epochs
        return replace(
            self,
            num_samples=self.num_labels,
            num_labels=None,
            epochs=round(longer * self.epochs),
            early_stop_epochs=None if patience is None else round(longer * patience),
        )


@dataclass(frozen=True)
class Search:
    """Stage 5: which values of config keys are tried, one run each, and how they are chosen.

    `space` maps a key to a list of choices, or to `{low, high}` with `log: true` or a `step`;
    where it is empty nothing is searched. A study ends after `num_trials`; a process that works on
    it begins none after `max_minutes`.
    """

    sampler: Literal["tpe", "random", "grid", "cma_es"]
    space: dict[str, Any]
    num_trials: int | None
    max_minutes: float | None
    objectives: list[Literal["quality", "latency_ms", "macs", "parameters"]]
    pruner: Literal["off", "median", "hyperband"]
    prune_from_epoch: int
    prune_from_trial: int
    storage: str | None
    study: str | None

    def __post_init__(self) -> None:
        for name in ("num_trials", "max_minutes", "prune_from_epoch"):
            _positive(name, getattr(self, name))
        _require("prune_from_trial", self.prune_from_trial, ">= 0", self.prune_from_trial >= 0)
        endless = self.num_trials is None and self.max_minutes is None and self.sampler != "grid"
        rule = "given where max_minutes is null and the sampler is not grid"
        _require("num_trials", self.num_trials, rule, not endless)
        given = self.objectives
        ok = 0 < len(given) == len(set(given))
        _require("objectives", given, "a list of different names, not empty", ok)
        one = self.pruner == "off" or given == ["quality"]
        rule = "[quality] where a pruner compares trials epoch by epoch"
        _require("objectives", given, rule, one)
        one = self.sampler != "cma_es" or len(given) == 1
        _require("objectives", given, "a single one where the sampler is cma_es", one)
        address = self.storage
        rule = "the address of a database, e.g. sqlite:///search.db, or null"
        _require("storage", address, rule, address is None or "://" in address)
        _no_password("storage", address)
        named = self.study is None or self.study.strip() != ""
        _require("study", self.study, "a name, not empty, or null", named)


@dataclass(frozen=True)
class Selection:
    """Stage 1: which teachers are trained and how they are ranked.

    A candidate's score is its quality on validation (accuracy, or NDCG@10 where items are ranked)
    minus `ece_weight` times its ECE minus `cost_weight` times its MACs relative to the most
    expensive candidate. With `from_run`, the run of an earlier workflow, none is trained: the
    student that it distilled is the teacher. Nor is one with `weights`, a name of torchvision's or
    timm's. With `pretrained` the encoder of each starts from published weights, which are kept in
    `folder`.
    """

    regime: Regime
    seeds: list[int]
    keep: int
    ece_weight: float
    cost_weight: float
    label_smoothing: float
    from_run: str | None
    weights: str | None
    pretrained: str | None
    folder: str

    def __post_init__(self) -> None:
        _require("seeds", self.seeds, "a list of different integers, not empty", bool(self.seeds))
        _require("seeds", self.seeds, "different integers", len(set(self.seeds)) == len(self.seeds))
        _positive("keep", self.keep)
        smoothing = self.label_smoothing
        _require("label_smoothing", smoothing, "in [0, 1)", 0 <= smoothing < 1)
        only_one = self.from_run is None or self.weights is None
        _require("weights", self.weights, "null where from_run is given", only_one)
        trained = self.from_run is None and self.weights is None
        rule = "null where from_run or weights is given, as nothing is trained"
        _require("pretrained", self.pretrained, rule, trained or self.pretrained is None)
        for name in ("ece_weight", "cost_weight"):
            _require(name, getattr(self, name), ">= 0", getattr(self, name) >= 0)


@dataclass(frozen=True)
class Chain:
    """Passes through all stages one after another; each student is the teacher of the next.

    First the assistants, options of the group `architecture`, are students in turn; then the
    student itself is, `generations` times. Without assistants and with one generation there is one
    pass, the usual run.
    """

    assistants: list[str]
    generations: int

    def __post_init__(self) -> None:
        _positive("generations", self.generations)

    @property
    def num_passes(self) -> int:
        """How many students are trained."""
        return len(self.assistants) + self.generations


@dataclass(frozen=True)
class Knowledge:
    """Stage 2: what is measured of the teacher before anything is distilled."""

    temperatures: list[float]
    num_samples: int
    student_epochs: int

    def __post_init__(self) -> None:
        given = self.temperatures
        ok = bool(given) and sorted(set(given)) == given
        ok = ok and all(value > 0 for value in given)
        _require("temperatures", given, "different numbers > 0, ascending, not empty", ok)
        _require("num_samples", self.num_samples, ">= 16", self.num_samples >= 16)
        _require("student_epochs", self.student_epochs, ">= 0", self.student_epochs >= 0)


@dataclass(frozen=True)
class Design:
    """Stage 3: the budget of the student and how one candidate is picked.

    Fractions are of the (first kept) teacher; null means no limit, "auto" 0.4 where the student
    has a grid and no limit where the user named one student outright. With `reuse_classifier` the
    projector and the classifier of the teacher are part of the student and of its cost. With
    `copy_layers` the student, and so its control, starts from these layers of the teacher.
    """

    reuse_classifier: bool
    copy_layers: list[int] | None
    max_parameters_fraction: float | Literal["auto"] | None
    max_macs_fraction: float | None
    max_latency_ms: float | None
    max_memory_mib: float | None
    pick: Literal["largest", "proxy"]
    proxy_epochs: int
    latency_repeats: int

    def __post_init__(self) -> None:
        if self.max_parameters_fraction != "auto":
            _positive("max_parameters_fraction", self.max_parameters_fraction)
        for name in ("max_macs_fraction", "max_latency_ms", "max_memory_mib"):
            _positive(name, getattr(self, name))
        _positive("proxy_epochs", self.proxy_epochs)
        _positive("latency_repeats", self.latency_repeats)
        alone = not self.reuse_classifier or self.copy_layers is None
        _require("copy_layers", self.copy_layers, "null with reuse_classifier", alone)


@dataclass(frozen=True)
class Refine:
    """How many proposed configs are run by themselves, and what ends that before.

    `max_minutes` are those of the rounds, by the clock; `patience` is how many rounds in a row may
    bring nothing.
    """

    rounds: int
    max_minutes: float | None
    patience: int

    def __post_init__(self) -> None:
        _require("rounds", self.rounds, ">= 0", self.rounds >= 0)
        _positive("max_minutes", self.max_minutes)
        _positive("patience", self.patience)


@dataclass(frozen=True)
class Evaluation:
    """Stage 6: what is measured on the test split, and the goals of the verdict."""

    num_bins: int
    num_train_samples: int
    num_resamples: int
    corruptions: list[Literal["noise", "blur", "contrast", "shift", "hidden_words", "hidden_items"]]
    num_corrupted_samples: int
    latency_repeats: int
    batch_sizes: list[int]
    throughput_seconds: float
    energy_seconds: float
    time_onnx: bool
    goal_accuracy_kept: float
    goal_compute_saved: float
    goal_parameters_fraction: float
    register_as: str | None
    refine: Refine

    def __post_init__(self) -> None:
        _require("num_bins", self.num_bins, ">= 2", self.num_bins >= 2)
        name = self.register_as
        usable = name is None or (name.strip() != "" and not set(name) & set("/:'\""))
        _require("register_as", name, "a name without '/', ':' and quotes, or null", usable)
        names = self.corruptions
        _require("corruptions", names, "a list of different names", len(set(names)) == len(names))
        for name in ("num_train_samples", "num_resamples", "num_corrupted_samples"):
            _positive(name, getattr(self, name))
        _positive("latency_repeats", self.latency_repeats)
        sizes = self.batch_sizes
        ok = bool(sizes) and sorted(set(sizes)) == sizes and sizes[0] > 0
        _require("batch_sizes", sizes, "different numbers > 0, ascending, not empty", ok)
        _positive("throughput_seconds", self.throughput_seconds)
        _require("energy_seconds", self.energy_seconds, ">= 0", self.energy_seconds >= 0)
        for name in ("goal_accuracy_kept", "goal_compute_saved", "goal_parameters_fraction"):
            _fraction(name, getattr(self, name))


@dataclass(frozen=True)
class Price:
    """What an hour of the machine and its electricity cost, and how many inferences are wanted.

    Prices are in dollars, or in any other currency if all are. `country` is an ISO code of three
    letters, whose electricity decides the CO2; null is the world's average.
    """

    usd_per_cpu_hour: float
    usd_per_gpu_hour: float
    usd_per_kwh: float
    inferences_per_day: float
    country: str | None

    def __post_init__(self) -> None:
        for name in ("usd_per_cpu_hour", "usd_per_gpu_hour", "usd_per_kwh"):
            _require(name, getattr(self, name), ">= 0", getattr(self, name) >= 0)
        _positive("inferences_per_day", self.inferences_per_day)
        code = self.country
        ok = code is None or (len(code) == 3 and code.isascii() and code.isalpha())
        ok = ok and (code is None or code.isupper())
        _require("country", code, "three capital letters, such as DEU, or null", ok)


@dataclass(frozen=True)
class Variants:
    """Stage 6: which networks are compressed, and by which chains of steps.

    Every beginning of a chain is a variant too. A step with epochs trains a variant as its network
    was trained: the student with its teachers and loss terms, the others on labels, each under its
    own regime with `lr_fraction` of the learning rate.
    """

    chains: list[list[str]] | None
    of: list[Literal["student", "control", "teacher"]]
    lr_fraction: float

    def __post_init__(self) -> None:
        _positive("lr_fraction", self.lr_fraction)
        of = self.of
        _require("of", of, "a list of different names, not empty", 0 < len(of) == len(set(of)))
        given = self.chains
        ok = given is None or (bool(given) and all(0 < len(c) == len(set(c)) for c in given))
        _require("chains", given, "null or lists of different steps, none of them empty", ok)

    def wanted(self, steps: Iterable[str]) -> list[list[str]]:
        """Return the chains of a run with these steps; none where there are none."""
        names = list(steps)
        return (self.chains or [names]) if names else []


@dataclass(frozen=True)
class Weighting:
    """How the weights of the loss terms change while a student is trained.

    A schedule is a factor of the term's weight: `{linear: [from, to]}` and `{cosine: [from, to]}`
    over the whole training, `{warmup: E}` rising to 1 in the first E epochs, `{stop: E}` being 0
    from then on.
    """

    schedules: dict[str, Any]
    balance: Literal["off", "gradient_norm"]
    balance_every: int

    def __post_init__(self) -> None:
        for term, schedule in self.schedules.items():
            _check_schedule(f"schedules.{term}", schedule)
        _positive("balance_every", self.balance_every)


def _check_schedule(name: str, schedule: Any) -> None:
    single = isinstance(schedule, dict) and len(schedule) == 1
    kind, numbers = next(iter(schedule.items())) if single else ("", None)
    if kind in ("linear", "cosine"):
        ok = isinstance(numbers, list) and len(numbers) == 2 and all(map(_is_factor, numbers))
    else:
        ok = kind in ("warmup", "stop") and _is_factor(numbers) and numbers != 0
    kinds = "{linear: [from, to]}, {cosine: [from, to]}, {warmup: epochs} or {stop: epochs}"
    _require(name, schedule, kinds, ok)


def _is_factor(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < 1e9


@dataclass(frozen=True)
class Cache:
    """Which answers of the teacher are kept on disk, for the epochs and runs that ask again.

    With `dtype` fp32 and no `top_k` an answer read back is the answer that was written, bit by
    bit, so the cache changes no result.
    """

    fill: Literal["off", "lazy", "stage_2"]
    folder: str
    dtype: Literal["fp32", "fp16"]
    views: int | None
    top_k: int | None
    features: Literal["pooled", "all"]

    def __post_init__(self) -> None:
        _require("folder", self.folder, "a path, not empty", self.folder.strip() != "")
        for name in ("views", "top_k"):
            _positive(name, getattr(self, name))

    @property
    def exact(self) -> bool:
        """Whether a run with the cache gives the same numbers as one without, bit by bit."""
        return self.fill == "off" or (self.dtype == "fp32" and self.top_k is None)


@dataclass(frozen=True)
class Hardware:
    """Where it runs. `threads` changes the last digits of sums; it is not in the fingerprint.

    A training is saved every `checkpoint_minutes`, for the next one to go on from if it is stopped.
    It is shared by `num_nodes` times `devices` processes, each of which has its rows of a batch.
    """

    accelerator: Literal["cpu", "gpu", "auto"]
    devices: int
    precision: Literal["32-true", "bf16-mixed", "16-mixed"]
    channels_last: bool
    compile: bool
    threads: int | None
    checkpoint_minutes: float | None = None
    strategy: Literal["single_device", "ddp", "fsdp"] = "single_device"
    num_nodes: int = 1

    def __post_init__(self) -> None:
        several = self.strategy != "single_device"
        one = "1 with hardware.strategy=single_device (hardware=ddp has several processes)"
        for name in ("devices", "num_nodes"):
            number = getattr(self, name)
            _require(name, number, ">= 1", number >= 1)
            _require(name, number, one, several or number == 1)
        if self.strategy == "fsdp":
            with_it = "with hardware.strategy=fsdp"
            minutes = self.checkpoint_minutes
            _require("checkpoint_minutes", minutes, f"null {with_it}", minutes is None)
            rule = f"32-true or bf16-mixed {with_it}"
            _require("precision", self.precision, rule, self.precision != "16-mixed")
        alone = "false with several processes"
        _require("compile", self.compile, alone, not (several and self.compile))
        _positive("threads", self.threads)
        _positive("checkpoint_minutes", self.checkpoint_minutes)

    @property
    def num_processes(self) -> int:
        """Processes that share a training."""
        return self.devices * self.num_nodes


@dataclass(frozen=True)
class Tracking:
    """Where MLflow keeps runs. `sweep_run_id` and `job` are set by a sweep for its jobs."""

    uri: str
    artifact_location: str | None
    experiment: str
    sweep_run_id: str | None
    job: int | None

    def __post_init__(self) -> None:
        for name in ("uri", "artifact_location"):
            _no_password(name, getattr(self, name))
