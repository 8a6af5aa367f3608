"""How the rounds of a refinement descend from each other, and what makes one better."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import sqrt

from distill_lab.measure.scores import Scores
from distill_lab.settings import Evaluation
from distill_lab.stages.report_handoff import DISTILLED, TEACHER, Report

LINEAGE = "refinement.json"
"""Where the first run keeps its lineage."""
NOISE = 0.5  # standard errors of quality on validation within which two networks are as good
SMALLER = 0.1  # of the file that has to go for a network to count as smaller
QUALITY_KEPT, COMPUTE_SAVED, SIZE = "quality kept", "compute saved", "size"
"""The goals of a run that validation and counting can judge."""


@dataclass(frozen=True)
class Standing:
    """What a run hands out, by validation and by counting; the test split has no part in it.

    Attributes:
        name: of the network in the run's table.
        quality: on validation.
        noise: difference of quality that says nothing.
        file_bytes: of the file that it is kept as; None in reports that did not look.
    """

    name: str
    quality: float
    noise: float
    macs: int
    parameters: int
    file_bytes: int | None


@dataclass(frozen=True)
class Round:
    """One run of a refinement.

    Attributes:
        number: 0 is the run that was asked for.
        parent: number of the best round before it, which the proposal was of; None: of none.
        why: the rule that proposed it.
        overrides: the whole run.
        brought: what it brought, in words.
        seconds: that it took, by the clock; little where it was reused.
        run_id: None where it failed, as all that follows.
        standing: on validation.
        goals: of `QUALITY_KEPT`, `COMPUTE_SAVED` and `SIZE`, those that it meets.
        test_quality: told, and used for nothing.
        gain: of quality on validation, over its parent's.
        is_better: whether it took the parent's place.
    """

    number: int
    name: str
    parent: int | None
    why: str
    overrides: list[str]
    brought: str
    seconds: float
    run_id: str | None = None
    standing: Standing | None = None
    goals: list[str] = field(default_factory=list)
    test_quality: float | None = None
    gain: float | None = None
    is_better: bool = False


@dataclass(frozen=True)
class Lineage:
    """All rounds so far, the first run before them.

    Attributes:
        quality: what networks are compared by, for people.
        stopped: why there are no more; "" while there may be.
    """

    quality: str
    rounds: list[Round]
    stopped: str = ""

    @property
    def best(self) -> Round:
        """The last that was better than the best before it; the first run, if none was."""
        return [one for one in self.rounds if one.is_better or one.number == 0][-1]

    @property
    def without_improvement(self) -> int:
        """How many rounds in a row brought nothing, the last ones."""
        return self.rounds[-1].number - self.best.number


def standing(report: Report, num_validation: int) -> Standing:
    """Return how the student stands, or its last compressed variant, if it has one.

    Args:
        report: of the run.
        num_validation: samples that its validation scores are of.
    """
    student = report.row(DISTILLED)
    variants = [one for one in report.variants if one.of == DISTILLED]
    if variants:
        last, scores = variants[-1], variants[-1].validation
        of_last = (last.macs, last.parameters, last.file_bytes)
        return Standing(last.name, scores.quality, noise(scores.quality, num_validation), *of_last)
    quality, cost = report.validation.quality, student.cost
    counted = (cost.macs, cost.parameters, student.file_bytes)
    return Standing(DISTILLED, quality, noise(quality, num_validation), *counted)


def standing_of_teacher(report: Report, scores: Scores, num_validation: int) -> Standing:
    """Return how the best teacher stands, by its scores on validation."""
    row, quality = report.row(TEACHER), scores.quality
    counted = (row.cost.macs, row.cost.parameters, row.file_bytes)
    return Standing(TEACHER, quality, noise(quality, num_validation), *counted)


def noise(quality: float, num_samples: int) -> float:
    """Return half a standard error of the mean of `num_samples` numbers in [0, 1].

    Of an accuracy it is exact; of other means in [0, 1] this is the most that it can be.

    >>> noise(0.9, 225)
    0.01
    """
    return round(NOISE * sqrt(max(quality * (1 - quality), 0.0) / num_samples), 12)


def goals_met(reached: Standing, teacher: Standing, goals: Evaluation) -> list[str]:
    """Return the goals that are met on validation, against one teacher for all rounds."""
    kept = reached.quality / max(teacher.quality, 1e-9)
    saved = 1 - reached.macs / max(teacher.macs, 1)
    size = reached.parameters / max(teacher.parameters, 1)
    met = {
        QUALITY_KEPT: kept >= goals.goal_accuracy_kept,
        COMPUTE_SAVED: saved >= goals.goal_compute_saved,
        SIZE: size <= goals.goal_parameters_fraction,
    }
    return [name for name, is_met in met.items() if is_met]


def improvement(
    new: Standing, new_goals: list[str], best: Standing, best_goals: list[str]
) -> str | None:
    """Say what makes a round better than the best before it, on validation; None: nothing.

    It is better where its quality is higher, by more than the noise if a goal is lost for it; or
    where it loses no goal, has the same quality within the noise, and meets one more goal or has a
    file that is a tenth smaller; one more goal is also worth quality, as long as the goal of
    quality is met.
    """
    won = [goal for goal in new_goals if goal not in best_goals]
    is_lost = any(goal not in new_goals for goal in best_goals)
    gain = new.quality - best.quality
    if gain > (best.noise if is_lost else 0.0):
        return "higher quality"
    as_good = gain >= -best.noise
    if is_lost or not (as_good or (won and QUALITY_KEPT in new_goals)):
        return None
    if won:
        return f"meets the goal of {' and '.join(won)}"
    if new.file_bytes and best.file_bytes and new.file_bytes <= (1 - SMALLER) * best.file_bytes:
        return f"as good, in a file smaller by {1 - new.file_bytes / best.file_bytes:.0%}"
    return None


def rows(lineage: Lineage) -> list[dict[str, str | float | int | None]]:
    """Return one line per round, for tables."""
    return [
        {
            "round": one.number,
            "from": one.parent,
            "name": one.name,
            **_reached(one.standing, lineage.quality),
            "gain": one.gain,
            "goals met": ", ".join(one.goals) if one.standing else None,
            "brought": one.brought,
            f"test {lineage.quality}": one.test_quality,
            "why": one.why,
            "minutes": one.seconds / 60,
            "run": one.run_id,
        }
        for one in lineage.rounds
    ]


def _reached(standing: Standing | None, quality: str) -> dict[str, float | None]:
    size = None if standing is None else standing.file_bytes
    return {
        f"val {quality}": None if standing is None else standing.quality,
        "KiB on disk": None if size is None else size / 1024,
    }
