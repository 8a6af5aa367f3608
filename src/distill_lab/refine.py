"""The refinement loop: run what stage 6 proposes, keep what validation says is better."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from time import monotonic

from distill_lab import workflow
from distill_lab.chain import run_chain
from distill_lab.contracts import Parts
from distill_lab.errors import DistillLabError, without_secret
from distill_lab.naming import command, short_name, split_override
from distill_lab.pages import refinement
from distill_lab.report import tables
from distill_lab.run_report import COMMAND, report_of
from distill_lab.settings import Evaluation, Refine
from distill_lab.stages.handoffs import to_plain
from distill_lab.stages.lineage import LINEAGE, Lineage, Round, goals_met, improvement, rows
from distill_lab.stages.report_handoff import Proposal
from distill_lab.tracking.store import Store
from distill_lab.workflow import Done

SHOWN = ("round", "from", "name", "gain", "goals met", "brought")
NOTHING = "nothing better"


def refine(
    first: Done,
    store: Store,
    overrides: list[str],
    evaluation: Evaluation,
    check: Callable[[list[str]], Parts],
) -> Done:
    """Run proposals as nested runs of the first and return the best by validation.

    Each round takes the first untried proposal of the best run so far. It stops where none is
    left, where rounds or time are spent, and after `patience` rounds that brought nothing. A round
    that fails is a line of the lineage, and the next goes on from the best.

    Args:
        first: the run to refine; its teacher is the one that all rounds are judged against.
        store: where runs are kept.
        overrides: of the first run.
        evaluation: how many rounds and for how long, and the goals.
        check: makes a checked run of overrides.

    Returns:
        The best, with the overrides it was made from, without those of the refinement itself, and
        with the proposals that are left.
    """
    loop = _Loop(first, store, overrides, evaluation, check)
    began = monotonic()
    while (stopped := loop.stopped(evaluation.refine, monotonic() - began)) is None:
        loop.run_next()
    return loop.ended(stopped)


class _Loop:
    """The state of a refinement: what was run so far, and the best of it."""

    def __init__(
        self,
        first: Done,
        store: Store,
        overrides: list[str],
        evaluation: Evaluation,
        check: Callable[[list[str]], Parts],
    ) -> None:
        asked = [text for text in overrides if not _is_about_refinement(text)]
        self.best = replace(first, overrides=asked, proposals=first.report.proposals)
        self.first = first
        self.store = store
        self.evaluation = evaluation
        self.check = check
        self.tried: set[tuple[str, ...]] = set()
        start = Round(0, "as asked", None, "", [*map(without_secret, asked)], "", 0.0)
        by = first.report.validation.compared_by
        self.lineage = Lineage(by.label, [self._measured(start, self.best)])

    def stopped(self, limits: Refine, seconds: float) -> str | None:
        """Return why no further round is begun; None where one is."""
        done = self.lineage.rounds[1:]
        if len(done) >= limits.rounds:
            return f"All {limits.rounds} rounds are done."
        if not _untried(self.best, self.tried):
            return "No untried proposal is left."
        if self.lineage.without_improvement >= limits.patience:
            return f"The last {limits.patience} brought no improvement on validation."
        left = None if limits.max_minutes is None else 60 * limits.max_minutes - seconds
        longest = max((one.seconds for one in done), default=0.0)
        if left is not None and left < longest:
            return (
                f"Of {limits.max_minutes:g} minutes {max(left, 0) / 60:.1f} are left, and the "
                f"longest round took {longest / 60:.1f}."
            )
        return None

    def run_next(self) -> None:
        """Run the next proposal and add it to the lineage; a better one becomes the best."""
        proposal = _untried(self.best, self.tried)[0]
        self.tried.add(tuple(proposal.overrides))
        number, parent = len(self.lineage.rounds), self.lineage.best.number
        overrides = merged(self.best.overrides, proposal.overrides)
        name = f"round {number}: {short_name(proposal.overrides)}"
        print(f"\n{name}\n  {proposal.why}")
        tags = {
            "round": str(number),
            "parent_round": str(parent),
            "refined_from": self.best.run_id,
            "why": proposal.why,
            "overrides": " ".join(overrides),
            COMMAND: command(overrides),
        }
        began, done, brought = monotonic(), None, ""
        try:
            parts = self.check(overrides)
            start = run_chain if parts.chain.num_passes > 1 else workflow.run
            done = start(parts, self.store, name, tags, self.first.run_id)
        except DistillLabError as error:
            brought = f"failed: {' '.join(str(error).split())}"
        seconds, shown = monotonic() - began, [*map(without_secret, overrides)]
        made = Round(number, name, parent, proposal.why, shown, brought, seconds)
        if done is not None:
            made = self._judged(made, replace(done, overrides=overrides))
        points = "" if made.gain is None else f", {100 * made.gain:+.2f} points on validation"
        print(f"  brought: {made.brought}{points}")
        self.lineage = replace(self.lineage, rounds=[*self.lineage.rounds, made])
        self._log()

    def _judged(self, made: Round, done: Done) -> Round:
        """Hold a round against the best, and say in its run what it brought."""
        made = self._measured(made, done)
        before, goals = self.best.standing, self.lineage.best.goals
        brought = improvement(done.standing, made.goals, before, goals)
        gain = done.standing.quality - before.quality
        if brought is not None:
            self.best = done
        said = brought or NOTHING
        with self.store.open(done.run_id) as run:
            run.log_metrics({f"refine/gain_val_{done.report.validation.compared_by.key}": gain})
            run.set_tags({"brought": said, "best_so_far": self.best.run_id})
        return replace(made, gain=gain, is_better=brought is not None, brought=said)

    def _measured(self, made: Round, done: Done) -> Round:
        """Return a round with what was measured of it."""
        key = done.report.validation.compared_by.key
        return replace(
            made,
            run_id=done.run_id,
            standing=done.standing,
            goals=goals_met(done.standing, self.first.teacher, self.evaluation),
            test_quality=done.report.metrics[f"test/{key}"],
        )

    def _log(self) -> None:
        """Keep the lineage on the first run, as it is by now: a later round may not end."""
        by = self.first.report.validation.compared_by
        with self.store.open(self.first.run_id) as run:
            run.log_text(tables.csv_text(rows(self.lineage)), "refinement.csv")
            run.log_json(to_plain(self.lineage), LINEAGE)
            run.log_figure(refinement.figure(self.lineage), "refinement.png")
            run.log_metrics({f"refine/best_val_{by.key}": self.best.standing.quality})
            run.set_tags({"best_round": self.best.run_id})

    def ended(self, stopped: str) -> Done:
        """Log and show why it stopped and what it brought; return the best."""
        self.lineage = replace(self.lineage, stopped=stopped)
        self._log()
        report_of(self.store, self.first.run_id)  # with the lineage
        quality = self.lineage.quality
        columns = [*SHOWN[:3], f"val {quality}", *SHOWN[3:], f"test {quality}"]
        print(f"\nRefinement stops. {stopped}")
        print(f"{tables.text(rows(self.lineage), columns)}\n{refinement.rule()}")
        return replace(self.best, proposals=_untried(self.best, self.tried))


def merged(overrides: list[str], more: list[str]) -> list[str]:
    """Return overrides in which a later value of a key takes the place of an earlier one.

    Where `more` chooses the loss terms, the numbers of terms that are gone are dropped.

    >>> merged(["seed=1", "regime.epochs=3"], ["regime.epochs=6"])
    ['seed=1', 'regime.epochs=6']
    >>> merged(["loss.ce.weight=0.1", "loss.kd.weight=1"], ["loss=[label_smoothing,kd]"])
    ['loss.kd.weight=1', 'loss=[label_smoothing,kd]']
    """
    terms = dict(map(split_override, more)).get("loss")
    by_key = {}
    for text in (*overrides, *more):
        key, _ = split_override(text)
        if terms is None or not _is_gone(key, terms):
            by_key[key] = text
    return list(by_key.values())


def _is_gone(key: str, terms: str) -> bool:
    """Tell whether a key is of a loss term that a value like `[ce,kd]` does not name."""
    words = key.split(".")
    named = [name.strip() for name in terms.strip("[]").split(",")]
    return words[0] == "loss" and len(words) > 1 and words[1] not in named


def _is_about_refinement(override: str) -> bool:
    return split_override(override)[0].startswith("evaluation.refine")


def _untried(done: Done, tried: set[tuple[str, ...]]) -> list[Proposal]:
    return [p for p in done.report.proposals if tuple(p.overrides) not in tried]
