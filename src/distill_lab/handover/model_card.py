"""The model card of a student: what it is, what was measured of it, and what was not.

Sections after Mitchell et al. 2019, "Model cards for model reporting", arXiv:1810.03993.
"""

from __future__ import annotations

from dataclasses import dataclass

from distill_lab.contracts import DataInfo
from distill_lab.handover.copies import TOLERANCE, Alike
from distill_lab.report import tables
from distill_lab.stages.handoffs import ConnectedLoss, TeacherChoice, TrainedStudent
from distill_lab.stages.report_handoff import DISTILLED, Report, Row, Variant, table

NUM_WORST = 3  # classes that are named
NUM_NAMED = 20  # class names that are listed
COLUMNS = ("", "accuracy", "HR@10", "NDCG@10", "agreement", "ECE", "NLL", "Brier")
COSTS = ("", "parameters", "MACs", "KiB on disk", "latency ms")


@dataclass(frozen=True)
class OfClass:
    """The samples of one class in the test split, and how many of them the student names so."""

    name: str
    num_right: int
    num_samples: int


@dataclass(frozen=True)
class Facts:
    """What a model card is written from.

    Attributes:
        info: of the columns that the student reads.
        source: dotted path of the dataset.
        checksum: SHA-256 of the splits.
        sizes: split -> number of samples.
        value_range: smallest and largest number among the training inputs; None for token ids.
        left_out: names of classes that the student was not trained on.
        num_seen: training samples that the student was trained on.
        seed: of its training.
        command: that makes it.
        commit: of this package, when the student was trained.
        torch: version of it then.
        starts_from: weights that the teacher was not trained from scratch for; None for none.
        teachers: best first.
        loss: that the student was trained under.
        student: as it was trained.
        report: of the test split.
        classes: of the test split; () where items are ranked.
        num_bins: of the ECE.
        copies: file -> how far it is from the network, over the test split.
        not_made: file -> why it could not be made.
    """

    info: DataInfo
    source: str
    checksum: str
    sizes: dict[str, int]
    value_range: tuple[float, float] | None
    left_out: tuple[str, ...]
    num_seen: int
    seed: int
    command: str
    commit: str
    torch: str
    starts_from: str | None
    teachers: TeacherChoice
    loss: ConnectedLoss
    student: TrainedStudent
    report: Report
    classes: tuple[OfClass, ...]
    num_bins: int
    copies: dict[str, Alike]
    not_made: dict[str, str]


def model_card(facts: Facts) -> str:
    """Return the card as Markdown."""
    sections = {
        "Model details": _details(facts),
        "Intended use": _use(facts),
        "Factors": _factors(facts),
        "Metrics": _metrics(facts),
        "Evaluation data": _evaluation_data(facts),
        "Training data": _training_data(facts),
        "Quantitative analyses": _analyses(facts),
        "Ethical considerations": _ethics(facts),
        "Caveats and recommendations": _caveats(facts),
    }
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items())
    return f"# {facts.student.label}, distilled on {facts.info.name}\n\n{body}\n"


def _details(facts: Facts) -> str:
    row, info, student = facts.report.row(DISTILLED), facts.info, facts.student
    terms = " + ".join(f"{term.weight:g} x {term.name}" for term in facts.loss.terms)
    teachers = ", ".join(one.label for one in facts.teachers.kept)
    if facts.starts_from is not None:
        teachers += f"; its first weights: {facts.starts_from}"
    return _list(
        f"Network: {student.architecture.label} (`{student.architecture.target}`), "
        f"{row.cost.parameters:,} parameters, {row.cost.macs:,} MACs for one input",
        f"Teacher: {teachers}",
        f"Loss: {terms}, at temperature {facts.loss.temperature:g} at the start",
        f"Training: weights of epoch {student.kept_epoch} of {student.epochs}, seed {facts.seed}",
        f"Input: {_inputs(facts)}",
        f"Output: (N, {info.num_classes}) float32 logits, one for each "
        f"{'item' if info.ranks_items else 'class'}; softmax makes them probabilities",
        f"Made by: `{facts.command}`, distill-lab at commit {facts.commit}, torch {facts.torch}",
        f"Weights: SHA-256 {student.weights.sha256}",
        "Licence: that of the data is not known to this program and is to be looked up before the "
        "model is handed on",
    )


def _inputs(facts: Facts) -> str:
    info = facts.info
    shape = ", ".join(("N", *map(str, info.input_shape)))
    if info.vocabulary_size is not None:
        return (
            f"({shape}) int64 token ids below {info.vocabulary_size:,}, 0 being padding, as "
            f"`{facts.source}` makes them"
        )
    said = f"({shape}) float32 as `{facts.source}` gives them, not normalised"
    if facts.value_range is not None:
        low, high = facts.value_range
        said += f"; those of the training split are in [{low:.4g}, {high:.4g}]"
    mean, std = (", ".join(f"{one:.4g}" for one in numbers) for numbers in (info.mean, info.std))
    return (
        f"{said}. Served, and in `.pt2` and `.onnx`, it normalises by mean {mean}, deviation {std}"
    )


def _use(facts: Facts) -> str:
    info = facts.info
    what = (
        f"Ranks {info.num_classes:,} items by what a user had last; what a user had before is left "
        "out of the ranking by whoever asks."
        if info.ranks_items
        else f"Tells {info.num_classes:,} classes apart: {_names(info.class_names)}."
    )
    return (
        f"{what} Made by an experiment in knowledge distillation, to be compared with its teacher "
        "and with the same network trained without one. Inputs of another kind or source than "
        f"{info.name}, and other classes, are out of scope: nothing here says how it answers them."
    )


