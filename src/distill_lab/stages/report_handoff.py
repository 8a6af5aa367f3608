"""The hand-off of stage 6: what was measured on the test split, and the verdict."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import NamedTuple

from distill_lab.measure.cost import Cost
from distill_lab.measure.fidelity import Fidelity
from distill_lab.measure.intervals import Interval
from distill_lab.measure.left_out import LeftOut
from distill_lab.measure.paired import Discordant
from distill_lab.measure.ranking import Ranking
from distill_lab.measure.scores import Reliability, Scores
from distill_lab.stages.cost_handoff import RunningCosts
from distill_lab.stages.examined import Faithfulness, Robustness
from distill_lab.stages.handoffs import Weights

TEACHER, CONTROL, DISTILLED = "teacher", "student without teacher", "student distilled"

PREDICTIONS, TARGET, RIGHT = "predictions.safetensors", "target", "right/"
"""Where the run of stage 6 keeps the class that each network names for each sample of the test
split, (N,) int32 by the network's name; the key of what is true; and what is before the name where
it says whether that is right, (N,) bool: of items, whether the next is among the first ten."""


@dataclass(frozen=True)
class Row:
    """One line of the table of stage 6, measured on the test split.

    Attributes:
        file_bytes: size of the file of its weights; None in reports that did not look.
        reliability: confidence against accuracy; None in reports that did not keep it.
        confusion: (K, K) counts, rows true, columns said; None where there are many classes.
    """

    name: str
    architecture: str
    scores: Scores
    agreement: float
    kl_to_teacher: float
    cost: Cost
    file_bytes: int | None = None
    reliability: Reliability | None = None
    confusion: list[list[int]] | None = None


@dataclass(frozen=True)
class Tested:
    """The data that a report is about.

    Attributes:
        name: of the dataset.
        num_samples: split -> how many.
        num_labels: of the training samples that the control was trained on; None: of all.
        class_names: K of them; none where there are too many to be shown.
        left_out: names of the classes that the student was not trained on.
        label_noise: share of the training labels that were made wrong, for students.
        teacher_label_noise: the same for teachers.
        shares_teacher: whether student and control began as parts of the teacher.
    """

    name: str = ""
    num_samples: dict[str, int] = field(default_factory=dict)
    num_labels: int | None = None
    class_names: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    label_noise: float = 0.0
    teacher_label_noise: float = 0.0
    shares_teacher: bool = False

    @property
    def on_labels(self) -> list[str]:
        """Return what is to be known of the labels of the training split, one sentence each."""
        said = []
        if self.num_labels is not None:
            said.append(f"Only {self.num_labels:,} training samples have a label.")
        noise = (("students", self.label_noise), ("teachers", self.teacher_label_noise))
        return said + [
            f"Of the training labels, {share:.0%} were made wrong on purpose for {who}."
            for who, share in noise
            if share
        ]


@dataclass(frozen=True)
class Variant:
    """A network that was compressed after its training, measured on the test split.

    Attributes:
        of: name of the row that it was made of.
        steps: names of the steps, in order.
        runtime: what runs it.
        is_int8: whether it has int8 weights.
        file: what it is handed out as.
        parameters: as of the float network that it was made of.
        macs: as of the float network that it was made of.
        latency_ms: median time of one forward pass at batch size 1, milliseconds.
        scores: on the test split.
        validation: to choose among variants by.
        difference: from the network before the last step, where that has to answer alike: of the
            logits on the test split the largest, as a share of the largest logit.
        seconds: wall time of its making, with its training if it had one.
        float_latency_ms: of the same network in float by the same runtime, timed in turns with it;
            None where it is not in int8.
        against_origin: test samples that only it, or only the network it was made of, has right.
        peak_memory_mib: as of `Cost`; None where another runtime than torch holds it.
    """

    of: str
    steps: list[str]
    runtime: str
    is_int8: bool
    file: Weights
    scores: Scores
    agreement: float
    kl_to_teacher: float
    parameters: int
    macs: int
    file_bytes: int
    latency_ms: float
    validation: Scores
    difference: float | None
    seconds: float
    float_latency_ms: float | None = None
    against_origin: Discordant | None = None
    peak_memory_mib: float | None = None

    @property
    def name(self) -> str:
        """What it is called in tables."""
        return f"{self.of} + {' + '.join(self.steps)}"

    @property
    def metrics(self) -> dict[str, float]:
        """The few numbers by which variants are compared."""
        quality, peak = self.scores.compared_by.key, self.peak_memory_mib
        return {
            f"val/{quality}": self.validation.quality,
            f"test/{quality}": self.scores.quality,
            "val/accuracy": self.validation.accuracy,
            "test/accuracy": self.scores.accuracy,
            "test/agreement": self.agreement,
            "cost/parameters": self.parameters,
            "cost/macs": self.macs,
            "cost/file_bytes": self.file_bytes,
            "cost/latency_ms": self.latency_ms,
            **({} if peak is None else {"cost/peak_memory_mib": peak}),
        }


class Comparison(NamedTuple):
    """The distilled student against teacher and control.

    Attributes:
        accuracy_kept: of the teacher's quality.
        compute_saved: of the teacher's MACs.
        parameters_fraction: of the teacher's.
        gain: of quality, over the control's.
    """

    accuracy_kept: float
    compute_saved: float
    parameters_fraction: float
    gain: float


def compare(rows: list[Row]) -> Comparison:
    """Return the shares and the gain that verdict and metrics are made of."""
    by_name = {row.name: row for row in rows}
    teacher, control, student = (by_name[name] for name in (TEACHER, CONTROL, DISTILLED))
    return Comparison(
        student.scores.quality / max(teacher.scores.quality, 1e-9),
        1 - student.cost.macs / max(teacher.cost.macs, 1),
        student.cost.parameters / max(teacher.cost.parameters, 1),
        student.scores.quality - control.scores.quality,
    )


@dataclass(frozen=True)
class Goal:
    """One item of the verdict: what was reached against what was aimed at.

    Attributes:
        is_gain: a difference in points, met above the goal; otherwise a share, met at it too.
        interval: where the value lies, by samples that might have been others; None: not known.
    """

    name: str
    value: float
    goal: float
    at_least: bool
    is_gain: bool = False
    interval: Interval | None = None

    @property
    def met(self) -> bool:
        """True when the value reaches the goal."""
        if self.is_gain:
            return self.value > self.goal
        return self.value >= self.goal if self.at_least else self.value <= self.goal

    @property
    def reached(self) -> str:
        """The value for people to read, with its unit."""
        return f"{100 * self.value:+.1f} points" if self.is_gain else f"{self.value:.1%}"

    @property
    def span(self) -> str:
        """The interval for people to read, in the value's unit; "" where it is not known."""
        if self.interval is None:
            return ""
        form = "{:+.1f}" if self.is_gain else "{:.1f}%"
        low, high = (form.format(100 * end) for end in (self.interval.low, self.interval.high))
        return f"{low} to {high}"

    @property
    def aim(self) -> str:
        """The goal for people to read, with its unit."""
        if self.is_gain:
            return f"above {100 * self.goal:g} points"
        return f"{'at least' if self.at_least else 'at most'} {self.goal:.0%}"


