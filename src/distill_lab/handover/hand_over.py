"""After a run: its student as files for others, and as a version in the registry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from distill_lab.contracts import Arrays, DataInfo, Parts, Splits
from distill_lab.data.subset import subset
from distill_lab.errors import RunError, told_of
from distill_lab.handover.examples import EXAMPLES
from distill_lab.handover.files import ONNX, Copies, copies_of, own_inputs
from distill_lab.handover.load import CONFIG, WEIGHTS, described
from distill_lab.handover.model_card import Facts, OfClass, model_card
from distill_lab.measure.classes import num_of_class
from distill_lab.models.deployed import Deployed
from distill_lab.naming import command
from distill_lab.stages.handoffs import (
    HANDOFF,
    ConnectedLoss,
    TeacherChoice,
    TrainedStudent,
    from_plain,
)
from distill_lab.stages.report_handoff import DISTILLED, Report
from distill_lab.tracking.store import RunSummary, Store

FOLDER, CARD = "handover", "model_card.md"
SERVED = "data/model.pt2"  # of a model that MLflow keeps in its pt2 format


@dataclass(frozen=True)
class HandedOver:
    """What became of a student.

    Attributes:
        model: URI of its version in the registry.
        standing: how it stands to the champion, for people.
        address: of its files in MLflow.
        folder: where its files lie; their address where that is not here.
    """

    model: str
    standing: str
    address: str
    folder: str

    @property
    def lines(self) -> str:
        """For the terminal."""
        return f"Model   {self.model}\n        {self.standing}\nFiles   {self.folder}"


def hand_over(
    store: Store, parts: Parts, run_id: str, overrides: Sequence[str]
) -> HandedOver | None:
    """Register the student of a finished run, with a model card, and leave its files.

    The files are artifacts of the stage 6 that measured the student, whichever run that was in;
    those that are there and whole are left as they are.

    Args:
        store: where the run is.
        parts: of the run.
        run_id: of the workflow, or of a chain.
        overrides: the command that the card names.

    Returns:
        What came of it; None where nothing is to be registered.

    Raises:
        RunError: an artifact is missing or altered, or the logged model is not the student.
    """
    name = registry_name(parts)
    if name is None:
        return None
    stages = _stages(store, run_id)
    evaluated = stages["6 evaluate"]
    report = from_plain(Report, store.read_json(evaluated.id, HANDOFF))
    origin = evaluated.tags.get("reused_from", evaluated.id)
    with store.turn(f"handover-{origin}", run_id):
        if not _is_whole(store, origin):
            print("  hand-over    the student's files are asked about the whole test split")
            _make(store, parts, stages, report, origin, overrides)
    quality = parts.data.info.quality
    where = f"runs:/{origin}/{FOLDER}"
    student = from_plain(TrainedStudent, store.read_json(stages["5 train"].id, HANDOFF))
    tags = {
        "weights": student.weights.sha256,
        "data": parts.data.info.name,
        "data_checksum": evaluated.tags["data_checksum"],
        f"val/{quality.key}": f"{report.validation.quality:.6f}",
        f"test/{quality.key}": f"{report.row(DISTILLED).scores.quality:.6f}",
        "run": run_id,
        "student": report.row(DISTILLED).architecture,
        "handover": where,
    }
    card = store.fetch(origin, f"{FOLDER}/{CARD}").read_text(encoding="utf-8")
    registered = store.register(report.model, name, quality, tags, card, run_id)
    store.open(run_id).set_tags({"registered": registered.uri, "handover": where})
    folder = store.folder(origin, FOLDER)
    return HandedOver(registered.uri, registered.standing, where, folder)


def registry_name(parts: Parts) -> str | None:
    """Return the name of the registered model, or None."""
    name = parts.evaluation.register_as
    return f"distill-lab-{parts.data.info.name}" if name == "auto" else name


def _stages(store: Store, run_id: str) -> dict[str, RunSummary]:
    """Return the stages of a workflow, or of the last pass of a chain, by name."""
    below = store.children(run_id)
    passes = [one for one in below if "pass" in one.tags]
    below = store.children(passes[-1].id) if passes else below
    return {one.tags["stage"]: one for one in below if "stage" in one.tags}


def _is_whole(store: Store, origin: str) -> bool:
    """Tell whether a hand-over is there, each of its files as it was written."""
    try:
        files = store.read_json(origin, f"{FOLDER}/{CONFIG}")["files"]
        for name, sha256 in files.items():
            store.verify(origin, f"{FOLDER}/{name}", sha256)
    except (RunError, KeyError):
        return False
    return True


def _make(
    store: Store,
    parts: Parts,
    stages: dict[str, RunSummary],
    report: Report,
    origin: str,
    overrides: Sequence[str],
) -> None:
    """Write the files; `config.json`, which has their hashes, comes last."""
    splits, all_info = parts.data.load(), parts.data.info
    info = all_info.read_by(student=True)
    student = from_plain(TrainedStudent, store.read_json(stages["5 train"].id, HANDOFF))
    kept, where = student.weights, (student.weights.run_id, student.weights.path)
    net = store.load_weights(student.architecture.make_network(info), *where, kept.sha256)
    pt2 = store.fetch_model(report.model, SERVED)
    with told_of(f"hand-over of run {origin}"):
        made = copies_of(Deployed(net, info).eval(), pt2, splits.train, splits.test, all_info)
    facts = _facts(store, parts, splits, stages, student, report, made, overrides)
    files = {WEIGHTS: store.verify(*where, kept.sha256).read_bytes(), **made.files}
    texts = {name: text for name, text in EXAMPLES.items() if name != _left_out(made)}
    files |= {name: text.encode() for name, text in {**texts, CARD: model_card(facts)}.items()}
    run = store.open(origin)
    hashes = {name: run.log_bytes(file, f"{FOLDER}/{name}") for name, file in files.items()}
    about = described(student.architecture, info) | {"not_made": made.not_made, "files": hashes}
    run.log_json(about, f"{FOLDER}/{CONFIG}")


def _left_out(made: Copies) -> str:
    return "load_onnx.py" if ONNX in made.not_made else ""


def _facts(
    store: Store,
    parts: Parts,
    splits: Splits,
    stages: dict[str, RunSummary],
    student: TrainedStudent,
    report: Report,
    made: Copies,
    overrides: Sequence[str],
) -> Facts:
    info, regime, tags = parts.data.info, parts.regime, stages["5 train"].tags
    seen = subset(
        splits.train.targets, regime.leave_out_classes, regime.num_samples, seed=parts.seed
    )
    return Facts(
        info=info.read_by(student=True),
        source=parts.config["data"]["_target_"],
        checksum=tags["data_checksum"],
        sizes={name: len(arrays.targets) for name, arrays in splits._asdict().items()},
        value_range=_range(splits.train, info),
        left_out=tuple(info.class_names[number] for number in regime.leave_out_classes),
        num_seen=len(seen),
        seed=parts.seed,
        command=command(overrides),
        commit=tags["mlflow.source.git.commit"],
        torch=tags["version.torch"],
        starts_from=_starts_from(parts),
        teachers=from_plain(TeacherChoice, store.read_json(stages["1 teacher"].id, HANDOFF)),
        loss=from_plain(ConnectedLoss, store.read_json(stages["4 loss"].id, HANDOFF)),
        student=student,
        report=report,
        classes=() if info.ranks_items else by_class(made.said, splits.test.targets, info),
        num_bins=parts.evaluation.num_bins,
        copies=made.alike,
        not_made=made.not_made,
    )


def by_class(said: Tensor, targets: Tensor, info: DataInfo) -> tuple[OfClass, ...]:
    """Count the samples of each class, and those among them that are named rightly.

    Args:
        said: (N,) class indices.
        targets: (N,) class indices.
        info: names the classes.
    """
    chosen = (said == targets, torch.ones_like(targets, dtype=torch.bool))
    counts = (num_of_class(targets, one, info.num_classes) for one in chosen)
    return tuple(map(OfClass, info.class_names, *counts))


def _range(train: Arrays, info: DataInfo) -> tuple[float, float] | None:
    """Return the smallest and the largest input; pictures in files are in [0, 1] by contract."""
    if info.vocabulary_size is not None:
        return None
    if not isinstance(train.inputs, Tensor):
        return 0.0, 1.0
    low, high = torch.aminmax(own_inputs(train.inputs, info))
    return low.item(), high.item()


def _starts_from(parts: Parts) -> str | None:
    """Return the weights that the teacher was given; the last one of a chain was given none."""
    given = parts.selection.pretrained or parts.selection.weights
    return given if parts.chain.num_passes == 1 else None
