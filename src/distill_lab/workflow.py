"""The six stages in order; a stage that is already in the store is taken from there."""

from __future__ import annotations

import logging
import platform
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from filelock import FileLock

from distill_lab.contracts import Parts, Splits
from distill_lab.data.checksum import checksum
from distill_lab.errors import RunError
from distill_lab.fingerprint import fingerprint, source_hash, targets
from distill_lab.stages.handoffs import (
    ConnectedLoss,
    KnowledgeMap,
    Report,
    StudentDesign,
    TeacherChoice,
    TrainedStudent,
    from_plain,
    table,
    to_plain,
)
from distill_lab.tracking.run import TrackedRun
from distill_lab.tracking.store import Store

HANDOFF = "handoff.json"
MODEL = "model"
SHOWN_PARAMS = ("choices.data", "choices.loss", "choices.architecture.student", "seed")
LOCKS = Path(".distill_lab/locks")
NUMERIC_HARDWARE = ("accelerator", "devices", "precision")
PACKAGES = ("torch", "torchvision", "pytorch-lightning", "hydra-core", "mlflow", "numpy")
REUSE_TAG = {"same_code": "fingerprint", "any_code": "fingerprint_any_code"}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stage:
    """One row of the workflow.

    Attributes:
        name: as tag and in run names.
        module: in `distill_lab.stages`; its `run` does the work.
        handoff: what it returns.
        reads: sections of the config that can change its result.
        after: the stages whose hand-offs it takes, in the order of `run`'s arguments.
    """

    name: str
    module: str
    handoff: type
    reads: tuple[str, ...]
    after: tuple[str, ...] = ()


STAGES = (
    Stage("1 teacher", "s1_teacher", TeacherChoice, ("teacher", "selection")),
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
        ("1 teacher", "2 knowledge", "3 student"),
    ),
    Stage("5 control", "s5_control", TrainedStudent, ("seed", "regime"), ("3 student",)),
    Stage(
        "5 train",
        "s5_train",
        TrainedStudent,
        ("seed", "regime"),
        ("1 teacher", "3 student", "4 loss"),
    ),
    Stage(
        "6 evaluate",
        "s6_evaluate",
        Report,
        ("evaluation",),
        ("1 teacher", "2 knowledge", "3 student", "4 loss", "5 control", "5 train"),
    ),
)


@dataclass(frozen=True)
class Fingerprints:
    """A stage's fingerprint with the code it reaches, and without."""

    same_code: str
    any_code: str


@dataclass
class Done:
    """What a workflow leaves.

    Attributes:
        run_id: of the workflow's run.
        report: of stage 6.
        model: URI to serve the student by; a version in the registry where it is registered.
        report_path: local path of report.html.
        look: address of the runs in the MLflow UI.
        reused: names of the stages that were taken from the store.
    """

    run_id: str
    report: Report
    model: str
    report_path: Path
    look: str = ""
    reused: list[str] = field(default_factory=list)


def fingerprints(parts: Parts, data_checksum: str) -> dict[str, Fingerprints]:
    """Return the fingerprints of all stages; config, data and code decide them, no result."""
    config = parts.config
    hardware = {key: config["hardware"][key] for key in NUMERIC_HARDWARE}
    result: dict[str, Fingerprints] = {}
    for stage in STAGES:
        reads = {key: _relevant(key, config[key]) for key in stage.reads}
        modules = [f"distill_lab.stages.{stage.module}", *targets(reads), *targets(config["data"])]
        base = (stage.name, reads, hardware, data_checksum)
        result[stage.name] = Fingerprints(
            fingerprint(
                *base, source_hash(modules), [result[name].same_code for name in stage.after]
            ),
            fingerprint(*base, [result[name].any_code for name in stage.after]),
        )
    return result


def run(
    parts: Parts,
    store: Store,
    name: str,
    tags: dict[str, str],
    parent_id: str | None = None,
    say: Callable[[str], None] = print,
) -> Done:
    """Run what is not done yet, each stage a child of one run.

    Args:
        parts: the checked run.
        store: where runs are kept and found.
        name: of the workflow's run.
        tags: further tags of the workflow's run.
        parent_id: run of the sweep or of the round that this workflow belongs to.
        say: told of each stage, one line.

    Raises:
        RunError: a stage failed; its run and the workflow's end FAILED.
    """
    splits = parts.data.load()
    digest = checksum(splits)
    common = {
        "seed": str(parts.seed),
        "data": parts.data.info.name,
        "data_checksum": digest,
        **environment(),
    }
    with store.start(name, {**common, **tags, "kind": "workflow"}, parent_id) as workflow_run:
        workflow_run.log_params({**parts.config, "choices": parts.choices})
        _log_data(workflow_run, parts, digest)
        flow = _Flow(parts, store, splits, digest, common, workflow_run.id, say)
        for stage in STAGES:
            flow.obtain(stage)
        report: Report = flow.handoffs["6 evaluate"]
        path = store.fetch(flow.origin["6 evaluate"], "report.html")
        workflow_run.log_metrics(report.metrics)
        workflow_run.log_text(path.read_text(encoding="utf-8"), "report.html")
        tags = {"mlflow.note.content": _note(report, flow.reused), MODEL: report.model}
        workflow_run.set_tags(tags)
        look = store.view("workflows", "tags.kind = 'workflow'", SHOWN_PARAMS)
        return Done(workflow_run.id, report, report.model, path, look, flow.reused)