@dataclass(frozen=True)
class Proposal:
    """A next config worth a run: overrides for the command line, and the rule behind them."""

    overrides: list[str]
    why: str


@dataclass(frozen=True)
class Report:
    """Stage 6: the table, the verdict and what to try next.

    Attributes:
        rows: "teacher", further teachers, "student without teacher", "student distilled".
        validation: of the distilled student; the numbers that all choices are made on.
        model: URI of the logged student, e.g. `models:/m-1f3a`; registering it is the workflow's.
        seconds_per_epoch: of the distillation, validation included.
        on_train: the distilled student and the teacher, on samples that the student was trained on.
        left_out: of the distilled student, on the classes that it was not trained on, if any.
        variants: compressed networks, if any, each after those that it was made of.
        data: what all this was measured on.
        running: what it costs to run each network; None in reports that did not look.
        faithfulness: how closely the student follows; None in reports that did not look.
        robustness: how far the numbers hold; None likewise.
    """

    rows: list[Row]
    verdict: list[Goal]
    proposals: list[Proposal]
    validation: Scores
    model: str
    seconds_per_epoch: float
    on_train: Fidelity
    left_out: LeftOut | None
    variants: list[Variant] = field(default_factory=list)
    data: Tested = field(default_factory=Tested)
    running: RunningCosts | None = None
    faithfulness: Faithfulness | None = None
    robustness: Robustness | None = None

    @property
    def headline(self) -> str:
        """One line for the terminal."""
        met = sum(goal.met for goal in self.verdict)
        counts = [_counted(len(self.proposals), "proposal")]
        counts += [_counted(len(self.variants), "variant")] if self.variants else []
        return f"{met} of {len(self.verdict)} goals met, {', '.join(counts)}"

    def row(self, name: str) -> Row:
        """Return the line of a network by name."""
        return next(row for row in self.rows if row.name == name)

    @property
    def metrics(self) -> dict[str, float]:
        """The few numbers by which runs are compared."""
        student, control, teacher = (self.row(name) for name in (DISTILLED, CONTROL, TEACHER))
        compared = compare(self.rows)
        return {
            "val/accuracy": self.validation.accuracy,
            "val/nll": self.validation.nll,
            "train/agreement": self.on_train.agreement,
            "train/kl_to_teacher": self.on_train.kl_to_teacher,
            "test/accuracy": student.scores.accuracy,
            "test/accuracy_control": control.scores.accuracy,
            "test/accuracy_teacher": teacher.scores.accuracy,
            "test/gain_over_control": compared.gain,
            "test/accuracy_kept": compared.accuracy_kept,
            "test/agreement": student.agreement,
            "test/kl_to_teacher": student.kl_to_teacher,
            "test/ece": student.scores.ece,
            "test/nll": student.scores.nll,
            "test/errors": student.scores.errors,
            "test/errors_control": control.scores.errors,
            "test/errors_teacher": teacher.scores.errors,
            "cost/parameters": student.cost.parameters,
            "cost/parameters_teacher": teacher.cost.parameters,
            "cost/macs": student.cost.macs,
            "cost/macs_teacher": teacher.cost.macs,
            "cost/peak_memory_mib": student.cost.peak_memory_mib,
            "cost/peak_memory_mib_teacher": teacher.cost.peak_memory_mib,
            "cost/latency_ms": student.cost.latency_ms,
            "cost/latency_ms_teacher": teacher.cost.latency_ms,
            "cost/compute_saved": compared.compute_saved,
            "cost/parameters_saved": 1 - compared.parameters_fraction,
            "cost/latency_saved": 1 - student.cost.latency_ms / teacher.cost.latency_ms,
            "cost/seconds_per_epoch": self.seconds_per_epoch,
            **self._of_left_out_classes,
            **self._of_ranking,
            **self._of_variants,
            **(self.running.metrics(DISTILLED, TEACHER) if self.running else {}),
            **self._of_faithfulness,
            **self._of_robustness,
        }

    @property
    def _of_faithfulness(self) -> dict[str, float]:
        found = self.faithfulness
        if found is None:
            return {}
        validation = found.on("validation").student
        return {
            "val/agreement": validation.agreement,
            "val/kl_to_teacher": validation.kl_to_teacher,
            "test/agreement_control": found.between(TEACHER, CONTROL).agreement,
            "test/agreement_with_control": found.between(DISTILLED, CONTROL).agreement,
        }

    @property
    def _of_robustness(self) -> dict[str, float]:
        found, quality = self.robustness, self.validation.compared_by.key
        if found is None:
            return {}
        student = found.of(DISTILLED)
        ends = {DISTILLED: "", CONTROL: "_control", TEACHER: "_teacher"}
        corrupted = {
            f"test/corrupted_{quality}{end}": value
            for name, end in ends.items()
            if (value := found.corrupted(name)) is not None
        }
        return {
            f"test/{quality}_low": student.quality.low,
            f"test/{quality}_high": student.quality.high,
            "test/gain_low": found.gain.low,
            "test/gain_high": found.gain.high,
            "test/gain_p_value": found.against(CONTROL).p_value,
            "test/adaptive_ece": student.adaptive_ece,
            "test/aurc": student.selective.aurc,
            **corrupted,
        }

    @property
    def _of_variants(self) -> dict[str, float]:
        """Return the numbers of each; those of the student's last under a name of their own too."""
        named = {f"{one.of}/{'.'.join(one.steps)}": one for one in self.variants}
        named |= dict([("last", one) for one in self.variants if one.of == DISTILLED][-1:])
        return {
            f"compressed/{name}/{key}": value
            for name, variant in named.items()
            for key, value in variant.metrics.items()
        }

    @property
    def _of_ranking(self) -> dict[str, float]:
        ends = {DISTILLED: "", CONTROL: "_control", TEACHER: "_teacher"}
        measured = {"val/{}": self.validation}
        measured |= {f"test/{{}}{end}": self.row(name).scores for name, end in ends.items()}
        return {
            form.format(name): value
            for form, scores in measured.items()
            if scores.ranking is not None
            for name, value in asdict(scores.ranking).items()
            if value is not None
        }

    @property
    def _of_left_out_classes(self) -> dict[str, float]:
        if self.left_out is None:
            return {}
        biased = {
            "no_bias": self.left_out.plain,
            "bias_of_validation": self.left_out.chosen,
            "bias_tuned_on_test": self.left_out.test_tuned,
        }
        return {
            f"left_out/{how}/{name}": value
            for how, found in biased.items()
            for name, value in asdict(found).items()
        }


def table(report: Report) -> list[dict[str, str | float | int | None]]:
    """Return the rows of the report's main table, one per network; compressed ones last."""
    shown: list[tuple[Row | Variant, Cost | Variant]] = [(row, row.cost) for row in report.rows]
    shown += [(variant, variant) for variant in report.variants]
    return [
        {
            "": one.name,
            "accuracy": one.scores.accuracy,
            "agreement": one.agreement,
            "ECE": one.scores.ece,
            "NLL": one.scores.nll,
            "Brier": one.scores.brier,
            "KL to teacher": one.kl_to_teacher,
            "parameters": cost.parameters,
            "MACs": cost.macs,
            "KiB on disk": None if one.file_bytes is None else one.file_bytes / 1024,
            "peak MiB": cost.peak_memory_mib,
            "latency ms": cost.latency_ms,
            **_ranking_columns(one.scores.ranking),
        }
        for one, cost in shown
    ]


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _ranking_columns(found: Ranking | None) -> dict[str, float | None]:
    if found is None:
        return {}
    return {
        "HR@10": found.hr10,
        "NDCG@10": found.ndcg10,
        "coverage@10": found.coverage10,
        "HR@10, popular": found.hr10_popular,
        "HR@10, others": found.hr10_unpopular,
    }
