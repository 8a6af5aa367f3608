"""The refinement loop: run what stage 6 proposes, keep what validation says is better."""

from __future__ import annotations

from collections.abc import Callable

from distill_lab import workflow
from distill_lab.contracts import Parts
from distill_lab.errors import ConfigError
from distill_lab.naming import short_name
from distill_lab.report import tables
from distill_lab.stages.handoffs import Proposal
from distill_lab.tracking.store import Store
from distill_lab.workflow import Done


def refine(
    first: Done,
    store: Store,
    overrides: list[str],
    rounds: int,
    check: Callable[[list[str]], Parts],
) -> Done:
    """Run proposals as nested runs of the first and return the best by validation accuracy.

    Each round takes the first untried proposal of the best run so far; it stops early where none
    is left.

    Args:
        first: the run to refine.
        store: where runs are kept.
        overrides: of the first run.
        rounds: how many proposals are run at most.
        check: makes a checked run of overrides.
    """
    best, best_overrides = first, overrides
    lineage = [_row(0, first, "as asked", "")]
    tried: set[tuple[str, ...]] = set()
    for number in range(1, rounds + 1):
        proposal = _untried(best, tried)
        if proposal is None:
            print("  refinement stops: no untried proposal is left.")
            break
        tried.add(tuple(proposal.overrides))
        asked = merged(best_overrides, proposal.overrides)
        name = f"round {number}: {short_name(proposal.overrides)}"
        print(f"\n{name}\n  {proposal.why}")
        try:
            parts = check(asked)
        except ConfigError as error:
            print(f"  not run: {error}")
            continue
        tags = {"round": str(number), "why": proposal.why, "overrides": " ".join(asked)}
        done = workflow.run(parts, store, name, tags, first.run_id)
        better = done.report.validation_accuracy > best.report.validation_accuracy
        lineage.append(_row(number, done, name, proposal.why))
        if better:
            best, best_overrides = done, asked
    with store.open(first.run_id) as run:
        run.log_text(tables.csv_text(lineage), "refinement.csv")
        run.log_metrics({"refine/best_val_accuracy": best.report.validation_accuracy})
        run.set_tags({"best_round": best.run_id})
    print("\n" + tables.text(lineage, ["round", "name", "val accuracy", "test accuracy"]))
    return best


def merged(overrides: list[str], more: list[str]) -> list[str]:
    """Return overrides in which a later value of a key takes the place of an earlier one.

    >>> merged(["seed=1", "regime.epochs=3"], ["regime.epochs=6"])
    ['seed=1', 'regime.epochs=6']
    """
    by_key = {text.partition("=")[0]: text for text in (*overrides, *more)}
    return list(by_key.values())


def _untried(done: Done, tried: set[tuple[str, ...]]) -> Proposal | None:
    left = (p for p in done.report.proposals if tuple(p.overrides) not in tried)
    return next(left, None)


def _row(number: int, done: Done, name: str, why: str) -> dict[str, str | float | int | None]:
    return {
        "round": number,
        "name": name,
        "val accuracy": done.report.validation_accuracy,
        "test accuracy": done.report.metrics["test/accuracy"],
        "why": why,
        "run": done.run_id,
    }