@cache
def environment() -> dict[str, str]:
    """Return what a result may depend on besides the config: commit and versions."""
    versions = {f"version.{name}": metadata.version(name) for name in PACKAGES}
    commit = _git("rev-parse", "HEAD")
    if commit and _git("status", "--porcelain", "--untracked-files=no"):
        commit += " with changes"
    return {
        "mlflow.source.git.commit": commit or "unknown",
        "version.python": platform.python_version(),
        **versions,
    }


class _Flow:
    """The state of one workflow: what has been handed on so far, and which run it came from."""

    def __init__(
        self,
        parts: Parts,
        store: Store,
        splits: Splits,
        digest: str,
        tags: dict[str, str],
        run_id: str,
        say: Callable[[str], None],
    ) -> None:
        self.parts = parts
        self.store = store
        self.splits = splits
        self.digest = digest
        self.tags = tags
        self.run_id = run_id
        self.say = say
        self.fingerprints = fingerprints(parts, digest)
        self.handoffs: dict[str, Any] = {}
        self.origin: dict[str, str] = {}
        self.reused: list[str] = []

    def obtain(self, stage: Stage) -> None:
        """Take the stage from the store, or do it; one process at a time per fingerprint."""
        LOCKS.mkdir(parents=True, exist_ok=True)
        lock = FileLock(LOCKS / f"{self.fingerprints[stage.name].same_code}.lock")
        with lock:
            if not (self.parts.reuse != "off" and self._reuse(stage)):
                self._do(stage)

    def _reuse(self, stage: Stage) -> bool:
        key = getattr(self.fingerprints[stage.name], self.parts.reuse)
        found = self.store.find_finished(REUSE_TAG[self.parts.reuse], key)
        if found is None:
            return False
        origin = found.id
        try:
            handoff: Any = from_plain(stage.handoff, self.store.read_json(origin, HANDOFF))
            self._verify(handoff)
        except (RunError, KeyError, TypeError) as error:
            self.say(f"  {stage.name:<12} not reused: {error}")
            return False
        with self._start(stage, {"reused_from": origin}) as child:
            child.log_params({k: self.parts.config[k] for k in stage.reads})
            child.log_metrics(found.metrics)
            child.log_json(to_plain(handoff), HANDOFF)
        self.handoffs[stage.name], self.origin[stage.name] = handoff, origin
        self.reused.append(stage.name)
        self.say(f"  {stage.name:<12} {handoff.headline}  [reused from {origin[:8]}]")
        return True

    def _verify(self, handoff: Any) -> None:
        """Check the weights that a hand-off points at; altered ones are trained again."""
        kept = handoff.kept if isinstance(handoff, TeacherChoice) else [handoff]
        for weights in (item.weights for item in kept if hasattr(item, "weights")):
            self.store.verify(weights.run_id, weights.path, weights.sha256)

    def _do(self, stage: Stage) -> None:
        from distill_lab.stages.context import Context  # imports torch and Lightning: seconds

        module = import_module(f"distill_lab.stages.{stage.module}")
        with self._start(stage, {}) as child:
            child.log_params({k: self.parts.config[k] for k in stage.reads})
            _log_data(child, self.parts, self.digest)
            context = Context(self.parts, self.splits, child, self.store)
            handoff = module.run(context, *(self.handoffs[name] for name in stage.after))
            child.log_json(to_plain(handoff), HANDOFF)
        self.handoffs[stage.name], self.origin[stage.name] = handoff, child.id
        self.say(f"  {stage.name:<12} {handoff.headline}")

    def _start(self, stage: Stage, tags: dict[str, str]) -> TrackedRun:
        prints = self.fingerprints[stage.name]
        marks = {"stage": stage.name, "kind": "stage"}
        marks |= {
            "fingerprint": prints.same_code,
            "fingerprint_any_code": prints.any_code,
        }
        return self.store.start(stage.name, {**self.tags, **marks, **tags}, self.run_id)


def _relevant(key: str, value: Any) -> Any:
    """Leave out of a section what cannot change the stage's own result."""
    if key == "evaluation":
        return {k: v for k, v in value.items() if k not in ("refine", "register_as")}
    return value


def _log_data(run: TrackedRun, parts: Parts, digest: str) -> None:
    source = parts.config["data"]["_target_"]
    run.log_dataset(parts.data.info.name, digest, source, "training")


def _note(report: Report, reused: list[str]) -> str:
    from distill_lab.report import tables

    taken = f"\n\nReused stages: {', '.join(reused)}." if reused else ""
    verdict = [
        {"goal": g.name, "reached": f"{g.value:.1%}", "met": "yes" if g.met else "no"}
        for g in report.verdict
    ]
    return f"{tables.markdown(table(report))}\n\n{tables.markdown(verdict)}{taken}"


def _git(*words: str) -> str:
    folder = Path(__file__).parent
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
