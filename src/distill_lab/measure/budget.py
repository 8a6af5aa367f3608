"""A student's budget: absolute limits, what a candidate misses, and the nearest miss in words."""

from __future__ import annotations

from dataclasses import dataclass

from distill_lab.measure.cost import Cost
from distill_lab.settings import Design

AUTO_PARAMETERS_FRACTION = 0.4  # the field's usual 30-40 % of the teacher


@dataclass(frozen=True)
class Limits:
    """Largest allowed value per cost; None where there is no limit.

    Attributes:
        one_named: whether "auto" left the parameters free because one student was named outright.
    """

    parameters: float | None
    macs: float | None
    latency_ms: float | None
    peak_memory_mib: float | None
    one_named: bool = False

    def misses(self, cost: Cost) -> dict[str, float]:
        """Return cost name -> cost / limit for every limit that is exceeded."""
        pairs = {
            name: (getattr(cost, name), getattr(self, name))
            for name in ("parameters", "macs", "latency_ms", "peak_memory_mib")
        }
        return {
            name: value / limit
            for name, (value, limit) in pairs.items()
            if limit is not None and value > limit
        }


def limits(design: Design, teacher: Cost, has_grid: bool) -> Limits:
    """Turn the design's fractions of the teacher into absolute limits."""
    fraction = design.max_parameters_fraction
    one_named = fraction == "auto" and not has_grid
    if fraction == "auto":
        fraction = AUTO_PARAMETERS_FRACTION if has_grid else None
    macs = design.max_macs_fraction
    return Limits(
        None if fraction is None else float(fraction) * teacher.parameters,
        None if macs is None else macs * teacher.macs,
        design.max_latency_ms,
        design.max_memory_mib,
        one_named,
    )


def nearest_miss(costs: dict[str, Cost], budget: Limits) -> str:
    """Say that nobody meets the budget, who comes nearest, and what would let it in."""
    worst = {name: max(budget.misses(cost).values(), default=0.0) for name, cost in costs.items()}
    name = min(worst, key=lambda candidate: worst[candidate])
    cost = costs[name]
    missed = ", ".join(
        f"{what} {getattr(cost, what):,.6g} where at most {getattr(budget, what):,.6g} are allowed"
        for what in budget.misses(cost)
    )
    return (
        f"none of the {len(costs)} student candidates meets the budget. Nearest: {name} with "
        f"{missed} ({worst[name]:.2f} times the limit). Widen the design.max_... limit by that "
        "factor, or offer smaller students."
    )
