"""What the package is to reach, and whether a result does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Target:
    """A number and the limit it is held against.

    Attributes:
        section: of the results.
        path: keys that lead to the number within the section.
        what: in words.
        limit: the number at the limit.
        at_least: whether the limit is the least that will do, or the most.
    """

    section: str
    path: tuple[str, ...]
    what: str
    limit: float
    at_least: bool

    def judged(self, results: dict[str, Any]) -> dict[str, Any] | None:
        """Return the number and whether it will do; None where it was not measured.

        A number is judged as it is printed, with two decimals.
        """
        value: Any = results.get(self.section)
        for key in self.path:
            value = value.get(key) if isinstance(value, dict) else None
        if value is None:
            return None
        shown = round(value, 2)
        met = shown >= self.limit if self.at_least else shown <= self.limit
        name = "at_least" if self.at_least else "at_most"
        row = {"what": self.what, "value": value, name: self.limit, "met": met}
        if self.section == "pairs":
            pair, _, ratio = self.path
            row["range"] = results[self.section][pair]["ratio_ranges"][ratio]
        return row


def _ratio(pair: str, name: str, what: str, limit: float) -> Target:
    return Target("pairs", (pair, "ratios", name), f"{pair}: {what}", limit, at_least=True)


CACHED_BARE = "cached, of the bare student-only loop"
UNCACHED_BARE = "uncached, of the bare student + teacher loop"
CACHED_PEER = "cached, of torchdistill"
FILLING = "filling the cache, of uncached"
TARGETS = (
    _ratio("resnet", "cached_to_bare_student", CACHED_BARE, 0.95),
    _ratio("mlp", "cached_to_bare_student", CACHED_BARE, 0.80),
    _ratio("resnet", "uncached_to_bare_kd", UNCACHED_BARE, 1.0),
    _ratio("mlp", "uncached_to_bare_kd", UNCACHED_BARE, 0.85),
    _ratio("resnet", "cached_to_torchdistill", CACHED_PEER, 2.2),
    _ratio("mlp", "cached_to_torchdistill", CACHED_PEER, 2.2),
    _ratio("resnet", "filling_to_uncached", FILLING, 1.0),
    _ratio("mlp", "filling_to_uncached", FILLING, 1.0),
    Target("sweep", ("sweep_to_separate",), "sweep of 8, of 8 separate runs", 0.40, False),
    Target("parallel", ("parallel_to_serial",), "8 jobs two at once, of serial", 0.60, False),
    Target("startup", ("seconds", "help"), "`--help`, seconds", 1.0, False),
    Target("startup", ("config_error_seconds",), "slowest config error, seconds", 2.0, False),
)


def judge(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row per target whose number was measured."""
    rows = [target.judged(results) for target in TARGETS]
    return [row for row in rows if row is not None]
