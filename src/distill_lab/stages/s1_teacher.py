"""Stage 1: train the candidate teachers, rank them on the validation split, keep the best.

Or take the student of an earlier run, or published weights, as the teacher.
"""

from __future__ import annotations

from dataclasses import replace
from http.client import HTTPException

from distill_lab.data.network import SOCKET_SECONDS, socket_timeout
from distill_lab.errors import ConfigError, RunError
from distill_lab.measure.cost import measure_cost
from distill_lab.measure.scores import score
from distill_lab.models.published import published
from distill_lab.report import plots, tables
from distill_lab.settings import Selection
from distill_lab.stages.candidates import LATENCY_REPEATS, obtain, points
from distill_lab.stages.context import NUM_BINS, Context
from distill_lab.stages.handoffs import (
    HANDOFF,
    Candidate,
    TeacherChoice,
    TrainedStudent,
    from_plain,
)

TRAINED = "5 train"  # the stage that leaves a student


def run(context: Context) -> TeacherChoice:
    """Train every point of the teacher's grid once per seed and keep the highest scores.

    Raises:
        ConfigError: `selection.from_run` names a run on other data.
        RunError: `selection.from_run` names no run that has a student, or the weights of
            `selection.weights` could not be had.
    """
    selection = context.parts.selection
    curves: dict[str, list[float]] = {}
    if selection.from_run is not None:
        tried = [_taken(context, selection.from_run)]
    elif selection.weights is not None:
        tried = [_loaded(context, selection.weights)]
    else:
        trained = obtain(context, points(context.parts))
        tried = [one.candidate for one in trained]
        curves = {
            f"{c.label} seed={c.seed}": one.qualities for c, one in zip(tried, trained, strict=True)
        }
    ranked = rank(tried, selection)
    _log(context, ranked, curves)
    return TeacherChoice(ranked[: selection.keep], len(ranked))


def rank(candidates: list[Candidate], selection: Selection) -> list[Candidate]:
    """Score candidates by quality, calibration and cost, and return them best first."""
    highest = max(candidate.cost.macs for candidate in candidates) or 1
    scored = [
        replace(
            candidate,
            score=candidate.scores.quality
            - selection.ece_weight * candidate.scores.ece
            - selection.cost_weight * candidate.cost.macs / highest,
        )
        for candidate in candidates
    ]
    return sorted(scored, key=lambda candidate: candidate.score, reverse=True)


def _taken(context: Context, run_id: str) -> Candidate:
    """Return the student that a workflow, or its stage 5, left."""
    store = context.store
    record = store.find(run_id)
    inside = [] if record is None else [record, *store.children(run_id)]
    trained = [one for one in inside if one.tags.get("stage") == TRAINED]
    if not trained or trained[-1].status != "FINISHED":
        raise RunError(
            f"selection.from_run: the store has no run {run_id!r} with a distilled student. "
            "Give the id of a finished run of all stages."
        )
    _require_same_data(context, run_id, trained[-1].tags)
    student = from_plain(TrainedStudent, store.read_json(trained[-1].id, HANDOFF))
    try:
        net = context.trained_network(student)
    except (ImportError, AttributeError, TypeError) as error:
        raise RunError(
            f"selection.from_run: {student.architecture.target}, the student of {run_id}, cannot "
            f"be made here: {error}"
        ) from error
    return Candidate(
        student.label,
        student.architecture,
        int(trained[-1].tags["seed"]),
        student.weights,
        student.scores,
        measure_cost(net, context.info.input_shape, LATENCY_REPEATS),
        0.0,
    )


def _require_same_data(context: Context, run_id: str, tags: dict[str, str]) -> None:
    """Refuse a student of other samples or labels, be they of the same shapes.

    Raises:
        ConfigError: naming both datasets.
    """
    ours, theirs = context.data_checksum, tags["data_checksum"]
    if ours != theirs:
        raise ConfigError(
            [
                f"selection.from_run: the student of {run_id} was trained on {tags['data']} "
                f"(checksum {theirs[:12]}), and this run is on {context.info.name} (checksum "
                f"{ours[:12]}). Take a run on the same data, with the same keys of data."
            ]
        )


def _loaded(context: Context, name: str) -> Candidate:
    """Load published weights into the teacher."""
    (architecture,) = context.parts.teachers
    net = context.new_network(architecture, seed=0)
    try:
        with socket_timeout(SOCKET_SECONDS):
            net.load_state_dict(published(name).state_dict())
    except (OSError, RuntimeError, HTTPException) as error:  # no answer, altered, other layers
        what = " ".join(str(error).split())
        raise RunError(f"selection.weights: {name} could not be loaded: {what}") from error
    net.eval()
    validation = context.splits.validation
    logits = context.predict(net, validation)
    return Candidate(
        name,
        architecture,
        0,
        context.save_weights(net, "teacher"),
        score(logits, validation.targets, NUM_BINS, validation.had),
        measure_cost(net, context.info.input_shape, LATENCY_REPEATS),
        0.0,
    )


def _log(context: Context, ranked: list[Candidate], curves: dict[str, list[float]]) -> None:
    quality = context.info.quality
    rows = [
        {
            "rank": place + 1,
            "kept": "yes" if place < context.parts.selection.keep else "",
            "architecture": candidate.architecture.label,
            "seed": candidate.seed,
            "score": candidate.score,
            "accuracy": candidate.scores.accuracy,
            quality.label: candidate.scores.quality,
            "ECE": candidate.scores.ece,
            "NLL": candidate.scores.nll,
            "parameters": candidate.cost.parameters,
            "MACs": candidate.cost.macs,
            "latency_ms": candidate.cost.latency_ms,
        }
        for place, candidate in enumerate(ranked)
    ]
    context.run.log_text(tables.csv_text(rows), "leaderboard.csv")
    context.run.log_text(tables.markdown(rows), "leaderboard.md")
    if curves:
        epochs = [float(epoch + 1) for epoch in range(max(map(len, curves.values())))]
        on_validation = f"validation {quality.label}"
        figure = plots.lines(epochs, curves, "Teacher candidates", "epoch", on_validation)
        context.run.log_figure(figure, "curves.png")
    best = ranked[0]
    context.run.log_metrics(
        {
            "val/accuracy": best.scores.accuracy,
            f"val/{quality.key}": best.scores.quality,
            "val/ece": best.scores.ece,
            "val/nll": best.scores.nll,
            "cost/parameters": best.cost.parameters,
            "cost/macs": best.cost.macs,
            "num_candidates": len(ranked),
        }
    )
