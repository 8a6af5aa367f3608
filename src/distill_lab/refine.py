"""The refinement loop: run what stage 6 proposes, keep what validation says is better."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from distill_lab import workflow
from distill_lab.contracts import Parts
from distill_lab.errors import DistillLabError
from distill_lab.naming import short_name, split_override
from distill_lab.report import tables
from distill_lab.stages.report_handoff import Proposal
from distill_lab.tracking.store import Store
from distill_lab.workflow import Done


def refine(
    first: Done,
    store: Store,
    overrides: list[str],
    rounds: int,
    check: Callable[[list[str]], Parts],
) -> Done:
    """Run proposals as nested runs of the first and return the best by quality on validation.

    Each round takes the first untried proposal of the best run so far; it stops early where none
    is left. A round that fails is a line of the lineage, and the next goes on from the best.

    Args:
        first: the run to refine.
        store: where runs are kept.
        overrides: of the first run.
        rounds: how many proposals are run at most.
        check: makes a checked run of overrides.

    Returns:
        The best, with the overrides it was made from, without those of the refinement itself, and
        with the proposals that are left.
    """
    asked = [text for text in overrides if not _is_about_refinement(text)]
    best = replace(first, overrides=asked, proposals=first.report.proposals)
    lineage = [_row(0, best, "as asked", "")]
    tried: set[tuple[str, ...]] = set()
    for number in range(1, rounds + 1):
        left = _untried(best, tried)
        if not left:
            print("  refinement stops: no untried proposal is left.")
            break
        proposal = left[0]
        tried.add(tuple(proposal.overrides))
        asked = merged(best.overrides, proposal.overrides)
        name = f"round {number}: {short_name(proposal.overrides)}"
        print(f"\n{name}\n  {proposal.why}")
        tags = {"round": str(number), "why": proposal.why, "overrides": " ".join(asked)}
        try:
            done = workflow.run(check(asked), store, name, tags, first.run_id)
        except DistillLabError as error:
            reason = " ".join(str(error).split())
            print(f"  failed: {reason}")
            lineage.append({"round": number, "name": name, "why": proposal.why, "failed": reason})
            continue
        lineage.append(_row(number, done, name, proposal.why))
        if done.report.validation.quality > best.report.validation.quality:
            best = replace(done, overrides=asked)
    with store.open(first.run_id) as run:
        run.log_text(tables.csv_text(lineage), "refinement.csv")
        found = best.report.validation
        by = found.compared_by
        run.log_metrics({f"refine/best_val_{by.key}": found.quality})
        run.set_tags({"best_round": best.run_id})
    print("\n" + tables.text(lineage, ["round", "name", f"val {by.label}", f"test {by.label}"]))
    return replace(best, proposals=_untried(best, tried))


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


def _row(number: int, done: Done, name: str, why: str) -> dict[str, str | float | int | None]:
    found = done.report.validation
    by = found.compared_by
    return {
        "round": number,
        "name": name,
        f"val {by.label}": found.quality,
        f"test {by.label}": done.report.metrics[f"test/{by.key}"],
        "why": why,
        "run": done.run_id,
    }
