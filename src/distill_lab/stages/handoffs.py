"""What each stage gives the next: frozen dataclasses of plain values, kept as JSON."""

from __future__ import annotations

import json
from dataclasses import MISSING, Field, asdict, dataclass, fields, is_dataclass
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from distill_lab.contracts import Component
from distill_lab.measure.cost import Cost
from distill_lab.measure.scores import Scores

T = TypeVar("T")

HANDOFF = "handoff.json"
"""Where a stage's run keeps what it hands on."""


@dataclass(frozen=True)
class Weights:
    """Where trained weights lie: an artifact of a run, with its SHA-256."""

    run_id: str
    path: str
    sha256: str


@dataclass(frozen=True)
class Candidate:
    """One trained teacher: `label` tells it from the others, `score` is what stage 1 ranks by."""

    label: str
    architecture: Component
    seed: int
    weights: Weights
    scores: Scores
    cost: Cost
    score: float


@dataclass(frozen=True)
class TeacherChoice:
    """Stage 1: the kept teachers, best first, and how many were tried."""

    kept: list[Candidate]
    num_candidates: int

    @property
    def best(self) -> Candidate:
        """The teacher that budgets and fidelity refer to."""
        return self.kept[0]

    @property
    def headline(self) -> str:
        """One line for the terminal."""
        best = self.best
        more = f" and {len(self.kept) - 1} more" if len(self.kept) > 1 else ""
        return (
            f"{best.label}{more}, best of {self.num_candidates}: "
            f"{_on_validation(best.scores)}, ECE {best.scores.ece:.4f}"
        )


@dataclass(frozen=True)
class LayerPair:
    """A proposed pair of taps and the CKA between their features, in [0, 1]."""

    student: str
    teacher: str
    cka: float


@dataclass(frozen=True)
class KnowledgeMap:
    """Stage 2: how soft the teacher's targets are and which layers carry what.

    Attributes:
        entropy: temperature (as text) -> mean entropy of the soft targets, nats.
        wrong_class_variance: temperature (as text) -> mean variance over the wrong classes.
        temperature_range: proposed lowest and highest temperature.
        probe_accuracy: teacher tap -> accuracy of a linear probe on it.
        pairs: proposed layer pairs, input to output.
    """

    entropy: dict[str, float]
    wrong_class_variance: dict[str, float]
    temperature_range: list[float]
    probe_accuracy: dict[str, float]
    pairs: list[LayerPair]

    @property
    def headline(self) -> str:
        """One line for the terminal."""
        low, high = self.temperature_range
        pairs = ", ".join(f"{p.student}~{p.teacher} ({p.cka:.2f})" for p in self.pairs)
        return f"temperature {low:g} to {high:g}; layer pairs {pairs}"


@dataclass(frozen=True)
class StudentDesign:
    """Stage 3: the picked student, its cost and its layer pairs.

    Attributes:
        label: tells it from the other candidates.
        num_in_budget: how many of the candidates met the budget.
        one_named: whether its parameters were not limited because it was named outright.
        initial: weights that its training starts from; None: random ones, by the run's seed.
    """

    label: str
    architecture: Component
    cost: Cost
    pairs: list[LayerPair]
    num_candidates: int
    num_in_budget: int
    one_named: bool
    initial: Weights | None

    @property
    def headline(self) -> str:
        """One line for the terminal."""
        in_budget = f"{self.num_in_budget} of {self.num_candidates} in budget"
        budget = "no parameter limit (one student named)" if self.one_named else in_budget
        return (
            f"{self.label}, {budget}: {self.cost.parameters:,} parameters, {self.cost.macs:,} MACs"
        )


@dataclass(frozen=True)
class Term:
    """One loss term at the untrained student: unweighted value, norm of its weighted gradient.

    Attributes:
        suggested_weight: the weight at which its gradient would be as long as the mean of all
            terms'; the present weight where the term does not drown another and is not drowned.
        uses_teacher: False for a term that reads labels alone, which no temperature reaches.
    """

    name: str
    weight: float
    value: float
    gradient_norm: float
    suggested_weight: float
    uses_teacher: bool


@dataclass(frozen=True)
class ConnectedLoss:
    """Stage 4: the terms, weighed against each other at the first temperature.

    Attributes:
        pairs: term -> [student tap, teacher tap] each, for the terms that compare layers.
    """

    terms: list[Term]
    temperature: float
    pairs: dict[str, list[list[str]]]

    @property
    def headline(self) -> str:
        """One line for the terminal."""
        terms = (f"{t.weight:g} x {t.name} (gradient {t.gradient_norm:.3g})" for t in self.terms)
        return f"{' + '.join(terms)} at temperature {self.temperature:g}"

    @property
    def table(self) -> list[dict[str, str | float | int | None]]:
        """One line per term."""
        return [
            {
                "term": term.name,
                "weight": term.weight,
                "value at start": term.value,
                "weighted value": term.weight * term.value,
                "gradient norm at start": term.gradient_norm,
                "suggested weight": term.suggested_weight,
                "layers": ", ".join(f"{a} from {b}" for a, b in self.pairs.get(term.name, [])),
            }
            for term in self.terms
        ]


@dataclass(frozen=True)
class TrainedStudent:
    """Stage 5: a trained student (distilled or control) and its scores on the validation split."""

    label: str
    architecture: Component
    weights: Weights
    scores: Scores
    epochs: int
    kept_epoch: int
    seconds: float

    @property
    def headline(self) -> str:
        """One line for the terminal."""
        return f"{_on_validation(self.scores)}, epoch {self.kept_epoch} of {self.epochs}"


def _on_validation(scores: Scores) -> str:
    return f"val {scores.compared_by.label} {scores.quality:.4f}"


def to_plain(handoff: Any) -> dict[str, Any]:
    """Return a hand-off as nested plain values, as JSON gives them back: tuples are lists."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(handoff)))
    return plain


def from_plain(kind: type[T], values: dict[str, Any]) -> T:
    """Rebuild a hand-off of class `kind` from what `to_plain` made of it."""
    result: T = _rebuild(kind, values)
    return result


def has_default(given: Field[Any]) -> bool:
    """Tell whether a field may be absent, as one is that an older hand-off has not."""
    return given.default is not MISSING or given.default_factory is not MISSING


def _rebuild(kind: Any, value: Any) -> Any:
    if is_dataclass(kind) and isinstance(kind, type):
        hints = get_type_hints(kind)
        known = [f for f in fields(kind) if f.name in value or not has_default(f)]
        return kind(**{f.name: _rebuild(hints[f.name], value[f.name]) for f in known})
    if get_origin(kind) is list:
        return [_rebuild(get_args(kind)[0], item) for item in value]
    if get_origin(kind) is tuple:
        return tuple(value)
    if get_origin(kind) is UnionType and value is not None:
        return _rebuild(next(arg for arg in get_args(kind) if arg is not type(None)), value)
    return value
