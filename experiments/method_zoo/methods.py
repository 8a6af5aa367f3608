"""The methods of the leaderboard, and how one run of a method is asked for."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from distill_lab.config.groups import options

MULTIPLIERS = (0.1, 1.0, 10.0)  # of the weight that the term's yaml has
SEEDS = (0, 1, 2)
GIVEN = Path(__file__).with_name("methods.toml")


@dataclass(frozen=True)
class Method:
    """What is run.

    Attributes:
        name: in the leaderboard.
        loss: the choice of terms, e.g. "[ce,kd]".
        term: the one whose weight is tuned.
        experiment: the pair of networks, a yaml beside this file.
        overrides: what else differs from the experiment.
    """

    name: str
    loss: str
    term: str
    experiment: str
    overrides: tuple[str, ...]

    def overrides_of(self, weight: float | None, seed: int) -> list[str]:
        """Return the overrides of a run; a weight of None is that of the term's yaml."""
        asked = [f"experiments=method_zoo/{self.experiment}", f"loss={self.loss}", *self.overrides]
        if weight is not None:
            asked.append(f"loss.{self.term}.weight={weight:.6g}")
        return [*asked, f"seed={seed}"]


def methods() -> dict[str, Method]:
    """Return all methods by name: one per term, and those that methods.toml adds."""
    given = tomllib.loads(GIVEN.read_text(encoding="utf-8"))
    names = dict.fromkeys([*options("loss"), *given])
    return {name: _method(name, given.get(name, {})) for name in names}


def _method(name: str, given: dict[str, str | list[str]]) -> Method:
    loss, term = str(given.get("loss", f"[ce,{name}]")), str(given.get("term", name))
    experiment = str(given.get("experiment", "pair"))
    return Method(name, loss, term, experiment, tuple(given.get("overrides", ())))