def _factors(facts: Facts) -> str:
    if facts.info.ranks_items:
        return (
            "Measured apart: popular items and others (HR@10 of both below). By groups of users "
            "nothing was measured."
        )
    return (
        "Measured apart: classes. By groups of people, devices or conditions of recording nothing "
        "was measured."
    )


def _metrics(facts: Facts) -> str:
    by = facts.info.quality.label
    ranked = (
        "HR@10: share of the users whose next item is among the first ten of all items. NDCG@10: "
        "likewise, weighted by the place. "
    )
    return (
        f"Compared by {by}. {ranked if facts.info.ranks_items else ''}Agreement: share of samples "
        f"on which a network says what the first teacher says. ECE: calibration error in "
        f"{facts.num_bins} bins. NLL in nats."
    )


def _evaluation_data(facts: Facts) -> str:
    return (
        f"The test split of {facts.info.name}, {facts.sizes['test']:,} samples; no choice of this "
        f"run was made on it. SHA-256 of all splits: {facts.checksum}"
    )


def _training_data(facts: Facts) -> str:
    train, seen = facts.sizes["train"], facts.num_seen
    some = "" if seen == train else f", of which the student was trained on {seen:,}"
    left_out = ""
    if facts.left_out:
        left_out = f" It was not trained on {', '.join(facts.left_out)}."
    return (
        f"The training split of {facts.info.name}, {train:,} samples{some}; choices were made on "
        f"the validation split, {facts.sizes['validation']:,} samples.{left_out}"
        + "".join(f" {sentence}" for sentence in facts.report.data.on_labels)
    )


def _analyses(facts: Facts) -> str:
    rows = table(facts.report)
    parts = [
        "On the test split:",
        tables.markdown(rows, [name for name in COLUMNS if name in rows[0]]),
        tables.markdown(rows, list(COSTS)),
        f"On the validation split the student has {_of_validation(facts)}.",
    ]
    worst = worst_classes(facts.classes)
    if worst:
        named = ", ".join(f"{one.name} ({one.num_right} of {one.num_samples})" for one in worst)
        parts.append(f"Classes that it names least often, on the test split: {named}.")
    ranking = facts.report.row(DISTILLED).scores.ranking
    if ranking is not None:
        shares = (ranking.hr10_popular, ranking.hr10_unpopular)
        popular, others = (tables.format_value(share) for share in shares)
        parts.append(
            f"HR@10 of the student: {popular} where the next item is popular, {others} elsewhere."
        )
    parts += [_of_variants(facts.report.variants)] if facts.report.variants else []
    return "\n\n".join(parts)


def worst_classes(classes: tuple[OfClass, ...]) -> list[OfClass]:
    """Return those of which the smallest share is named rightly, the worst first.

    A class without a sample, or without a mistake, is none of them.
    """
    wrong = [one for one in classes if one.num_right < one.num_samples]
    return sorted(wrong, key=lambda one: one.num_right / one.num_samples)[:NUM_WORST]


def _of_validation(facts: Facts) -> str:
    scores = facts.report.validation
    return f"{scores.compared_by.label} {scores.quality:.4f}"


def _of_variants(variants: list[Variant]) -> str:
    lines = [f"{one.name}: `{one.file.path}` of run {one.file.run_id}" for one in variants]
    return (
        "This model is the student before compression. What was compressed is in the tables "
        f"above, and in these files, which take normalised inputs:\n\n{_list(*lines)}"
    )


def _ethics(facts: Facts) -> str:
    agreement = facts.report.row(DISTILLED).agreement
    return (
        "Not looked into: where the data come from, whom they show, and whether they agreed. A "
        "student takes on what its teacher learned, faults too: on the test split it says what the "
        f"teacher says on {agreement:.1%} of the samples."
    )


def _caveats(facts: Facts) -> str:
    size = facts.sizes["test"]
    made = [
        f"`{file}` was asked about the whole test split: {one.num_same:,} of {one.num_samples:,} "
        f"answers are those of the network in PyTorch, no logit differs by more than "
        f"{one.difference:.1e} of the largest (admitted: {TOLERANCE:.0e})."
        for file, one in facts.copies.items()
    ]
    missing = [f"`{file}` could not be made: {why}" for file, why in facts.not_made.items()]
    return _list(
        f"It was evaluated on one test split; one sample of it is {100 / size:.2g} points.",
        f"It was trained once, with seed {facts.seed}. How much another seed changes is not in "
        "these numbers; a sweep over seeds shows it.",
        _of_confidence(facts.report.row(DISTILLED)),
        "Other data than the test split, noise, and inputs made to deceive it are not among what "
        "this card reports.",
        *made,
        *missing,
    )


def _of_confidence(row: Row) -> str:
    scores = row.scores
    said = "over" if scores.confidence > scores.accuracy else "under"
    return (
        f"It is {said}-confident on the test split: mean confidence {scores.confidence:.4f} at "
        f"accuracy {scores.accuracy:.4f}, ECE {scores.ece:.4f}."
    )


def _names(names: tuple[str, ...]) -> str:
    more = len(names) - NUM_NAMED
    return ", ".join(names[:NUM_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _list(*lines: str) -> str:
    return "\n".join(f"- {line}" for line in lines)
