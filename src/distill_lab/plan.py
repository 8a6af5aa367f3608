"""The plan of a workflow: its stages, what each reads, and the fingerprint that follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from distill_lab.contracts import Parts
from distill_lab.data.pretrained import encoder_digest
from distill_lab.fingerprint import fingerprint, source_hash, targets
from distill_lab.stages.handoffs import (
    ConnectedLoss,
    KnowledgeMap,
    StudentDesign,
    TeacherChoice,
    TrainedStudent,
)
from distill_lab.stages.report_handoff import Report
from distill_lab.training.device import numeric

ROUNDING = ("dtype", "top_k", "views", "features")
"""Keys of the cache that say which answers of a teacher are rounded, and how."""


@dataclass(frozen=True)
class Stage:
    """One row of the workflow.

    Attributes:
        name: as tag and in run names.
        module: in `distill_lab.stages`; its `run` does the work.
        handoff: what it returns.
        reads: sections of the config that can change its result.
        after: the stages whose hand-offs it takes, in the order of `run`'s arguments.
        shared: several processes may be at it at once; it locks what it trains itself.
    """

    name: str
    module: str
    handoff: type
    reads: tuple[str, ...]
    after: tuple[str, ...] = ()
    shared: bool = False


STAGES = (
    Stage("1 teacher", "s1_teacher", TeacherChoice, ("teacher", "selection"), shared=True),
    Stage(
        "2 knowledge",
        "s2_knowledge",
        KnowledgeMap,
        ("seed", "student", "knowledge"),
        ("1 teacher",),
    ),
    Stage(
        "3 student",
        "s3_student",
        StudentDesign,
        ("seed", "student", "design"),
        ("1 teacher", "2 knowledge"),
    ),
    Stage(
        "4 loss",
        "s4_loss",
        ConnectedLoss,
        ("seed", "loss", "temperature"),
        ("1 teacher", "3 student"),
    ),
    Stage("5 control", "s5_control", TrainedStudent, ("seed", "regime"), ("3 student",)),
    Stage(
        "5 train",
        "s5_train",
        TrainedStudent,
        ("seed", "regime", "weighting", "cache"),
        ("1 teacher", "3 student", "4 loss"),
    ),
    Stage(
        "6 evaluate",
        "s6_evaluate",
        Report,
        ("evaluation", "regime", "compress", "variants", "price"),
        ("1 teacher", "2 knowledge", "3 student", "4 loss", "5 control", "5 train"),
    ),
)


@dataclass(frozen=True)
class Fingerprints:
    """A stage's fingerprint with the code it reaches, and without."""

    same_code: str
    any_code: str


def fingerprints(parts: Parts, data_checksum: str) -> dict[str, Fingerprints]:
    """Return the fingerprints of all stages; config, data and code decide them, no result.

    Raises:
        DataError: the weights that a teacher starts from cannot be had.
    """
    config, info = parts.config, parts.data.info
    hardware = numeric(parts.hardware)
    result: dict[str, Fingerprints] = {}
    for stage in STAGES:
        reads = {key: _relevant(parts, key) for key in stage.reads if _is_read(parts, key)}
        if stage.name == "5 train":
            reads["regime"] = {k: v for k, v in reads["regime"].items() if k != "num_labels"}
        modules = [f"distill_lab.stages.{stage.module}", *targets(reads), *targets(config["data"])]
        base = (stage.name, reads, hardware, data_checksum, info.decisive)
        result[stage.name] = Fingerprints(
            fingerprint(
                *base, source_hash(modules), [result[name].same_code for name in stage.after]
            ),
            fingerprint(*base, [result[name].any_code for name in stage.after]),
        )
    return result


def _is_read(parts: Parts, key: str) -> bool:
    """Tell whether a section says anything: those of compression do not where there is none."""
    return key not in ("compress", "variants") or bool(parts.compress)


def _relevant(parts: Parts, key: str) -> Any:
    """Leave out of a section what cannot change the stage's own result."""
    section = parts.config[key]
    if key == "evaluation":
        return {k: v for k, v in section.items() if k not in ("refine", "register_as")}
    if key == "selection":
        kept = {k: v for k, v in section.items() if k != "folder"}
        name = parts.selection.pretrained
        start = None if name is None else encoder_digest(name, parts.selection.folder)
        return kept | {"pretrained": start}
    if key == "compress":
        return {"steps": section, "order": list(section)}
    if key == "price":  # money is reckoned when the report is made; CO2 was when energy was told
        return {"country": section["country"]}
    if key == "cache":
        return {} if parts.cache.exact else {k: section[k] for k in ROUNDING}
    return section
