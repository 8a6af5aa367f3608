"""The six stages in order; a stage that is already in the store is taken from there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from filelock import Timeout
from torch import Tensor

from distill_lab.contracts import Arrays, Component, Parts, Splits
from distill_lab.data.checksum import checksum
from distill_lab.data.subset import subset
from distill_lab.environment import environment
from distill_lab.errors import ConfigError, DataError, RunError, told_of
from distill_lab.fingerprint import REUSE_TAG, fingerprint, source_hash
from distill_lab.handover.hand_over import HandedOver
from distill_lab.own_code import module_file
from distill_lab.plan import STAGES, Stage, fingerprints
from distill_lab.run_report import log_config, priced, report_of
from distill_lab.stages.handoffs import (
    HANDOFF,
    ConnectedLoss,
    StudentDesign,
    TeacherChoice,
    TrainedStudent,
    from_plain,
    to_plain,
)
from distill_lab.stages.lineage import Standing, standing, standing_of_teacher
from distill_lab.stages.report_handoff import Proposal, Report, table
from distill_lab.tracking.run import TrackedRun
from distill_lab.tracking.store import Store

if TYPE_CHECKING:
    from distill_lab.training.callbacks import Watch

FOREVER = -1.0  # seconds to wait for a lock
UPSTREAM = "upstream"
MODEL = "model"
FILLED_AFTER = "4 loss"  # with cache.fill=stage_2: then it is known which layers are read
CONTROL, WATCHED = "5 control", "5 train"
SHOWN_PARAMS = ("choices.data", "choices.loss", "choices.architecture.student", "seed")


@dataclass
class Done:
    """What a workflow leaves.

    Attributes:
        run_id: of the workflow's run.
        report: of stage 6.
        teacher: how the best teacher stands on validation.
        standing: how what is handed out does.
        student_run: of the stage that trained the student, in whichever workflow that was.
        model: URI to serve the student by; a version in the registry where it is registered.
        report_path: local path of report.html.
        look: address of the runs in the MLflow UI.
        reused: names of the stages that were taken from the store.
        overrides: the run was made from; a proposal is added to them.
        proposals: what to try next; after a refinement, what it has not tried.
        handed_over: what became of the student, where it is registered.
    """

    run_id: str
    report: Report
    teacher: Standing
    standing: Standing
    student_run: str
    model: str
    report_path: Path
    look: str = ""
    reused: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)
    proposals: list[Proposal] = field(default_factory=list)
    handed_over: HandedOver | None = None


def run(
    parts: Parts,
    store: Store,
    name: str,
    tags: dict[str, str],
    parent_id: str | None = None,
    say: Callable[[str], None] = print,
    watch: Watch | None = None,
) -> Done:
    """Run what is not done yet, each stage a child of one run.

    Args:
        parts: the checked run.
        store: where runs are kept and found.
        name: of the workflow's run.
        tags: further tags of the workflow's run.
        parent_id: run of the sweep or of the round that this workflow belongs to.
        say: told of each stage, one line.
        watch: asked after each epoch of the distillation whether to go on; None: to its end.

    Raises:
        Pruned: the watch ended the distillation.
        ConfigError: there are fewer samples than a regime asks for.
        DataError: a split has too few samples; or items are to be ranked, and the data do not say
            what users had before.
        RunError: a stage failed; its run and the workflow's end FAILED.
    """
    if parts.hardware.threads is not None:
        torch.set_num_threads(parts.hardware.threads)
    splits = parts.data.load()
    _require_any(parts, splits)
    _require_samples(parts, splits)
    _require_past(parts, splits)
    digest = checksum(splits)
    common = {
        "seed": str(parts.seed),
        "data": parts.data.info.name,
        "data_checksum": digest,
        **environment(),
    }
    with store.start(name, {**common, **tags, "kind": "workflow"}, parent_id) as workflow_run:
        shown = {key: value for key, value in parts.config.items() if key != "tracking"}
        workflow_run.log_params({**shown, "choices": parts.choices})
        log_config(workflow_run, shown)
        _log_data(workflow_run, parts, digest)
        flow = _Flow(parts, store, splits, digest, common, workflow_run.id, say, watch)
        flow.obtain_all()
        report = priced(flow.handoffs["6 evaluate"], parts.price)
        workflow_run.log_metrics(report.metrics)
        path = report_of(store, workflow_run.id)
        tags = {"mlflow.note.content": _note(report, flow.reused), MODEL: report.model}
        workflow_run.set_tags(tags | (report.running.tags if report.running else {}))
        look = store.view(
            "workflows", "tags.kind = 'workflow'", SHOWN_PARAMS, parts.data.info.quality.decides
        )
        num_validation = len(splits.validation.targets)
        scores = flow.handoffs["1 teacher"].best.scores
        return Done(
            run_id=workflow_run.id,
            report=report,
            teacher=standing_of_teacher(report, scores, num_validation),
            standing=standing(report, num_validation),
            student_run=flow.origin["5 train"],
            model=report.model,
            report_path=path,
            look=look,
            reused=flow.reused,
        )


def _require_any(parts: Parts, splits: Splits) -> None:
    for name, arrays in splits._asdict().items():
        least, found = 2 if name == "train" else 1, len(arrays.targets)
        if found < least:
            noun = "samples, it has 1" if found else "samples, it has none"
            raise DataError(f"data: {parts.data.info.name}: {name} must have >= {least} {noun}.")
    targets = splits.train.targets
    if bool((targets == targets[0]).all()):
        raise DataError(
            f"data: {parts.data.info.name}: train has samples of one class alone, number "
            f"{int(targets[0])}; there must be another one to tell it from."
        )


def _require_samples(parts: Parts, splits: Splits) -> None:
    targets = splits.train.targets
    for path, regime in (("selection.regime", parts.selection.regime), ("regime", parts.regime)):
        for key in ("num_samples", "num_labels"):
            wanted = getattr(regime, key)
            try:
                subset(targets, regime.leave_out_classes, wanted, seed=0)
            except ValueError as error:
                told = str(error).removeprefix("num_samples")
                raise ConfigError([f"{path}.{key}{told}"]) from error
    left_out = parts.selection.regime.leave_out_classes
    left = targets[subset(targets, left_out, None, seed=0)].unique()
    if len(left) == 1:  # a student of one class learns from the teacher; a teacher has nothing to
        raise ConfigError(
            [
                f"selection.regime.leave_out_classes: {left_out} leaves teachers one class alone, "
                f"number {int(left)}; there must be another one to tell it from."
            ]
        )


def _require_past(parts: Parts, splits: Splits) -> None:
    info = parts.data.info
    for name in ("validation", "test"):
        arrays: Arrays = getattr(splits, name)
        had, most = arrays.had, (len(arrays.targets), info.num_classes)
        if (had is not None) != info.ranks_items:
            raise DataError(
                f"data: {info.name}: {name} must have Arrays.had, what users had before, where "
                f"info.ranks_items is true, and there alone; it is {str(info.ranks_items).lower()}."
            )
        if had is not None and not _are_pairs(had, most):
            raise DataError(
                f"data: {info.name}: {name}: Arrays.had must be pairs (M, 2) int64 of a row, in "
                f"[0, {most[0]}), and an item, in [0, {most[1]}), one less than in inputs; each "
                f"once. It is {tuple(had.shape)} {str(had.dtype).removeprefix('torch.')}."
            )


def _are_pairs(had: Tensor, most: tuple[int, int]) -> bool:
    if had.dtype != torch.int64 or had.ndim != 2 or had.shape[1] != 2:
        return False
    inside = bool((had >= 0).all() and (had < had.new_tensor(most)).all())
    return inside and len(had.unique(dim=0)) == len(had)


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
        watch: Watch | None,
    ) -> None:
        self.parts = parts
        self.store = store
        self.splits = splits
        self.digest = digest
        self.tags = tags
        self.run_id = run_id
        self.say = say
        self.watch = watch
        self.fingerprints = fingerprints(parts, digest)
        self.handoffs: dict[str, Any] = {}
        self.origin: dict[str, str] = {}
        self.reused: list[str] = []

    def obtain_all(self) -> None:
        """Obtain every stage, in order but for those that another process is at.

        They come after the stages that need not wait for them: jobs of a sweep that want one
        control train their students meanwhile. A distillation that may be pruned comes before the
        control, which then need not be trained.
        """
        left = sorted(STAGES, key=lambda stage: self.watch is not None and stage.name == CONTROL)
        while left:
            able = [stage for stage in left if all(name in self.handoffs for name in stage.after)]
            done = next((stage for stage in able if self._obtain(stage, patience=0)), None)
            if done is None:
                done = able[0]
                self.say(f"  {done.name:<12} waits: another process is at it")
                self._obtain(done, patience=FOREVER)
            left.remove(done)

    def _obtain(self, stage: Stage, patience: float) -> bool:
        """Take the stage from the store, or do it; one process at a time per fingerprint.

        Returns:
            Whether the lock was free within `patience` seconds.
        """
        if stage.shared:
            self._take_or_do(stage)
            return True
        lock = self.store.turn(self.fingerprints[stage.name].same_code, self.run_id)
        try:
            lock.acquire(timeout=patience)
        except Timeout:
            return False
        try:
            self._take_or_do(stage)
            if stage.name == FILLED_AFTER and self.parts.cache.fill == "stage_2":
                self._fill_caches()
        finally:
            lock.release()
        return True

    def _take_or_do(self, stage: Stage) -> None:
        if self.parts.reuse == "off" or not self._reuse(stage):
            self._do(stage)

    def _reuse(self, stage: Stage) -> bool:
        key = getattr(self.fingerprints[stage.name], self.parts.reuse)
        found = self.store.find_finished(
            {REUSE_TAG[self.parts.reuse]: key, UPSTREAM: self._upstream(stage)}
        )
        if found is None:
            return False
        origin = found.id
        try:
            handoff: Any = from_plain(stage.handoff, self.store.read_json(origin, HANDOFF))
            self._verify(handoff, origin)
        except (RunError, KeyError, TypeError) as error:
            self.say(f"  {stage.name:<12} not reused: {error}")
            return False
        made_by = {key: found.tags[key] for key in environment() if key in found.tags}
        where = f"Reused from run {origin}, where its tables, plots and weights are."
        note = f"{handoff.headline}\n\n{where}"
        tags = {**made_by, "reused_from": origin, "mlflow.note.content": note}
        with self._start(stage, tags) as child:
            child.log_params({k: self.parts.config[k] for k in stage.reads})
            _log_data(child, self.parts, self.digest)
            child.log_metrics(found.metrics)
            child.log_json(to_plain(handoff), HANDOFF)
        self.handoffs[stage.name], self.origin[stage.name] = handoff, origin
        self.reused.append(stage.name)
        self.say(f"  {stage.name:<12} {handoff.headline}  [reused from {origin[:8]}]")
        return True

    def _verify(self, handoff: Any, origin: str) -> None:
        """Check what a hand-off points at; a stage with anything lost or altered is done again."""
        kept = handoff.kept if isinstance(handoff, TeacherChoice) else [handoff]
        pointed = [getattr(item, name, None) for item in kept for name in ("weights", "initial")]
        for weights in filter(None, pointed):
            self.store.verify(weights.run_id, weights.path, weights.sha256)
        if isinstance(handoff, Report):
            for file in (variant.file for variant in handoff.variants):
                self.store.verify(file.run_id, file.path, file.sha256)
            self.store.check_model(handoff.model)

    def _do(self, stage: Stage) -> None:
        from distill_lab.stages.context import Context  # imports torch and Lightning: seconds

        module = import_module(f"distill_lab.stages.{stage.module}")
        with self._start(stage, {}) as child:
            child.log_params({k: self.parts.config[k] for k in stage.reads})
            _log_data(child, self.parts, self.digest)
            watch = self.watch if stage.name == WATCHED else None
            context = Context(self.parts, self.splits, self.digest, child, self.store, watch)
            with told_of(f"stage {stage.name}"):
                handoff = module.run(context, *(self.handoffs[name] for name in stage.after))
            child.log_json(to_plain(handoff), HANDOFF)
            child.set_tags({"mlflow.note.content": handoff.headline})
        self.handoffs[stage.name], self.origin[stage.name] = handoff, child.id
        self.say(f"  {stage.name:<12} {handoff.headline}")

    def _fill_caches(self) -> None:
        """Fill the teachers' caches, also where the stage before was reused: files may be gone."""
        from distill_lab.stages.answers import fill_caches
        from distill_lab.stages.context import Context

        self.say("  2 fill       the teacher answers all that training will ask")
        tags = {**self.tags, "kind": "fill"}
        with self.store.start("2 fill", tags, self.run_id) as child:
            context = Context(self.parts, self.splits, self.digest, child, self.store)
            with told_of("2 fill"):
                fill_caches(context, self.handoffs["1 teacher"], self.handoffs["4 loss"])

    def _upstream(self, stage: Stage) -> str:
        """Return one hash of what the stage is handed: equal configs may have other weights."""
        return fingerprint([identity(self.handoffs[name]) for name in stage.after])

    def _start(self, stage: Stage, tags: dict[str, str]) -> TrackedRun:
        prints = self.fingerprints[stage.name]
        marks = {"stage": stage.name, "kind": "stage"}
        marks |= {
            "fingerprint": prints.same_code,
            "fingerprint_any_code": prints.any_code,
            UPSTREAM: self._upstream(stage),
        }
        return self.store.start(stage.name, {**self.tags, **marks, **tags}, self.run_id)


