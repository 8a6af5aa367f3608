"""Every loss that a student may learn by, each with data and networks that it can read."""

from __future__ import annotations

from pathlib import Path

from distill_lab.contracts import Parts
from distill_lab.errors import ConfigError
from distill_lab.every_config import DOMAINS, NETWORKS
from distill_lab.launch import checked

FOLDER = Path(__file__).parents[1] / "conf" / "loss"
LOSSES = sorted({path.stem for path in FOLDER.glob("*.yaml")} - {"simkd"})
"""But SimKD, which keeps nothing and whose student is not one of the options."""


def sound(name: str) -> Parts:
    """Parts of a run in which the student learns by this loss."""
    for domain in DOMAINS:
        for networks in NETWORKS if domain == () else ((),):
            where = domain or ("data=fake",)
            given = [*where, *networks, f"loss=[ce,{name}]" if name != "ce" else "loss=[ce]"]
            try:
                return checked([*given, "design.max_parameters_fraction=null"])
            except ConfigError:
                continue
    raise AssertionError(f"no networks for {name}")