def identity(handoff: Any) -> Any:
    """Return what of a hand-off decides the stages after it: weights, architecture, layers."""
    if isinstance(handoff, TeacherChoice):
        return [
            [candidate.weights.sha256, _code_of_own(candidate.architecture)]
            for candidate in handoff.kept
        ]
    if isinstance(handoff, TrainedStudent):
        return handoff.weights.sha256
    if isinstance(handoff, StudentDesign):
        first = handoff.initial and handoff.initial.sha256
        pairs = [[p.student, p.teacher] for p in handoff.pairs]
        return [to_plain(handoff.architecture), pairs, first]
    if isinstance(handoff, ConnectedLoss):
        return handoff.pairs
    return None


def _code_of_own(architecture: Component) -> str | None:
    """Return a hash of the code of a network of yours, which the config may not name."""
    module = architecture.target.rpartition(".")[0]
    return None if module_file(module) is None else source_hash([module])


def _log_data(run: TrackedRun, parts: Parts, digest: str) -> None:
    source = parts.config["data"]["_target_"]
    run.log_dataset(parts.data.info.name, digest, source, "training")


def _note(report: Report, reused: list[str]) -> str:
    from distill_lab.report import tables

    taken = f"\n\nReused stages: {', '.join(reused)}." if reused else ""
    verdict = [
        {
            "goal": g.name,
            "reached": g.reached,
            "95 % interval": g.span,
            "aim": g.aim,
            "met": "yes" if g.met else "no",
        }
        for g in report.verdict
    ]
    return f"{tables.markdown(table(report))}\n\n{tables.markdown(verdict)}{taken}"
